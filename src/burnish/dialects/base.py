"""What every dialect offers: how one system shows a chunk to a model and how it writes programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from burnish.program.lines import Chunk
from burnish.program.operations import Operation, Program, RemoveLines, ReplaceText
from burnish.program.parser import Call
from burnish.schema import Issue


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked, before any chat template."""

    system: str
    user: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """A program text, read.

    `program` is None where nothing usable was said: an empty answer is not the decision to keep.
    """

    program: Program | None
    issues: tuple[Issue, ...] = ()


class Dialect(Protocol):
    """One system's way to write programs.

    Law, for every program that the dialect can say about the chunk:
    `parse(format(program, chunk), chunk).program == program`, without issues.
    """

    name: str
    operations: tuple[type[Operation], ...]
    source: str

    def render(self, chunk: Chunk) -> Prompt:
        """The prompt that shows the chunk."""
        ...

    def parse(self, text: str, chunk: Chunk) -> Parsed:
        """Reads a program text for the chunk; never raises, never evaluates."""
        ...

    def format(self, program: Program, chunk: Chunk) -> str:
        """The program in this dialect. Raises ValueError for what the dialect can not say."""
        ...

    def grammar(self, chunk: Chunk) -> str:
        """What a model may write for the chunk, for constrained decoding: GBNF, from `root`.

        Every text that it allows is read without an unusable call, except where a line range runs
        backwards or a string does not stand where the call says.
        """
        ...


def settle(operations: Sequence[Operation], kept: bool, issues: Iterable[Issue]) -> Parsed:
    """The reading of a program: its operations, or the explicit decision to keep, or a failure."""
    found = tuple(issues)
    if operations and kept:
        message = "the program says to keep everything, and to change it; the changes count"
        found = (*found, Issue("contradiction", message))
    if operations or kept:
        return Parsed(tuple(operations), found)
    return Parsed(None, found or (Issue("empty", "there is no call in the program"),))


def issue_of(call: Call, code: str, message: str) -> Issue:
    return Issue(code, message, call.line, call.column, call.source)


def remove_lines(
    call: Call, chunk: Chunk, issues: list[Issue], *, counted_from: int = 0
) -> list[RemoveLines]:
    """What a call with a first and a last line removes of the chunk.

    A range that reaches out of the chunk is cut, one wholly outside of it removes nothing; either
    is an issue. `counted_from` is the number that the dialect gives to a document's first line.
    """
    first, last = call.arguments
    assert isinstance(first, int) and isinstance(last, int)
    top, bottom = chunk.first + counted_from, chunk.last + counted_from
    if first > last:
        issues.append(issue_of(call, "range", f"line {first} comes after line {last}"))
        return []
    window = f"the text shows lines {top} to {bottom}"
    if last < top or first > bottom:
        message = f"there are no lines {first} to {last}; {window}"
        issues.append(issue_of(call, "range", message))
        return []
    if first < top or last > bottom:
        issues.append(issue_of(call, "clamped", f"lines {first} to {last} are cut; {window}"))
    return [RemoveLines(max(first, top) - counted_from, min(last, bottom) - counted_from)]


def shown_line(
    call: Call, number: int, chunk: Chunk, issues: list[Issue], *, counted_from: int = 0
) -> int | None:
    """The 0-based document line that a call means by `number`; None, and an issue, if the chunk
    does not show it."""
    if chunk.first <= number - counted_from <= chunk.last:
        return number - counted_from
    top, bottom = chunk.first + counted_from, chunk.last + counted_from
    message = f"there is no line {number}; the text shows lines {top} to {bottom}"
    issues.append(issue_of(call, "range", message))
    return None


def replace_once(
    call: Call, line: int, old: str, new: str, chunk: Chunk, issues: list[Issue]
) -> list[ReplaceText]:
    """The replacement of `old`, which must stand exactly once in the line.

    `old` may end with the line's LF where the chunk shows the line behind it.
    """
    times = _times(line, old, chunk)
    if times == 1:
        return [_replacement(line, old, new)]
    if not old:
        issues.append(issue_of(call, "empty-source", "the string to replace is empty"))
    elif times:
        message = f"{old[:60]!r} stands {times} times in the line"
        issues.append(issue_of(call, "ambiguous", message))
    else:
        issues.append(issue_of(call, "not-found", f"{old[:60]!r} does not stand in the line"))
    return []


def is_replace_once(operation: ReplaceText, chunk: Chunk) -> bool:
    """Whether `replace_once` makes this operation."""
    line, old = operation.first, operation.old
    if not chunk.first <= line <= chunk.last or _times(line, old, chunk) != 1:
        return False
    return operation == _replacement(line, old, operation.new)


def _replacement(line: int, old: str, new: str) -> ReplaceText:
    return ReplaceText(line, line + old.endswith("\n"), old, new)


def _times(line: int, old: str, chunk: Chunk) -> int:
    """How often a string stands in a line of the chunk; the LF behind the line belongs to it."""
    if not old:
        return 0
    end = "\n" if line < chunk.last else ""
    return (chunk.lines[line - chunk.first] + end).count(old)


def cannot_say(dialect: str, operation: Operation) -> ValueError:
    return ValueError(f"{dialect} can not say {operation}")
