"""What changed in a document, as a few lines to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

_COMPARED = 400
_RUN = 3


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of an excerpt: `mark` is "-" for removed, "+" for new, " " for kept, "…" for a gap
    (its text then says how many lines were left out)."""

    mark: str
    text: str


def excerpt(original: str, refined: str, *, lines: int = 10, width: int = 100) -> list[DiffLine]:
    """The first changes of a text: at most `lines` entries, each cut to `width` characters.

    Changed lines stand between their neighbours; of a long run of lines with the same mark the
    first and the last are shown. Blank lines are not. Only the first 400 lines of each text are
    compared.
    """
    shown = _marked(original.split("\n")[:_COMPARED], refined.split("\n")[:_COMPARED])
    result: list[DiffLine] = []
    for mark, group in groupby(shown, key=lambda line: line.mark):
        run = list(group)
        if len(run) > _RUN:
            said = "kept" if mark == " " else "removed" if mark == "-" else "new"
            gap = DiffLine("…", f"{len(run) - 2} more lines {said}")
            run = [run[0], gap, run[-1]]
        result += [DiffLine(line.mark, _cut(line.text, width)) for line in run]
    return result[:lines]


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
