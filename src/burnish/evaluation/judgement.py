"""What a refiner did to one gold page or document, beside what it should have done.

A judgement holds numbers alone, so that thousands can be pooled, drawn again and compared, and the
text of the worst is looked up when somebody wants to see it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from burnish.dialects import get_dialect
from burnish.metrics import Counts
from burnish.program.alignment import shared_ends
from burnish.program.executor import execute
from burnish.program.limits import UNLIMITED
from burnish.program.lines import Chunk, line_starts
from burnish.program.operations import Program, from_json
from burnish.program.words import count_words
from burnish.schema import Edit, Record, Status

Row = Mapping[str, Any]
Span = tuple[int, int]
"""Characters of a page's text: first, and the one after the last."""

LENGTHS = (100, 300, 1_000, 3_000)
"""Bounds of the groups by length, in words of the text (exclusive)."""
LENGTH_GROUPS = (*(f"under {bound:,}" for bound in LENGTHS), f"{LENGTHS[-1]:,} on")
_GOLD_DIALECT = "prox-chunk"
_OVERLAP = 0.5


@dataclass(frozen=True, slots=True)
class Group:
    """What a gold row is: the values by which results are grouped."""

    source: str
    language: str
    page_type: str
    length: str

    @classmethod
    def of(cls, row: Row, words: int) -> Group:
        return cls(
            str(row.get("source") or row.get("file") or "?"),
            str(row.get("lang") or "?"),
            str(row.get("page_type") or "?"),
            LENGTH_GROUPS[bisect_right(LENGTHS, words)],
        )


@dataclass(frozen=True, slots=True)
class PageJudgement:
    """One page with line labels; lines labelled -1 count nowhere.

    Attributes:
        number: of the row in the gold file, from 0.
        removed: lines; one that the refiner removed and the gold calls noise is a true positive.
        kept_words: words of lines that were kept whole and the gold calls content.
        characters: characters other than blanks that went, inside lines as well.
        spans: runs of removed characters, as `match_spans` pairs them.
        content_words, lost_words: words of lines that the gold calls content, and of those that
            went (over-deletion).
        noise_words, left_words: words of lines that it calls noise, and of those that stayed
            (under-deletion).
        scores: for each scored line the refiner's probability of noise, and whether it is.
    """

    number: int
    group: Group
    status: Status
    issues: int
    removed: Counts
    kept_words: Counts
    characters: Counts
    spans: Counts
    content_words: int
    lost_words: int
    noise_words: int
    left_words: int
    scores: tuple[tuple[float, bool], ...] = ()

    @property
    def failed(self) -> bool:
        """Whether there was no usable program, or it was refused."""
        return self.status in (Status.FAILED, Status.REFUSED)


