"""Judgements pooled into the numbers that people compare, with intervals.

Intervals are percentile bootstraps over pages or documents, which are drawn with replacement: lines
of one page stand or fall together, so drawing lines would make the intervals far too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.evaluation.judgement import DocumentJudgement, PageJudgement
from burnish.metrics import Counts
from burnish.schema import Status

Doubles = NDArray[np.float64]

DRAWS = 1_000
"""How often a bootstrap or a permutation draws."""
COVERED = 0.95
"""Of the draws, how many an interval holds."""
FEWEST = 5
"""Of fewer pages or documents no interval is told."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval; NaN where it is not defined."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def to_json(self) -> dict[str, float | None]:
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if math.isnan(x) else round(x, 6) for name, x in numbers.items()}


def _f1(name: str) -> Callable[[Mapping[str, Doubles]], Doubles]:
    def f1(sums: Mapping[str, Doubles]) -> Doubles:
        tp, fp, fn = (sums[f"{name}.{part}"] for part in ("tp", "fp", "fn"))
        return _divide(2 * tp, 2 * tp + fp + fn)

    return f1


def _share(part: str, whole: str) -> Callable[[Mapping[str, Doubles]], Doubles]:
    return lambda sums: _divide(sums[part], sums[whole])


def _divide(part: Doubles, whole: Doubles) -> Doubles:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan))


PAGE_METRICS: dict[str, Callable[[Mapping[str, Doubles]], Doubles]] = {
    "removed_lines_f1": _f1("removed"),
    "kept_words_f1": _f1("kept_words"),
    "removed_characters_f1": _f1("characters"),
    "removed_spans_f1": _f1("spans"),
    "content_words_lost": _share("lost_words", "content_words"),
    "noise_words_left": _share("left_words", "noise_words"),
}
"""Pooled over all pages before dividing (ProX, A.3); shares are of words."""

_COUNTS = ("removed", "kept_words", "characters", "spans")
_WORDS = ("content_words", "lost_words", "noise_words", "left_words")
_PARTS = ("tp", "fp", "fn", "tn")
COLUMNS = (*(f"{name}.{part}" for name in _COUNTS for part in _PARTS), *_WORDS)


def page_table(pages: Sequence[PageJudgement]) -> Doubles:
    """What is summed over pages, `[pages, columns]`, the columns being `COLUMNS`."""
    rows = [
        [
            *(getattr(getattr(page, name), part) for name in _COUNTS for part in _PARTS),
            *(getattr(page, name) for name in _WORDS),
        ]
        for page in pages
    ]
    return np.array(rows, np.float64).reshape(len(rows), len(COLUMNS))


def page_metrics(weights: Doubles, numbers: Doubles) -> dict[str, Doubles]:
    """Each metric of the table's pages together, for each row of weights, `[draws, pages]`."""
    columns = dict(zip(COLUMNS, (weights @ numbers).T, strict=True))
    return {name: metric(columns) for name, metric in PAGE_METRICS.items()}


def page_summary(pages: Sequence[PageJudgement], *, seed: int = 0) -> dict[str, Any]:
    """Counts of pages by what became of them, pooled counts, and each metric with its interval."""
    numbers = page_table(pages)
    pooled = {
        name: Counts(*(sum(getattr(getattr(p, name), part) for p in pages) for part in _PARTS))
        for name in _COUNTS
    }
    return {
        "pages": len(pages),
        "dropped": _with_status(pages, Status.DROPPED),
        "failed": _with_status(pages, Status.FAILED),
        "refused": _with_status(pages, Status.REFUSED),
        "removed_lines": pooled["removed"].to_json(),
        "kept_words": pooled["kept_words"].to_json(),
        "removed_characters": pooled["characters"].to_json(),
        "removed_spans": pooled["spans"].to_json(),
        "words": {name: int(sum(getattr(p, name) for p in pages)) for name in _WORDS},
        "metrics": {name: e.to_json() for name, e in page_estimates(numbers, seed).items()},
    }


def page_estimates(numbers: Doubles, seed: int = 0) -> dict[str, Estimate]:
    """Each metric of the table's pages together, with its interval."""
    count = len(numbers)
    values = page_metrics(np.ones((1, count)), numbers)
    drawn = page_metrics(page_draws(count, seed), numbers) if count >= FEWEST else {}
    return {
        name: Estimate(float(value[0]), *interval(drawn.get(name)))
        for name, value in values.items()
    }


def page_draws(count: int, seed: int) -> Doubles:
    """How often each of `count` pages is drawn, `[draws, count]`."""
    generator = np.random.default_rng(seed)
    even = np.full(count, 1 / count)
    return generator.multinomial(count, even, size=DRAWS).astype(np.float64)


def interval(values: Doubles | None) -> tuple[float, float]:
    """The middle part of the defined values; NaN where most are not."""
    if values is None:
        return math.nan, math.nan
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < len(values):
        return math.nan, math.nan
    edges = [(1 - COVERED) / 2, (1 + COVERED) / 2]
    low, high = np.quantile(defined, edges)
    return float(low), float(high)


