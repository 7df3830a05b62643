"""Scores a whole document: educational value, format, and the chance that it is worth keeping.

A kernel regression with three parts, summed with equal weight:

* words: the document's hashed words, damped counts times rarity, one weight for each word;
* topics: the same words through a low-rank table learned from unlabelled text, compared with the
  labelled documents;
* shape: how its lines look and how noisy the tagger finds them, compared in the same way.

Line noise and words come from `burnish.refiners.features`, which the line tagger needs anyway. A
document costs a few small matrix products; the text itself is not read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from burnish.refiners.features import FEATURE_VERSION, SURFACE, SURFACE_NAMES, Features

WEIGHTS_FILE = "document_head.npz"

BUCKET_BITS = 15
"""Words fall into 2**15 buckets."""

HEAD_TOKENS, TAIL_TOKENS = 4000, 1000
"""Of a longer document only so many tokens are looked up, from its start and its end."""

EDGE_LINES = 8
"""Lines that count as the top or the bottom of a document."""

SURFACE_LIMIT = 4.0
"""Shape features are cut at so many standard deviations, so that none is ever far from all."""

TARGETS = ("edu", "format", "keep")

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_BLANK = SURFACE_NAMES.index("blank")
_NOISE_SHAPE = 14


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """All arrays of the head; `documents` are the labelled ones it compares with.

    Attributes:
        version: `FEATURE_VERSION` of the features that it was trained on, int64.
        rarity: inverse document frequency, `[2**BUCKET_BITS]`, float16.
        words: weight of each word, `[2**BUCKET_BITS, targets]`, float16.
        topics: low-rank table, `[2**BUCKET_BITS, topics]`, int8.
        topic_scale: what one step of `topics` is worth, `[topics]`, float32.
        shape_mean, shape_scale: of the shape features, `[shape]`, float32.
        shape_axes: principal axes, `[shape, axes]`, float32.
        topic_documents: `[documents, topics]`, float32, rows of length one or zero.
        shape_documents: `[documents, axes]`, float32.
        widths: the factors of the squared distances: topics and shape, `[2]`, float64.
        document_weights: `[documents, targets]`, float64.
        bias: `[targets]`, float64.
        keep: logistic weights of edu, format and keep score, then the constant, `[4]`, float64.
    """

    version: NDArray[np.int64]
    rarity: NDArray[np.float16]
    words: NDArray[np.float16]
    topics: NDArray[np.int8]
    topic_scale: Floats
    shape_mean: Floats
    shape_scale: Floats
    shape_axes: Floats
    topic_documents: Floats
    shape_documents: Floats
    widths: Doubles
    document_weights: Doubles
    bias: Doubles
    keep: Doubles


class DocumentHead:
    """Predicts the scores of a document from its features and its lines' noise."""

    def __init__(self, weights: HeadWeights) -> None:
        if int(weights.version) != FEATURE_VERSION:
            raise ValueError(
                f"the document head was trained on features version {int(weights.version)}, "
                f"this package has version {FEATURE_VERSION}: train it again"
            )
        self.weights = weights
        self._topic_map = np.ascontiguousarray(weights.topic_documents.T)
        self._topic_norms = np.square(weights.topic_documents).sum(axis=1)
        self._shape_map = np.ascontiguousarray(weights.shape_documents.T)
        self._shape_norms = np.square(weights.shape_documents).sum(axis=1)
        self._document_weights = weights.document_weights.astype(np.float32)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads `document_head.npz` of a folder.

        Raises:
            FileNotFoundError: the folder has no such file.
            ValueError: the weights belong to another version of the features.
        """
        with np.load(Path(folder) / WEIGHTS_FILE, allow_pickle=False) as arrays:
            return cls(HeadWeights(**{f.name: arrays[f.name] for f in fields(HeadWeights)}))

    def save(self, folder: str | Path) -> Path:
        """Writes `document_head.npz` into a folder and returns its path."""
        path = Path(folder) / WEIGHTS_FILE
        arrays: Mapping[str, ArrayLike] = {
            f.name: getattr(self.weights, f.name) for f in fields(HeadWeights)
        }
        np.savez_compressed(path, allow_pickle=False, **arrays)
        return path

    def predict(self, features: Features, noise: ArrayLike) -> tuple[float, float, float]:
        """Educational score (0 to 5), format score (0 to 5), probability of keeping (0 to 1).

        Args:
            features: of the whole document.
            noise: for each line the probability that it is noise, `[lines]`.
        """
        edu, form, keep = self.scores(features, noise)
        weights = self.weights.keep
        chance = 1 / (1 + np.exp(-(weights[:3] @ (edu, form, keep) + weights[3])))
        return float(np.clip(edu, 0, 5)), float(np.clip(form, 0, 5)), float(chance)

    def scores(self, features: Features, noise: ArrayLike) -> Doubles:
        """The regressions before they are cut to their ranges: edu, format, keep, `[targets]`."""
        weights = self.weights
        found, counts = word_counts(features)
        values = unit(counts * weights.rarity[found])
        topics = unit(values @ weights.topics[found] * weights.topic_scale)
        shape = (shape_features(features, noise) - weights.shape_mean) * weights.shape_scale
        shape = np.clip(shape, -SURFACE_LIMIT, SURFACE_LIMIT) @ weights.shape_axes
        near = np.exp(
            weights.widths[0] * (self._topic_norms + topics @ topics - 2 * topics @ self._topic_map)
        )
        near += np.exp(
            weights.widths[1] * (self._shape_norms + shape @ shape - 2 * shape @ self._shape_map)
        )
        total = weights.bias + near.astype(np.float32) @ self._document_weights
        result: Doubles = total + values @ weights.words[found]
        return result


def word_counts(features: Features) -> tuple[NDArray[np.int64], Floats]:
    """Buckets of the document's words, ascending, and `log(1 + count)` of each."""
    tokens = features.tokens[:, 0]
    if len(tokens) > HEAD_TOKENS + TAIL_TOKENS:
        tokens = np.concatenate((tokens[:HEAD_TOKENS], tokens[-TAIL_TOKENS:]))
    ordered = np.sort(tokens >> np.uint32(32 - BUCKET_BITS))
    starts = np.flatnonzero(np.diff(ordered, prepend=np.uint32(1 << BUCKET_BITS)))
    counts = np.diff(starts, append=len(ordered))
    return ordered[starts].astype(np.int64), np.log1p(counts, dtype=np.float32)


