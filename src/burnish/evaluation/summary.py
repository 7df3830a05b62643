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
from burnish.metrics import Counts, pearson, roc_auc
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


def table(pages: Sequence[PageJudgement]) -> Doubles:
    """What is summed over pages, `[pages, columns]`, the columns being `COLUMNS`."""
    rows = [
        [
            *(getattr(getattr(page, name), part) for name in _COUNTS for part in _PARTS),
            *(getattr(page, name) for name in _WORDS),
        ]
        for page in pages
    ]
    return np.array(rows, np.float64).reshape(len(rows), len(COLUMNS))


def page_metrics(sums: Doubles) -> dict[str, Doubles]:
    """Each metric of rows of sums, `[rows, columns]`, one value a row."""
    columns = dict(zip(COLUMNS, sums.T, strict=True))
    return {name: metric(columns) for name, metric in PAGE_METRICS.items()}


def page_summary(pages: Sequence[PageJudgement], *, seed: int = 0) -> dict[str, Any]:
    """Counts of pages by what became of them, pooled counts, and each metric with its interval."""
    numbers = table(pages)
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
    values = page_metrics(numbers.sum(axis=0, keepdims=True))
    drawn = page_metrics(_weights(len(numbers), seed) @ numbers) if len(numbers) >= FEWEST else {}
    return {
        name: Estimate(float(value[0]), *_interval(drawn.get(name)))
        for name, value in values.items()
    }


def _weights(count: int, seed: int) -> Doubles:
    """How often each of `count` is drawn, `[draws, count]`."""
    generator = np.random.default_rng(seed)
    even = np.full(count, 1 / count)
    return generator.multinomial(count, even, size=DRAWS).astype(np.float64)


def _interval(values: Doubles | None) -> tuple[float, float]:
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


def _keep_f1(documents: Sequence[DocumentJudgement]) -> float:
    return _kept(documents).f1


def _keep_auc(documents: Sequence[DocumentJudgement]) -> float:
    pairs = _pairs(documents, "keep")
    return roc_auc([score for score, _ in pairs], [bool(gold) for _, gold in pairs])


def _r(name: str) -> Callable[[Sequence[DocumentJudgement]], float]:
    def r(documents: Sequence[DocumentJudgement]) -> float:
        pairs = _pairs(documents, name)
        return pearson([score for score, _ in pairs], [gold for _, gold in pairs])

    return r


DOCUMENT_METRICS: dict[str, Callable[[Sequence[DocumentJudgement]], float]] = {
    "keep_f1": _keep_f1,
    "keep_roc_auc": _keep_auc,
    "edu_pearson_r": _r("edu"),
    "format_pearson_r": _r("format"),
}


def document_summary(documents: Sequence[DocumentJudgement], *, seed: int = 0) -> dict[str, Any]:
    """Counts of documents, the decision's counts, and each metric with its interval."""
    found = document_estimates(documents, seed)
    values = {name: estimate.to_json()["value"] for name, estimate in found.items()}
    return {
        "documents": len(documents),
        "failed": sum(document.failed for document in documents),
        "keep": _kept(documents).to_json(),
        **{name: values[name] for name in ("keep_roc_auc", "edu_pearson_r", "format_pearson_r")},
        "metrics": {name: estimate.to_json() for name, estimate in found.items()},
    }


def document_estimates(
    documents: Sequence[DocumentJudgement], seed: int = 0
) -> dict[str, Estimate]:
    """Each metric of the documents, with its interval."""
    draws: list[list[DocumentJudgement]] = []
    if len(documents) >= FEWEST:
        numbers = np.random.default_rng(seed).integers(len(documents), size=(DRAWS, len(documents)))
        draws = [[documents[n] for n in row] for row in numbers.tolist()]
    return {
        name: Estimate(
            metric(documents),
            *_interval(np.array([metric(drawn) for drawn in draws]) if draws else None),
        )
        for name, metric in DOCUMENT_METRICS.items()
    }


def _kept(documents: Sequence[DocumentJudgement]) -> Counts:
    found = Counts()
    for document in documents:
        if document.kept is not None:
            found.add(*document.kept)
    return found


def _pairs(documents: Sequence[DocumentJudgement], name: str) -> list[tuple[float, float]]:
    return [document.pairs[name] for document in documents if name in document.pairs]


# ---------------------------------------------------------------------------------- two refiners


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better the first of two refiners is by one metric, on the same pages.

    `difference` is the first's value minus the second's, with its paired bootstrap interval; `p`
    the share of random swaps of the two, page by page, that differ as much (a permutation test).
    """

    first: float
    second: float
    difference: Estimate
    p: float

    def to_json(self) -> dict[str, Any]:
        p = None if math.isnan(self.p) else self.p
        return {
            "first": Estimate(self.first).to_json()["value"],
            "second": Estimate(self.second).to_json()["value"],
            "difference": self.difference.to_json(),
            "p": p,
        }


def compare_pages(first: Doubles, second: Doubles, *, seed: int = 0) -> dict[str, Difference]:
    """The two tables' refiners compared by each metric; rows are the same pages in both.

    Raises ValueError for tables of different shape.
    """
    if first.shape != second.shape:
        raise ValueError(f"{first.shape} beside {second.shape}")
    ones = np.ones((1, len(first)))
    weights = _weights(len(first), seed)
    swapped = np.random.default_rng(seed + 1).integers(2, size=weights.shape).astype(np.float64)
    mine, its = page_metrics(ones @ first), page_metrics(ones @ second)
    drawn_mine, drawn_its = page_metrics(weights @ first), page_metrics(weights @ second)
    change = second - first
    one, other = (
        page_metrics(ones @ first + swapped @ change),
        page_metrics(ones @ second - swapped @ change),
    )
    found = {}
    for name in PAGE_METRICS:
        difference = float(mine[name][0] - its[name][0])
        by_chance = np.abs(one[name] - other[name])
        # The order given is one of the swaps, so p is never 0.
        extreme = int((by_chance >= abs(difference) - 1e-12).sum()) + 1
        p = math.nan if math.isnan(difference) else extreme / (DRAWS + 1)
        drawn = drawn_mine[name] - drawn_its[name] if len(first) >= FEWEST else None
        interval = _interval(drawn)
        found[name] = Difference(
            float(mine[name][0]), float(its[name][0]), Estimate(difference, *interval), p
        )
    return found
