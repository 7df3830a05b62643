"""ProX, chunk stage: remove lines, normalise strings (arXiv 2409.17115, table 1).

Both spellings in circulation are read: `line_start=`, `line_end=` and `keep_chunk()` (the paper's
tables), `start=`, `end=` and `untouch_doc()` (the teacher prompts and the released models).
"""

from __future__ import annotations

from burnish.dialects.base import Parsed, Prompt, cannot_say, settle
from burnish.program.lines import Chunk
from burnish.program.operations import Operation, Program, RemoveLines, ReplaceText
from burnish.program.parser import Call, Function, Parameter, functions, quote, read_calls
from burnish.schema import Issue

SYSTEM = "You are a helpful, respectful and honest assistant."
_KEEPING = ("keep_chunk", "untouch_doc", "untouch_chunk", "keep_doc")
_FUNCTIONS = functions(
    Function(
        "remove_lines",
        (Parameter("line_start", int, ("start",)), Parameter("line_end", int, ("end",))),
    ),
    Function(
        "normalize",
        (
            Parameter("source_str", str, ("source", "source_string")),
            Parameter("target_str", str, ("target", "target_string")),
        ),
    ),
    *map(Function, _KEEPING),
)


class ProxChunk:
    """Line numbers count through the whole document from 0, both ends included.

    A replacement concerns every occurrence inside the chunk that it was written for, never the rest
    of the document.
    """

    name = "prox-chunk"
    operations: tuple[type[Operation], ...] = (RemoveLines, ReplaceText)
    source = "arXiv 2409.17115, section 2.2 and table 1"

    def render(self, chunk: Chunk) -> Prompt:
        """Lines as `[012]text`, at least three digits, between `[doc]` and `[/doc]`."""
        lines = "\n".join(f"[{n:03d}]{line}" for n, line in enumerate(chunk.lines, chunk.first))
        return Prompt(SYSTEM, f"[doc]\n{lines}\n[/doc]")

    def parse(self, text: str, chunk: Chunk) -> Parsed:
        calls, issues = read_calls(text, _FUNCTIONS)
        operations: list[Operation] = []
        kept = False
        for call in calls:
            if call.name == "remove_lines":
                operations += _remove_lines(call, chunk, issues)
            elif call.name == "normalize":
                operations += _normalize(call, chunk, issues)
            else:
                kept = True
        return settle(operations, kept, issues)

    def format(self, program: Program, chunk: Chunk) -> str:
        return "\n".join(self._say(op, chunk) for op in program) or "keep_chunk()"

    def _say(self, operation: Operation, chunk: Chunk) -> str:
        match operation:
            case RemoveLines(first, last) if chunk.first <= first <= last <= chunk.last:
                return f"remove_lines(line_start={first}, line_end={last})"
            case ReplaceText(chunk.first, chunk.last, old, new, None, None) if (
                not _stands_everywhere(old)
            ):
                return f"normalize(source_str={quote(old)}, target_str={quote(new)})"
        raise cannot_say(self.name, operation)


def _remove_lines(call: Call, chunk: Chunk, issues: list[Issue]) -> list[Operation]:
    first, last = call.arguments
    assert isinstance(first, int) and isinstance(last, int)
    if chunk.first <= first <= last <= chunk.last:
        return [RemoveLines(first, last)]
    window = f"the text shows lines {chunk.first} to {chunk.last}"
    if first > last:
        issues.append(_issue(call, "range", f"line {first} comes after line {last}"))
        return []
    if last < chunk.first or first > chunk.last:
        issues.append(_issue(call, "range", f"there are no lines {first} to {last}; {window}"))
        return []
    issues.append(_issue(call, "clamped", f"lines {first} to {last} are cut; {window}"))
    return [RemoveLines(max(first, chunk.first), min(last, chunk.last))]


def _normalize(call: Call, chunk: Chunk, issues: list[Issue]) -> list[Operation]:
    old, new = call.arguments
    assert isinstance(old, str) and isinstance(new, str)
    if _stands_everywhere(old):
        message = f"{old!r} stands everywhere; replacing it would change the whole text"
        issues.append(_issue(call, "common-source", message))
        return []
    return [ReplaceText(chunk.first, chunk.last, old, new)]


def _stands_everywhere(text: str) -> bool:
    """Whether it is empty, ordinary blanks, or a single letter or digit."""
    return not text.strip(" \t\r\n") or (len(text) == 1 and text.isalnum())


def _issue(call: Call, code: str, message: str) -> Issue:
    return Issue(code, message, call.line, call.column, call.source)


DIALECT = ProxChunk()
