"""RefineX: remove lines, or a string that stands once in its line (arXiv 2507.03253).

Only the paper is public. That lines count from 0 through the document, and that strings are written
as Python writes them, is assumed here; so is an empty system prompt.
"""

from __future__ import annotations

from burnish.dialects.base import (
    Parsed,
    Prompt,
    cannot_say,
    is_replace_once,
    remove_lines,
    replace_once,
    settle,
    shown_line,
)
from burnish.program.grammar import PYTHON_STRINGS, calls, numbers, python_string
from burnish.program.lines import Chunk
from burnish.program.operations import Operation, Program, RemoveLines, ReplaceText
from burnish.program.parser import Call, Function, Parameter, functions, quote, read_calls
from burnish.schema import Issue

_FUNCTIONS = functions(
    Function(
        "remove_lines",
        (Parameter("start", int, ("line_start",)), Parameter("end", int, ("line_end",))),
    ),
    Function("remove_str", (Parameter("line", int), Parameter("str", str, ("string", "source")))),
    Function("keep_all"),
)


class RefineX:
    """It only deletes. Line numbers count from 0, both ends included."""

    name = "refinex"
    operations: tuple[type[Operation], ...] = (RemoveLines, ReplaceText)
    source = "arXiv 2507.03253"

    def render(self, chunk: Chunk) -> Prompt:
        """Lines as `[12]text`."""
        lines = (f"[{n}]{line}" for n, line in enumerate(chunk.lines, chunk.first))
        return Prompt("", "\n".join(lines))

    def parse(self, text: str, chunk: Chunk) -> Parsed:
        calls, issues = read_calls(text, _FUNCTIONS)
        operations: list[Operation] = []
        kept = False
        for call in calls:
            if call.name == "remove_lines":
                operations += remove_lines(call, chunk, issues)
            elif call.name == "remove_str":
                operations += _remove_str(call, chunk, issues)
            else:
                kept = True
        return settle(operations, kept, issues)

    def format(self, program: Program, chunk: Chunk) -> str:
        return "\n".join(self._say(op, chunk) for op in program) or "keep_all()"

    def _say(self, operation: Operation, chunk: Chunk) -> str:
        match operation:
            case RemoveLines(first, last) if chunk.first <= first <= last <= chunk.last:
                return f"remove_lines({first},{last})"
            case ReplaceText(line, _, old, "") if is_replace_once(operation, chunk):
                return f"remove_str({line},{quote(old)})"
        raise cannot_say(self.name, operation)

    def grammar(self, chunk: Chunk) -> str:
        """With or without a blank behind the comma."""
        return f"""{calls("keep_all()", "call")}
call ::= "remove_lines(" number "," " "? number ")" | "remove_str(" number "," " "? string ")"
string ::= {python_string(1)}
number ::= {numbers(chunk.first, chunk.last)}
{PYTHON_STRINGS}"""


def _remove_str(call: Call, chunk: Chunk, issues: list[Issue]) -> list[ReplaceText]:
    number, old = call.arguments
    assert isinstance(number, int) and isinstance(old, str)
    line = shown_line(call, number, chunk, issues)
    return [] if line is None else replace_once(call, line, old, "", chunk, issues)


DIALECT = RefineX()
