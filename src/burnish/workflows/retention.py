"""How much text a refiner keeps, told from a sample; and the threshold that keeps a wanted share.

Shares are of UTF-8 bytes: of the texts that stay, after both stages, over all texts as they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.errors import InputError, UsageError
from burnish.io.sample import Drawn, Sample
from burnish.runner.base import utf8_length
from burnish.schema import Document, Record, Status

SAMPLE = 2_000
"""Documents that a threshold is chosen from, or an estimate made of."""
SAMPLE_OF_MODEL = 500
"""The same where a language model reads them."""
BOOTSTRAPS = 2_000
LEVEL = 0.95
"""Of the intervals."""
Z = 1.959964
"""The normal deviate of `LEVEL`."""
FEW = 50

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its interval, both ends included."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def to_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


class Bootstrap:
    """Ratios of totals with percentile intervals: parts of a sample (see `Drawn.part`) are drawn
    with replacement, so that documents that were found together stay together. Of a sample from an
    input that was read whole the interval shrinks by the root of the share that was not drawn.
    """

    def __init__(self, sample: Sample) -> None:
        parts = np.array([each.part for each in sample.drawn], np.int64)
        self._weights = np.array([each.weight for each in sample.drawn], np.float64)
        _, self._owners = np.unique(parts, return_inverse=True)
        count = int(self._owners.max()) + 1 if len(parts) else 0
        generator = np.random.default_rng(0)
        chances = np.full(count, 1 / max(count, 1))
        self._times = generator.multinomial(count, chances, BOOTSTRAPS).astype(np.float64)
        rest = 1 - len(parts) / max(sample.documents, 1) if sample.whole else 1.0
        self._shrink = sqrt(max(rest, 0.0))

    def ratio(self, above: Sequence[float], below: Sequence[float]) -> Estimate:
        """The total of `above` over that of `below`, of one value for each drawn document; 0 where
        there is nothing below."""
        tops = np.asarray(above, np.float64) * self._weights
        bottoms = np.asarray(below, np.float64) * self._weights
        total = float(bottoms.sum())
        if not total:
            return Estimate(0.0, 0.0, 0.0)
        value = float(tops.sum()) / total
        low, high = self._percentiles(tops, bottoms, value)
        # What is rare (a few large documents that stay, or a few that go) was often not drawn at
        # all, and a bootstrap can not know of it.
        is_share = bool((tops <= bottoms).all())
        if self._shrink and is_share and value > 0.5:
            gone = _gamma_interval((bottoms - tops) / total)
            low, high = min(low, 1 - gone[1]), max(high, 1 - gone[0])
        elif self._shrink:
            rare = _gamma_interval(tops / total)
            low, high = min(low, rare[0]), max(high, rare[1])
        return Estimate(value, max(low, 0.0), min(high, 1.0) if is_share else high)

    def _percentiles(self, tops: Doubles, bottoms: Doubles, value: float) -> tuple[float, float]:
        upper, lower = (self._times @ self._by_part(weighted) for weighted in (tops, bottoms))
        drawn = np.divide(upper, lower, out=np.full(len(upper), value), where=lower > 0)
        bounds = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)).tolist()
        low, high = (value + (bound - value) * self._shrink for bound in bounds)
        return low, high

    def _by_part(self, weighted: Doubles) -> Doubles:
        return np.asarray(np.bincount(self._owners, weighted, self._times.shape[1]), np.float64)


def _gamma_interval(weights: Doubles) -> tuple[float, float]:
    """An interval for a sum of rare things of different weight (Fay and Feuer 1997), which widens
    the bootstrap's where fewer than `FEW` such things, about, make the sum; else the sum alone."""
    total, square = float(weights.sum()), float((weights**2).sum())
    largest = float(weights.max(initial=0.0))
    if total**2 >= FEW * square and total:
        return total, total
    low = square / (2 * total) * _chi_square(2 * total**2 / square, -Z) if total else 0.0
    if not largest:  # nothing was seen: a thing of the average size of a document may have been
        largest = 1 / len(weights)
    square, total = square + largest**2, total + largest
    return low, square / (2 * total) * _chi_square(2 * total**2 / square, Z)


def _chi_square(degrees: float, z: float) -> float:
    """The quantile of chi square at the normal deviate `z` (Wilson and Hilferty 1931)."""
    part = 2 / (9 * degrees)
    return degrees * max(1 - part + z * sqrt(part), 0.0) ** 3


