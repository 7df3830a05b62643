"""The folders of a run: part files written whole or not at all, and read again.

Each shard writes up to four part files, named alike: `documents/00002-00017.jsonl.zst` holds the
kept rows of shard 17 of file 2 (both 0-based). A part without rows is not written. While it grows a
part has a temporary name in the same folder, beginning with a dot; it gets its own name only when
it is whole and on disk.

A row of `documents/` is the input row, its text refined. A row of `dropped/` is the input row and,
as its last column, `burnish` (or `burnish_1`, … where the input has that name) with the reason and
the scores. A row of `programs/` is {"id", "text_hash", "status", "reason", "stages"}, one per
document in the order of the input; in Parquet the parts of a stage that have no fixed shape are
JSON strings.
"""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from burnish.errors import InputError, OutputError, UsageError
from burnish.io import jsonl
from burnish.io.parquet import ArrowRow, Batch
from burnish.io.rows import BadRow, DamagedFile
from burnish.schema import Document, Record, Rejected, Status, text_hash

DOCUMENTS, DROPPED, PROGRAMS, REJECTED = PART_FOLDERS = (
    "documents",
    "dropped",
    "programs",
    "rejected",
)
FORMATS = ("jsonl.zst", "parquet")
TEMPORARY = ".tmp-"
"""How the name of every unfinished file begins."""

ZSTD_LEVEL = 3
BUFFER_BYTES = 1024 * 1024
"""How much is gathered before it is compressed, in bytes of JSON."""
ROW_GROUP_BYTES = 16 * 1024 * 1024
"""About how large a row group is, in bytes of Arrow values."""
CHUNK_ROWS = 1024
"""How many rows of JSON become one Arrow table, at most."""

_JSON_FIELDS = ("scores", "program", "removed_lines", "edits", "issues")
_STRINGS = ("stage", "refiner", "status", "reason")
_STAGE = pa.struct([pa.field(name, pa.string()) for name in (*_STRINGS, *_JSON_FIELDS)])
PROGRAMS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("text_hash", pa.string()),
        pa.field("status", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("stages", pa.list_(_STAGE)),
    ]
)
"""`scores`, `program`, `removed_lines`, `edits` and `issues` of a stage are JSON."""
REJECTED_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("raw", pa.string()),
    ]
)
_NOTE_TYPE = pa.struct(
    [pa.field("reason", pa.string()), pa.field("scores", pa.map_(pa.string(), pa.float64()))]
)


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The error to raise when the system refuses to write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "Free some space"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "Allow writing there"
    else:
        advice = "Mend that"
    return OutputError(
        f"can not write {path}: {error.strerror or error}. {advice} and run the same command "
        "again: finished shards are kept."
    )


