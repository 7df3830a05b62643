"""Trains the document head of the packaged refiner from labelled and unlabelled documents."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from burnish.io.digests import sha256_of
from burnish.metrics import pearson, roc_auc
from burnish.refiners.document_head import (
    BUCKET_BITS,
    SHAPE_LIMIT,
    DocumentHead,
    Doubles,
    Floats,
    HeadWeights,
    Words,
    keep_evidence,
    shape_features,
    text_words,
    unit,
)
from burnish.refiners.features import FEATURE_VERSION, features
from burnish.training.calibration import document_error
from burnish.training.material import Labelled

TOPICS = 64
SHAPE_AXES = 64
RIDGE = 0.2
"""Added to the diagonal of a kernel of about one; from 0.1 to 0.4 r differs by 0.003."""
PARTS = 3
BETA = 2.0
"""How much more recall of keep counts than precision, for the threshold."""
FOLDS, FOLD_ROUNDS = 10, 3
BOOTSTRAPS = 2000
Tag = Callable[[str], ArrayLike]


@dataclass(frozen=True, slots=True)
class Read:
    """Documents as arrays: sparse words and shape features `[documents, shape]`."""

    words: list[Words]
    shape: Floats


def train_document_head(
    train: Labelled,
    dev: Labelled | None,
    texts: Iterable[str],
    output: Path,
    seed: int = 0,
    tag: Tag | None = None,
) -> dict[str, Any]:
    """Writes `document_head.npz` and returns what the refiner card says of it.

    Takes a minute on one core; the same data, seed and number of threads give the same bytes.

    Args:
        train, dev: scored documents to learn from, and to measure on.
        texts: documents without scores, for topics and for how rare words are.
        output: the folder where the file goes.
        seed: of the low-rank table, the folds and the bootstrap.
        tag: gives for each line of a text the probability that it is noise; without it the head
            is trained to be given zeros.
    """
    read = _read(train.texts, tag)
    pool = [*(text_words(text, _noise(text, tag)) for text in texts), *read.words]
    rarity = _rarity(pool)
    kernel = _Kernel.of(_Space.fit(rarity, *_topic_table(pool, rarity, seed), read.shape), read)
    unseen = _cross_predict(kernel.matrix, train, seed)
    evidence = np.array([keep_evidence(*row) for row in unseen])
    keep = _logistic(evidence, train.scores[:, 2])
    path = DocumentHead(kernel.solve(train.scores, keep)).save(output)
    unseen[:, 2] = 1 / (1 + np.exp(-(keep[0] * evidence + keep[1])))
    threshold = _best_threshold(unseen[:, 2], train.scores[:, 2])
    measured = {}
    if dev is not None:
        head = DocumentHead.load(output)
        guesses = np.array([head.predict(t, features(t), _noise(t, tag)) for t in dev.texts])
        measured = {"dev": _measure(guesses, dev.scores, threshold, seed)}
    return {
        "file": path.name,
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "seed": seed,
        "feature_version": FEATURE_VERSION,
        "line_noise": tag is not None,
        "documents": {
            "train": len(train.texts),
            "dev": 0 if dev is None else len(dev.texts),
            "unlabelled": len(pool),
        },
        "keep_threshold": threshold,
        "cross_validation": _measure(unseen, train.scores, threshold, seed),
        **measured,
    }


def _noise(text: str, tag: Tag | None) -> ArrayLike:
    return tag(text) if tag else np.zeros(text.count("\n") + 1, np.float32)


def _read(texts: Sequence[str], tag: Tag | None) -> Read:
    noise = [_noise(text, tag) for text in texts]
    pairs = list(zip(texts, noise, strict=True))
    shape = [shape_features(features(text), lines) for text, lines in pairs]
    return Read([text_words(text, lines) for text, lines in pairs], np.array(shape))


def _rarity(pool: Sequence[Words]) -> NDArray[np.float16]:
    """Smoothed inverse document frequency: `1 + log((1 + documents) / (1 + with the word))`."""
    number = np.zeros(1 << BUCKET_BITS)
    for found, _ in pool:
        number[found] += 1
    return (1 + np.log((1 + len(pool)) / (1 + number))).astype(np.float16)


def _sparse(words: Sequence[Words], rarity: NDArray[np.float16]) -> torch.Tensor:
    """Rows of length one, `[documents, buckets]`, as a sparse matrix."""
    rows = np.repeat(np.arange(len(words)), [len(found) for found, _ in words])
    columns = np.concatenate([found for found, _ in words])
    values = np.concatenate([unit(counts * rarity[found]) for found, counts in words])
    return torch.sparse_coo_tensor(
        torch.from_numpy(np.stack((rows, columns))),
        torch.from_numpy(values),
        (len(words), 1 << BUCKET_BITS),
        is_coalesced=True,
        check_invariants=True,
    )


def _topic_table(
    pool: Sequence[Words], rarity: NDArray[np.float16], seed: int
) -> tuple[NDArray[np.int8], Floats]:
    """Right singular vectors 2 to TOPICS + 1 of the pool; the first is only how usual a word is.

    Subspace iteration with a random start, in the space of the words. Returns the table
    `[buckets, topics]` and what one step of it is worth.
    """
    rank, spare = TOPICS + 1, 16
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(1 << BUCKET_BITS, rank + spare, generator=generator)
    blocks = [_sparse(pool[at : at + 1024], rarity) for at in range(0, len(pool), 1024)]
    for _ in range(6):
        product = torch.zeros_like(basis)
        for block in blocks:
            product += block.t() @ (block @ basis)
        basis = torch.linalg.qr(product)[0]
    gram = torch.zeros(rank + spare, rank + spare)
    for block in blocks:
        part = block @ basis
        gram += part.T @ part
    turn = torch.linalg.eigh(gram)[1].flip(1)[:, 1:rank]
    table = (basis @ turn).numpy()
    # a few stems tower above all others: one in 2,000 is cut so that the rest keeps its digits
    scale = np.maximum(np.quantile(np.abs(table), 0.9995, axis=0) / 127, np.finfo(np.float32).tiny)
    return np.clip(np.round(table / scale), -127, 127).astype(np.int8), scale.astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Space:
    """How documents become vectors: everything learned without their scores (see `HeadWeights`)."""

    rarity: NDArray[np.float16]
    topics: NDArray[np.int8]
    topic_scale: Floats
    shape_mean: Floats
    shape_scale: Floats
    shape_axes: Floats

    @classmethod
    def fit(
        cls,
        rarity: NDArray[np.float16],
        topics: NDArray[np.int8],
        topic_scale: Floats,
        shape: Floats,
    ) -> _Space:
        """Finds mean, spread and principal axes of `shape`, `[documents, features]`."""
        mean = shape.mean(axis=0)
        scale = 1 / (shape.std(axis=0) + np.float32(1e-3))
        cut = np.clip((shape - mean) * scale, -SHAPE_LIMIT, SHAPE_LIMIT).astype(np.float64)
        vectors = np.linalg.svd(cut, full_matrices=False)[2]
        axes = np.ascontiguousarray(vectors[:SHAPE_AXES].T, dtype=np.float32)
        return cls(rarity, topics, topic_scale, mean, scale, axes)

    def words(self, read: Read) -> Doubles:
        """Rows of length one, `[documents, buckets]`."""
        dense: Doubles = _sparse(read.words, self.rarity).to_dense().double().numpy()
        return dense

    def nearby(self, read: Read) -> tuple[Floats, Floats]:
        """What documents are compared by: topics, rows of length one, and axes of the shape."""
        table = self.topics * self.topic_scale
        rows = [
            unit(unit(counts * self.rarity[found]) @ table[found]) for found, counts in read.words
        ]
        shape = (read.shape - self.shape_mean) * self.shape_scale
        return np.array(rows), np.clip(shape, -SHAPE_LIMIT, SHAPE_LIMIT) @ self.shape_axes


@dataclass(frozen=True, slots=True)
class _Kernel:
    """The training documents and how alike they are; `matrix` is `[documents, documents]`.

    Each part has a diagonal of about one: words are compared by their product, less the mean
    document; topics and shape by a Gaussian whose exponent is -1/2 at the median distance.
    """

    space: _Space
    words: Doubles
    words_scale: float
    topics: Floats
    shape: Floats
    widths: Doubles
    matrix: Doubles

    @classmethod
    def of(cls, space: _Space, read: Read) -> _Kernel:
        words = space.words(read)
        centred = words - words.mean(axis=0)
        linear = centred @ centred.T
        size = float(np.diag(linear).mean())
        scale = 1 / size if size > 0 else 0.0  # no document has a word that counts
        topics, shape = space.nearby(read)
        distances = np.stack((_distances(topics), _distances(shape)))
        middle = np.median(distances, axis=(1, 2))
        widths = -0.5 / np.where(middle > 0, middle, 1)
        matrix = linear * scale + np.exp(widths[:, None, None] * distances).sum(axis=0)
        return cls(space, words, scale, topics, shape, widths, matrix / PARTS)

    def solve(self, scores: Doubles, keep: Doubles) -> HeadWeights:
        """The head of all training documents; the words part becomes one weight for each stem."""
        mean, centre = scores.mean(axis=0), self.words.mean(axis=0)
        dual = _dual(self.matrix, scores - mean)
        by_word = (self.words - centre).T @ dual * (self.words_scale / PARTS)
        return HeadWeights(
            version=np.array(FEATURE_VERSION, np.int64),
            rarity=self.space.rarity,
            words=by_word.astype(np.float16),
            topics=self.space.topics,
            topic_scale=self.space.topic_scale,
            shape_mean=self.space.shape_mean,
            shape_scale=self.space.shape_scale,
            shape_axes=self.space.shape_axes,
            topic_documents=self.topics,
            shape_documents=self.shape,
            widths=self.widths,
            document_weights=dual / PARTS,
            bias=mean - centre @ by_word,
            keep=keep,
        )


def _distances(rows: Floats) -> Doubles:
    """Squared distances of all pairs, `[rows, rows]`."""
    exact = rows.astype(np.float64)
    norms = np.square(exact).sum(axis=1)
    result: Doubles = np.maximum(norms[:, None] + norms - 2 * exact @ exact.T, 0)
    return result


def _dual(kernel: Doubles, targets: Doubles) -> Doubles:
    damped = kernel + RIDGE * np.eye(len(kernel))
    return np.asarray(np.linalg.solve(damped, targets), np.float64)


def _cross_predict(kernel: Doubles, train: Labelled, seed: int) -> Doubles:
    """Each training document's scores by heads that saw no document of its site."""
    total = np.zeros_like(train.scores)
    for round_ in range(FOLD_ROUNDS):
        fold = _folds(train.groups, seed + round_)
        for number in range(FOLDS):
            inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            mean = train.scores[inside].mean(axis=0)
            dual = _dual(kernel[np.ix_(inside, inside)], train.scores[inside] - mean)
            total[outside] += kernel[np.ix_(outside, inside)] @ dual + mean
    return total / FOLD_ROUNDS


