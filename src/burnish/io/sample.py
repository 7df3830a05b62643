"""A small sample of a large input, the same for the same input, without reading all of it.

An input of up to `READ_WHOLE_BYTES` of text is read whole, and its documents are drawn by a hash of
their places. Of a larger one only parts are read: windows of bytes of plain JSONL, ranges of rows
of Parquet, and the beginnings of compressed files, which can only be read from there. Each document
is drawn with the same chance as all others of its kind of file, but for those behind the read
beginning of a compressed file, which are never drawn.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

from burnish.io import jsonl, parquet
from burnish.io.parquet import ArrowRow
from burnish.io.rows import Columns, Damage
from burnish.io.shards import COMPRESSION_RATIO, InputFile, Plan, plan
from burnish.schema import Document, Rejected

READ_WHOLE_BYTES = 256 << 20
"""How much text is read of an input, about: in bytes, after decompression."""
MOST_PARTS = 32
"""How many compressed files, or ranges of Parquet rows, are read of a large input."""
FEWEST_FILES = 8
"""Of fewer compressed files, documents are taken as found each by itself and not by file."""
HEADS_BYTES = 64 << 20
"""How much text of the beginnings of compressed files is read, all together."""
WINDOW_BYTES = 2 << 10, 1 << 20
"""Smallest and largest window of plain JSONL. It is twice an average row, so a window holds two."""
WINDOWS_PER_DOCUMENT = 4
"""After so many windows for each document that is wanted, the search ends."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One document of a sample. It stands for `weight` documents of the input; `part` numbers the
    window, range or file that it was found in, from 0 over the whole sample."""

    document: Document
    weight: float
    part: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample, in the order of the input, and what is known of the input.

    Attributes:
        drawn: the documents.
        documents: how many the input has; an estimate unless `whole`.
        text_bytes: UTF-8 bytes of all their texts; an estimate unless `whole`.
        whole: every row was read, so that the two are exact.
        places: what was read, in words.
        rejected: rows that are no documents, among those that were read.
        damaged: names of files of which a part can not be read; known if `whole`.
    """

    drawn: tuple[Drawn, ...]
    documents: float
    text_bytes: float
    whole: bool
    places: tuple[str, ...]
    rejected: int
    damaged: tuple[str, ...] = ()


def draw(
    inputs: Sequence[str | Path],
    size: int,
    columns: Columns | None = None,
    limit: int | None = None,
    exclude: Path | None = None,
    read_whole_bytes: int = READ_WHOLE_BYTES,
) -> Sample:
    """Draws about `size` documents, all of them where there are fewer.

    `limit` and `exclude` are those of `burnish.io.shards.plan`, which raises as it does there.
    """
    columns = columns or Columns()
    work = plan(inputs, limit=limit, columns=columns, exclude=exclude)
    if sum(map(_text_size, work.files)) <= read_whole_bytes:
        return _draw_from_all(work, size, columns)
    return _Large(work, size, columns).draw()


def _draw_from_all(work: Plan, size: int, columns: Columns) -> Sample:
    documents = text_bytes = rejected = 0
    damaged: dict[str, None] = {}
    heap: list[tuple[int, int, Document]] = []  # (-priority, -number, document): the last on top
    for file in work.files:
        for row in _rows_of(work, file, columns):
            if isinstance(row, Damage):
                damaged[row.file] = None
                continue
            if isinstance(row, Rejected):
                rejected += 1
                continue
            entry = -_priority(row.origin), -documents, row
            documents += 1
            text_bytes += len(row.text.encode("utf-8", "surrogatepass"))
            if len(heap) < size:
                heapq.heappush(heap, (*entry[:2], _detached(row)))
            elif entry[:2] > heap[0][:2]:
                heapq.heapreplace(heap, (*entry[:2], _detached(row)))
    found = [document for _, _, document in sorted(heap, key=lambda entry: -entry[1])]
    weight = documents / max(len(found), 1)
    drawn = tuple(Drawn(document, weight, part) for part, document in enumerate(found))
    places = ("all rows that can be read" if damaged else "all rows",)
    return Sample(drawn, documents, text_bytes, True, places, rejected, tuple(damaged))


