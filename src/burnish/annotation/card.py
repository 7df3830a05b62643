"""The data card of labelled data: what it is, who labelled it, and what to think of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from burnish import __version__
from burnish.annotation.labels import Labels
from burnish.annotation.votes import Annotator


@dataclass
class Tally:
    """What labels came to, counted document by document."""

    documents: int = 0
    unanswered: int = 0
    splits: dict[str, Counter[str]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    variants: Counter[str] = field(default_factory=Counter)
    scores: dict[str, Counter[int]] = field(
        default_factory=lambda: {"edu": Counter(), "format": Counter()}
    )
    rejected: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)

    def add(self, split: str, licence: str, found: Labels) -> None:
        """Counts one document in."""
        self.documents += 1
        self.events.update({name: count for name, count in found.counts.items() if count})
        for row in found.rejected:
            self.rejected[f"{row['stage']}: {row['reason']}"] += 1
        if found.missing:
            self.unanswered += 1
            return
        if found.documents or found.windows:
            self.licences[licence] += 1
        counts = self.splits.setdefault(split, Counter())
        for row in found.documents:
            counts["documents"] += 1
            counts["kept documents"] += row["keep"]
            for name, scores in self.scores.items():
                scores[row[name]] += 1
        for row in found.windows:
            labels = [line["label"] for line in row["lines"]]
            counts["windows"] += 1
            counts["edited windows"] += row["status"] == "edited"
            counts["lines"] += len(labels)
            counts["removed lines"] += sum(labels)
            self.kinds.update(row["kinds"])
            self.variants[row["variant"]] += 1

    @property
    def labelled(self) -> Counter[str]:
        """The counts of all splits together."""
        return sum(self.splits.values(), Counter())

    def to_json(self) -> dict[str, Any]:
        return {
            "documents": self.documents,
            "unanswered": self.unanswered,
            "splits": {name: dict(counts) for name, counts in sorted(self.splits.items())},
            "scores": {
                name: {str(score): count for score, count in sorted(counts.items())}
                for name, counts in self.scores.items()
            },
            "kinds": _sorted(self.kinds),
            "variants": _sorted(self.variants),
            "rejected": _sorted(self.rejected),
            "events": _sorted(self.events),
        }


def _sorted(counts: Counter[str]) -> dict[str, int]:
    """The largest first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def make_card(
    *,
    name: str,
    settings: Mapping[str, Any],
    teachers: Sequence[Mapping[str, Any]],
    annotators: Sequence[Annotator],
    prompts: Sequence[Mapping[str, Any]],
    choice: Mapping[str, Any] | None,
    sample: Mapping[str, Any],
    tally: Tally,
    agreement: Mapping[str, Any] | None,
    usage: Mapping[str, Any],
    licence: str | None,
) -> dict[str, Any]:
    """The card as plain data; nothing in it depends on when, or in how many sessions, it was
    made."""
    return {
        "name": name,
        "made_with": f"burnish {__version__}",
        "settings": dict(settings),
        "teachers": list(map(dict, teachers)),
        "annotators": [annotator.to_json() for annotator in annotators],
        "prompts": list(map(dict, prompts)),
        "pilot": choice,
        "sample": dict(sample),
        **tally.to_json(),
        "agreement": agreement,
        "usage": dict(usage),
        "licence": {
            "labels": licence or "not stated",
            "texts": _sorted(tally.licences),
        },
    }
