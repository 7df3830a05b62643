"""What writes programs, as everything else sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from burnish.program.lines import Chunk
from burnish.program.operations import Program
from burnish.schema import Issue


@dataclass(frozen=True, slots=True)
class Draft:
    """One refiner's answer for one chunk.

    A failure is never a program: `program` is then None and `issues` say why. `scores` may hold
    "edu" and "format" (0 to 5) and "keep" (probability that the document is worth keeping);
    `line_scores` the probability for each line of the chunk that it is noise.
    """

    program: Program | None
    issues: tuple[Issue, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    line_scores: Sequence[float] = ()


class Refiner(Protocol):
    """Writes a program for each chunk of a document.

    `name` identifies the refiner in records. The draft for a chunk depends on that chunk alone: not
    on the batch it came in, its neighbours or what was written before.
    """

    name: str

    def measure(self, lines: Sequence[str], first: int = 0) -> list[int]:
        """The size of each line of a document, its LF included, in the refiner's own units (tokens,
        characters, lines); `first` is the number that the first one is shown with."""
        ...

    def write(self, chunks: Sequence[Chunk]) -> list[Draft]:
        """One draft for each chunk, in order."""
        ...