def _folds(groups: Sequence[str], seed: int) -> NDArray[np.int64]:
    return np.array([zlib.crc32(f"{seed} {group}".encode()) % FOLDS for group in groups])


def _logistic(evidence: Doubles, labels: Doubles) -> Doubles:
    """Slope and constant of a logistic regression on one number, by Newton's method."""
    rows: Doubles = np.column_stack((evidence, np.ones(len(evidence))))
    weights: Doubles = np.zeros(2)
    for _ in range(25):
        chance = 1 / (1 + np.exp(-rows @ weights))
        curve = (rows * (chance * (1 - chance))[:, None]).T @ rows
        step = np.linalg.solve(curve + 1e-6 * np.eye(2), rows.T @ (chance - labels))
        weights = np.asarray(weights - step, np.float64)
    return weights


def _best_threshold(chance: Doubles, labels: Doubles) -> float:
    """The probability, in hundredths, from which keeping gives the best F2.

    F2 counts recall twice as much as precision: a good document that is dropped is lost, a poor one
    that is kept is still cleaned line by line. For calibrated probabilities the best threshold is
    the best F-beta divided by 1 + beta squared (Lipton, Elkan and Narayanaswamy 2014, for F1);
    97 documents to keep settle that far better than the place of the maximum.
    """
    best = max(_f_beta(chance >= step, labels, BETA) for step in np.arange(5, 96) / 100)
    return round(best / (1 + BETA**2), 2)


