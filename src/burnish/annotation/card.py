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


def readme(card: Mapping[str, Any]) -> str:
    """The card for people, in Markdown."""
    teachers = ", ".join(teacher["name"] for teacher in card["teachers"])
    settings, sample = card["settings"], card["sample"]
    parts = [
        f"# {card['name']}",
        f"Labels that {teachers} gave to {card['documents']:,} documents; made with "
        f"{card['made_with']}. `burnish inspect` shows them, `burnish evaluate` and "
        "`burnish train` read them.",
        "## What there is",
        _table(
            ("split", "documents", "kept", "windows", "edited", "lines", "removed lines"),
            [
                (
                    split,
                    *(
                        f"{counts.get(column, 0):,}"
                        for column in (
                            "documents",
                            "kept documents",
                            "windows",
                            "edited windows",
                            "lines",
                            "removed lines",
                        )
                    ),
                )
                for split, counts in card["splits"].items()
            ],
        ),
        _counts("Kinds of noise, in windows", card["kinds"]),
        _counts("Prompt variants, in windows", card["variants"]),
        _counts("Educational scores", card["scores"]["edu"]),
        _counts("Format scores", card["scores"]["format"]),
        "## How it was made",
        f"Sample: {sample['drawn']:,} of {sample['seen']:,} documents, seed {settings['seed']}"
        + (f", stratified by {settings['stratify']}" if settings["stratify"] else "")
        + ". No site, and no near copy of a document, is in two splits.",
        f"Stages: {', '.join(settings['stages'])}; calls: {settings['calls']}"
        f"{_pilot(card['pilot'])}; passes: {settings['passes']}. A document is kept with an "
        f"educational score of {settings['keep_edu']} or more, and with "
        f"{settings['keep_edu'] - 1} if its format score is {settings['keep_format']} or more. "
        "Programs that remove "
        f"{settings['limits']['max_removed']:.0%} of the words or more are refused.",
        _table(
            ("prompt", "versions", "hash"),
            [(p["name"], p["version"], f"`{p['hash']}`") for p in card["prompts"]],
        ),
        _usage(card["usage"]),
        "## What was left out",
        _counts("Answers that were rejected", card["rejected"]) or "Nothing was rejected.",
        _counts("What else happened", card["events"]),
        f"Not answered yet: {card['unanswered']:,} documents." if card["unanswered"] else "",
        "## Agreement",
        _agreement(card["agreement"]),
        "## Licence",
        f"Labels: {card['licence']['labels']}. The texts stay under their own licences:",
        _table(
            ("licence of the text", "documents"),
            [(name, f"{count:,}") for name, count in card["licence"]["texts"].items()],
        ),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _pilot(choice: Mapping[str, Any] | None) -> str:
    if choice is None:
        return ""
    told = choice["reason"]
    if choice["agreement"] is not None:
        lines, keep = choice["agreement"]["removed_lines"], choice["agreement"]["keep"]
        told += (
            f"; {choice['pilot_documents']} documents were asked both ways: F1 of removed lines "
            f"{_number(lines['f1'])}, kappa {_number(lines['kappa'])}, F1 of keep "
            f"{_number(keep['f1'])}"
        )
    return f" ({told})"


def _usage(usage: Mapping[str, Any]) -> str:
    told = (
        f"The labels rest on {usage['answers']:,} answers: {usage['prompt_tokens']:,} tokens read "
        f"({usage['cached_tokens']:,} of them from a server's cache), "
        f"{usage['completion_tokens']:,} written"
    )
    return told + (f"; ${usage['dollars']:,.2f}." if usage.get("dollars") is not None else ".")


def _agreement(agreement: Mapping[str, Any] | None) -> str:
    if not agreement:
        return "One annotator, one pass: no agreement was measured."
    rows = []
    for pair, found in agreement.items():
        lines, keep = found["removed_lines"], found["keep"]
        rows.append(
            (
                pair,
                _number(lines["f1"]),
                _number(lines["kappa"]),
                _number(keep["f1"]),
                _number(keep["kappa"]),
                _number(found["edu_pearson_r"]),
                _number(found["format_pearson_r"]),
            )
        )
    heads = ("between", "F1 lines", "kappa lines", "F1 keep", "kappa keep", "r edu", "r format")
    return _table(heads, rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _counts(title: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    return f"{title}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()) + "."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
