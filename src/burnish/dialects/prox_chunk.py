"""ProX, chunk stage: remove lines, normalise strings (arXiv 2409.17115, table 1).

Both spellings in circulation are read: `line_start=`, `line_end=` and `keep_chunk()` (the paper's
tables), `start=`, `end=` and `untouch_doc()` (the teacher prompts and the released models).
"""

from __future__ import annotations

from burnish.dialects.base import Parsed, Prompt, cannot_say, issue_of, remove_lines, settle
from burnish.program.grammar import LONGEST, numbers
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
            Parameter("target_str", str, ("target", "target_string"), ""),
        ),
    ),
    *map(Function, _KEEPING),
)

_CALLS = r"""
root ::= "keep_chunk()" | "untouch_doc()" | of-paper | of-release
of-paper ::= paper-call ("\n" paper-call)*
of-release ::= release-call ("\n" release-call)*
paper-call ::= "remove_lines(line_start=" number ", line_end=" number ")" | normalize
release-call ::= "remove_lines(start=" number ", end=" number ")" | normalize
"""
# What stands everywhere is no source: blanks alone, or a single letter or digit. So a source of one
# character is a mark of the ranges below, which hold neither letters nor digits.
_MARKS = (
    "!#-/:-@^-`{-~\u00a1-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7"
    "\u2010-\u2027\u2030-\u205e\u20a0-\u20c0\u2190-\u23ff\u2500-\u2757\u3001-\u3004"
    "\u3008-\u3020\uff01-\uff0f\uff1a-\uff20\ufffd\U0001f300-\U0001faff"
)
_STRINGS = rf"""
normalize ::= "normalize(source_str=\"" source "\", target_str=\"" char{{0,{LONGEST}}} "\")"
source ::= mark | visible char{{1,{LONGEST}}} | blank{{1,8}} visible char{{0,{LONGEST}}}
char ::= visible | blank
visible ::= [^"\\ \t\r\n] | escape
blank ::= [ \t\r] | "\\" [ntr]
mark ::= [{_MARKS}] | "[" | "]" | escape
escape ::= "\\" ("\\" | "\"" | "x" control | "u2028" | "u2029" | "ufeff")
control ::= "0" [0-8bcef] | "1" [0-9a-f] | "7f" | [89] [0-9a-f] | "a0" | "ad"
"""


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
                operations += remove_lines(call, chunk, issues)
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

    def grammar(self, chunk: Chunk) -> str:
        """Either spelling; the first call that removes lines chooses it for the whole program."""
        number = numbers(chunk.first, chunk.last)
        return f"{_CALLS}{_STRINGS}number ::= {number}\n"


def _normalize(call: Call, chunk: Chunk, issues: list[Issue]) -> list[Operation]:
    old, new = call.arguments
    assert isinstance(old, str) and isinstance(new, str)
    if _stands_everywhere(old):
        message = f"{old!r} stands everywhere; replacing it would change the whole text"
        issues.append(issue_of(call, "common-source", message))
        return []
    return [ReplaceText(chunk.first, chunk.last, old, new)]


def _stands_everywhere(text: str) -> bool:
    """Whether it is empty, ordinary blanks, or a single letter or digit."""
    return not text.strip(" \t\r\n") or (len(text) == 1 and text.isalnum())


DIALECT = ProxChunk()
