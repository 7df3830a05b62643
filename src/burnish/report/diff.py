"""What changed in a document, as a few lines to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_COMPARED = 400


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of an excerpt: `mark` is "-" for removed, "+" for new, " " for kept, "…" for a gap
    (its text then says how many lines were left out)."""

    mark: str
    text: str


def excerpt(
    original: str, refined: str, *, lines: int = 8, context: int = 1, width: int = 100
) -> list[DiffLine]:
    """The first changes of a text: at most `lines` entries, changed lines with up to `context` kept
    lines around them, each cut to `width` characters. Blank lines are not shown. Only the first 400
    lines of each text are compared.
    """
    shown = _marked(original.split("\n")[:_COMPARED], refined.split("\n")[:_COMPARED])
    result: list[DiffLine] = []
    gap = 0
    for n, line in enumerate(shown):
        near = shown[max(0, n - context) : n + context + 1]
        if all(neighbour.mark == " " for neighbour in near):
            gap += 1
            continue
        if gap and result:
            result.append(DiffLine("…", f"{gap} lines"))
        gap = 0
        result.append(DiffLine(line.mark, _cut(line.text, width)))
        if len(result) >= lines:
            break
    return result


def _marked(before: Sequence[str], after: Sequence[str]) -> list[DiffLine]:
    """Both texts' lines that are not blank, in one row, marked."""
    before = [line for line in before if line.strip()]
    after = [line for line in after if line.strip()]
    result: list[DiffLine] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            result += [DiffLine(" ", line) for line in before[a:b]]
        else:
            result += [DiffLine("-", line) for line in before[a:b]]
            result += [DiffLine("+", line) for line in after[c:d]]
    return result


def _cut(text: str, width: int) -> str:
    text = text.strip()
    return text if len(text) <= width else text[: width - 1] + "…"
