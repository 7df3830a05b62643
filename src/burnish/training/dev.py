"""How well a model in training does on the dev files: it writes, as it will for a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from burnish.metrics import Counts
from burnish.program.operations import RemoveLines, cut
from burnish.refiners.base import Draft
from burnish.spec import StageSpec
from burnish.training.examples import Gold, Writer, gold_windows

_DECISION = 0.5


@dataclass
class DevScore:
    """Pooled counts of removed lines (chunk stage, ProX A.3) or of kept documents.

    `asked` windows or documents were shown, of which `failed` gave no program: their lines count as
    kept; a document without a decision is in no count.
    """

    counts: Counts = field(default_factory=Counts)
    asked: int = 0
    failed: int = 0

    @property
    def f1(self) -> float:
        """F1 of the counts; 0 where it is not defined, so that models can be compared."""
        counts = self.counts
        return counts.f1 if counts.tp + counts.fp + counts.fn else 0.0

    def to_json(self) -> dict[str, Any]:
        return {**self.counts.to_json(), "asked": self.asked, "failed": self.failed}


def score(golds: Sequence[Gold], spec: StageSpec, writer: Writer) -> DevScore:
    """What the writer does with the golds."""
    found = DevScore()
    cuts = [gold_windows(gold, spec, writer) for gold in golds]
    drafts = iter(writer.write([chunk for chunks, _ in cuts for chunk in chunks]))
    for gold, (chunks, _) in zip(golds, cuts, strict=True):
        gone: set[int] = set()
        for chunk in chunks:
            draft = next(drafts)
            found.asked += 1
            found.failed += draft.program is None
            if spec.name == "document":
                _judge_document(found.counts, gold, draft)
            elif draft.program is not None:
                for operation in cut(draft.program, *chunk.owned):
                    if isinstance(operation, RemoveLines):
                        gone.update(range(operation.first, operation.last + 1))
        for number, label in enumerate(gold.labels, gold.first):
            if label != -1:
                found.counts.add(number in gone, label == 1)
    return found


def _judge_document(counts: Counts, gold: Gold, draft: Draft) -> None:
    keep = draft.scores.get("keep")
    if draft.program is not None and keep is not None:
        counts.add(keep >= _DECISION, gold.program == ())
