"""Measure a refiner against gold: pages with line labels, documents with scores.

    pages       {"lines": [{"text", "label"}], "source", "lang"}; label 1 noise, 0 content, -1 not
                scored
    documents   {"text", "keep", "edu", "format", "source" or "file", "lang"}; keep is 0 or 1, the
                scores 0 to 5; each of the three may be missing

The metrics are those of the ProX paper (A.3: F1 of the removed lines, pooled; F1 of keep) and a few
more. Lines are judged at the chunk stage alone, documents at the document stage alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.annotation.agreement import Agreement, between_annotators, with_gold
from burnish.errors import InputError
from burnish.io.jsonl import loads, numbered_lines
from burnish.metrics import Counts, pearson, roc_auc
from burnish.program.limits import count_words
from burnish.refiners import EngineChoice
from burnish.report.labelled import REJECTED, labelled_files
from burnish.schema import Document, Record, Status
from burnish.workflows.refine import load_pipeline

Row = Mapping[str, Any]

_DOCUMENT_GOLD = ("keep", "edu", "format")


@dataclass
class LineScores:
    """Pooled counts over pages.

    `removed` counts lines that the refiner removed and the gold calls noise as true positives;
    `kept_words` counts words of lines that were kept and the gold calls content.
    """

    pages: int = 0
    removed: Counts = field(default_factory=Counts)
    kept_words: Counts = field(default_factory=Counts)
    dropped: int = 0
    failed: int = 0

    def add(self, row: Row, record: Record) -> None:
        gone = record.removed_lines
        self.pages += 1
        self.dropped += record.status is Status.DROPPED
        self.failed += record.status in (Status.FAILED, Status.REFUSED)
        for number, line in enumerate(row["lines"]):
            label = line["label"]
            if label in (0, 1):
                removed = number in gone
                self.removed.add(removed, label == 1)
                self.kept_words.add(not removed, label == 0, count_words(line["text"]))

    def to_json(self) -> dict[str, Any]:
        return {
            "pages": self.pages,
            "dropped": self.dropped,
            "failed": self.failed,
            "removed_lines": self.removed.to_json(),
            "kept_words": self.kept_words.to_json(),
        }


@dataclass
class DocumentScores:
    """Scores and decisions beside the gold's, document by document; `failed` ones have neither."""

    documents: int = 0
    failed: int = 0
    kept: Counts = field(default_factory=Counts)
    pairs: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: {"edu": [], "format": [], "keep": []}
    )

    def add(self, row: Row, record: Record) -> None:
        self.documents += 1
        if record.status in (Status.FAILED, Status.REFUSED):
            self.failed += 1
            return
        if row.get("keep") is not None:
            self.kept.add(record.status is not Status.DROPPED, bool(row["keep"]))
        for name, pairs in self.pairs.items():
            gold, score = row.get(name), record.scores.get(name)
            if gold is not None and score is not None:
                pairs.append((float(score), float(gold)))

    def to_json(self) -> dict[str, Any]:
        keep = self.pairs["keep"]
        return {
            "documents": self.documents,
            "failed": self.failed,
            "keep": self.kept.to_json(),
            "keep_roc_auc": _number(roc_auc([s for s, _ in keep], [bool(g) for _, g in keep])),
            "edu_pearson_r": _number(_correlation(self.pairs["edu"])),
            "format_pearson_r": _number(_correlation(self.pairs["format"])),
        }


@dataclass
class Evaluation:
    """One gold file: all rows, and the rows of each source and of each language.

    `kind` is "lines" or "documents". `agreement` tells, where several annotators made the gold, how
    well each two of them agree: more than that can not be asked of a refiner.
    """

    gold: str
    kind: str
    total: LineScores | DocumentScores
    by_source: dict[str, LineScores | DocumentScores]
    by_language: dict[str, LineScores | DocumentScores]
    agreement: dict[str, Agreement] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "gold": self.gold,
            "kind": self.kind,
            "total": self.total.to_json(),
            "by_source": {name: part.to_json() for name, part in sorted(self.by_source.items())},
            "by_language": {n: part.to_json() for n, part in sorted(self.by_language.items())},
            "agreement": {pair: found.to_json() for pair, found in self.agreement.items()},
        }


