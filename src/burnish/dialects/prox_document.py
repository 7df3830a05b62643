"""ProX, document stage: keep the document or drop it (arXiv 2409.17115, table 1)."""

from __future__ import annotations

from burnish.dialects.base import Parsed, Prompt, cannot_say, settle
from burnish.program.lines import Chunk
from burnish.program.operations import DropDocument, Operation, Program
from burnish.program.parser import Function, functions, read_calls
from burnish.schema import Issue

SYSTEM = "You are a helpful, respectful and honest assistant."
_KEEPING = ("keep_doc", "untouch_doc")
_FUNCTIONS = functions(Function("drop_doc"), *map(Function, _KEEPING))


class ProxDocument:
    """`drop_doc()` or `keep_doc()`; the released models also write `untouch_doc()`."""

    name = "prox-document"
    operations: tuple[type[Operation], ...] = (DropDocument,)
    source = "arXiv 2409.17115, section 2.2 and table 1"

    def render(self, chunk: Chunk) -> Prompt:
        """The bare text (cutting it to the model's 2,000 tokens is the refiner's part)."""
        return Prompt(SYSTEM, chunk.text)

    def parse(self, text: str, chunk: Chunk) -> Parsed:
        calls, issues = read_calls(text, _FUNCTIONS)
        names = {call.name for call in calls}
        dropping = "drop_doc" in names
        keeping = not names.isdisjoint(_KEEPING)
        if dropping and keeping:
            message = "the program says both to keep and to drop the document"
            return Parsed(None, (*issues, Issue("contradiction", message)))
        return settle([DropDocument()] if dropping else [], keeping, issues)

    def format(self, program: Program, chunk: Chunk) -> str:
        for operation in program:
            if not isinstance(operation, DropDocument):
                raise cannot_say(self.name, operation)
        return "drop_doc()" if program else "keep_doc()"

    def grammar(self, chunk: Chunk) -> str:
        """All three calls: a model that learned one word for keeping must not be left with the word
        for dropping."""
        return 'root ::= "drop_doc()" | "keep_doc()" | "untouch_doc()"\n'


DIALECT = ProxDocument()