def _measure(guesses: Doubles, truth: Doubles, threshold: float, seed: int) -> dict[str, Any]:
    """Scores of guesses `[documents, targets]` with 95 % bootstrap intervals over documents, and
    the calibration error of keep."""
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, len(truth), (BOOTSTRAPS, len(truth)))
    result: dict[str, Any] = {}
    for name, score in {
        "r_edu": lambda g, t: pearson(g[:, 0].tolist(), t[:, 0].tolist()),
        "r_format": lambda g, t: pearson(g[:, 1].tolist(), t[:, 1].tolist()),
        "auc_keep": lambda g, t: roc_auc(g[:, 2].tolist(), (t[:, 2] > 0).tolist()),
        "f1_keep": lambda g, t: _f_beta(g[:, 2] >= threshold, t[:, 2]),
    }.items():
        drawn = [score(guesses[draw], truth[draw]) for draw in draws]
        defined = [value for value in drawn if np.isfinite(value)] or [np.nan]
        low, high = np.quantile(defined, (0.025, 0.975))
        result[name] = _rounded(score(guesses, truth))
        result[f"{name}_interval"] = [_rounded(low), _rounded(high)]
    return {**result, **document_error(guesses[:, 2], truth[:, 2] > 0, seed)}


def _rounded(value: float) -> float | None:
    """None where a measure is not defined, as for documents that are all kept: JSON has no NaN."""
    return round(float(value), 4) if np.isfinite(value) else None


def _f_beta(kept: NDArray[np.bool_], labels: Doubles, beta: float = 1.0) -> float:
    """F-beta of keep; F1 for a beta of one."""
    hits = float((kept & (labels > 0)).sum())
    weight = beta**2
    return (1 + weight) * hits / max(weight * float((labels > 0).sum()) + float(kept.sum()), 1.0)
