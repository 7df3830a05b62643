"""Which documents of a corpus are annotated: read, and drawn by a hash of their text.

A document's priority is a hash of the seed and its text, and the smallest priorities are taken. So
a sample depends on the documents and the seed alone, not on the order of files, shards or workers,
and a larger sample holds the smaller one of the same seed as its beginning.
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from burnish.errors import InputError, UsageError
from burnish.io import jsonl, parquet
from burnish.io.parquet import ArrowRow, Batch
from burnish.io.rows import BadRow, Columns, Damage, choose_id
from burnish.io.shards import InputFile, Plan, plan
from burnish.schema import Document, Rejected, text_hash

GOLD_COLUMN = "lines"
"""The column of a page with labels: a list of {"text", "label"}, one for each line."""

PRIORITY_BYTES = 16

LENGTH_BOUNDS = ((1_000, "<1k"), (4_000, "1k-4k"), (16_000, "4k-16k"), (64_000, "16k-64k"))
LONGEST = ">=64k"
"""Strata by length, in characters; a bound is exclusive."""
MOST_STRATA = 1_000
"""More values of a column are refused: such a column names documents, not kinds of them."""

PROGRESS_ROWS = 1_000
"""How often a drawing tells how far it is, in rows."""


# ---------------------------------------------------------------------------------------- reading


def read_corpus(
    inputs: Sequence[str | Path],
    text_column: str = "text",
    id_column: str | None = None,
    *,
    limit: int | None = None,
    exclude: Path | None = None,
) -> Iterator[Document | Rejected]:
    """The rows of files and folders of JSONL and Parquet, in order, one file after the other.

    A JSONL row with `lines: [{"text", "label"}, …]` and no text column is a page with labels: its
    text is its lines, joined by LF. `limit` and `exclude` are those of `burnish.io.shards.plan`.
    Raises InputError and UsageError as that does, at once and not with the first row.
    """
    columns = Columns(text_column, id_column)
    work = _plan(inputs, columns, limit, exclude)
    return (row for file in work.files for row in _read_file(work, file, columns))


def fingerprint(
    inputs: Sequence[str | Path],
    text_column: str = "text",
    id_column: str | None = None,
    *,
    limit: int | None = None,
    exclude: Path | None = None,
) -> str:
    """A hash of the names, sizes, heads, tails and times of change of what `read_corpus` would
    read; raises alike.

    Equal inputs give equal hashes in whatever order they are named.
    """
    work = _plan(inputs, Columns(text_column, id_column), limit, exclude)
    files = sorted(
        [f.name, f.size, f.fingerprint, f.stop, os.stat(f.path).st_mtime_ns] for f in work.files
    )
    return blake2b(json.dumps(files).encode(), digest_size=PRIORITY_BYTES).hexdigest()


def _plan(
    inputs: Sequence[str | Path], columns: Columns, limit: int | None, exclude: Path | None
) -> Plan:
    try:
        return plan(inputs, limit=limit, columns=columns, exclude=exclude)
    except InputError as error:
        try:  # pages with labels
            gold = Columns(GOLD_COLUMN, columns.id)
            work = plan(inputs, limit=limit, columns=gold, exclude=exclude)
        except InputError:
            raise error from None
        if any(file.format == "parquet" for file in work.files):
            raise
        return work


def _read_file(work: Plan, file: InputFile, columns: Columns) -> Iterator[Document | Rejected]:
    if file.format == "parquet":
        for start, end in work.rows[file.index]:
            yield from parquet.read(file.path, file.name, start, end, columns)
    elif file.compression:
        stream = jsonl.blocks(file.path, file.name, file.compression, work.shard_bytes, file.stop)
        for block in stream:
            yield from _rows(jsonl.lines_of_block(block.data, block.position), file.name, columns)
            if block.damage is not None:
                yield block.damage
    else:
        end = file.size if file.stop is None else file.stop
        yield from _rows(jsonl.lines_of_range(file.path, 0, end), file.name, columns)


def _rows(
    lines: Iterable[tuple[int, bytes]], name: str, columns: Columns
) -> Iterator[Document | Rejected]:
    """As `jsonl.read`, which takes one line a row; a row that it rejects may be a page."""
    last = b""

    def remembered() -> Iterator[tuple[int, bytes]]:
        nonlocal last
        for position, line in lines:
            last = line
            yield position, line

    for row in jsonl.read(remembered(), name, columns):
        if isinstance(row, Rejected):
            yield _gold_page(last, row, columns) or row
        else:
            yield row


def _gold_page(line: bytes, rejected: Rejected, columns: Columns) -> Document | None:
    """The document of a line with labelled lines and without a text, if it is one."""
    origin = f"{rejected.file}:{rejected.position}"
    try:
        row = jsonl.loads(line.removeprefix(jsonl.BYTE_ORDER_MARK))
        identity = choose_id(row, columns, origin)
    except BadRow:
        return None
    pieces = row.get(GOLD_COLUMN)
    if columns.text in row or not isinstance(pieces, list):
        return None
    found = (piece.get("text") if isinstance(piece, dict) else None for piece in pieces)
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < len(pieces):
        return None
    return Document(identity, "\n".join(texts), row, origin)


# ---------------------------------------------------------------------------------------- drawing


@dataclass(frozen=True, slots=True)
class Stratum:
    """How many documents of a kind there are, blank ones left out, and how many were drawn."""

    seen: int
    drawn: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn, in the order of priority, and what was not.

    Attributes:
        documents: those drawn; each text once. Ids are as they came: two texts may share one.
        strata: by name, sorted; empty where nothing was asked for. "" holds the rows without a
            value.
        seen: documents read, duplicates and blank ones included.
        blank: documents of white space alone.
        duplicates: further copies of the texts that were drawn. Copies of a text that was not are
            not told from others: that would take memory for every text of the corpus.
        rejected: rows that are no documents.
        damaged: those among them that stand for an unknown number of rows of a damaged file.
    """

    documents: tuple[Document, ...]
    strata: Mapping[str, Stratum] = field(default_factory=dict)
    seen: int = 0
    blank: int = 0
    duplicates: int = 0
    rejected: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class Drawing:
    """How far a drawing is: documents seen, rows rejected, documents held for the sample."""

    seen: int
    rejected: int
    held: int


