"""Whether one call does what several do: found out on a few documents, before the others are asked.

A joint call reads a document once and costs about a third of a call for each kind of noise. With a
teacher that keeps the kinds apart it says the same; with one that does not, it removes more or
less. So some documents are asked both ways, and the rest are asked jointly if the labels agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.annotation.agreement import Agreement
from burnish.annotation.labels import Labels
from burnish.schema import Document

FEWEST_DOCUMENTS = 100
"""In a smaller sample there is little to save, and calls are separate."""
SHARE, LEAST, MOST = 0.05, 10, 50
"""Of the documents, how many are asked both ways."""
LINES_KAPPA = 0.8
"""From this kappa on removed lines agree; 0.8 is commonly read as near perfect."""
KEPT_AGREED = 0.9
"""Share of documents that both ways must keep, or drop, alike."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How calls are made, why, and what the pilot measured (separate calls as the actual side)."""

    calls: str
    reason: str
    documents: int = 0
    agreement: Agreement | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "reason": self.reason,
            "pilot_documents": self.documents,
            "agreement": None if self.agreement is None else self.agreement.to_json(),
        }


def pilot(documents: Sequence[Document]) -> Sequence[Document]:
    """The documents that are asked both ways; none of a small sample."""
    if len(documents) < FEWEST_DOCUMENTS:
        return ()
    return documents[: min(max(round(SHARE * len(documents)), LEAST), MOST)]


def choose(pairs: Iterable[tuple[Labels, Labels]]) -> Choice:
    """The choice for the others, from the labels of pilot documents by joint and by separate
    calls; what has no labels both ways is left out."""
    found, count = Agreement(), 0
    for joint, separate in pairs:
        count += 1
        for one, other in zip(joint.documents, separate.documents, strict=False):
            found.add_document(one, other)
        by_place = {row["first_line"]: row for row in separate.windows}
        for row in joint.windows:
            if row["first_line"] in by_place:
                found.add_lines(_gone(row), _gone(by_place[row["first_line"]]))
    if problem := _problem(found, count):
        return Choice("separate", problem, count, found)
    return Choice("joint", "joint calls say what separate ones do", count, found)


def _problem(found: Agreement, count: int) -> str:
    """Why joint calls are not as good, or an empty string."""
    if 2 * max(found.windows, found.documents) < count:
        return "most documents of the pilot have no labels both ways"
    kappa = found.lines.kappa
    # Without a removed line on either side there is no kappa, and nothing that differs.
    if found.windows and not math.isnan(kappa) and kappa < LINES_KAPPA:
        return f"kappa of removed lines is {kappa:.2f}, under {LINES_KAPPA}"
    keep = found.keep
    if found.documents and (keep.tp + keep.tn) / found.documents < KEPT_AGREED:
        return f"{keep.fp + keep.fn} of {found.documents} documents are kept by one way alone"
    return ""


def _gone(row: dict[str, Any]) -> list[bool]:
    return [line["label"] == 1 for line in row["lines"]]
