"""Two refiners on the same pages or documents: how far apart they are, and whether by chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.evaluation.summary import (
    DRAWS,
    FEWEST,
    Doubles,
    Estimate,
    document_draws,
    document_metrics,
    interval,
    page_draws,
    page_metrics,
)

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better the first of two refiners is by one metric, on the same pages or documents.

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
    """The refiners of two tables (`page_table`) compared by each metric; rows are the same pages in
    both. Raises ValueError for tables of different shape."""
    return _compare(first, second, page_metrics, page_draws, seed)


def compare_documents(first: Doubles, second: Doubles, *, seed: int = 0) -> dict[str, Difference]:
    """The same for documents (`document_table`). A document for which one of the two has no value,
    because it failed or does not tell it, is left out of that metric for both."""
    known = ~(np.isnan(first) | np.isnan(second)) if first.shape == second.shape else True
    mine, its = np.where(known, first, np.nan), np.where(known, second, np.nan)
    return _compare(mine, its, document_metrics, document_draws, seed)


def _compare(
    first: Doubles,
    second: Doubles,
    metrics: Callable[[Doubles, Doubles], dict[str, Doubles]],
    draws: Callable[[int, int], Doubles],
    seed: int,
) -> dict[str, Difference]:
    if first.shape != second.shape:
        raise ValueError(f"{first.shape} beside {second.shape}")
    count = len(first)
    once, weights = np.ones((1, count)), draws(count, seed)
    swapped = np.random.default_rng(seed + 1).integers(2, size=weights.shape).astype(np.float64)
    both = np.concatenate((first, second))
    mine, its = metrics(once, first), metrics(once, second)
    drawn_mine, drawn_its = metrics(weights, first), metrics(weights, second)
    one = metrics(np.hstack((1 - swapped, swapped)), both)
    other = metrics(np.hstack((swapped, 1 - swapped)), both)
    found = {}
    for name in mine:
        difference = float(mine[name][0] - its[name][0])
        drawn = drawn_mine[name] - drawn_its[name] if count >= FEWEST else None
        found[name] = Difference(
            float(mine[name][0]),
            float(its[name][0]),
            Estimate(difference, *interval(drawn)),
            _p(difference, np.abs(one[name] - other[name])),
        )
    return found


def _p(difference: float, by_chance: Doubles) -> float:
    """The share of the swaps that differ as much, of those where the metric is defined for both;
    NaN where it is not for most, or not as the refiners are."""
    defined = by_chance[~np.isnan(by_chance)]
    if math.isnan(difference) or 2 * len(defined) < DRAWS:
        return math.nan
    # The order given is one of the swaps, so p is never 0.
    extreme = int((defined >= abs(difference) - _ROUNDING).sum()) + 1
    return extreme / (len(defined) + 1)