def _rows_of(work: Plan, file: InputFile, columns: Columns) -> Iterator[Document | Rejected]:
    if file.format == "parquet":
        for start, end in work.rows[file.index]:
            yield from parquet.read(file.path, file.name, start, end, columns)
    elif file.compression:
        for block in jsonl.blocks(
            file.path, file.name, file.compression, work.shard_bytes, file.stop
        ):
            lines = jsonl.lines_of_block(block.data, block.position)
            yield from jsonl.read(lines, file.name, columns)
            if block.damage is not None:
                yield block.damage
    else:
        end = file.size if file.stop is None else file.stop
        yield from jsonl.read(jsonl.lines_of_range(file.path, 0, end), file.name, columns)


class _Large:
    """Draws from an input that is too large to be read; each kind of file by itself."""

    def __init__(self, work: Plan, size: int, columns: Columns) -> None:
        self._work = work
        self._columns = columns
        self._size = size
        self._total = sum(map(_text_size, work.files))
        self._random = Random(" ".join(file.fingerprint for file in work.files))
        self._parts = 0
        self._rejected = 0
        self._places: list[str] = []

    def draw(self) -> Sample:
        drawn: list[Drawn] = []
        text_bytes = 0.0
        kinds = (
            ([f for f in self._work.files if _is_plain(f)], self._plain),
            ([f for f in self._work.files if f.format == "parquet"], self._parquet),
            ([f for f in self._work.files if f.compression], self._compressed),
        )
        for files, read in kinds:
            if not files:
                continue
            wanted = max(1, round(self._size * sum(map(_text_size, files)) / self._total))
            found, documents = read(files, wanted)
            if not found:
                continue
            weight = documents / len(found)
            drawn += (Drawn(document, weight, part) for document, part in found)
            text_bytes += weight * sum(
                len(document.text.encode("utf-8", "surrogatepass")) for document, _ in found
            )
        return Sample(
            tuple(drawn),
            sum(each.weight for each in drawn),
            text_bytes,
            False,
            tuple(self._places),
            self._rejected,
        )

    def _plain(
        self, files: Sequence[InputFile], wanted: int
    ) -> tuple[list[tuple[Document, int]], float]:
        """Documents whose rows start in windows of the files, laid end to end; how many there are
        in all."""
        sizes = [_end(file) for file in files]
        low, high = WINDOW_BYTES
        width = min(max(2 * _row_bytes(files), low), high)
        counts = [-(-size // width) for size in sizes]
        found: list[tuple[Document, int]] = []
        read = windows = 0
        for number in self._numbers(sum(counts), WINDOWS_PER_DOCUMENT * wanted):
            which, tile = _place(number, counts)
            file = files[which]
            start, end = tile * width, min((tile + 1) * width, sizes[which])
            lines = jsonl.lines_of_range(file.path, start, end)
            found += self._documents(jsonl.read(lines, file.name, self._columns))
            read += end - start
            windows += 1
            if len(found) >= wanted:
                break
        self._places.append(
            f"{windows:,} windows of {width / 1024:,.0f} KiB of {len(files):,} plain files"
        )
        return found, len(found) * sum(sizes) / max(read, 1)

    def _parquet(
        self, files: Sequence[InputFile], wanted: int
    ) -> tuple[list[tuple[Document, int]], float]:
        ends = [max((end for _, end in self._work.rows[file.index]), default=0) for file in files]
        rows = -(-wanted // MOST_PARTS)
        counts = [-(-end // rows) for end in ends]
        found: list[tuple[Document, int]] = []
        read = ranges = 0
        for number in self._numbers(sum(counts), MOST_PARTS):
            which, tile = _place(number, counts)
            file = files[which]
            start, stop = tile * rows, min((tile + 1) * rows, ends[which])
            found += self._documents(parquet.read(file.path, file.name, start, stop, self._columns))
            read += stop - start
            ranges += 1
        self._places.append(f"{ranges:,} ranges of {rows:,} rows of {len(files):,} Parquet files")
        return found, len(found) * sum(ends) / max(read, 1)

    def _compressed(
        self, files: Sequence[InputFile], wanted: int
    ) -> tuple[list[tuple[Document, int]], float]:
        """Documents of the beginnings of files, larger files more likely than smaller ones."""
        chosen = heapq.nsmallest(
            MOST_PARTS, files, key=lambda file: self._random.random() / max(file.size, 1)
        )
        chosen.sort(key=lambda file: file.index)
        most = max(HEADS_BYTES // len(chosen), WINDOW_BYTES[1])
        few = -(-wanted // len(chosen))
        found: list[tuple[Document, int]] = []
        rate, cut = 0.0, 0
        for file in chosen:
            stop = most if file.stop is None else min(most, file.stop)
            data, packed, ended = jsonl.decompress_head(file.path, file.compression, stop)
            cut += not ended
            count, kept = self._smallest(jsonl.lines_of_block(data, 0), file, few)
            # a drawn file speaks for all: documents a compressed byte
            rate += count / max(packed, 1) / len(chosen)
            for document in kept:
                found.append((document, self._parts))
                self._parts += len(chosen) < FEWEST_FILES
            self._parts += len(chosen) >= FEWEST_FILES
        read = "whole"
        if cut:
            read = (
                f"from their start, {most / 1e6:,.0f} MB of text of each (nothing is known of what "
                "comes behind)"
            )
        self._places.append(f"{len(chosen):,} of {len(files):,} compressed files, read {read}")
        return found, rate * sum(file.size for file in files)

    def _smallest(
        self, lines: Iterable[tuple[int, bytes]], file: InputFile, few: int
    ) -> tuple[int, list[Document]]:
        """How many documents the lines hold, and those of the smallest priorities."""
        count = 0

        def documents() -> Iterator[Document]:
            nonlocal count
            for row in jsonl.read(lines, file.name, self._columns):
                if isinstance(row, Rejected):
                    self._rejected += 1
                else:
                    count += 1
                    yield row

        kept = heapq.nsmallest(few, documents(), key=lambda row: _priority(row.origin))
        return count, kept

    def _numbers(self, count: int, most: int) -> Iterator[int]:
        """Up to `most` different numbers under `count`, in random order."""
        return iter(self._random.sample(range(count), min(count, most)))

    def _documents(self, rows: Iterable[Document | Rejected]) -> list[tuple[Document, int]]:
        found = []
        for row in rows:
            if isinstance(row, Rejected):
                self._rejected += 1
            else:
                found.append((_detached(row), self._parts))
        self._parts += 1
        return found


def _place(number: int, counts: Sequence[int]) -> tuple[int, int]:
    """Which file, and which of its parts, where the parts of all files are numbered through."""
    for which, count in enumerate(counts):
        if number < count:
            return which, number
        number -= count
    raise IndexError(number)


def _is_plain(file: InputFile) -> bool:
    return file.format == "jsonl" and not file.compression


def _end(file: InputFile) -> int:
    return file.size if file.stop is None else file.stop


def _text_size(file: InputFile) -> int:
    """About how many bytes the file has once it is decompressed."""
    if _is_plain(file):
        return _end(file)
    return file.size * COMPRESSION_RATIO


def _row_bytes(files: Sequence[InputFile]) -> int:
    """The average length of a row in the heads of a few files."""
    size = rows = 0
    for file in files[:: -(-len(files) // 8)]:
        with open(file.path, "rb") as source:
            head = source.read(jsonl.HEAD_BYTES)
        size += len(head)
        rows += max(head.count(b"\n"), 1)
    return size // max(rows, 1)


def _priority(origin: str) -> int:
    return int.from_bytes(blake2b(origin.encode(), digest_size=8).digest())


def _detached(document: Document) -> Document:
    """The document without the rows around it, which a Parquet row would keep in memory."""
    columns: Any = document.columns
    if isinstance(columns, ArrowRow):
        try:
            columns = columns.plain()
        except ValueError:  # nanoseconds, for example; the text is what matters here
            columns = {}
    return replace(document, columns=columns)
