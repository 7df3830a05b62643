"""UltraX: remove and insert lines, replace one string of a line (arXiv 2607.08646).

Beside the paper, the released code was read (openbmb/UltraX, commit cb0c2fa: `inference.py` shows
the text, `function_construction.py` writes the programs that the model is trained on).

The released executor also collapses blank lines (`burnish.program.released`) and merges several
replacements of one line by a difference, where ours makes each of them. It replaces CR by LF before
it counts lines; here a CR is a character of its line.
"""

from __future__ import annotations

import re

from burnish.dialects.base import (
    Parsed,
    Prompt,
    cannot_say,
    is_replace_once,
    issue_of,
    remove_lines,
    replace_once,
    settle,
    shown_line,
)
from burnish.program.grammar import PYTHON_STRINGS, calls, numbers, python_string
from burnish.program.lines import Chunk
from burnish.program.operations import InsertLines, Operation, Program, RemoveLines, ReplaceText
from burnish.program.parser import Call, Function, Parameter, functions, quote, read_calls
from burnish.schema import Issue

_FUNCTIONS = functions(
    Function(
        "remove_lines",
        (Parameter("start", int, ("start_line",)), Parameter("end", int, ("end_line",))),
    ),
    Function(
        "replace_str",
        (
            Parameter("line", int, ("line_number",)),
            Parameter("old", str, ("old_content", "search_content")),
            Parameter("new", str, ("new_content", "replace_content")),
        ),
    ),
    Function(
        "add_line",
        (
            Parameter("base", int, ("base_position", "base_pos")),
            Parameter("sub", int, ("sub_index",)),
            Parameter("text", str, ("content",)),
        ),
    ),
    Function("remove_all"),
    Function("keep_all"),
)
_ORDERS = range(10**18)
_SURROGATE = re.compile("[\ud800-\udfff]")


class UltraX:
    """Line numbers count through the whole document from 1, both ends included.

    `replace_str` wants a string that stands exactly once in its line; the LF behind the line may be
    its end, which joins two lines. `add_line(3, 1, ...)` is the first new line behind line 3,
    `add_line(0, ...)` stands before the first. `remove_all()` concerns the lines of its window.
    """

    name = "ultrax"
    operations: tuple[type[Operation], ...] = (RemoveLines, ReplaceText, InsertLines)
    source = "arXiv 2607.08646; openbmb/UltraX cb0c2fa"

    def render(self, chunk: Chunk) -> Prompt:
        """Lines as `<lid:12>text`. The model's system prompt (`inference.py` has it) is not
        repeated here."""
        lines = (f"<lid:{n}>{line}" for n, line in enumerate(chunk.lines, chunk.first + 1))
        return Prompt("", "\n".join(lines))

    def parse(self, text: str, chunk: Chunk) -> Parsed:
        calls, issues = read_calls(text, _FUNCTIONS)
        operations: list[Operation] = []
        kept = False
        for call in calls:
            if call.name == "remove_lines":
                operations += remove_lines(call, chunk, issues, counted_from=1)
            elif call.name == "replace_str":
                operations += _replace_str(call, chunk, issues)
            elif call.name == "add_line":
                operations += _add_line(call, chunk, issues)
            elif call.name == "remove_all":
                operations.append(RemoveLines(chunk.first, chunk.last))
            else:
                kept = True
        return settle(operations, kept, issues)

    def format(self, program: Program, chunk: Chunk) -> str:
        return "\n".join(self._say(op, chunk) for op in program) or "keep_all()"

    def _say(self, operation: Operation, chunk: Chunk) -> str:
        match operation:
            case RemoveLines(chunk.first, chunk.last):
                return "remove_all()"
            case RemoveLines(first, last) if chunk.first <= first <= last <= chunk.last:
                return f"remove_lines({first + 1}, {last + 1})"
            case ReplaceText(line, _, old, new) if is_replace_once(operation, chunk):
                return f"replace_str({line + 1}, {_python(old)}, {_python(new)})"
            case InsertLines(before, order, text) if order in _ORDERS and _shows(chunk, before):
                return f"add_line({before}, {order}, {_python(text + _LF)})"
        raise cannot_say(self.name, operation)

    def grammar(self, chunk: Chunk) -> str:
        """At most 99 new lines behind one line."""
        number = numbers(chunk.first + 1, chunk.last + 1)
        base = f'"0" | {number}' if chunk.first == 0 else number
        return f"""{calls("keep_all()", "call")}
call ::= "remove_all()" | "remove_lines(" number ", " number ")" | replace | add
replace ::= "replace_str(" number ", " {python_string(1)} ", " {python_string(0)} ")"
add ::= "add_line(" base ", " ([1-9] [0-9]? | "0") ", " {python_string(0)} ")"
number ::= {number}
base ::= {base}
{PYTHON_STRINGS}"""


_LF = "\n"  # the model ends a new line with it


def _python(text: str) -> str:
    """The string as Python's `repr` writes it, which is what the model learned."""
    return quote(text, "'") if _SURROGATE.search(text) else repr(text)


def _shows(chunk: Chunk, before: int) -> bool:
    """Whether the chunk shows the line behind which a new one is added."""
    return chunk.first < before <= chunk.last + 1 or before == chunk.first == 0


def _replace_str(call: Call, chunk: Chunk, issues: list[Issue]) -> list[ReplaceText]:
    number, old, new = call.arguments
    assert isinstance(number, int) and isinstance(old, str) and isinstance(new, str)
    line = shown_line(call, number, chunk, issues, counted_from=1)
    return [] if line is None else replace_once(call, line, old, new, chunk, issues)


def _add_line(call: Call, chunk: Chunk, issues: list[Issue]) -> list[InsertLines]:
    base, order, text = call.arguments
    assert isinstance(base, int) and isinstance(order, int) and isinstance(text, str)
    if order not in _ORDERS:
        issues.append(issue_of(call, "arguments", f"a new line can not have the place {order}"))
        return []
    if not _shows(chunk, base) and shown_line(call, base, chunk, issues, counted_from=1) is None:
        return []
    return [InsertLines(base, order, text.removesuffix(_LF))]


DIALECT = UltraX()
