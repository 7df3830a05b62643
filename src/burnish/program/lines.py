"""Text as numbered lines: the only place where a document is split.

Lines end at LF (U+000A) and at nothing else. Carriage returns, form feeds, NEL and U+2028 are
characters inside a line, so they can never shift a number between the prompt and the execution.
Numbers are 0-based through the whole document; `"\\n".join(lines)` is the document again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


def split_lines(text: str) -> list[str]:
    """The lines of a text without their LF; n line feeds make n + 1 lines, the empty text one."""
    return text.split("\n")


def line_starts(lines: Sequence[str]) -> list[int]:
    """For each line the 0-based character at which it begins, and one entry more: the end of the
    text plus one (where a further line would begin)."""
    return list(accumulate(map((1).__add__, map(len, lines)), initial=0))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A window of consecutive lines of one document.

    Attributes:
        lines: the window's lines, LF not included.
        first: number of the window's first line in the document (0-based).
        owned: first and last document line (inclusive) that this window decides about; lines
            outside of it are context, owned by a neighbour.
    """

    lines: Sequence[str]
    first: int
    owned: tuple[int, int]

    @property
    def last(self) -> int:
        """Number of the window's last line in the document (inclusive)."""
        return self.first + len(self.lines) - 1

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @classmethod
    def whole(cls, text: str) -> Chunk:
        """The document as one window that owns all its lines."""
        lines = split_lines(text)
        return cls(lines, 0, (0, len(lines) - 1))
