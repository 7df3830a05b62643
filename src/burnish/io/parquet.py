"""Parquet: row ranges cut from metadata, rows read as documents over Arrow batches.

Positions are 0-based row numbers of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from burnish.errors import InputError
from burnish.io.rows import (
    BadRow,
    Columns,
    Damage,
    LooseRow,
    choose_id,
    choose_text,
    excerpt,
    has_odd_float,
)
from burnish.schema import Document, Rejected

BATCH_BYTES = 2 * 1024 * 1024
"""About how much of a file is decoded at a time, in bytes."""
PIECES_OF_GROUP = 16
"""A row group is cut in no more parts than this: each part decodes the group up to its end."""


class Batch:
    """Consecutive rows of a file in Arrow form; a column is plain values once somebody asks."""

    __slots__ = ("_columns", "table")

    def __init__(self, table: pa.RecordBatch) -> None:
        self.table = table
        self._columns: dict[str, list[Any]] = {}

    def column(self, name: str) -> list[Any]:
        """Raises KeyError for an unknown column, ValueError for values that Python has not."""
        if name not in self._columns:
            self._columns[name] = self.table.column(name).to_pylist()
        return self._columns[name]


class ArrowRow(Mapping[str, Any]):
    """One row of a Batch, read as a mapping; writers take the Arrow values themselves."""

    __slots__ = ("batch", "index")

    def __init__(self, batch: Batch, index: int) -> None:
        self.batch = batch
        self.index = index

    def __getitem__(self, name: str) -> Any:
        return self.batch.column(name)[self.index]

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.table.schema.names)

    def __len__(self) -> int:
        return len(self.batch.table.schema)

    def plain(self) -> dict[str, Any]:
        """The row as a dict that `jsonl.dumps` writes without loss, or refuses.

        Raises ValueError where Python has no such value, as for nanoseconds.
        """
        row = dict(self)
        return LooseRow(row) if has_odd_float(row.values()) else row


def row_ranges(path: str, name: str, columns: Columns, shard_bytes: int) -> list[tuple[int, int]]:
    """Cut a file into ranges of rows (start inclusive, end exclusive) of about `shard_bytes`.

    Small row groups are joined, large ones divided by rows. A file whose metadata is damaged gives
    one empty range, whose reading tells. Raises InputError if the file has no text column, or two
    columns of one name.
    """
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError):
        return [(0, 0)]
    for column in filter(None, (columns.text, columns.id)):
        if column not in schema.names:
            raise InputError(
                f"{name} has no column {column!r}; its columns are {', '.join(schema.names)}"
            )
    twice = next((column for column in schema.names if schema.names.count(column) > 1), None)
    if twice is not None:
        raise InputError(f"{name} has several columns {twice!r}; rename or drop all but one")
    ranges: list[tuple[int, int]] = []
    start = end = size = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        size += metadata.row_group(group).total_byte_size
        end += rows
        if size < shard_bytes:
            continue
        parts = max(1, min(size // shard_bytes, PIECES_OF_GROUP, end - start))
        cuts = [start + (end - start) * part // parts for part in range(parts + 1)]
        ranges += pairwise(cuts)
        start, size = end, 0
    if start < end:
        ranges.append((start, end))
    return ranges


def read(
    path: str, name: str, start: int, end: int, columns: Columns
) -> Iterator[Document | Rejected]:
    """The rows `start` (inclusive) to `end` (exclusive) of a file as documents, or rejected rows.

    Damage gives one `Damage` row at the first row that can not be read, and costs the rest of its
    row group, or of the file if its metadata is damaged.
    """
    try:
        file = pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        yield Damage(name, start, f"the file is damaged: {error}")
        return
    with file:
        for group, first, stop in _groups(file.metadata, start, end):
            position = max(first, start)
            try:
                for table in _batches(file, group, position - first, stop - first):
                    batch = Batch(table)
                    for index, text in enumerate(_values(table, columns.text)):
                        yield _row(batch, index, text, name, position, columns)
                        position += 1
            except (pa.ArrowException, OSError) as error:
                lost = f"rows {position} to {stop - 1} are lost"
                yield Damage(name, position, f"the file is damaged, {lost}: {error}")


def _groups(metadata: Any, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The row groups that hold rows of a range: (group, its first row, the stop in the range)."""
    first = 0
    for group in range(metadata.num_row_groups):
        stop = first + metadata.row_group(group).num_rows
        if max(first, start) < min(stop, end):
            yield group, first, min(stop, end)
        first = stop


def _batches(file: pq.ParquetFile, group: int, start: int, stop: int) -> Iterator[pa.RecordBatch]:
    """Rows `start` to `stop` (exclusive) of a row group, counted from its first row."""
    metadata = file.metadata.row_group(group)
    size = max(1, metadata.total_byte_size)
    rows = max(1, min(4096, BATCH_BYTES * metadata.num_rows // size))
    row = 0
    for table in file.iter_batches(rows, row_groups=[group], use_threads=False):
        low, high = max(start - row, 0), min(stop - row, len(table))
        row += len(table)
        if low < high:
            yield table.slice(low, high - low)
        if row >= stop:
            return


def _values(table: pa.RecordBatch, column: str) -> list[Any]:
    """The values of a column; a string that is not UTF-8 stands as its bytes."""
    try:
        values: list[Any] = table.column(column).to_pylist()
        return values
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in table.column(column)]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes()


def _row(
    batch: Batch, index: int, text: Any, name: str, position: int, columns: Columns
) -> Document | Rejected:
    table = batch.table
    origin = f"{name}:{position}"
    column = columns.id or "id"
    try:
        choose_text({columns.text: text}, columns)
        row = {}
        if column in table.schema.names:
            row = {column: _value(table.column(column)[index])}
        identity = choose_id(row, columns, origin)
    except BadRow as bad:
        try:
            raw = json.dumps(dict(ArrowRow(batch, index)), default=str, ensure_ascii=False).encode()
        except ValueError:
            raw = text if isinstance(text, bytes) else b""
        return Rejected(name, position, str(bad), excerpt(raw))
    return Document(identity, text, ArrowRow(batch, index), origin)
