"""ReScraper: first lines to remove, then one decision about the page.

The released code was read (cxcscmu/ReScraper, commit 6379e37: `lib/editops.py`,
`lib/rescraper_ops.py`, `inference/infer_pool.py`). A program has two forms in circulation, both of
which are read: the decision behind the extraction, and the decision in front as well, which is what
the released model writes and `format` too.

The released executor also collapses the blanks of each line and drops empty lines
(`burnish.program.released`). It takes an `<edit>` of which any line is unreadable for page text;
here the readable lines stand, and only an `<edit>` without any is page text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

from burnish.dialects.base import (
    Parsed,
    Prompt,
    cannot_say,
    issue_of,
    remove_lines,
    settle,
    shown_line,
)
from burnish.program.grammar import JSON_STRINGS, LONGEST, numbers
from burnish.program.lines import Chunk
from burnish.program.operations import (
    DropDocument,
    Operation,
    Program,
    RemoveLines,
    ReplaceText,
    RewriteLines,
)
from burnish.program.parser import (
    CUT_OFF_THOUGHT,
    Call,
    answer_start,
    thought_end,
    to_integer,
    unescape,
)
from burnish.schema import Issue

_TAG = re.compile(r"<(/?)(extract|keep|delete|edit|rewrite)>[ \t\r`]*+")
_RM = re.compile(r"rm\s++(\d++)(?:\s*+[-–]\s*+(\d++))?[\s;,.]*+")  # noqa: RUF001
_SUB = re.compile(r"sub\s++(\d++)\s*+:?\s*+(.++)", re.DOTALL)
_BEGUN = re.compile(r"(?:rm|sub)\s++\d|</?[a-z]*+$")
_EXTRACT_NEXT = re.compile(r"\s*+<extract>")
_CUT = ("r", "rm", "s", "su", "sub")  # an instruction that ends before its number
_LEAD = " \t\r`>*•-"
_SHOWN = 120  # characters of an instruction that an issue quotes


class ReScraper:
    """Line numbers count from 1, both ends included.

    `sub 4: "text"` takes the first such text out of line 4; said twice, the first two. `<delete>`
    drops the document, whatever is removed beside; `<rewrite>` is new text for the whole chunk.

    The models know pages without blank lines, one block a line. That the numbers count through the
    whole document is not seen there, as a page is always shown whole.
    """

    name = "rescraper"
    operations: tuple[type[Operation], ...] = (
        DropDocument,
        RemoveLines,
        ReplaceText,
        RewriteLines,
    )
    source = "cxcscmu/ReScraper 6379e37, lib/rescraper_ops.py"

    def render(self, chunk: Chunk) -> Prompt:
        """Lines as `<lid:12> text`. The model's system prompt
        (`prompts/student_system_stage2.txt`) is not repeated here."""
        lines = (f"<lid:{n}> {line}" for n, line in enumerate(chunk.lines, chunk.first + 1))
        return Prompt("", "\n".join(lines))

    def parse(self, text: str, chunk: Chunk) -> Parsed:
        reader = _Reader(text, chunk)
        reader.read()
        return reader.parsed()

    def format(self, program: Program, chunk: Chunk) -> str:
        text = self._say(program, chunk)
        if self.parse(text, chunk).program != program:  # a rewrite that ends in a blank or a mark
            raise cannot_say(self.name, program[0])
        return text

    def _say(self, program: Program, chunk: Chunk) -> str:
        if program == (DropDocument(),):
            return "<delete>\n<extract>\n<delete>"
        match program:
            case (RewriteLines(chunk.first, chunk.last, text),):
                return f"<rewrite>\n<extract>\n<rewrite>\n{text}"
        removed: list[str] = ["<extract>"]
        edits: list[str] = []
        said: Counter[tuple[int, str]] = Counter()
        for operation in program:
            lines = _instruct(operation, chunk, said)
            if lines is None:
                raise cannot_say(self.name, operation)
            (edits if edits or not isinstance(operation, RemoveLines) else removed).extend(lines)
        decision = "<edit>" if edits else "<keep>"
        return "\n".join([decision, *removed, decision, *edits])

    def grammar(self, chunk: Chunk) -> str:
        """All four decisions; the text of a rewrite alone has no bound."""
        return rf"""root ::= keep | delete | edit | rewrite
