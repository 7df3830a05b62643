"""Metrics against values worked by hand."""

from __future__ import annotations

import math

import pytest

from burnish.metrics import Counts, pearson, roc_auc


def counted(predicted: str, actual: str, weights: list[int] | None = None) -> Counts:
    counts = Counts()
    weights = weights or [1] * len(actual)
    for p, a, weight in zip(predicted, actual, weights, strict=True):
        counts.add(p == "1", a == "1", weight)
    return counts


def test_precision_recall_and_f1_are_pooled() -> None:
    counts = counted("110100", "100110")
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (2, 1, 1, 2)
    assert counts.precision == counts.recall == counts.f1 == pytest.approx(2 / 3)


def test_f1_is_the_harmonic_mean() -> None:
    counts = Counts(tp=6, fp=2, fn=6)
    assert (counts.precision, counts.recall) == (0.75, 0.5)
    assert counts.f1 == pytest.approx(2 * 0.75 * 0.5 / 1.25)


def test_words_weigh_lines() -> None:
    counts = counted("1101", "1011", [10, 1, 4, 0])
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (10, 1, 4, 0)
    assert counts.f1 == pytest.approx(20 / 25)


def test_kappa_takes_chance_away() -> None:
    # agreed 0.7; by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    assert Counts(tp=20, fp=5, fn=10, tn=15).kappa == pytest.approx(0.4)
    assert Counts(tp=1, tn=1).kappa == 1
    assert Counts(tp=25, fp=25, fn=25, tn=25).kappa == 0


def test_what_is_not_defined_is_nan() -> None:
    nothing = Counts()
    for value in (nothing.precision, nothing.recall, nothing.f1, nothing.kappa):
        assert math.isnan(value)
    assert math.isnan(Counts(tn=5).f1)
    assert math.isnan(Counts(tp=5).kappa)  # both sides always say yes
    assert Counts(tn=5).to_json()["f1"] is None
    assert Counts(fp=5).f1 == 0


def test_roc_auc_counts_ties_by_half() -> None:
    assert roc_auc([1, 2, 3, 4], [False, False, True, True]) == 1
    assert roc_auc([4, 3, 2, 1], [False, False, True, True]) == 0
    assert roc_auc([1, 1, 1, 1], [False, True, False, True]) == 0.5
    assert roc_auc([0.1, 0.4, 0.4, 0.8], [False, True, False, True]) == 0.875
    assert math.isnan(roc_auc([1, 2], [True, True]))
    assert math.isnan(roc_auc([], []))


def test_pearson() -> None:
    assert pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert pearson([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # deviations (-1, 0, 1) and (-4/3, 5/3, -1/3): 1 / sqrt(2 * 42 / 9)
    assert pearson([1, 2, 3], [1, 4, 2]) == pytest.approx(1 / math.sqrt(84 / 9))
    assert math.isnan(pearson([1, 1], [1, 2]))
    assert math.isnan(pearson([1], [1]))


def test_sequences_of_different_length_are_an_error() -> None:
    with pytest.raises(ValueError):
        roc_auc([1], [True, False])
    with pytest.raises(ValueError):
        pearson([1, 2], [1])
