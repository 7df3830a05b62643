"""A refiner that says what it is told: for tests and for trying a pipeline without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from burnish.dialects import get_dialect
from burnish.program.lines import Chunk
from burnish.refiners.base import Draft


class Scripted:
    """Answers each chunk with the program text that `answer` gives for it.

    Sizes are measured in characters. An exception of `answer` passes through, as a broken model's
    would.
    """

    name = "scripted"

    def __init__(self, answer: Callable[[Chunk], str], dialect: str = "prox-chunk") -> None:
        self._answer = answer
        self._dialect = get_dialect(dialect)

    def measure(self, lines: Sequence[str], first: int = 0) -> list[int]:
        return [len(line) + 1 for line in lines]

    def write(self, chunks: Sequence[Chunk]) -> list[Draft]:
        parsed = [self._dialect.parse(self._answer(chunk), chunk) for chunk in chunks]
        return [Draft(found.program, found.issues) for found in parsed]
