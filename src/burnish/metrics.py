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


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
