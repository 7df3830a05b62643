"""A job, what it comes to, and how it gets there: the values that all executors share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from burnish.schema import Document, Record

Process = Callable[[Iterable[Document]], Iterator[Record]]
"""One record for each document, in order; it may read ahead."""
Factory = Callable[[], Process]
"""Called once in each worker, so that a model loads once; it must be picklable."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run: inputs, output folder, and the work to do in between.

    `settings` holds all that changes the output and is decided outside of the runner, as plain JSON
    data: the refiner, stages, thresholds. `limit` takes the first rows of the inputs only. `task`
    (I, N) does the I-th of N shares (0-based) of the shards; tasks of several machines may share
    one folder. `shard_bytes` is chosen from the size of the inputs if None. Worker n (from 0) of
    several gets the environment variables `environments[n % len(environments)]`, such as the GPU
    that it may use.
    """

    inputs: tuple[str | Path, ...]
    output: Path
    factory: Factory
    settings: Mapping[str, Any] = field(default_factory=dict)
    text_column: str = "text"
    id_column: str | None = None
    format: str = "jsonl.zst"
    limit: int | None = None
    task: tuple[int, int] = (0, 1)
    shard_bytes: int | None = None
    environments: tuple[Mapping[str, str], ...] = ()


@dataclass
class Summary:
    """What a run, or one shard of it, came to.

    `rejected` counts input rows that are no documents, `errors` the damaged files or parts of files
    among them: a run with errors lost rows that nobody counted. `text_bytes` and `kept_bytes` are
    the UTF-8 bytes of the texts of all documents before, and of the documents that stay after.
    `removed_lines` counts lines that went whole from documents that stay. `stages` and `reasons`
    count, for each stage by name, documents per status and per reason.
    """

    shards: int = 0
    documents: int = 0
    kept: int = 0
    edited: int = 0
    dropped: int = 0
    refused: int = 0
    failed: int = 0
    rejected: int = 0
    errors: int = 0
    text_bytes: int = 0
    kept_bytes: int = 0
    lines: int = 0
    removed_lines: int = 0
    stages: dict[str, dict[str, int]] = field(default_factory=dict)
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    finished: bool = field(default=False, metadata={"stored": False})
    """Every shard of the folder is done, those of other tasks included."""
    already_done: bool = field(default=False, metadata={"stored": False})
    """There was nothing left to do."""

    def add(self, other: Summary) -> None:
        """Count `other` in."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.stages, other.stages), (self.reasons, other.reasons)):
            for stage, counts in theirs.items():
                table = mine.setdefault(stage, {})
                for key, count in counts.items():
                    table[key] = table.get(key, 0) + count

    def count(self, document: Document, record: Record) -> None:
        """Count one document in."""
        status = str(record.status)
        size = utf8_length(document.text)
        self.documents += 1
        self.text_bytes += size
        self.lines += document.text.count("\n") + 1
        setattr(self, status, getattr(self, status) + 1)
        if status != "dropped":
            same = record.text is document.text
            self.kept_bytes += size if same else utf8_length(record.text)
        for trace in record.traces:
            table = self.stages.setdefault(trace.stage, {})
            table[str(trace.status)] = table.get(str(trace.status), 0) + 1
            if trace.reason:
                table = self.reasons.setdefault(trace.stage, {})
                table[trace.reason] = table.get(trace.reason, 0) + 1
            if status != "dropped":
                self.removed_lines += sum(last - first + 1 for first, last in trace.removed_lines)

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        return {name: data[name] for name in _STORED}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Summary:
        return cls(**{name: data[name] for name in _STORED})


_STORED = tuple(f.name for f in fields(Summary) if f.metadata.get("stored", True))
_COUNTS = tuple(name for name in _STORED if name not in ("stages", "reasons"))


def utf8_length(text: str) -> int:
    """The number of bytes of the text in UTF-8; lone surrogates count as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, over all sessions: a snapshot for display.

    `read_bytes` of `total_bytes` (on disk, of this task's inputs) are in finished shards;
    `counts` may run ahead of it, within shards. `resumed` holds the counts of earlier sessions,
    `resumed_bytes` their share of `read_bytes`: subtract both for rates.
    """

    counts: Summary
    read_bytes: int
    total_bytes: int
    resumed: Summary
    resumed_bytes: int


OnProgress = Callable[[Progress], None]
