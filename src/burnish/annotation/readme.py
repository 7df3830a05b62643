"""The data card for people, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_COLUMNS = {
    "documents": "documents",
    "kept documents": "kept",
    "windows": "windows",
    "edited windows": "edited",
    "lines": "lines",
    "removed lines": "removed lines",
}
"""Counts of a split, and their heads in the table."""


def readme(card: Mapping[str, Any]) -> str:
    """The card for people, in Markdown."""
    teachers = ", ".join(teacher["name"] for teacher in card["teachers"])
    settings, sample = card["settings"], card["sample"]
    labelled = sum(card["licence"]["texts"].values())
    parts = [
        f"# {card['name']}",
        f"Labels that {teachers} gave to {labelled:,} of {card['documents']:,} documents; made "
        f"with {card['made_with']}. `burnish inspect` shows them, `burnish evaluate` and "
        "`burnish train` read them.",
        "## What there is",
        _table(
            ("split", *_COLUMNS.values()),
            [
                (split, *(f"{counts.get(name, 0):,}" for name in _COLUMNS))
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
        _how(settings, card["pilot"]),
        _table(
            ("prompt", "versions", "hash"),
            [(p["name"], p["version"], f"`{p['hash']}`") for p in card["prompts"]],
        ),
        _usage(card["usage"]),
        "## What was left out",
        _left_out(sample),
        _counts("Answers that were rejected", card["rejected"]) or "No answer was rejected.",
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


def _how(settings: Mapping[str, Any], choice: Mapping[str, Any] | None) -> str:
    """What was asked, and what the answers mean."""
    stages = settings["stages"]
    told = [f"Stages: {', '.join(stages)}; passes: {settings['passes']}."]
    if "rewrite" in stages:
        told.append(f"Mode: {settings['mode']}.")
    if stages != ["rewrite"]:
        told.append(f"Calls: {settings['calls']}{_pilot(choice)}.")
    if "document" in stages:
        edu, form = settings["keep_edu"], settings["keep_format"]
        rule = f"A document is kept with an educational score of {edu} or more"
        if edu > 0 and form <= 5:
            rule += f", and with {edu - 1} if its format score is {form} or more"
        told.append(f"{rule}.")
    if stages != ["document"] and settings["limits"]["max_removed"] <= 1:
        share = settings["limits"]["max_removed"]
        told.append(f"Programs that remove {share:.0%} of the words or more are refused.")
    return " ".join(told)


def _left_out(sample: Mapping[str, Any]) -> str:
    """What of the input is not in the sample, though nothing was drawn against it."""
    reasons = {
        "rejected": "rows of input that are no documents",
        "blank": "blank documents",
        "duplicates": "further copies of drawn documents",
        "left out of all splits": "near copies of documents in another split",
    }
    counts = {words: sample[name] for name, words in reasons.items() if sample.get(name)}
    return _counts("Of the input", counts)


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
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
