"""The tagger as two refiners: one decides about documents, one about lines.

Both read the same prediction, made once for a text: the stages of a pipeline see the same text one
after the other, so the last predictions are kept for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from burnish.dialects import get_dialect
from burnish.errors import RefinerError
from burnish.program.lines import Chunk
from burnish.program.operations import Program, RemoveLines, ReplaceText
from burnish.refiners.base import Draft
from burnish.refiners.document_head import WEIGHTS_FILE as HEAD_FILE
from burnish.refiners.line_ends import LineEnds
from burnish.refiners.tagger import Prediction, Tagger
from burnish.spec import CARD_FILE, RefinerCard, StageSpec

# At least the documents of one batch of a pipeline, unless some are very long.
_REMEMBERED = 64
_REMEMBERED_CHARACTERS = 1 << 21


class _Predictor:
    """A loaded tagger that remembers its last predictions.

    The texts remembered hold `_REMEMBERED_CHARACTERS` together, or are one longer text.
    """

    def __init__(self, folder: Path) -> None:
        self.tagger = Tagger.load(folder)
        self.remembered: dict[str, Prediction] = {}
        self._characters = 0
        self._lock = Lock()  # a pipeline with a language model has two threads

    def predict(self, text: str) -> Prediction:
        with self._lock:
            return self._predict(text)

    def _predict(self, text: str) -> Prediction:
        found = self.remembered.get(text)
        if found is None:
            found = self.tagger.predict(text)
            self._characters += len(text)
            while self.remembered and self._is_full():
                oldest = next(iter(self.remembered))
                self._characters -= len(oldest)
                del self.remembered[oldest]
            self.remembered[text] = found
        return found

    def _is_full(self) -> bool:
        return len(self.remembered) >= _REMEMBERED or self._characters > _REMEMBERED_CHARACTERS


@lru_cache(maxsize=4)
def _predictor(folder: Path) -> _Predictor:
    return _Predictor(folder)


class DocumentTagger:
    """Scores documents; the stage's threshold on the probability of keeping decides."""

    def __init__(self, folder: Path, card: RefinerCard) -> None:
        self.name = f"{card.name} {card.version}"
        self._predictor = _predictor(folder)
        self._calibration = card.calibration.get("keep")
        if self._predictor.tagger.head is None:
            raise RefinerError(f"{folder} can not score documents: there is no {HEAD_FILE}")

    def measure(self, lines: Sequence[str], first: int = 0) -> list[int]:
        """Characters."""
        return [len(line) + 1 for line in lines]

    def write(self, chunks: Sequence[Chunk]) -> list[Draft]:
        return [self._draft(chunk) for chunk in chunks]

    def _draft(self, chunk: Chunk) -> Draft:
        found = self._predictor.predict(chunk.text)
        keep = found.keep if self._calibration is None else self._calibration(found.keep)
        scores = {"edu": found.edu, "format": found.format, "keep": keep}
        return Draft((), scores={name: round(score, 4) for name, score in scores.items()})


class LineTagger:
    """Removes the lines whose probability of being noise reaches a threshold: that of its settings,
    else the probability at the card's threshold.

    Where the dialect of its stage can say so, it also takes phrases off the ends of lines that
    stay.
    """

    def __init__(self, folder: Path, card: RefinerCard, spec: StageSpec) -> None:
        self.name = f"{card.name} {card.version}"
        self._predictor = _predictor(folder)
        if "noise" not in card.thresholds:
            raise RefinerError(f"{folder / CARD_FILE}: thresholds.noise is missing")
        self._calibration = card.calibration.get("noise")
        own = self._probabilities(np.array([card.thresholds["noise"]]))[0]
        self._threshold = float(own) if spec.noise_threshold is None else spec.noise_threshold
        replaces = ReplaceText in get_dialect(spec.dialect).operations
        self._ends = LineEnds.load(folder) if replaces else None
        self._most_edits = spec.limits.max_edits

    def measure(self, lines: Sequence[str], first: int = 0) -> list[int]:
        """Characters."""
        return [len(line) + 1 for line in lines]

    def write(self, chunks: Sequence[Chunk]) -> list[Draft]:
        return [self._draft(chunk) for chunk in chunks]

    def _draft(self, chunk: Chunk) -> Draft:
        noise = self._probabilities(self._predictor.predict(chunk.text).noise)
        blank = np.fromiter(map(_is_blank, chunk.lines), bool, len(chunk.lines))
        gone = with_blank_lines(noise >= self._threshold, blank)
        program = _ranges(gone, chunk.first)
        if self._ends is not None:
            program += self._trimmed(chunk, (~(gone | blank)).nonzero()[0].tolist(), self._ends)
        return Draft(program, line_scores=noise.tolist())

    def _trimmed(self, chunk: Chunk, staying: Sequence[int], ends: LineEnds) -> Program:
        """What is taken off the lines that stay, which are counted from the chunk's first; no more
        than a program may replace, as a line is better left alone than the whole page refused."""
        lines, first = chunk.lines, chunk.first
        found = [
            ReplaceText(first + n, first + n, lines[n][start:end])
            for n in staying
            for start, end in ends.spans(lines[n])
            # a sentence that goes on in the next line was only wrapped here
            if start == 0 or not (n + 1 < len(lines) and lines[n + 1][:1].islower())
        ]
        return tuple(found[: self._most_edits])

    def _probabilities(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        """What the network's scores mean, where the card says it. The order stays, so cutting
        probabilities at the threshold's probability cuts scores at the threshold."""
        if self._calibration is None:
            return scores
        found: NDArray[np.floating] = np.interp(
            scores, self._calibration.scores, self._calibration.probabilities
        )
        return found


def _is_blank(line: str) -> bool:
    return not line or line.isspace()


def with_blank_lines(gone: NDArray[np.bool_], blank: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which lines go, once the blank lines are settled by the lines around them.

    `gone` and `blank` have one entry a line. Blank lines between removed lines (or a removed line
    and the text's edge) go with them. Where removed lines had blank lines on both sides, the ones
    behind go, so that the text is left with one gap and not two.
    """
    if not blank.any():
        return gone
    solid = np.flatnonzero(~blank)
    if not len(solid):
        return np.zeros(len(gone), bool)
    # For each line the nearest line that is not blank, at or before it and at or after it; the
    # text's edge counts as removed.
    places = np.arange(len(gone))
    padded = np.concatenate(([True], gone[solid], [True]))
    before = padded[np.searchsorted(solid, places, side="right")]
    after = padded[np.searchsorted(solid, places, side="left") + 1]
    settled = before & after
    # The first line of each removed block: was there a gap, or the text's edge, before it?
    begins = settled & ~np.concatenate(([False], settled[:-1]))
    gap_before = begins & np.concatenate(([True], blank[:-1]))
    had_gap = np.concatenate(([False], gap_before[begins]))
    trailing = blank & before & ~after & had_gap[np.cumsum(begins)]
    result: NDArray[np.bool_] = settled | trailing
    return result


def _ranges(gone: NDArray[np.bool_], first: int) -> Program:
    """The program that removes these lines; `first` numbers the first entry's line."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], gone, [False])).astype(np.int8)))
    pairs = (edges + first).reshape(-1, 2).tolist()
    return tuple(RemoveLines(begin, end - 1) for begin, end in pairs)