def unit(vector: Floats) -> Floats:
    """The vector at length one; a zero vector stays as it is."""
    length = float(np.sqrt(vector @ vector))
    return vector / np.float32(length) if length > 0 else vector


def shape_features(features: Features, noise: ArrayLike) -> Floats:
    """How the lines look, `[5 * SURFACE + noise features]`, float32.

    Of each surface feature: the mean over lines, the mean over characters, the standard deviation
    over lines, the means of the first and of the last lines. Blank lines are left out.
    """
    solid = np.flatnonzero(features.surface[:, _BLANK] == 0)
    if not len(solid):
        return np.zeros(5 * SURFACE + _NOISE_SHAPE, np.float32)
    surface = features.surface[solid]
    sizes = features.weights[solid] + np.float32(1)
    shares = sizes / sizes.sum()
    mean = surface.mean(axis=0)
    spread = np.sqrt(np.maximum(np.square(surface).mean(axis=0) - mean * mean, 0))
    edges = surface[:EDGE_LINES].mean(axis=0), surface[-EDGE_LINES:].mean(axis=0)
    marks = _noise_features(np.asarray(noise, np.float32)[solid], sizes, shares)
    return np.concatenate((mean, shares @ surface, spread, *edges, marks), dtype=np.float32)


def _noise_features(noise: Floats, sizes: Floats, shares: Floats) -> Floats:
    """Summary of the line noise, `[_NOISE_SHAPE]`: by lines, by characters, in order."""
    bad = noise > 0.5
    good_size = float(sizes @ ~bad)
    changes = np.count_nonzero(bad[1:] != bad[:-1])
    return np.array(
        (
            noise.mean(),
            noise.std(),
            bad.mean(),
            (noise > 0.2).mean(),
            (noise > 0.8).mean(),
            shares @ noise,
            shares @ bad,
            shares @ (noise > 0.2),
            shares @ (noise > 0.8),
            noise[:EDGE_LINES].mean(),
            noise[-EDGE_LINES:].mean(),
            changes / len(noise),
            np.log1p(changes),
            np.log1p(good_size),
        ),
        np.float32,
    )