def sync(paths: Iterable[Path]) -> None:
    """Make files, or the renames in folders, durable.

    In threads, since a disk takes several requests in hardly more time than one: 4 ms here.
    """
    with ThreadPoolExecutor(len(PART_FOLDERS)) as pool:
        list(pool.map(_sync, paths))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes, tag: str) -> None:
    """Write a small file at once: readers see the old content or the new one, never a part.

    Until `sync([path.parent])` a power cut may bring the old one back.
    """
    temporary = path.with_name(f"{TEMPORARY}{tag}-{path.name}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


class _Sink(Protocol):
    """Takes rows of one kind and turns them into the bytes of a part."""

    def write(self, row: Any) -> None: ...
    def close(self) -> None: ...


class Part:
    """One part file; it comes into being with its first row."""

    def __init__(self, path: Path, tag: str, open_sink: Callable[[BinaryIO], _Sink]) -> None:
        self.path = path
        self.rows = 0
        self._temporary = path.with_name(f"{TEMPORARY}{tag}-{path.name}")
        self._open_sink = open_sink
        self._file: BinaryIO | None = None
        self._sink: _Sink | None = None

    def write(self, row: Any) -> None:
        try:
            if self._sink is None:
                self._file = open(self._temporary, "wb")  # noqa: SIM115
                self._sink = self._open_sink(self._file)
            self._sink.write(row)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.rows += 1

    def finish(self) -> Path | None:
        """Complete the temporary file, if there is one, and return its path."""
        if self._sink is None or self._file is None:
            return None
        try:
            self._sink.close()
            self._file.close()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return self._temporary

    def publish(self) -> None:
        """Give the finished file its name; remove what an earlier attempt left under that name."""
        try:
            if self.rows:
                os.replace(self._temporary, self.path)
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def abort(self) -> None:
        """Leave nothing behind."""
        if self._file is not None:
            with suppress(OSError):  # what was still buffered is not wanted
                self._file.close()
            self._temporary.unlink(missing_ok=True)


def json_part(path: Path, tag: str) -> Part:
    """A part file of compressed JSON Lines; its rows are written as they are."""
    return Part(path, tag, _JsonSink)


class ShardWriter:
    """Writes the records and rejected rows of one shard."""

    def __init__(self, folder: Path, name: str, form: str, tag: str, text_column: str) -> None:
        if form not in FORMATS:
            raise UsageError(f"unknown format {form!r}; known formats are {', '.join(FORMATS)}")
        self._folder = folder
        self._arrow = form == "parquet"
        self._text_column = text_column
        sinks: dict[str, Callable[[BinaryIO], _Sink]] = dict.fromkeys(PART_FOLDERS, _JsonSink)
        if self._arrow:
            sinks = {
                DOCUMENTS: lambda file: _ArrowSink(file, text_column),
                DROPPED: lambda file: _ArrowSink(file, text_column, noted=True),
                PROGRAMS: lambda file: _ArrowSink(file, text_column, PROGRAMS_SCHEMA),
                REJECTED: lambda file: _ArrowSink(file, text_column, REJECTED_SCHEMA),
            }
        self.parts = {
            kind: Part(folder / kind / f"{name}.{form}", tag, sinks[kind]) for kind in PART_FOLDERS
        }

    def write(self, document: Document, record: Record) -> None:
        """Store what became of `document`, which is written as it came but for its text."""
        columns = document.columns
        row: Any = columns
        dropped = record.status is Status.DROPPED
        note = {"reason": record.reason, "scores": record.scores} if dropped else None
        if isinstance(columns, ArrowRow):
            if self._arrow:
                row = (columns, None if dropped else record.text, note)
            else:
                try:
                    row = columns.plain()
                except ValueError as error:
                    raise _no_json(document, columns, error) from error
        if type(row) is not tuple:
            if note is not None:
                row = type(row)({**row, note_column(row): note})
            elif record.text is not document.text and record.text != document.text:
                row = type(row)({**row, self._text_column: record.text})
        try:
            self.parts[DROPPED if dropped else DOCUMENTS].write(row)
        except TypeError as error:
            if self._arrow:
                raise
            raise _no_json(document, row, error) from error
        stages = [trace.to_json() for trace in record.traces]
        if self._arrow:
            for stage in stages:
                stage.update({key: _json_text(stage[key]) for key in _JSON_FIELDS})
        self.parts[PROGRAMS].write(
            {
                "id": document.id,
                "text_hash": text_hash(document.text),
                "status": str(record.status),
                "reason": record.reason,
                "stages": stages,
            }
        )

    def reject(self, row: Rejected) -> None:
        self.parts[REJECTED].write(row.to_json())

    def commit(self) -> None:
        """Make all parts durable under their own names."""
        try:
            sync([path for part in self.parts.values() if (path := part.finish())])
            for part in self.parts.values():
                part.publish()
            sync([part.path.parent for part in self.parts.values() if part.rows])
        except OSError as error:
            raise cannot_write(self._folder, error) from error

    def abort(self) -> None:
        for part in self.parts.values():
            part.abort()

    @property
    def column_kinds(self) -> dict[str, str]:
        """The kinds of the columns that were inferred for Parquet output; empty otherwise."""
        kinds: dict[str, str] = {}
        for kind in (DOCUMENTS, DROPPED):
            sink = self.parts[kind]._sink
            if isinstance(sink, _ArrowSink):
                kinds = merge_kinds(kinds, sink.kinds, "the shard")
        return kinds


def _json_text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a lone surrogate, which only an escape can stand for
        return json.dumps(value, separators=(",", ":"))


def note_column(row: Mapping[str, Any]) -> str:
    """The name of the column that tells why a row was dropped: the first that is free."""
    name, number = "burnish", 0
    while name in row:
        number += 1
        name = f"burnish_{number}"
    return name


def _no_json(document: Document, row: Mapping[str, Any], error: Exception) -> OutputError:
    return OutputError(
        f"{document.origin}: {misfit(row)} can not be stored as JSON ({error}); choose the format "
        "parquet"
    )


def misfit(row: Mapping[str, Any]) -> str:
    """The column that keeps a row out of JSON, in words."""
    for name in row:
        try:
            jsonl.dumps({name: row[name]})
        except (TypeError, ValueError):
            return f"the column {name!r}"
    return "the row"


class _JsonSink:
    def __init__(self, file: BinaryIO) -> None:
        compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
        self._stream = compressor.stream_writer(file, closefd=False)
        self._lines: list[bytes] = []
        self._size = 0

    def write(self, row: Mapping[str, Any]) -> None:
        line = jsonl.dumps(row)
        self._lines.append(line)
        self._size += len(line)
        if self._size >= BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._stream.write(b"".join(self._lines))
        self._lines.clear()
        self._size = 0

    def close(self) -> None:
        self._flush()
        self._stream.flush(zstandard.FLUSH_FRAME)


class _ArrowSink:
    """Writes Parquet from rows of three kinds.

    Rows with a fixed schema and rows of Parquet input become row groups as they come; the rows of
    JSON input wait, as Arrow tables, for the types of the whole shard.
    """

    def __init__(
        self,
        file: BinaryIO,
        text_column: str,
        schema: pa.Schema | None = None,
        noted: bool = False,
    ) -> None:
        self._noted = noted  # each row ends with the note of a dropped document
        self.kinds: dict[str, str] = {}
        self._file = file
        self._text_column = text_column
        self._schema = schema
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[Any] = []
        self._batch: Batch | None = None  # that the rows come from, for Parquet input
        self._tables: list[pa.Table] = []
        self._size = 0
        self._inferred = False

    def write(self, row: Any) -> None:
        batch = row[0].batch if type(row) is tuple else None
        if batch is not self._batch or len(self._rows) >= CHUNK_ROWS:
            self._gather()
        self._batch = batch
        self._rows.append(row)

    def close(self) -> None:
        self._gather()
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def _gather(self) -> None:
        if not self._rows:
            return
        if self._batch is not None:
            table = _rows_of_batch(self._batch, self._rows, self._text_column)
        elif self._schema is not None:
            table = pa.Table.from_pylist(self._rows, self._schema)
        else:
            table = _table_of_rows(self._rows, self._noted)
            self.kinds = merge_kinds(self.kinds, column_kinds(table.schema), "the shard")
            self._inferred = True
        self._rows = []
        self._tables.append(table)
        self._size += table.nbytes
        if self._size >= ROW_GROUP_BYTES and not self._inferred:
            self._flush()

    def _flush(self) -> None:
        if not self._tables:
            return
        try:
            table = pa.concat_tables(
                self._tables, promote_options="permissive" if self._inferred else "none"
            )
        except pa.ArrowException as error:
            raise OutputError(
                f"rows have columns of different types ({error}); choose the format jsonl.zst"
            ) from error
        self._tables, self._size = [], 0
        if self._writer is None:
            self._writer = _open_parquet(self._file, table.schema)
        rows = max(1, len(table) * ROW_GROUP_BYTES // max(1, table.nbytes))
        self._writer.write_table(table, row_group_size=rows)


def _open_parquet(file: BinaryIO, schema: pa.Schema) -> pq.ParquetWriter:
    """Raises OutputError for an object without fields, the one type that Parquet can not hold."""
    try:
        return pq.ParquetWriter(file, schema, compression="zstd", compression_level=ZSTD_LEVEL)
    except pa.ArrowNotImplementedError as error:
        for field in schema if len(schema) > 1 else ():
            _open_parquet(io.BytesIO(), pa.schema([field])).close()
        raise conflict(schema.names[0], str(error).rstrip(".")) from error


def _rows_of_batch(batch: Batch, rows: list[Any], text_column: str) -> pa.Table:
    """The rows of one input batch with their new text, or with a note for dropped ones."""
    table = pa.Table.from_batches([batch.table]).take(pa.array([row.index for row, _, _ in rows]))
    if rows[0][2] is None:
        place = table.schema.get_field_index(text_column)
        field = table.schema.field(place)
        try:
            texts = pa.array([text for _, text, _ in rows], pa.large_string())
        except UnicodeEncodeError as error:
            raise OutputError(f"a refined text can not be stored in Parquet: {error}") from error
        if pa.types.is_dictionary(field.type):
            encoded = texts.cast(field.type.value_type).dictionary_encode()
            return table.set_column(place, field, encoded.cast(field.type))
        return table.set_column(place, field, texts.cast(field.type))
    notes = [_arrow_note(note) for _, _, note in rows]
    name = note_column(dict.fromkeys(table.schema.names))
    # The description that Hugging Face keeps of its columns does not know this one.
    metadata = {k: v for k, v in (table.schema.metadata or {}).items() if k != b"huggingface"}
    return table.append_column(name, pa.array(notes, _NOTE_TYPE)).replace_schema_metadata(metadata)


def _arrow_note(note: Mapping[str, Any]) -> dict[str, Any]:
    """A note as a value of `_NOTE_TYPE`."""
    return {"reason": note["reason"], "scores": list(note["scores"].items())}


def _table_of_rows(rows: list[Any], noted: bool) -> pa.Table:
    """Columns in the order in which they first appear; the note of dropped rows last."""
    notes = {next(reversed(row)) for row in rows} if noted else set()
    names = dict.fromkeys(name for row in rows for name in row if name not in notes)
    arrays = {}
    for name in (*names, *sorted(notes)):
        try:
            values = [row.get(name) for row in rows]
            if name in notes:
                values = [None if value is None else _arrow_note(value) for value in values]
            arrays[name] = pa.array(values, _NOTE_TYPE if name in notes else None)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, KeyError) as error:
            raise conflict(name, str(error)) from error
    return pa.table(arrays)


def conflict(column: str, what: str) -> OutputError:
    return OutputError(
        f"the column {column!r} can not be stored in Parquet: {what}. Choose the format jsonl.zst, "
        "which keeps every row as it came."
    )


def column_kinds(schema: pa.Schema) -> dict[str, str]:
    """Column -> null, boolean, number, string, list or object: types of one kind fit together."""
    return {field.name: _kind(field.type) for field in schema}


def _kind(arrow: pa.DataType) -> str:
    if pa.types.is_null(arrow):
        return "null"
    if pa.types.is_boolean(arrow):
        return "boolean"
    if pa.types.is_integer(arrow) or pa.types.is_floating(arrow):
        return "number"
    if pa.types.is_list(arrow):
        return "list"
    return "object" if pa.types.is_struct(arrow) else "string"


def merge_kinds(known: dict[str, str], new: Mapping[str, str], where: str) -> dict[str, str]:
    """Both together; raises OutputError where a column has two kinds."""
    merged = dict(known)
    for name, kind in new.items():
        before = merged.get(name, "null")
        if before != "null" and kind not in ("null", before):
            raise conflict(name, f"it holds {before} values and, in {where}, {kind} values")
        merged[name] = kind if before == "null" else before
    return merged


def read_part(path: Path, noted: bool = False) -> Iterator[dict[str, Any] | ArrowRow]:
    """The rows of a part file of either format; none if there is no such file.

    Those of a `noted` part come without their last column, the note. Rows of Parquet stay in Arrow,
    and are plain data only where somebody looks.
    """
    if not path.exists():
        return
    try:
        if path.name.endswith(".parquet"):
            with pq.ParquetFile(path) as file:
                for table in file.iter_batches(CHUNK_ROWS):
                    batch = Batch(table.select(table.schema.names[:-1]) if noted else table)
                    yield from (ArrowRow(batch, index) for index in range(len(table)))
            return
        for _, line in jsonl.lines_of_pieces(jsonl.decompress(str(path), "zst")):
            row = jsonl.loads(line)
            if noted:
                row.popitem()
            yield row
    except (pa.ArrowException, OSError, DamagedFile, BadRow) as error:
        raise InputError(f"{path} is damaged: {error}. {_again(path)}") from error


def _again(path: Path) -> str:
    """How to mend a part."""
    name = path.name.split(".")[0]
    return f"Delete summary.json and manifest/{name}.json and run burnish refine again."


def read_programs(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a part of `programs/`, the same for both formats."""
    for row in read_part(path):
        stages = row["stages"]
        if path.name.endswith(".parquet"):
            stages = [s | {key: json.loads(s[key]) for key in _JSON_FIELDS} for s in stages]
        yield {**row, "stages": stages}


def parts_of(folder: Path, kind: str) -> list[Path]:
    """The part files of one kind, in the order of the input."""
    return sorted((folder / kind).glob("[0-9]*"))


def parts_of_run(folder: Path) -> list[str]:
    """The names of the parts with documents, in the order of the input."""
    kinds = (PROGRAMS, DOCUMENTS, DROPPED)
    return sorted({path.name for kind in kinds for path in parts_of(folder, kind)})


def read_run(folder: str | Path) -> Iterator[tuple[dict[str, Any] | ArrowRow, dict[str, Any]]]:
    """Every document of a run with its row of `programs/`, in the order of the input.

    The first of a pair is the row of `documents/`, or for status "dropped" the row of `dropped/`
    as it came in, without its note. Raises InputError if the folders do not fit together.
    """
    folder = Path(folder)
    for name in parts_of_run(folder):
        yield from read_shard(folder, name)


def read_shard(
    folder: Path, name: str
) -> Iterator[tuple[dict[str, Any] | ArrowRow, dict[str, Any]]]:
    """The same for the parts called `name`."""
    kept = read_part(folder / DOCUMENTS / name)
    dropped = read_part(folder / DROPPED / name, noted=True)
    for program in read_programs(folder / PROGRAMS / name):
        row = next(dropped if program["status"] == Status.DROPPED else kept, None)
        if row is None:
            raise misfitting(folder, name, "more programs than documents")
        yield row, program
    if next(kept, None) is not None or next(dropped, None) is not None:
        raise misfitting(folder, name, "more documents than programs")


def misfitting(folder: Path, name: str, what: str) -> InputError:
    """The error to raise when the parts of a shard do not fit together."""
    return InputError(f"{folder}: {name} has {what}. {_again(Path(name))}")


def read_rejected(folder: str | Path) -> Iterator[Rejected]:
    """The rejected rows of a run, in the order of the input."""
    for path in parts_of(Path(folder), REJECTED):
        for row in read_part(path):
            yield Rejected(row["file"], row["position"], row["reason"], row["raw"])


def input_schema(folder: Path, text_column: str) -> pa.Schema:
    """The Arrow schema that the input rows of a Parquet run have, all parts taken together.

    That of the text alone if there is no row. Raises InputError if the parts do not fit together.
    """
    schemas = []
    for path in (*parts_of(folder, DOCUMENTS), *parts_of(folder, DROPPED)):
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is damaged: {error}. {_again(path)}") from error
        noted = path.parent.name == DROPPED
        schemas.append(schema.remove(len(schema) - 1) if noted else schema)
    if not schemas:
        return pa.schema([pa.field(text_column, pa.string())])
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(f"{folder}: the parts have different columns: {error}") from error


def write_parquet(
    file: BinaryIO, rows: Iterable[tuple[ArrowRow, str]], schema: pa.Schema, text_column: str
) -> int:
    """Writes rows with their texts as Parquet, all other columns as they are; returns how many."""
    count = 0
    iterator = iter(rows)
    with _open_parquet(file, schema) as writer:
        while chunk := list(islice(iterator, CHUNK_ROWS)):
            places: dict[Batch, list[int]] = {}
            for place, (row, _) in enumerate(chunk):
                places.setdefault(row.batch, []).append(place)
            tables = [
                _rows_of_batch(batch, [(*chunk[place], None) for place in its], text_column)
                for batch, its in places.items()
            ]
            # The empty table brings the order of the columns, and those that a part has not.
            table = pa.concat_tables([schema.empty_table(), *tables], promote_options="permissive")
            came_from = [place for its in places.values() for place in its]
            writer.write_table(table.take(sorted(range(len(chunk)), key=came_from.__getitem__)))
            count += len(chunk)
    return count
