"""Published heuristics as programs: the baselines that a refiner has to beat."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.program.limits import Limits
from burnish.program.lines import Chunk
from burnish.program.operations import removal
from burnish.program.words import count_words
from burnish.refiners.base import Draft
from burnish.spec import StageSpec

_ENDS = (".", "!", "?", '"', "”", "。", "！", "？", "।", "؟")  # noqa: RUF001


class C4Lines:
    """C4's line rule (arXiv 1910.10683, section 2.2): a line stays if it ends with a terminal
    punctuation mark, has at least `min_words` words and does not mention javascript.

    The marks of other scripts are ours; the rule was written for English.
    """

    name = "c4-lines"
    spec = StageSpec(
        name="chunk", dialect="line-labels", limits=Limits(on_removal="drop", max_removed=1.0)
    )

    def __init__(self, min_words: int = 3) -> None:
        self.min_words = min_words

    def measure(self, lines: Sequence[str], first: int = 0) -> list[int]:
        return [len(line) + 1 for line in lines]

    def write(self, chunks: Sequence[Chunk]) -> list[Draft]:
        return [
            Draft(removal(n for n, line in enumerate(c.lines, c.first) if not self._stays(line)))
            for c in chunks
        ]

    def _stays(self, line: str) -> bool:
        line = line.strip()
        return (
            line.endswith(_ENDS)
            and count_words(line) >= self.min_words
            and "javascript" not in line.lower()
        )
