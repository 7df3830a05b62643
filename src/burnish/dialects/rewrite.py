"""Rewrite: the model writes the cleaned text, and the program is derived from it.

This is how end-to-end teachers are asked (RefineX, arXiv 2507.03253, and UltraX, arXiv 2607.08646,
derive programs for a small model from such answers). Unlike there, each program is executed before
it counts, and a text that was cut off or put in other words gives none. The dialect is ours.
"""

from __future__ import annotations

import re
from dataclasses import replace

from burnish.dialects.base import Parsed, Prompt, cannot_say
from burnish.program.derive import Mode, derive
from burnish.program.executor import execute
from burnish.program.limits import UNLIMITED
from burnish.program.lines import Chunk, split_lines
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    Operation,
    Program,
    RemoveLines,
    ReplaceText,
    RewriteLines,
)
from burnish.program.parser import CUT_OFF_THOUGHT, answer_start, thought_end
from burnish.schema import Issue

_OPEN, _CLOSE = "<text>", "</text>"
_OPENING = re.compile(r"^[ \t]*<text>(?:[ \t\r]*\n)?", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
_FENCED = re.compile(r"\s*```[^`]*")
_SPACE = re.compile(r"\s*+")
_CODES = {"truncated": "cut-off"}  # the others are the reason, with hyphens


class Rewrite:
    """The answer is the text between `<text>` and `</text>`, or all of it if it has no tags.

    A thinking block before it and one code fence around it are no part of it. The blank lines
    around the chunk's text stay, whatever the answer has there: a chat model's answer loses them.
    An opening tag or fence without its end is an answer that was cut off.
    """

    source = "burnish"

    def __init__(self, name: str = "rewrite", mode: Mode = "edit") -> None:
        """`mode` is what the derived program may do (`burnish.program.derive`)."""
        self.name = name
        self.mode: Mode = mode
        operations: list[type[Operation]] = [RemoveLines, ReplaceText]
        operations += [RewriteLines] if mode != "delete" else []
        operations += [InsertLines] if mode == "insert" else []
        self.operations: tuple[type[Operation], ...] = tuple(operations)

    def render(self, chunk: Chunk) -> Prompt:
        """The bare text; what the teacher shall do with it is the refiner's system prompt."""
        return Prompt("", chunk.text)

    def parse(self, text: str, chunk: Chunk) -> Parsed:
        answer = _answer(text, chunk.text)
        if isinstance(answer, Issue):
            return Parsed(None, (answer,))
        found = derive(chunk.text, _in_blank_lines(answer, chunk), mode=self.mode)
        if found.program is None:
            code = _CODES.get(found.reason, found.reason.replace(" ", "-"))
            return Parsed(None, (Issue(code, f"{found.reason}: {found.detail}"),))
        return Parsed(tuple(_moved(operation, chunk.first) for operation in found.program))

    def format(self, program: Program, chunk: Chunk) -> str:
        """The text that the program leaves, in tags.

        Raises ValueError also where another program would be derived from that text.
        """
        here = tuple(_moved(operation, -chunk.first) for operation in program)
        outcome = execute(chunk.text, here, limits=UNLIMITED)
        written = f"{_OPEN}\n{outcome.text}\n{_CLOSE}"
        derived = self.parse(written, chunk).program
        if derived != program:
            unsaid = (operation for operation in program if operation not in (derived or ()))
            raise cannot_say(self.name, next(unsaid, program[0]))
        return written

    def grammar(self, chunk: Chunk) -> str:
        """Any text: what may be written can not be told from the lines."""
        return "root ::= [^\\x00]+\n"


def _answer(text: str, source: str) -> str | Issue:
    """The cleaned text of an answer. Blank without tags it is none: nothing was decided."""
    place = _answer_start(text, source)
    if place > len(text):
        return Issue("cut-off", CUT_OFF_THOUGHT)
    text = text[place:]
    opening = _OPENING.search(text)
    if opening and (_OPEN not in source or text.lstrip().startswith(_OPEN)):
        close = text.rfind(_CLOSE, opening.end())
        if close < 0:
            return Issue("cut-off", f"the answer ends before {_CLOSE}")
        text = text[opening.end() : close]
    else:
        opening = None
    if not _FENCE.search(source):  # else a fence may be one of the source's own
        unfenced = _unfenced(split_lines(text))
        if unfenced is None:
            return Issue("cut-off", "the answer ends before its code fence is closed")
        text = unfenced
    return text if opening or text.strip() else Issue("empty", "there is no text in the answer")


def _answer_start(text: str, source: str) -> int:
    """Where the answer begins behind its thinking block; beyond its end if that is not closed."""
    if text.lstrip().startswith(_OPEN):
        return 0
    place = 0 if answer_start(source) else answer_start(text)
    while place <= len(text):
        space = _SPACE.match(text, place)
        end = thought_end(text, space.end() if space else place)
        if end is None:
            break
        place = end
    return place


def _unfenced(lines: list[str]) -> str | None:
    """The text in its code fence, or in fences in each other; None if one is not closed."""
    first, end = 0, len(lines)
    while True:
        start, stop = first, end
        while start < stop and not lines[start].strip():
            start += 1
        while stop > start and not lines[stop - 1].strip():
            stop -= 1
        if start == stop or not _FENCED.fullmatch(lines[start]):
            return "\n".join(lines[first:end])
        if stop - start == 1 or lines[stop - 1].strip() != "```":
            return None
        first, end = start + 1, stop - 1


def _in_blank_lines(answer: str, chunk: Chunk) -> str:
    """The answer between the chunk's own outer blank lines; what is blank alone is no text."""
    lines = _outer(split_lines(answer))
    own = _outer(list(chunk.lines))
    if not own[1]:
        return answer if lines[1] else chunk.text
    return "\n".join([*own[0], *lines[1], *own[2]]) if lines[1] else ""


def _outer(lines: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The blank lines before the text, the text, and those behind it."""
    filled = [n for n, line in enumerate(lines) if line.strip()]
    if not filled:
        return lines, [], []
    return lines[: filled[0]], lines[filled[0] : filled[-1] + 1], lines[filled[-1] + 1 :]


def _moved(operation: Operation, by: int) -> Operation:
    """The operation, its lines counted from another line."""
    match operation:
        case DropDocument():
            return operation
        case InsertLines(before=before):
            return replace(operation, before=before + by)
        case RemoveLines() | ReplaceText() | RewriteLines():
            return replace(operation, first=operation.first + by, last=operation.last + by)


DIALECT = Rewrite()