def draw(
    documents: Iterable[Document | Rejected],
    size: int | None,
    seed: int = 0,
    stratify: str | None = None,
    *,
    on_rejected: Callable[[Rejected], None] = lambda row: None,
    on_progress: Callable[[Drawing], None] = lambda drawing: None,
) -> Sample:
    """Draw `size` documents, None for all; memory grows with the sample and not with the corpus.

    `stratify` is "length", "language" or the name of a column: small strata are taken whole, the
    others give equally many. Of an exact duplicate the copy with the smallest id is taken. A text
    that stands in two strata is drawn once; the sample then falls short by the other copy.

    Raises UsageError for a size below 1, for a column that no document has and for one with more
    than `MOST_STRATA` values,
    MissingExtra if a language must be recognised and can not be.
    """
    if size is not None and size < 1:
        raise UsageError(f"the size of a sample is at least 1, got {size}")
    stratum_of = _stratum_of(stratify)
    pool = _Pool(size, seed)
    blank = rejected = damaged = read = 0
    for read, row in enumerate(documents, 1):
        if isinstance(row, Rejected):
            rejected += 1
            damaged += isinstance(row, Damage)
            on_rejected(row)
        elif not row.text or row.text.isspace():
            blank += 1
        else:
            pool.add(row, stratum_of(row))
        if read % PROGRESS_ROWS == 0:
            on_progress(Drawing(read - rejected, rejected, pool.held))
    if stratify not in (None, "length", "language") and set(pool.seen) == {""}:
        raise UsageError(
            f"no document has the column {stratify!r}; stratify by length, language or a column"
        )
    chosen, duplicates = pool.chosen()
    drawn = {name: 0 for name in pool.seen}
    for name, _ in chosen:
        drawn[name] += 1
    strata = {name: Stratum(pool.seen[name], drawn[name]) for name in sorted(drawn)}
    on_progress(Drawing(read - rejected, rejected, len(chosen)))
    return Sample(
        tuple(document for _, document in chosen),
        strata if stratify is not None else {},
        read - rejected,
        blank,
        duplicates,
        rejected,
        damaged,
    )


def priority(text: str, seed: int) -> int:
    """Where a text stands in the order of a seed; the smallest are taken first."""
    key = f"{seed} {text_hash(text)}".encode()
    return int.from_bytes(blake2b(key, digest_size=PRIORITY_BYTES).digest())


def length_stratum(text: str) -> str:
    """The name of the text's stratum by its number of characters."""
    return next((name for bound, name in LENGTH_BOUNDS if len(text) < bound), LONGEST)