def evaluate(
    gold: Path, refiner: str = "default", engine: EngineChoice | None = None
) -> Evaluation:
    """Runs the refiner on a gold file (JSONL, plain or compressed) and compares. `engine` runs one
    that is a language model.

    Raises InputError if the file can not be read or holds no gold, RefinerError and UsageError as
    `load_pipeline` does.
    """
    rows = list(read_gold(gold))
    lines = "lines" in rows[0]
    make: type[LineScores] | type[DocumentScores] = LineScores if lines else DocumentScores
    found = Evaluation(
        str(gold), "lines" if lines else "documents", make(), defaultdict(make), defaultdict(make)
    )
    pipeline = load_pipeline(refiner, ("chunk",) if lines else ("document",), engine=engine)
    documents = (Document(str(n), text_of(row)) for n, row in enumerate(rows))
    for row, record in zip(rows, pipeline.run(documents), strict=True):
        found.total.add(row, record)
        found.by_source[str(row.get("source") or row.get("file") or "?")].add(row, record)
        found.by_language[str(row.get("lang") or "?")].add(row, record)
    found.agreement = between_annotators(rows)
    return found


def evaluate_labels(gold: Path, folder: Path) -> Agreement:
    """How well the labels of a folder, as `burnish annotate` writes them, agree with people's gold
    for the same documents (by id).

    Raises InputError if either can not be read, or if they have no document in common.
    """
    paths = [found.path for found in labelled_files(folder) if found.kind != REJECTED]
    rows = (row for path in paths for row in read_gold(path))
    found = with_gold(read_gold(gold), rows)
    if not found.windows and not found.documents:
        raise InputError(
            f"no document of {gold} is labelled in {folder}; they are compared by their ids, and "
            "lines where the texts are the same"
        )
    return found


def read_gold(path: Path) -> Iterator[Row]:
    """The rows of a gold file, all of one kind. Raises InputError for anything else."""
    kind = None
    for number, line in numbered_lines(path):
        try:
            row = loads(line)
            here = _kind(row)
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}") from None
        if kind is not None and here != kind:
            raise InputError(f"{path}, row {number}: the file mixes {kind} and {here}")
        kind = here
        yield row
    if kind is None:
        raise InputError(f"{path} is empty")


def _kind(row: Row) -> str:
    """The kind of gold that a row is. Raises ValueError for what is none."""
    lines = row.get("lines")
    if isinstance(lines, list):
        for number, line in enumerate(lines):
            _check_line(number, line)
        return "lines"
    if not (isinstance(row.get("text"), str) and any(name in row for name in _DOCUMENT_GOLD)):
        raise ValueError("no gold: neither lines with labels nor a text with keep, edu or format")
    if row.get("keep") not in (None, 0, 1):
        raise ValueError(f"keep must be 0 or 1, not {row['keep']!r}")
    for name in ("edu", "format"):
        score = row.get(name)
        if score is not None and not (type(score) in (int, float) and 0 <= score <= 5):
            raise ValueError(f"{name} must be a number from 0 to 5, not {score!r}")
    return "documents"


def _check_line(number: int, line: Any) -> None:
    if not (isinstance(line, dict) and isinstance(line.get("text"), str) and "label" in line):
        raise ValueError(f"line {number} needs a text and a label")
    if "\n" in line["text"]:
        raise ValueError(f"line {number} holds a line feed")
    if type(line["label"]) is not int or line["label"] not in (-1, 0, 1):
        raise ValueError(f"the label of line {number} must be -1, 0 or 1, not {line['label']!r}")


def text_of(row: Row) -> str:
    """The text that a gold row is about."""
    lines: Sequence[Row] | None = row.get("lines")
    if lines is None:
        return str(row["text"])
    return "\n".join(line["text"] for line in lines)


def _correlation(pairs: Iterable[tuple[float, float]]) -> float:
    scores = list(pairs)
    return pearson([a for a, _ in scores], [b for _, b in scores])


def _number(value: float) -> float | None:
    """JSON has no NaN: what is not defined is null."""
    return None if math.isnan(value) else value
