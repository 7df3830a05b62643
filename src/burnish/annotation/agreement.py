"""How well two annotators agree, and how well labels agree with people's gold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from burnish.io.gold import annotators_of
from burnish.metrics import Counts, pearson

Row = Mapping[str, Any]


@dataclass
class Agreement:
    """Two sides' labels for the same documents and lines.

    `lines` and `keep` count one side as predicted and the other as actual: F1 and kappa do not
    depend on which is which. `edu` and `format` are pairs of scores.
    """

    windows: int = 0
    documents: int = 0
    lines: Counts = field(default_factory=Counts)
    keep: Counts = field(default_factory=Counts)
    edu: list[tuple[float, float]] = field(default_factory=list)
    format: list[tuple[float, float]] = field(default_factory=list)

    def add_lines(self, one: Iterable[bool], other: Iterable[bool]) -> None:
        """Counts the lines of a window in: whether each side removes them."""
        self.windows += 1
        for first, second in zip(one, other, strict=True):
            self.lines.add(first, second)

    def add_document(self, one: Row, other: Row) -> None:
        """Counts the scores and the decision about a document in, as far as both sides have
        them; without any the document does not count."""
        names = ("keep", "edu", "format")
        shared = [n for n in names if one.get(n) is not None and other.get(n) is not None]
        self.documents += bool(shared)
        for name in shared:
            if name == "keep":
                self.keep.add(bool(one["keep"]), bool(other["keep"]))
            else:
                getattr(self, name).append((float(one[name]), float(other[name])))

    def to_json(self) -> dict[str, Any]:
        return {
            "windows": self.windows,
            "documents": self.documents,
            "removed_lines": self.lines.to_json(),
            "keep": self.keep.to_json(),
            "edu_pearson_r": _correlation(self.edu),
            "format_pearson_r": _correlation(self.format),
        }


def between_annotators(rows: Iterable[Row]) -> dict[str, Agreement]:
    """The agreement of every two annotators of rows of gold, by their names.

    Rows of documents and of windows may be mixed; those with one annotator say nothing.
    """
    found: dict[str, Agreement] = {}
    for row in rows:
        for one, other in combinations(annotators_of(row), 2):
            pair = " and ".join(map(_name, (one, other)))
            agreement = found.setdefault(pair, Agreement())
            if "lines" in row:
                count = len(row["lines"])
                agreement.add_lines(_gone(one, count), _gone(other, count))
            else:
                agreement.add_document(one, other)
    return dict(sorted(found.items()))


def with_gold(gold: Iterable[Row], labels: Iterable[Row]) -> Agreement:
    """The agreement of labels with gold for the same documents: those of the same id and text.

    A window's lines are compared with the same lines of the page, or of a window of it that begins
    no later; where the texts differ it is another version of the page, and left out. Gold of -1 is
    not scored. Labels are the predicted side, so precision and recall are theirs.
    """
    by_id: dict[str, list[Row]] = {}
    for row in gold:
        if "id" in row:
            by_id.setdefault(str(row["id"]), []).append(row)
    found = Agreement()
    for row in labels:
        for known in by_id.get(str(row["id"]), ()):
            if "lines" not in row and row.get("text") == known.get("text"):
                found.add_document(row, known)
            elif "lines" in row and "lines" in known:
                _add_window(found, row, known)
    return found


def _add_window(found: Agreement, row: Row, known: Row) -> None:
    """Counts the lines of a labelled window in that gold has too."""
    first = row["first_line"] - known.get("first_line", 0)
    pairs = list(zip(row["lines"], known["lines"][max(first, 0) :], strict=False))
    if first < 0 or not pairs or any(mine["text"] != its["text"] for mine, its in pairs):
        return
    scored = [(m["label"] == 1, i["label"] == 1) for m, i in pairs if i["label"] >= 0]
    found.add_lines([one for one, _ in scored], [other for _, other in scored])


def _name(annotator: Row) -> str:
    return f"{annotator['teacher']} #{annotator['pass']}"


def _gone(annotator: Row, count: int) -> Sequence[bool]:
    """For each line of the window whether the annotator removed it."""
    gone = [False] * count
    for first, last in annotator["removed_lines"]:
        gone[first : last + 1] = [True] * (last + 1 - first)
    return gone


def _correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    value = pearson([a for a, _ in pairs], [b for _, b in pairs])
    return None if math.isnan(value) else value
