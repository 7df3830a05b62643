"""Scores a whole document: educational value, format, and the chance that it is worth keeping.

A kernel regression with three parts, summed with equal weight:

* words: hashed word stems of the lines that the tagger takes for content, damped counts times
  rarity, one weight for each;
* topics: the same stems through a low-rank table learned from unlabelled text, compared with the
  labelled documents;
* shape: how its lines look and how noisy the tagger finds them, compared in the same way.

Lines come from `burnish.refiners.features`, which the line tagger needs anyway. That module looks
up only the ends of a long line; what a document is about needs all words, so they are hashed here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from math import erf, exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from burnish.refiners.features import (
    FEATURE_VERSION,
    PUNCT,
    SINGLE,
    SURFACE,
    SURFACE_NAMES,
    Features,
    bucket,
    tables,
)

WEIGHTS_FILE = "document_head.npz"

BUCKET_BITS = 15
"""Stems fall into 2**15 buckets."""

STEM_CHARS = 6
"""A word is known by its first characters: with few labels a poor man's stemmer helps."""

HEAD_CHARS, TAIL_CHARS = 8000, 2000
"""Of a longer document only its start and its end are read for words."""

EDGE_LINES = 8
"""Lines that count as the top or the bottom of a document."""

SHAPE_LIMIT = 4.0
"""Shape features are cut at so many standard deviations, so that none is ever far from all."""

LABEL_SPREAD = 0.8
"""Standard deviation of a label around its prediction: the annotator's own is about one point."""

NOISE_LIMIT = 0.5
"""Words of lines more likely to be noise than this do not count."""

KEEP_SHARE = 0.5
"""Weight of the direct keep score beside the probability that the rule on edu and format holds."""

TARGETS = ("edu", "format", "keep")

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Words = tuple[NDArray[np.int64], Floats]
"""A document's buckets, ascending, and `log(1 + count)` of each."""

_LINE_FEED = 10
_MASK = (1 << 64) - 1
_PRIME = 0x9E3779B97F4A7C15
_BLANK = SURFACE_NAMES.index("blank")
_NOISE_SHAPE = 14


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """All arrays of the head; `documents` are the labelled ones it compares with.

    Attributes:
        version: `FEATURE_VERSION` of the features that it was trained on, int64.
        rarity: inverse document frequency, `[2**BUCKET_BITS]`, float16.
        words: weight of each stem, `[2**BUCKET_BITS, targets]`, float16.
        topics: low-rank table, `[2**BUCKET_BITS, topics]`, int8.
        topic_scale: what one step of `topics` is worth, `[topics]`, float32.
        shape_mean, shape_scale: of the shape features, `[shape]`, float32.
        shape_axes: principal axes, `[shape, axes]`, float32.
        topic_documents: `[documents, topics]`, float32, rows of length one or zero.
        shape_documents: `[documents, axes]`, float32.
        widths: the factors of the squared distances: topics and shape, `[2]`, float64.
        document_weights: `[documents, targets]`, float64.
        bias: `[targets]`, float64.
        keep: slope and constant from `keep_evidence` to log-odds, `[2]`, float64.
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
        self._words = weights.words.astype(np.float32)
        self._topics = weights.topics * weights.topic_scale
        self._topic_map = np.ascontiguousarray(weights.topic_documents.T)
        self._topic_norms = np.square(weights.topic_documents).sum(axis=1)
        self._shape_map = np.ascontiguousarray(weights.shape_documents.T)
        self._shape_norms = np.square(weights.shape_documents).sum(axis=1)
        self._document_weights = weights.document_weights.astype(np.float32)

    @classmethod
    def load(cls, folder: str | Path) -> DocumentHead:
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
        arrays: dict[str, Any] = {
            f.name: getattr(self.weights, f.name) for f in fields(HeadWeights)
        }
        np.savez_compressed(path, **arrays)
        return path

    def __call__(
        self, text: str, found: Features, noise: ArrayLike, _summary: object = None
    ) -> tuple[float, float, float]:
        """As `predict`; the tagger's summary is not needed."""
        return self.predict(text, found, noise)

    def predict(self, text: str, found: Features, noise: ArrayLike) -> tuple[float, float, float]:
        """Educational score (0 to 5), format score (0 to 5), probability of keeping (0 to 1).

        Args:
            text: the whole document.
            found: its features.
            noise: for each line the probability that it is noise, `[lines]`.
        """
        words, shape = text_words(text, noise), shape_features(found, noise)
        edu, form, keep = self.scores(words, shape).tolist()
        slope, constant = self.weights.keep.tolist()
        odds = slope * keep_evidence(edu, form, keep) + constant
        return min(max(edu, 0.0), 5.0), min(max(form, 0.0), 5.0), 1 / (1 + exp(-odds))

    def scores(self, words: Words, shape: Floats) -> Doubles:
        """The regressions before they are cut to their ranges: edu, format, keep, `[targets]`."""
        weights = self.weights
        found, counts = words
        values = unit(counts * weights.rarity[found])
        topics = unit(values @ self._topics.take(found, axis=0))
        shape = (shape - weights.shape_mean) * weights.shape_scale
        axes = np.clip(shape, -SHAPE_LIMIT, SHAPE_LIMIT) @ weights.shape_axes
        topic_width, shape_width = weights.widths.astype(np.float32)
        near = np.exp(
            topic_width * (self._topic_norms + topics @ topics - 2 * topics @ self._topic_map)
        )
        near += np.exp(shape_width * (self._shape_norms + axes @ axes - 2 * axes @ self._shape_map))
        total = near @ self._document_weights + values @ self._words.take(found, axis=0)
        result: Doubles = weights.bias + total
        return result


