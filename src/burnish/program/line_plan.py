"""What became of a text's lines, and the operations that say so.

Where a change can be said so, a replaced string stands once in its line.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from burnish.program.line_blocks import Block, between
from burnish.program.line_changes import Change
from burnish.program.lines import line_starts
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    Operation,
    Program,
    ReplaceText,
    RewriteLines,
    removal,
)

_CLOSE = 3  # characters between two replacements that are not worth an operation of their own
_SHIFTS = 64  # places to which a deletion is moved in search of one that can be named
_MANY = 200  # changes of one line, above which the line is replaced as a whole


@dataclass(frozen=True, slots=True)
class Plan:
    """What became of the source's lines `a`: the refined lines `b`.

    Lines in no block went, or are new. `changes` are those of each block, in characters of its
    source lines with their line ends.
    """

    a: list[str]
    b: list[str]
    blocks: list[Block]
    changes: list[list[Change]]

    @property
    def new_lines(self) -> list[int]:
        gaps = between(self.blocks, len(self.a), len(self.b))
        return [j for gap in gaps for j in range(gap.j, gap.j_end)]


def program_of(source: str, plan: Plan, *, by_lines: bool) -> Program:
    """The plan's operations by line; `by_lines` rewrites the lines of each changed block."""
    kept = {n for block in plan.blocks for n in range(block.i, block.i_end)}
    operations: list[Operation] = list(removal(set(range(len(plan.a))) - kept))
    starts = line_starts(plan.a)
    changes: list[Change] = []
    for block, found in zip(plan.blocks, plan.changes, strict=True):
        if found and by_lines:
            text = "\n".join(plan.b[block.j : block.j_end])
            operations.append(RewriteLines(block.i, block.i_end - 1, text))
        elif found:
            start = starts[block.i]
            changes += (Change(start + s, start + e, new) for s, e, new in found)
    pieces: dict[int, list[Change]] = {}
    for change in _joined(source, changes):
        for piece in _cut_at_lines(source, change):
            pieces.setdefault(bisect_right(starts, piece.start) - 1, []).append(piece)
    for number, inside in pieces.items():
        operations += _replacements(number, plan.a, starts[number], inside, kept)
    operations += _insertions(plan)
    return tuple(sorted(operations, key=_place))


def _place(operation: Operation) -> int:
    assert not isinstance(operation, DropDocument)
    return operation.before if isinstance(operation, InsertLines) else operation.first


def _insertions(plan: Plan) -> Iterator[InsertLines]:
    for i, _, j, j_end in between(plan.blocks, len(plan.a), len(plan.b)):
        for order, text in enumerate(plan.b[j:j_end], 1):
            yield InsertLines(i, order, text)


def _joined(source: str, changes: Iterable[Change]) -> list[Change]:
    """Replacements that nearly touch are one; deletions stay what they are."""
    found: list[Change] = []
    for change in changes:
        if found and (change.new or found[-1].new):
            start, end, new = found[-1]
            between = source[end : change.start]
            if len(between) < _CLOSE and "\n" not in between:
                found[-1] = Change(start, change.end, new + between + change.new)
                continue
        found.append(change)
    return found


def _cut_at_lines(source: str, change: Change) -> Iterator[Change]:
    """The change in pieces of which each lies in one line; the first has all the new text."""
    start, end, new = change
    while (line_end := source.find("\n", start, end) + 1) and line_end < end:
        yield Change(start, line_end, new)
        start, new = line_end, ""
    yield Change(start, end, new)


def _replacements(
    number: int, lines: Sequence[str], at: int, changes: list[Change], kept: set[int]
) -> Iterator[Operation]:
    """The changes of one line, which begins at character `at`, as strings that stand once in it."""
    line = lines[number]
    inside = [Change(start - at, end - at, new) for start, end, new in changes]
    if not line and inside[0].start == inside[0].end:
        yield _filled_line(number, lines, inside[0].new, kept)
        return
    if len(inside) > _MANY and inside[-1].end <= len(line):
        inside = [Change(0, len(line), _applied(line, inside, 0, len(line)))]
    groups: list[tuple[int, int, list[Change]]] = []
    low = 0
    for n, change in enumerate(inside):
        high = inside[n + 1].start if n + 1 < len(inside) else len(line)
        change = _shifted(line, change, low, high)
        low = change.end
        start, end = _grown(line, change.start, change.end)
        members = [change]
        while groups and start < groups[-1][1]:
            first, last, before = groups.pop()
            start, end, members = min(start, first), max(end, last), before + members
        groups.append((start, end, members))
    whole = line + "\n"
    for start, end, members in groups:
        old, new = whole[start:end], _applied(whole, members, start, end)
        yield ReplaceText(number, number + old.endswith("\n"), old, new)


def _filled_line(number: int, lines: Sequence[str], new: str, kept: set[int]) -> Operation:
    """New text in an empty line: its LF, or the one before, is what can be replaced."""
    if number + 1 in kept:
        return ReplaceText(number, number + 1, "\n", new + "\n")
    if number - 1 in kept and lines[number - 1]:  # else its LF may be replaced for its own sake
        return ReplaceText(number - 1, number, "\n", "\n" + new)
    return RewriteLines(number, number, new)


def _applied(line: str, changes: Iterable[Change], start: int, end: int) -> str:
    """Characters `start` to `end` of the line after the changes."""
    parts: list[str] = []
    for change in changes:
        parts += line[start : change.start], change.new
        start = change.end
    return "".join([*parts, line[start:end]])


def _stands_once(line: str, start: int, end: int) -> bool:
    old = line[start:end]
    return bool(old) and line.find(old) == start and line.find(old, start + 1) < 0


def _shifted(line: str, change: Change, low: int, high: int) -> Change:
    """A deletion moved to where it leaves the same text and what is deleted stands once."""
    start, end, new = change
    if new or start == end or end > len(line) or _stands_once(line, start, end):
        return change
    size = end - start
    for step in (-1, 1):
        place = start
        for _ in range(_SHIFTS):
            moved = place + step
            if (
                moved < low
                or moved + size > high
                or line[min(place, moved)] != line[min(place, moved) + size]
            ):
                break
            place = moved
            if _stands_once(line, place, place + size):
                return Change(place, place + size, "")
    return change


def _grown(line: str, start: int, end: int) -> tuple[int, int]:
    """The span with as few characters more as make it stand once in the line."""
    if end > len(line) or _stands_once(line, start, end):
        return start, end  # what holds the LF stands once

    def once(left: int, right: int) -> bool:
        return _stands_once(line, max(0, start - left), min(len(line), end + right))

    more = 1
    while not once(more, more):
        more *= 2
    right = bisect_left(range(more), True, key=lambda right: once(more, right))
    left = bisect_left(range(more), True, key=lambda left: once(left, right))
    return max(0, start - left), min(len(line), end + right)
