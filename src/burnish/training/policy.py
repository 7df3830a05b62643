"""Where to cut: thresholds by kind of document and length of line, chosen on the dev files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from burnish.training.material import Worth
from burnish.training.network import Corpus, LineNet, batch_of, batches
from burnish.training.pages import KINDS


@dataclass(frozen=True, slots=True)
class Policy:
    """Where to cut: the logit of the best threshold, by kind of document and by length of line.

    A line is noise if its logit exceeds `short[k]` plus `long[k]` times a smooth step in the
    logarithm of its letters. Wrongly removed words cost most in long lines: these need more proof.
    """

    short: tuple[float, ...] = (0.0,) * len(KINDS)
    long: tuple[float, ...] = (0.0,) * len(KINDS)
    centre: float = 4.0
    steepness: float = 2.0

    def shift(self, kinds: NDArray[Any], weights: NDArray[np.float32]) -> NDArray[Any]:
        """The threshold of each line; `kinds` are probabilities, `[lines, KINDS]`."""
        step = 1 / (1 + np.exp(-self.steepness * (np.log1p(weights) - self.centre)))
        shift: NDArray[Any] = kinds @ np.array(self.short) + kinds @ np.array(self.long) * step
        return shift


def line_f1(labels: NDArray[Any], noise: NDArray[np.bool_]) -> float:
    """F1 of label 1, lines pooled; -1 is left out."""
    hit = int(np.count_nonzero((labels == 1) & noise))
    false = int(np.count_nonzero((labels == 0) & noise))
    missed = int(np.count_nonzero((labels == 1) & ~noise))
    return 2 * hit / max(2 * hit + false + missed, 1)


def kept_f1(labels: NDArray[Any], noise: NDArray[np.bool_], words: NDArray[Any]) -> float:
    """F1 of what is kept, by words; -1 is left out."""
    hit = int(words[(labels == 0) & ~noise].sum())
    false = int(words[(labels == 1) & ~noise].sum())
    missed = int(words[(labels == 0) & noise].sum())
    return 2 * hit / max(2 * hit + false + missed, 1)


def lost_words(labels: NDArray[Any], noise: NDArray[np.bool_], words: NDArray[Any]) -> float:
    """Share of the words of content, label 0, that is removed."""
    content = words * (labels == 0)
    return float(content[noise].sum() / max(content.sum(), 1))


@dataclass(frozen=True, slots=True)
class Judged:
    """Logits `[lines]` and kinds' probabilities `[lines, KINDS]` of a dev file."""

    corpus: Corpus
    logits: NDArray[np.float32]
    kinds: NDArray[np.float32]

    def measure(self, policy: Policy) -> dict[str, float]:
        """F1 of noise and of kept words, lost words, and F1 of turku's part where there is one."""
        c = self.corpus
        noise = self.logits > policy.shift(self.kinds, c.weights)
        found = {
            "noise_f1": line_f1(c.labels, noise),
            "kept_f1": kept_f1(c.labels, noise, c.words),
            "lost": lost_words(c.labels, noise, c.words),
        }
        turku = np.repeat(c.kinds == KINDS.index("turku"), np.diff(c.starts))
        if turku.any() and not turku.all():
            found["turku_noise_f1"] = line_f1(c.labels[turku], noise[turku])
        return found


def judge(net: LineNet, corpus: Corpus) -> Judged:
    """Runs a network over a corpus."""
    net.eval()
    logits = np.zeros(len(corpus.labels), np.float32)
    kinds = np.zeros((len(corpus.labels), len(KINDS)), np.float32)
    with torch.no_grad():
        for chosen in batches(corpus, range(len(corpus)), 8000):
            b = batch_of(corpus, chosen, net.config.vocabulary)
            found, _, kind = net(b)
            logits[b.rows] = found[b.row_of, 0].numpy()
            kinds[b.rows] = torch.softmax(kind, 1)[b.documents[b.row_of]].numpy()
    return Judged(corpus, logits, kinds)


WORTH_ELSE: Mapping[str, float] = {"noise_f1": 1, "kept_f1": 1}
"""What the measures of a dev file count of which nothing else is said."""


def dev_score(dev: Mapping[str, Judged], policy: Policy, worth: Worth) -> float:
    """What is maximised: the worth of all measures of all dev files."""
    return sum(
        worth.get(name, WORTH_ELSE).get(measure, 0.0) * value
        for name, judged in dev.items()
        for measure, value in judged.measure(policy).items()
    )


SHORT_GROUPS: tuple[tuple[str, ...], ...] = (
    ("full", "snippets"),
    ("mild", "plain"),
    ("turku",),
    ("chunks",),
)
LONG_GROUPS: tuple[tuple[str, ...], ...] = (
    ("full", "snippets"),
    ("mild", "plain", "chunks"),
    ("turku",),
)
"""Kinds that share a threshold; there are too few chunks for a second one of their own."""


def _with(values: Sequence[float], group: Sequence[str], value: float) -> tuple[float, ...]:
    pairs = zip(KINDS, values, strict=True)
    return tuple(value if name in group else old for name, old in pairs)


def choose_policy(dev: Mapping[str, Judged], worth: Worth) -> Policy:
    """Coordinate search on coarse grids."""
    best = Policy()
    for _ in range(2):
        for group in SHORT_GROUPS:
            tried = [
                replace(best, short=_with(best.short, group, value / 5)) for value in range(-10, 6)
            ]
            best = max(tried, key=lambda policy: dev_score(dev, policy, worth))
        for group in LONG_GROUPS:
            tried = [
                replace(best, long=_with(best.long, group, value / 4)) for value in range(0, 11)
            ]
            best = max(tried, key=lambda policy: dev_score(dev, policy, worth))
    return best


def report(dev: Mapping[str, Judged], policy: Policy) -> dict[str, float]:
    """All measures by name, rounded."""
    return {
        f"{name}_{measure}": round(value, 4)
        for name, judged in dev.items()
        for measure, value in judged.measure(policy).items()
    }