def keep_evidence(edu: float, form: float, keep: float) -> float:
    """Chance that the true scores satisfy the rule, plus a share of the direct keep score.

    The rule keeps an educational score of at least 3, or of 2 with a format score of at least 4.
    """
    three, two = _above(edu, 2.5), _above(edu, 1.5)
    return three + (two - three) * _above(form, 3.5) + KEEP_SHARE * keep


def _above(score: float, limit: float) -> float:
    return 0.5 * (1 + erf((score - limit) / (LABEL_SPREAD * sqrt(2))))


@lru_cache(maxsize=1)
def _powers() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers of an odd number modulo 2**64 and of its inverse."""
    size = HEAD_CHARS + TAIL_CHARS + 2  # the text, the mark between its parts, the last line feed
    power = np.full(size, _PRIME, np.uint64)
    inverse = np.full(size, pow(_PRIME, -1, _MASK + 1), np.uint64)
    power[0] = inverse[0] = 1
    return np.multiply.accumulate(power), np.multiply.accumulate(inverse)


def text_words(text: str, noise: ArrayLike) -> Words:
    """Counts the stems of a text's first `HEAD_CHARS` and last `TAIL_CHARS` characters.

    Stems are the first `STEM_CHARS` characters of runs of letters and digits, case-folded, digits
    all alike; single characters of scripts without spaces; and punctuation marks, of which a run
    counts as one. Lines with `noise` (`[lines]`) above `NOISE_LIMIT` are passed over.
    """
    content = np.asarray(noise) <= NOISE_LIMIT
    if len(text) > HEAD_CHARS + TAIL_CHARS:
        head, tail = text[:HEAD_CHARS], text[-TAIL_CHARS:]
        text = f"{head}\n{tail}"
        lines = head.count("\n") + 1, tail.count("\n") + 1
        content = np.concatenate((content[: lines[0]], content[-lines[1] :]))
    codes = np.frombuffer((text + "\n").encode("utf-32-le", "surrogatepass"), np.uint32)
    if not content.all():
        ends = np.flatnonzero(codes == _LINE_FEED) + 1
        codes = codes[np.repeat(content, np.diff(ends, prepend=0))]
    if not len(codes):
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    table, (power, inverse) = tables(), _powers()
    codes = np.minimum(codes, np.uint32(len(table.kind) - 1))
    kind, folded = table.kind[codes], table.fold[codes]
    edge = np.empty(len(codes), bool)
    edge[0] = True
    np.not_equal(kind[1:], kind[:-1], out=edge[1:])
    edge[1:] |= kind[1:] == SINGLE
    edge[1:] |= (kind[1:] == PUNCT) & (codes[1:] != codes[:-1])
    edges = np.flatnonzero(edge)
    solid = np.flatnonzero(kind[edges])
    starts = edges[solid]
    ends = np.append(edges[1:], len(codes))[solid]
    ends = np.minimum(ends, starts + STEM_CHARS)
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(folded * power[: len(codes)], out=sums[1:])
    hashes = bucket((sums[ends] - sums[starts]) * inverse[starts])
    return _count(hashes >> np.uint32(32 - BUCKET_BITS))


def _count(buckets: NDArray[np.uint32]) -> Words:
    ordered = np.sort(buckets)
    starts = np.flatnonzero(np.diff(ordered, prepend=np.uint32(1 << BUCKET_BITS)))
    counts = np.diff(starts, append=len(ordered))
    return ordered[starts].astype(np.int64), np.log1p(counts, dtype=np.float32)


def unit(vector: Floats) -> Floats:
    """The vector at length one; a zero vector stays as it is."""
    length = float(np.sqrt(vector @ vector))
    return vector / np.float32(length) if length > 0 else vector


def shape_features(found: Features, noise: ArrayLike) -> Floats:
    """How the lines look, `[5 * SURFACE + noise features]`, float32.

    Of each surface feature: the mean over lines, the mean over characters, the means of the first
    and of the last lines, the standard deviation over lines. Blank lines are left out.
    """
    surface, weights, noise = found.surface, found.weights, np.asarray(noise, np.float32)
    if surface[:, _BLANK].any():
        solid = np.flatnonzero(surface[:, _BLANK] == 0)
        surface, weights, noise = surface[solid], weights[solid], noise[solid]
    lines = len(surface)
    if not lines:
        return np.zeros(5 * SURFACE + _NOISE_SHAPE, np.float32)
    sizes = weights + np.float32(1)
    means = np.zeros((4, lines), np.float32)
    means[0] = 1 / lines
    means[1] = sizes / sizes.sum()
    means[2, :EDGE_LINES] = means[3, -EDGE_LINES:] = 1 / min(lines, EDGE_LINES)
    averages = means @ surface
    spread = np.sqrt(np.maximum(means[0] @ np.square(surface) - np.square(averages[0]), 0))
    marks = _noise_features(noise, sizes, means)
    return np.concatenate((averages.ravel(), spread, marks), dtype=np.float32)


def _noise_features(noise: Floats, sizes: Floats, means: Floats) -> Floats:
    """Summary of the line noise, `[_NOISE_SHAPE]`: by lines, by characters, in order."""
    levels = np.stack((noise, noise > 0.2, noise > 0.5, noise > 0.8)).astype(np.float32)
    bad = noise > 0.5
    changes = np.count_nonzero(bad[1:] != bad[:-1])
    rest = (
        noise.std(),
        means[2] @ noise,
        means[3] @ noise,
        changes / len(noise),
        np.log1p(changes),
        np.log1p(float(sizes @ ~bad)),
    )
    return np.concatenate(((means[:2] @ levels.T).ravel(), rest), dtype=np.float32)
