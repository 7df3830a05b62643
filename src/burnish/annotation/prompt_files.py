"""Prompt files: read, checked and filled. `recipes/annotation/README.md` describes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from burnish.errors import InputError
from burnish.program.lines import Chunk, split_lines

_MARK = re.compile(r"=== *(?:(separate|joint|answer)|(example)(?: +(\d{1,9}))?)\s*")
_VERSION = re.compile(r"version: *([1-9]\d{0,8})\s*")
_PLACE = re.compile(r"\{([a-z]+)\}")


@dataclass(frozen=True, slots=True)
class Example:
    """A sample text and the answer that is right for it.

    `first` is the number that its first line gets (0-based), `line` where it stands in the file
    (1-based).
    """

    text: str
    answer: str
    first: int
    line: int

    @property
    def chunk(self) -> Chunk:
        lines = split_lines(self.text)
        return Chunk(lines, self.first, (self.first, self.first + len(lines) - 1))


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A prompt file, read: its text, the named parts behind it, and the examples."""

    path: Path
    name: str
    version: int
    text: str
    parts: dict[str, str]
    examples: tuple[Example, ...]

    def fill(self, **values: str) -> str:
        """The text with the values in their places. Raises InputError where a place is missing."""
        return self._filled(self.text, "the text", values)

    def part(self, part: str, **values: str) -> str:
        """A named part, filled like the text. Raises InputError if there is none."""
        if part not in self.parts:
            raise InputError(f"{self.path}: there is no part === {part}")
        return self._filled(self.parts[part], f"the part {part}", values)

    def fault(self, line: int, message: str) -> NoReturn:
        raise InputError(f"{self.path}, line {line}: {message}")

    def _filled(self, text: str, where: str, values: dict[str, str]) -> str:
        # In one pass: braces inside a value are LaTeX or code, and no places.
        if missing := values.keys() - set(_PLACE.findall(text)):
            place = "{" + min(missing) + "}"
            raise InputError(f"{self.path}: {where} has no place {place}")
        return _PLACE.sub(lambda place: values.get(place[1], place[0]), text)


def read_prompt(path: Path, name: str) -> PromptFile:
    """Reads a prompt file. Raises InputError, naming file and line, where it is malformed."""
    try:
        lines = split_lines(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the prompt {path} can not be read: {error}") from None
    return _PromptReader(path, name, lines).read()


@dataclass(slots=True)
class _Block:
    """The lines below a mark: its name, its number, and the 1-based line where it stands."""

    name: str
    number: int
    line: int
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class _PromptReader:
    """One pass over a prompt file."""

    def __init__(self, path: Path, name: str, lines: Sequence[str]) -> None:
        self.path = path
        self.name = name
        self.lines = lines

    def read(self) -> PromptFile:
        version = _VERSION.fullmatch(self.lines[0])
        if version is None:
            self._fault(1, f"a prompt begins with 'version: 1' or higher, not {self._quote(1)}")
        head, *blocks = self._blocks()
        if not head.text.strip():
            self._fault(2, "there is no text below the version")
        parts, examples = self._sorted(blocks)
        text = head.text.strip("\n")
        return PromptFile(self.path, self.name, int(version[1]), text, parts, examples)

    def _blocks(self) -> list[_Block]:
        blocks = [_Block("text", 0, 2, [])]
        for number, line in enumerate(self.lines[1:], 2):
            if not line.startswith("==="):
                blocks[-1].lines.append(line)
                continue
            mark = _MARK.fullmatch(line)
            if mark is None:
                known = "=== separate, joint, example, example NUMBER, answer"
                self._fault(number, f"unknown mark {self._quote(number)}; known: {known}")
            blocks.append(_Block(mark[1] or mark[2], int(mark[3] or 0), number, []))
        return blocks

    def _sorted(self, blocks: Sequence[_Block]) -> tuple[dict[str, str], tuple[Example, ...]]:
        """The named parts, and the examples with the answer that follows each."""
        parts: dict[str, str] = {}
        examples: list[Example] = []
        asked: _Block | None = None
        for block in blocks:
            if (block.name == "answer") != (asked is not None):
                wanted = "an answer" if asked else "an example before the answer"
                self._fault(block.line, f"expected {wanted} here")
            if asked is not None:
                answer = block.text.strip("\n")
                examples.append(Example(asked.text, answer, asked.number, asked.line))
                asked = None
            elif not block.text.strip():
                self._fault(block.line, f"there is nothing below {self._quote(block.line)}")
            elif block.name == "example":
                asked = block
            elif block.name in parts:
                self._fault(block.line, f"there are two parts {block.name}")
            else:
                parts[block.name] = block.text.strip("\n")
        if asked is not None:
            self._fault(asked.line, "the example has no answer")
        return parts, tuple(examples)

    def _quote(self, line: int) -> str:
        return repr(self.lines[line - 1][:60])

    def _fault(self, line: int, message: str) -> NoReturn:
        raise InputError(f"{self.path}, line {line}: {message}")