def _with_status(found: Sequence[PageJudgement | DocumentJudgement], status: Status) -> int:
    return sum(one.status is status for one in found)


# ---------------------------------------------------------------------------------- documents


_ROUNDING = 1e-12  # of a sum of squares; a spread below is none


def _decided_f1(weights: Doubles, kept: Doubles, gold: Doubles) -> Doubles:
    return _divide(2 * (weights @ (kept * gold)), weights @ (kept + gold))


def _auc(weights: Doubles, scores: Doubles, gold: Doubles) -> Doubles:
    """The probability that a positive scores higher than a negative; ties count a half (as
    `burnish.metrics.roc_auc`, which weighs all alike)."""
    order = np.argsort(scores)
    begins = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    positive = np.add.reduceat(weights[:, order] * gold[order], begins, axis=1)
    negative = np.add.reduceat(weights[:, order] * (1 - gold[order]), begins, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    wins = (positive * (below + negative / 2)).sum(axis=1)
    return _divide(wins, positive.sum(axis=1) * negative.sum(axis=1))


def _r(weights: Doubles, scores: Doubles, gold: Doubles) -> Doubles:
    """Pearson's r (as `burnish.metrics.pearson`, which weighs all alike)."""
    x, y = scores - scores.mean(), gold - gold.mean()
    total, sum_x, sum_y = weights.sum(axis=1), weights @ x, weights @ y
    xx, yy = weights @ (x * x), weights @ (y * y)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_x, of_y = xx - sum_x * sum_x / total, yy - sum_y * sum_y / total
        both = weights @ (x * y) - sum_x * sum_y / total
        varies = (of_x > _ROUNDING * xx) & (of_y > _ROUNDING * yy)
        r = np.clip(both / np.sqrt(of_x * of_y), -1, 1)
    return np.asarray(np.where(varies, r, np.nan))


DOCUMENT_METRICS: dict[str, tuple[str, Callable[[Doubles, Doubles, Doubles], Doubles]]] = {
    "keep_f1": ("kept", _decided_f1),
    "keep_roc_auc": ("keep", _auc),
    "edu_pearson_r": ("edu", _r),
    "format_pearson_r": ("format", _r),
}
"""Metric -> what it is of, and how it is computed from weights, `[draws, documents]`, the refiner's
values and the gold's."""
_SIDES = ("kept", "keep", "edu", "format")


def document_table(documents: Sequence[DocumentJudgement]) -> Doubles:
    """The refiner's value and the gold's for each of kept, keep, edu and format, `[documents, 8]`;
    both NaN where one is missing."""
    rows = []
    for document in documents:
        pairs = {"kept": document.kept, **document.pairs}
        rows.append([x for side in _SIDES for x in pairs.get(side) or (math.nan, math.nan)])
    return np.array(rows, np.float64).reshape(len(rows), 2 * len(_SIDES))


def document_metrics(weights: Doubles, numbers: Doubles) -> dict[str, Doubles]:
    """Each metric of the table's documents, for each row of weights, `[draws, documents]`."""
    found = {}
    for name, (side, metric) in DOCUMENT_METRICS.items():
        column = 2 * _SIDES.index(side)
        known = ~np.isnan(numbers[:, column])
        mine, gold = numbers[known, column], numbers[known, column + 1]
        undefined = np.full(len(weights), np.nan)
        found[name] = metric(weights[:, known], mine, gold) if len(mine) else undefined
    return found


def document_summary(documents: Sequence[DocumentJudgement], *, seed: int = 0) -> dict[str, Any]:
    """Counts of documents, the decision's counts, and each metric with its interval."""
    found = document_estimates(document_table(documents), seed)
    values = {name: estimate.to_json()["value"] for name, estimate in found.items()}
    kept = Counts()
    for document in documents:
        if document.kept is not None:
            kept.add(*document.kept)
    return {
        "documents": len(documents),
        "failed": sum(document.failed for document in documents),
        "keep": kept.to_json(),
        **{name: values[name] for name in ("keep_roc_auc", "edu_pearson_r", "format_pearson_r")},
        "metrics": {name: estimate.to_json() for name, estimate in found.items()},
    }


def document_estimates(numbers: Doubles, seed: int = 0) -> dict[str, Estimate]:
    """Each metric of the table's documents together, with its interval."""
    count = len(numbers)
    values = document_metrics(np.ones((1, count)), numbers)
    drawn = document_metrics(document_draws(count, seed), numbers) if count >= FEWEST else {}
    return {
        name: Estimate(float(value[0]), *interval(drawn.get(name)))
        for name, value in values.items()
    }


def document_draws(count: int, seed: int) -> Doubles:
    """How often each of `count` documents is drawn, `[draws, count]`."""
    numbers = np.random.default_rng(seed).integers(count, size=(DRAWS, count))
    return np.stack([np.bincount(row, minlength=count) for row in numbers]).astype(np.float64)
