"""How well two programs, or two judgements, agree. Standard library only.

What is not defined (no positives, one class, no spread) is NaN, never a made-up number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any


@dataclass
class Counts:
    """Pooled counts of a yes-no decision: true positives, false positives, false negatives and true
    negatives, each weighted (by lines: 1, by words: the words of the line).

    The ProX paper (A.3) pools over all lines of all documents before it divides.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def add(self, predicted: bool, actual: bool, weight: int = 1) -> None:
        if predicted:
            if actual:
                self.tp += weight
            else:
                self.fp += weight
        elif actual:
            self.fn += weight
        else:
            self.tn += weight

    @property
    def precision(self) -> float:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN)."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond what the two sides' own rates would give by chance."""
        total = self.tp + self.fp + self.fn + self.tn
        agreed = _ratio(self.tp + self.tn, total)
        yes = _ratio(self.tp + self.fp, total) * _ratio(self.tp + self.fn, total)
        no = _ratio(self.fn + self.tn, total) * _ratio(self.fp + self.tn, total)
        return _ratio(agreed - yes - no, 1 - yes - no)

    def to_json(self) -> dict[str, Any]:
        """Counts and ratios; null where a ratio is not defined."""
        ratios = {name: getattr(self, name) for name in ("precision", "recall", "f1", "kappa")}
        defined = {name: None if math.isnan(x) else x for name, x in ratios.items()}
        return {"tp": self.tp, "fp": self.fp, "fn": self.fn, "tn": self.tn, **defined}


def roc_auc(scores: Sequence[float], actual: Sequence[bool]) -> float:
    """The probability that a positive scores higher than a negative; ties count a half.

    NaN without both classes. Raises ValueError for sequences of different length.

    >>> roc_auc([0.1, 0.4, 0.4, 0.8], [False, False, True, True])
    0.875
    """
    ranked = sorted(zip(scores, actual, strict=True))
    positives = sum(actual)
    wins = 0.0
    negatives_below = 0
    for _, tied in groupby(ranked, key=lambda pair: pair[0]):
        classes = [positive for _, positive in tied]
        hits = sum(classes)
        misses = len(classes) - hits
        wins += hits * (negatives_below + misses / 2)
        negatives_below += misses
    return _ratio(wins, positives * negatives_below)


def pearson(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's correlation r; NaN for fewer than two pairs or where one side does not vary.

    Raises ValueError for sequences of different length.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values beside {len(second)}")
    if len(first) < 2:
        return math.nan
    mean_first, mean_second = math.fsum(first) / len(first), math.fsum(second) / len(second)
    a = [x - mean_first for x in first]
    b = [y - mean_second for y in second]
    spread = math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))
    return _ratio(math.fsum(x * y for x, y in zip(a, b, strict=True)), spread)


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of about one probability: their mean, the share of them that came true, and how
    many there are."""

    probability: float
    positives: float
    count: int


def reliability(
    probabilities: Sequence[float], actual: Sequence[bool], bins: int = 15
) -> list[Bin]:
    """The predictions in `bins` bins of equal width, empty bins left out, in ascending order.

    Bin b of B holds the probabilities from b / B (inclusive) to (b + 1) / B (exclusive; the last
    bin holds 1 too). Raises ValueError for sequences of different length, a probability outside 0
    to 1 (NaN included) and fewer than one bin.
    """
    if bins < 1:
        raise ValueError(f"at least one bin, not {bins}")
    found: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for probability, positive in zip(probabilities, actual, strict=True):
        if not 0 <= probability <= 1:
            raise ValueError(f"a probability is a number from 0 to 1, not {probability}")
        found[min(int(probability * bins), bins - 1)].append((probability, positive))
    return [
        Bin(
            math.fsum(probability for probability, _ in members) / len(members),
            sum(bool(positive) for _, positive in members) / len(members),
            len(members),
        )
        for members in found
        if members
    ]


def expected_calibration_error(
    probabilities: Sequence[float], actual: Sequence[bool], bins: int = 15
) -> float:
    """How far probabilities are from what happens: the mean over `reliability`'s bins, weighted by
    their counts, of |mean probability - share of positives|. 0 is best.

    NaN without predictions; raises as `reliability` does. With few predictions it is above 0 by
    chance alone: with 100 in 15 bins by about 0.08.

    >>> expected_calibration_error([0.0, 0.5, 0.5, 1.0], [False, False, True, True])
    0.0
    """
    found = reliability(probabilities, actual, bins)
    total = sum(part.count for part in found)
    off = math.fsum(part.count * abs(part.probability - part.positives) for part in found)
    return _ratio(off, total)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