@dataclass(frozen=True, slots=True)
class Judged:
    """One drawn document after a run that dropped nothing for its score: its score, the bytes that
    it came with, and the bytes that would stay of it."""

    keep: float | None
    before: int
    after: int

    @classmethod
    def of(cls, record: Record) -> Judged:
        keep = next((t.scores["keep"] for t in record.traces if "keep" in t.scores), None)
        after = 0 if record.status is Status.DROPPED else utf8_length(record.text)
        return cls(keep, utf8_length(record.document.text), after)


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold on the keep probability, and the share of bytes that it kept of the sample.

    `documents` is the size of the sample; 0 where an earlier run had settled the threshold, of
    which `kept` is not known.
    """

    wanted: float
    threshold: float
    documents: int
    kept: Estimate | None = None


def choose(sample: Sample, records: Sequence[Record], wanted: float) -> Choice:
    """The threshold with which a share of bytes nearest to `wanted` stays.

    `records` are those of the drawn documents, by a pipeline that keeps every score. A document
    without a score (its stage failed) stays whatever the threshold is. Raises UsageError where no
    document has a score, and where the share can not be had.
    """
    found = [Judged.of(record) for record in records]
    if not found:
        raise InputError("no row of the input is a document: there is nothing to choose from")
    if all(each.keep is None for each in found):
        raise UsageError(
            "the refiner gives no keep probability to choose a threshold on; do not ask for a share"
        )
    bootstrap = Bootstrap(sample)
    before = [each.before for each in found]
    most = bootstrap.ratio([each.after for each in found], before)
    counted = f"{len(found):,} document{'s' * (len(found) > 1)} of the input"
    if not most.value:
        raise UsageError(
            f"no threshold keeps {wanted:.1%} of the text: of {counted} nothing is left, even with "
            "none dropped for its score; take --stages document"
        )
    if wanted > most.high:
        raise UsageError(
            f"{wanted:.1%} of the text can not be kept: with no document dropped for its score "
            f"{floor(1000 * most.value) / 10:.1f}% is left (95 % interval {most.low:.1%} to "
            f"{most.high:.1%}, {counted}); take less, or --stages document"
        )
    threshold = _nearest(sample.drawn, found, wanted)
    after = [_stays(each, threshold) for each in found]
    return Choice(wanted, threshold, len(found), bootstrap.ratio(after, before))


def _stays(document: Judged, threshold: float) -> int:
    return 0 if document.keep is not None and document.keep < threshold else document.after


def _nearest(drawn: Sequence[Drawn], found: Sequence[Judged], wanted: float) -> float:
    """Of the scores of the sample, the one that cuts nearest to the wanted share but leaves
    something; of two that are equally near the lower."""
    weights = [each.weight for each in drawn]
    total = sum(w * each.before for w, each in zip(weights, found, strict=True))
    pairs = list(zip(weights, found, strict=True))
    left = sum(w * each.after for w, each in pairs if each.keep is None)
    scored = sorted(
        ((each.keep, w * each.after) for w, each in pairs if each.keep is not None), reverse=True
    )
    best, threshold = abs(left / total - wanted) if left else inf, 1.0
    for place, (score, kept) in enumerate(scored):
        left += kept
        if place + 1 < len(scored) and scored[place + 1][0] == score:
            continue
        off = abs(left / total - wanted)
        if left and off <= best:
            best, threshold = off, score
    return threshold


def check_share(wanted: float, threshold: float | None, stages: Sequence[str]) -> None:
    """Raises UsageError for a share that is none, for one beside a threshold, and for one where
    nothing drops documents for their scores."""
    if not (isinstance(wanted, int | float) and 0 < wanted <= 1):
        raise UsageError(f"the share of tokens to keep is above 0 and at most 1, not {wanted!r}")
    if threshold is not None:
        raise UsageError("a share of tokens to keep chooses the threshold; give one or the other")
    if "document" not in stages:
        raise UsageError(
            "a share of tokens is kept by dropping documents, which is done at the stage "
            "'document': add it to the stages, or ask for no share"
        )


def drawn_records(
    sample: Sample, run: Callable[[Iterable[Document]], Iterator[Record]]
) -> list[Record]:
    """The records of the drawn documents, in their order."""
    return list(run(each.document for each in sample.drawn))


def settled(settings: dict[str, Any] | None, wanted: float) -> Choice | None:
    """What an earlier session of the same run settled, from its settings; None where it did not."""
    if settings is None or settings.get("keep_tokens") != wanted:
        return None
    for stage in settings.get("stages", ()):
        if stage.get("name") == "document" and stage.get("keep_threshold") is not None:
            return Choice(wanted, stage["keep_threshold"], 0)
    return None
