"""What every dialect offers: how one system shows a chunk to a model and how it writes programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from burnish.program.lines import Chunk
from burnish.program.operations import Operation, Program
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


def settle(operations: Sequence[Operation], kept: bool, issues: Iterable[Issue]) -> Parsed:
    """The reading of a program: its operations, or the explicit decision to keep, or a failure."""
    found = tuple(issues)
    if operations and kept:
        message = "the program says to keep everything, and to change it; the changes count"
        found = (*found, Issue("contradiction", message))
    if operations or kept:
        return Parsed(tuple(operations), found)
    return Parsed(None, found or (Issue("empty", "there is no call in the program"),))


def cannot_say(dialect: str, operation: Operation) -> ValueError:
    return ValueError(f"{dialect} can not say {operation}")