@dataclass(frozen=True, slots=True)
class DocumentJudgement:
    """One document with a decision or scores; those of a failed one do not count.

    `kept` is (the refiner keeps it, the gold keeps it); `pairs` are (the refiner's, the gold's)
    scores by name: "edu", "format" (0 to 5) and "keep" (a probability, and 0 or 1).
    """

    number: int
    group: Group
    status: Status
    kept: tuple[bool, bool] | None = None
    pairs: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether there was no usable program, or it was refused."""
        return self.status in (Status.FAILED, Status.REFUSED)


def judge_page(
    number: int, row: Row, record: Record, line_scores: Sequence[float] = ()
) -> PageJudgement:
    """A page against its labels, and against its program's replacements where the row has one.

    `line_scores` are the probabilities of all its lines to be noise, where the refiner tells.
    """
    lines = [line["text"] for line in row["lines"]]
    labels = [line["label"] for line in row["lines"]]
    words = list(map(count_words, lines))
    gone = record.removed_lines
    removed, kept_words = Counts(), Counts()
    content = lost = noise = left = 0
    for n, (label, size) in enumerate(zip(labels, words, strict=True)):
        if label < 0:
            continue
        removed.add(n in gone, label == 1)
        kept_words.add(n not in gone, label == 0, size)
        if label == 0:
            content += size
            lost += size * (n in gone)
        else:
            noise += size
            left += size * (n not in gone)
    predicted = _predicted_spans(record, lines)
    characters, spans = _compare_spans(predicted, _gold_spans(row, lines), lines, labels)
    scores = tuple(
        (score, label == 1) for score, label in zip(line_scores, labels, strict=False) if label >= 0
    )
    return PageJudgement(
        number=number,
        group=Group.of(row, sum(words)),
        status=record.status,
        issues=len(record.issues),
        removed=removed,
        kept_words=kept_words,
        characters=characters,
        spans=spans,
        content_words=content,
        lost_words=lost,
        noise_words=noise,
        left_words=left,
        scores=scores,
    )


def judge_document(number: int, row: Row, record: Record) -> DocumentJudgement:
    """A document against its decision and its scores, as far as the gold has them."""
    group = Group.of(row, count_words(record.document.text))
    if record.status in (Status.FAILED, Status.REFUSED):
        return DocumentJudgement(number, group, record.status)
    kept = None
    if row.get("keep") is not None:
        kept = record.status is not Status.DROPPED, bool(row["keep"])
    pairs = {
        name: (float(record.scores[name]), float(row[name]))
        for name in ("edu", "format", "keep")
        if row.get(name) is not None and record.scores.get(name) is not None
    }
    return DocumentJudgement(number, group, record.status, kept, pairs)


# ------------------------------------------------------------------------------------------ spans


def _predicted_spans(record: Record, lines: Sequence[str]) -> list[Span]:
    """What went of the text: whole lines, and what edits took inside of lines."""
    starts = line_starts(lines)
    whole = [(starts[n], starts[n + 1] - 1) for n in sorted(record.removed_lines)]
    edits = record.traces[0].edits if len(record.traces) == 1 else ()
    return _merged([*whole, *_edit_spans(edits)])


def _gold_spans(row: Row, lines: Sequence[str]) -> list[Span]:
    starts = line_starts(lines)
    whole = [
        (starts[n], starts[n + 1] - 1) for n, line in enumerate(row["lines"]) if line["label"] == 1
    ]
    return _merged([*whole, *_edit_spans(_gold_edits(row, lines))])


def _gold_edits(row: Row, lines: Sequence[str]) -> Sequence[Edit]:
    """The edits of a row that has them, or those that its operations or its program make; what can
    not be read makes none."""
    if row.get("edits"):
        return [Edit(start, old, new) for start, old, new in row["edits"]]
    chunk = Chunk(lines, 0, (0, len(lines) - 1))
    if row.get("operations"):
        program: Program | None = from_json(row["operations"])
    else:
        told = row.get("program") or ""
        text = told if isinstance(told, str) else "\n".join(told)
        program = get_dialect(row.get("dialect") or _GOLD_DIALECT).parse(text, chunk).program
    return execute(chunk.text, program or (), limits=UNLIMITED, lines=lines).edits


def _edit_spans(edits: Iterable[Edit]) -> list[Span]:
    """The characters that edits take; of a replacement those that are not at the same place in
    the new text, from both ends."""
    spans = []
    for edit in edits:
        head, tail = shared_ends(edit.old, edit.new)
        if edit.start + head < edit.end - tail:
            spans.append((edit.start + head, edit.end - tail))
    return spans


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The spans ascending; those that overlap or touch are one."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _compare_spans(
    predicted: Sequence[Span], gold: Sequence[Span], lines: Sequence[str], labels: Sequence[int]
) -> tuple[Counts, Counts]:
    """Counts of characters and of runs; lines labelled -1 are in neither."""
    text = "\n".join(lines)
    starts = line_starts(lines)
    scored = _merged((starts[n], starts[n + 1]) for n, label in enumerate(labels) if label >= 0)
    mine, its = _common(predicted, scored), _common(gold, scored)
    both, total = _filled(text, _common(mine, its)), _filled(text, scored)
    fp, fn = _filled(text, mine) - both, _filled(text, its) - both
    characters = Counts(both, fp, fn, total - both - fp - fn)
    return characters, match_spans(_runs(text, mine), _runs(text, its))


def _common(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """What both lists of ascending spans hold."""
    found: list[Span] = []
    i = j = 0
    while i < len(one) and j < len(other):
        start, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if start < end:
            found.append((start, end))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return found


def _filled(text: str, spans: Iterable[Span]) -> int:
    """How many characters of the spans are no blanks."""
    return sum(len("".join(text[start:end].split())) for start, end in spans)


def _runs(text: str, spans: Iterable[Span]) -> list[Span]:
    """The spans without the blanks at their ends; what blanks alone part is one run."""
    runs: list[Span] = []
    for start, end in spans:
        held = text[start:end]
        start, end = end - len(held.lstrip()), start + len(held.rstrip())
        if start >= end:
            continue
        if runs and not text[runs[-1][1] : start].strip():
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs


def match_spans(predicted: Sequence[Span], gold: Sequence[Span]) -> Counts:
    """Counts of runs: a predicted one is right where it shares at least half of what it and a gold
    run cover together. Each has at most one such partner, as runs do not overlap each other.

    >>> match_spans([(0, 10), (20, 22)], [(0, 12), (30, 40)])
    Counts(tp=1, fp=1, fn=1, tn=0)
    """
    found = Counts()
    at = 0
    for start, end in predicted:
        while at < len(gold) and gold[at][1] <= start:
            at += 1
        right = False
        for first, last in gold[at:]:
            if first >= end:
                break
            shared = min(end, last) - max(start, first)
            covered = max(end, last) - min(start, first)
            right = right or shared >= _OVERLAP * covered
        found.tp += right
        found.fp += not right
    found.fn = len(gold) - found.tp
    return found
