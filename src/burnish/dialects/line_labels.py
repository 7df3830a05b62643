"""Line labels: one digit a line, as taggers and human annotators give them.

`0` is content and stays, `1` is noise and goes: `0011` removes the last two of four lines. Blanks,
commas and brackets mean nothing, so a list of labels is read as well. The dialect is ours.
"""

from __future__ import annotations

import re

from burnish.dialects.base import Parsed, Prompt, cannot_say
from burnish.program.lines import Chunk
from burnish.program.operations import Operation, Program, RemoveLines
from burnish.schema import Issue

_BETWEEN = re.compile(r"[\s,;\[\]()]+")
_WRONG = re.compile(r"[^01]")
_ONE = re.compile("1+")


class LineLabels:
    """A program of removed lines in its canonical form: ascending ranges that do not touch."""

    name = "line-labels"
    operations: tuple[type[Operation], ...] = (RemoveLines,)
    source = "burnish"

    def render(self, chunk: Chunk) -> Prompt:
        """The bare lines: a tagger needs no numbers."""
        return Prompt("", chunk.text)

    def parse(self, text: str, chunk: Chunk) -> Parsed:
        labels = _BETWEEN.sub("", text)
        wrong = _WRONG.search(labels)
        if wrong:
            message = f"{wrong.group()!r} is no label; labels are 0 (content) and 1 (noise)"
            return Parsed(None, (Issue("label", message, source=labels[:40]),))
        if not labels:
            return Parsed(None, (Issue("empty", "there is no label in the program"),))
        if len(labels) != len(chunk.lines):
            code = "cut-off" if len(labels) < len(chunk.lines) else "range"
            message = f"{len(labels)} labels for {len(chunk.lines)} lines"
            return Parsed(None, (Issue(code, message),))
        return Parsed(
            tuple(
                RemoveLines(chunk.first + run.start(), chunk.first + run.end() - 1)
                for run in _ONE.finditer(labels)
            )
        )

    def format(self, program: Program, chunk: Chunk) -> str:
        labels = ["0"] * len(chunk.lines)
        for operation in program:
            if not isinstance(operation, RemoveLines):
                raise cannot_say(self.name, operation)
            if not chunk.first <= operation.first <= operation.last <= chunk.last:
                raise cannot_say(self.name, operation)
            for number in range(operation.first, operation.last + 1):
                labels[number - chunk.first] = "1"
        return "".join(labels)

    def grammar(self, chunk: Chunk) -> str:
        """As many labels as there are lines."""
        return f"root ::= [01]{{{len(chunk.lines)}}}\n"


DIALECT = LineLabels()