def _stratum_of(stratify: str | None) -> Callable[[Document], str]:
    if stratify is None:
        return lambda document: ""
    if stratify == "length":
        return lambda document: length_stratum(document.text)
    if stratify == "language":
        from burnish.annotation.languages import language_of

        return language_of
    return lambda document: _value(document, stratify)


def _value(document: Document, column: str) -> str:
    """The value as a string, what is no scalar as JSON; "" without one."""
    try:
        value = document.columns.get(column)
    except ValueError as error:  # nanoseconds, for example
        raise InputError(
            f"{document.origin}: the column {column!r} can not be read as plain values ({error}); "
            "stratify by another"
        ) from error
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, default=str)
    return str(value)


class _Held:
    """A text of the pool: the copy to take, and how many more there are."""

    __slots__ = ("copies", "document")

    def __init__(self, document: Document) -> None:
        self.document = _detached(document)
        self.copies = 0

    def see(self, other: Document) -> None:
        self.copies += 1
        mine = self.document
        if (other.id, other.origin) < (mine.id, mine.origin):
            self.document = _detached(other)


def _detached(document: Document) -> Document:
    """The document without the rest of the Arrow batch that its row lies in."""
    row = document.columns
    if not isinstance(row, ArrowRow):
        return document
    alone = ArrowRow(Batch(row.batch.table.take([row.index])), 0)
    return Document(document.id, document.text, alone, document.origin)


class _Stratum:
    """The smallest priorities of a stratum."""

    __slots__ = ("capped", "held", "worst")

    def __init__(self) -> None:
        self.held: dict[int, _Held] = {}
        self.worst: list[int] = []  # a heap of negative priorities: its top goes first
        self.capped = False  # it has lost documents

    def add(self, order: int, document: Document) -> None:
        self.held[order] = _Held(document)
        heapq.heappush(self.worst, -order)

    def lose(self) -> None:
        self.capped = True
        del self.held[-heapq.heappop(self.worst)]


class _Pool:
    """At most `size` documents, spread over the strata as evenly as these allow.

    Whenever there is one too many, the largest stratum loses its worst document; of several, the
    last in an order that the seed decides. So at any time each stratum holds what it would if those
    seen so far were all: the level to which strata are filled only ever sinks, and a document once
    lost is never missed. For the same reason a stratum that has lost a document is among the
    largest, and the next one to lose whenever it gets another.
    """

    def __init__(self, size: int | None, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._strata: dict[str, _Stratum] = {}
        self._rank: dict[str, int] = {}  # the order of the strata; the largest rank loses first
        self.seen: dict[str, int] = {}
        self.held = 0

    def add(self, document: Document, name: str) -> None:
        stratum = self._strata.get(name) or self._new(name)
        self.seen[name] += 1
        order = priority(document.text, self._seed)
        known = stratum.held.get(order)
        if known is not None:
            known.see(document)
        elif stratum.capped:
            if stratum.worst and order < -stratum.worst[0]:
                stratum.add(order, document)
                stratum.lose()
        else:
            stratum.add(order, document)
            self.held += 1
            if self._size is not None and self.held > self._size:
                self._largest().lose()
                self.held -= 1

    def _new(self, name: str) -> _Stratum:
        if len(self._strata) == MOST_STRATA:
            raise UsageError(
                f"more than {MOST_STRATA} strata, {name[:40]!r} among them: stratify by a column "
                "with fewer values"
            )
        self._rank[name] = priority(name, self._seed)
        self.seen[name] = 0
        return self._strata.setdefault(name, _Stratum())

    def _largest(self) -> _Stratum:
        name = max(self._strata, key=lambda name: (len(self._strata[name].held), self._rank[name]))
        return self._strata[name]

    def chosen(self) -> tuple[list[tuple[str, Document]], int]:
        """(stratum, document) by priority, each text once; and the number of further copies."""
        best: dict[int, tuple[str, Document]] = {}
        duplicates = 0
        for name in sorted(self._strata):
            for order, held in self._strata[name].held.items():
                duplicates += held.copies
                if order in best:
                    duplicates += 1
                rival = best.get(order)
                if rival is None or _key(held.document) < _key(rival[1]):
                    best[order] = name, held.document
        return [best[order] for order in sorted(best)], duplicates


def _key(document: Document) -> tuple[str, str]:
    return document.id, document.origin