keep ::= ("<keep>\n")? extract "<keep>"
delete ::= ("<delete>\n")? extract "<delete>"
edit ::= ("<edit>\n")? extract "<edit>" ("\n" (rm | sub))+
rewrite ::= ("<rewrite>\n")? extract "<rewrite>\n" [^\x00-\x20] [^\x00]*
extract ::= "<extract>\n" (rm "\n")*
rm ::= "rm " number ("-" number)?
sub ::= "sub " number ": \"" in-json{{1,{LONGEST}}} "\""
number ::= {numbers(chunk.first + 1, chunk.last + 1)}
{JSON_STRINGS}"""


def _instruct(
    operation: Operation, chunk: Chunk, said: Counter[tuple[int, str]]
) -> list[str] | None:
    """The lines that say the operation; None if there are none."""
    match operation:
        case RemoveLines(first, last) if chunk.first <= first <= last <= chunk.last:
            return [f"rm {first + 1}" + (f"-{last + 1}" if last > first else "")]
        case ReplaceText(line, last, old, "", int(count), None) if (
            old and line == last and chunk.first <= line <= chunk.last
        ):
            fits = 0 < count <= chunk.lines[line - chunk.first].count(old)
            if fits and not said[line, old]:
                said[line, old] = count
                return [f"sub {line + 1}: {json.dumps(old, ensure_ascii=False)}"] * count
    return None


class _Reader:
    """One pass over the lines of an answer."""

    def __init__(self, text: str, chunk: Chunk) -> None:
        self.text = text
        self.chunk = chunk
        self.issues: list[Issue] = []
        self.decision = ""
        self.decided = False  # the decision stands behind the extraction, or alone
        self.extracting = False
        self.removals: list[Operation] = []
        self.places: dict[tuple[int, str], int] = {}  # line, string => its operation
        self.edited = -1  # where the text behind `<edit>` begins
        self.instructed = False  # behind `<edit>`
        self.rewritten = ""

    def read(self) -> None:
        text, number, counted = self.text, 1, 0
        place = answer_start(text)
        while place < len(text):
            number, counted = number + text.count("\n", counted, place), place
            thought = thought_end(text, place)
            if thought is not None:
                if thought > len(text):
                    self.issues.append(Issue("cut-off", CUT_OFF_THOUGHT, number, 1))
                place = thought
                continue
            end = text.find("\n", place)
            end = len(text) if end < 0 else end
            place = self._read_line(place, end, number) + 1

    def parsed(self) -> Parsed:
        """What all of it says."""
        if self.decision == "edit" and self.edited >= 0 and not self.instructed:
            text = _bare(self.text[self.edited :])
            self.rewritten = text if text.strip("`") else ""
        if not self.decided and (self.decision or self.extracting or self.removals):
            message = "the decision behind the extraction is missing"
            self.issues.append(Issue("cut-off", message))
        elif self.decision in ("edit", "rewrite") and not (self.rewritten or self.instructed):
            self.issues.append(Issue("cut-off", f"there is nothing behind <{self.decision}>"))
        if self.decision == "delete":
            return Parsed((DropDocument(),), tuple(self.issues))
        if self.rewritten:
            rewrite = RewriteLines(self.chunk.first, self.chunk.last, self.rewritten)
            return Parsed((rewrite,), tuple(self.issues))
        kept = self.decided and self.decision == "keep" and not self.removals
        return settle(self.removals, kept, self.issues)

    def _read_line(self, place: int, end: int, number: int) -> int:
        """Reads a line; returns where it, or the rewritten text that begins on it, ends."""
        text = self.text
        start = text.rfind("\n", 0, place) + 1
        while place < end and text[place] in _LEAD:
            place += 1
        while tag := _TAG.match(text, place, end):
            place = tag.end()
            closing, name = tag.groups()
            if closing:
                continue
            if name == "extract":
                self.extracting = True
                continue
            self._decide(name, number, tag.start() - start + 1)
            self.decided = self.extracting or not _EXTRACT_NEXT.match(text, place)
            if self.decided and self.decision == "rewrite":
                self.rewritten = _bare(text[place:])
                return len(text)
            if self.decided and self.decision == "edit" and self.edited < 0:
                self.edited = place
        line = text[place:end].lstrip()
        column = end - len(line) - start + 1
        line = line.rstrip()
        if not line:
            return end
        call = Call("", (), number, column, line[:_SHOWN])
        if found := _RM.fullmatch(line):
            self._instructed()
            lines = to_integer(found[1]), to_integer(found[2] or found[1])
            call = replace(call, arguments=lines)
            self.removals += remove_lines(call, self.chunk, self.issues, counted_from=1)
        elif found := _SUB.fullmatch(line):
            self._instructed()
            self._sub(found, call, end)
        elif _BEGUN.match(line) or (end == len(text) and line in _CUT):
            self._instructed()
            self._unreadable(call, end)
        return end

    def _instructed(self) -> None:
        self.instructed |= self.edited >= 0

    def _decide(self, name: str, number: int, column: int) -> None:
        if self.decision and self.decision != name:
            message = f"the program says <{self.decision}> and <{name}>; the first counts"
            self.issues.append(Issue("contradiction", message, number, column, f"<{name}>"))
        self.decision = self.decision or name

    def _sub(self, found: re.Match[str], call: Call, end: int) -> None:
        old = _string(found[2].rstrip(" \t\r;,`"))
        if old is None:
            return self._unreadable(call, end)
        line = shown_line(call, to_integer(found[1]), self.chunk, self.issues, counted_from=1)
        if line is None:
            return None
        if not old:
            self.issues.append(issue_of(call, "empty-source", "the string to remove is empty"))
            return None
        at = self.places.get((line, old))
        before = self.removals[at] if at is not None else None
        count = 1 + ((before.count or 0) if isinstance(before, ReplaceText) else 0)
        if self.chunk.lines[line - self.chunk.first].count(old) < count:
            message = f"{old[:60]!r} does not stand there" + (" so often" if count > 1 else "")
            self.issues.append(issue_of(call, "not-found", message))
            return None
        operation = ReplaceText(line, line, old, "", count)
        if at is None:
            self.places[line, old] = len(self.removals)
            self.removals.append(operation)
        else:
            self.removals[at] = operation
        return None

    def _unreadable(self, call: Call, end: int) -> None:
        if end == len(self.text):
            self.issues.append(issue_of(call, "cut-off", "the last line is cut off"))
        else:
            self.issues.append(issue_of(call, "syntax", f"can not read {call.source[:40]!r}"))


def _string(written: str) -> str | None:
    """The string between the first quotation mark and the last of a line: JSON, or nearly."""
    opening, closing = written[:1], written[-1:]
    if len(written) < 2 or opening + closing not in ('""', "''", "“”", "‘’"):  # noqa: RUF001
        return None
    body = written[1:-1]
    if (len(body) - len(body.rstrip("\\"))) % 2:
        return None  # the last mark is escaped
    try:
        value = json.loads(f'"{body}"', strict=False)
    except ValueError:
        value = unescape(body)
    return str(value)


def _bare(text: str) -> str:
    """A rewritten text without the blanks around it and the marks at its end."""
    text = text.strip().removesuffix("<|im_end|>").rstrip().removesuffix("</rewrite>").rstrip()
    return text.removesuffix("</edit>").rstrip()


DIALECT = ReScraper()
