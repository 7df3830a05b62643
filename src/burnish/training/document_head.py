"""Trains the document head of the packaged refiner from labelled and unlabelled documents."""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard
from numpy.typing import ArrayLike, NDArray

from burnish.refiners.document_head import (
    BUCKET_BITS,
    SURFACE_LIMIT,
    TARGETS,
    DocumentHead,
    Doubles,
    Floats,
    HeadWeights,
    shape_features,
    unit,
    word_counts,
)
from burnish.refiners.features import FEATURE_VERSION, Features, features

TRAIN_FILE, DEV_FILE = "seed/train.jsonl.zst", "seed/dev.jsonl.zst"
PAGE_FILES = (
    "corpus/webpages_full.jsonl.zst",
    "corpus/webpages_main.jsonl.zst",
    "corpus/openwebtext_1k.jsonl.zst",
    "corpus/web_registers_multilingual.jsonl.zst",
    "corpus/news_pt.jsonl.zst",
    "corpus/c4_dolma_redpajama_rows.jsonl.zst",
    "boilerplate/train.jsonl.zst",
    "boilerplate/train_quality.jsonl.zst",
)
"""Unlabelled text; German news is left out, as its licence forbids commercial use."""
BOOK_FILES = {
    "text/books_en.jsonl.zst": 6,
    "text/stacks_math_tex.jsonl.zst": 4,
    "text/wikitext2_valid_test.jsonl.zst": 3,
}
"""Long texts and how many passages are taken of each."""

CARD_FILE = "document_head.json"
PASSAGE_CHARS = 8000
TOPICS = 64
SHAPE_AXES = 64
RIDGE = 0.2
"""Added to the diagonal of a kernel of about one; from 0.1 to 0.4 r differs by 0.003."""
PARTS = 3
FOLDS, FOLD_ROUNDS = 10, 3
BOOTSTRAPS = 2000
NEWS_SHARE = 3
"""One in so many Portuguese news pages is read, lest they rule the topics."""

Tag = Callable[[str], ArrayLike]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled documents: texts, groups (site or id) and scores `[documents, targets]`."""

    texts: list[str]
    groups: list[str]
    scores: Doubles


@dataclass(frozen=True, slots=True)
class Read:
    """Documents as arrays: sparse words and shape features `[documents, shape]`."""

    words: list[tuple[NDArray[np.int64], Floats]]
    shape: Floats


def train_document_head(
    data_dir: str | Path,
    output_dir: str | Path,
    seed: int = 0,
    tag: Tag | None = None,
) -> dict[str, Any]:
    """Writes `document_head.npz` and `document_head.json` and returns what the latter holds.

    Args:
        data_dir: folder with `seed`, `corpus`, `boilerplate` and `text`.
        output_dir: where the two files go.
        seed: of the passages, the low-rank table, the folds and the bootstrap.
        tag: gives for each line of a text the probability that it is noise; without it the head
            is trained to be given zeros.
    """
    data = Path(data_dir)
    torch.manual_seed(seed)
    train, dev = _labelled(data / TRAIN_FILE), _labelled(data / DEV_FILE)
    pool = [word_counts(features(text)) for text in _unlabelled(data, seed)]
    read = _read(train.texts, tag)
    pool += read.words
    rarity = _rarity(pool)
    topics, topic_scale = _topic_table(pool, rarity)
    base = _Base.fit(rarity, topics, topic_scale, read)
    unseen = _cross_predict(base, read, train, seed)
    keep = _logistic(unseen, train.scores[:, 2])
    head = DocumentHead(base.solve(read, train.scores, keep))
    path = head.save(output_dir)
    head = DocumentHead.load(output_dir)
    noise = [_noise(text, tag) for text in dev.texts]
    guesses = np.array(
        [head.predict(features(t), n) for t, n in zip(dev.texts, noise, strict=True)]
    )
    threshold = _best_threshold(_sigmoid(unseen, keep), train.scores[:, 2])
    unseen[:, 2] = _sigmoid(unseen, keep)
    card = {
        "file": path.name,
        "sha256": _sha256(path),
        "bytes": path.stat().st_size,
        "seed": seed,
        "feature_version": FEATURE_VERSION,
        "line_noise": tag is not None,
        "documents": {"train": len(train.texts), "dev": len(dev.texts), "unlabelled": len(pool)},
        "keep_threshold": threshold,
        "cross_validation": _measure(unseen, train.scores, threshold, seed),
        "dev": _measure(guesses, dev.scores, threshold, seed),
        "data": {
            name: _sha256(data / name) for name in (TRAIN_FILE, DEV_FILE, *PAGE_FILES, *BOOK_FILES)
        },
    }
    (Path(output_dir) / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8", newline="\n"):
            yield json.loads(line)


def _labelled(path: Path) -> Labelled:
    records = list(_records(path))
    scores = [[record[target] for target in TARGETS] for record in records]
    return Labelled(
        [record["text"] for record in records],
        [record["domain"] or record["id"] for record in records],
        np.array(scores, np.float64),
    )


def _unlabelled(data: Path, seed: int) -> Iterator[str]:
    """Pages and passages of books, each `PASSAGE_CHARS` characters at most."""
    for name in PAGE_FILES:
        for number, record in enumerate(_records(data / name)):
            if "news" in name and number % NEWS_SHARE:
                continue
            text = record.get("text") or "\n".join(line["text"] for line in record["lines"])
            yield _ends(text)
    generator = np.random.default_rng(seed)
    for name, passages in BOOK_FILES.items():
        for record in _records(data / name):
            text = record["text"]
            for start in generator.integers(0, max(1, len(text) - PASSAGE_CHARS), passages):
                yield text[start : start + PASSAGE_CHARS]


def _ends(text: str) -> str:
    """The first three quarters and the last quarter of `PASSAGE_CHARS`."""
    tail = PASSAGE_CHARS // 4
    return text if len(text) <= PASSAGE_CHARS else f"{text[: 3 * tail]}\n{text[-tail:]}"


def _noise(text: str, tag: Tag | None) -> ArrayLike:
    return tag(text) if tag else np.zeros(text.count("\n") + 1, np.float32)


def _read(texts: Sequence[str], tag: Tag | None) -> Read:
    seen: list[Features] = [features(text) for text in texts]
    shape = [shape_features(f, _noise(t, tag)) for f, t in zip(seen, texts, strict=True)]
    return Read([word_counts(f) for f in seen], np.array(shape))


def _rarity(pool: Sequence[tuple[NDArray[np.int64], Floats]]) -> NDArray[np.float16]:
    """Smoothed inverse document frequency: `1 + log((1 + documents) / (1 + with the word))`."""
    number = np.zeros(1 << BUCKET_BITS)
    for found, _ in pool:
        number[found] += 1
    return (1 + np.log((1 + len(pool)) / (1 + number))).astype(np.float16)


def _sparse(
    words: Sequence[tuple[NDArray[np.int64], Floats]], rarity: NDArray[np.float16]
) -> torch.Tensor:
    """Rows of length one, `[documents, buckets]`, as a CSR matrix."""
    ends = np.cumsum([0, *(len(found) for found, _ in words)])
    columns = np.concatenate([found for found, _ in words])
    values = np.concatenate([unit(counts * rarity[found]) for found, counts in words])
    return torch.sparse_csr_tensor(
        torch.from_numpy(ends),
        torch.from_numpy(columns),
        torch.from_numpy(values),
        (len(words), 1 << BUCKET_BITS),
    )


def _topic_table(
    pool: Sequence[tuple[NDArray[np.int64], Floats]], rarity: NDArray[np.float16]
) -> tuple[NDArray[np.int8], Floats]:
    """Right singular vectors 2 to TOPICS + 1 of the pool; the first is only how usual a word is.

    Subspace iteration with a random start, in the space of the words.
    """
    size, rank = 1 << BUCKET_BITS, TOPICS + 1
    basis = torch.linalg.qr(torch.randn(size, rank + 16))[0]
    blocks = [_sparse(pool[at : at + 1024], rarity) for at in range(0, len(pool), 1024)]
    for _ in range(6):
        product = torch.zeros_like(basis)
        for block in blocks:
            product += block.t() @ (block @ basis)
        basis = torch.linalg.qr(product)[0]
    gram = torch.zeros(rank + 16, rank + 16)
    for block in blocks:
        part = block @ basis
        gram += part.T @ part
    turn = torch.linalg.eigh(gram)[1].flip(1)[:, 1:rank]
    table = (basis @ turn).numpy()
    # words of the pool differ by orders of magnitude in length: cut the few longest
    scale = np.quantile(np.abs(table), 0.9995, axis=0) / 127
    return np.clip(np.round(table / scale), -127, 127).astype(np.int8), scale.astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Base:
    """What is learned without labels, and the three kernels of the training documents."""

    rarity: NDArray[np.float16]
    topics: NDArray[np.int8]
    topic_scale: Floats
    shape_mean: Floats
    shape_scale: Floats
    shape_axes: Floats
    topic_documents: Floats
    shape_documents: Floats
    widths: Doubles
    words: torch.Tensor
    words_scale: float
    kernel: Doubles

    @classmethod
    def fit(
        cls, rarity: NDArray[np.float16], topics: NDArray[np.int8], topic_scale: Floats, read: Read
    ) -> _Base:
        values = [(found, unit(counts * rarity[found])) for found, counts in read.words]
        near = np.array([unit(v @ topics[found] * topic_scale) for found, v in values])
        mean = read.shape.mean(axis=0)
        scale = 1 / (read.shape.std(axis=0) + np.float32(1e-3))
        shape = np.clip((read.shape - mean) * scale, -SURFACE_LIMIT, SURFACE_LIMIT)
        axes = _axes(shape)
        shape = shape @ axes
        distances = _distances(near), _distances(shape)
        widths = np.array([-0.5 / np.median(d) for d in distances])
        words = _sparse(read.words, rarity).to_dense().double()
        words -= words.mean(dim=0)
        linear = (words @ words.T).numpy()
        words_scale = float(1 / np.diag(linear).mean())
        kernel = linear * words_scale
        for width, distance in zip(widths, distances, strict=True):
            kernel = kernel + np.exp(width * distance)
        kernel /= PARTS
        return cls(rarity, topics, topic_scale, mean, scale, axes, near, shape, widths, words,
                   words_scale, kernel)  # fmt: skip

    def solve(self, read: Read, scores: Doubles, keep: Doubles) -> HeadWeights:
        """The head of all training documents; the words part becomes one weight for each word."""
        mean = scores.mean(axis=0)
        dual = _dual(self.kernel, scores - mean)
        by_word = (self.words.T.numpy() @ dual) * (self.words_scale / PARTS)
        centre = _sparse(read.words, self.rarity).to_dense().double().mean(dim=0).numpy()
        return HeadWeights(
            version=np.array(FEATURE_VERSION, np.int64),
            rarity=self.rarity,
            words=by_word.astype(np.float16),
            topics=self.topics,
            topic_scale=self.topic_scale,
            shape_mean=self.shape_mean,
            shape_scale=self.shape_scale,
            shape_axes=self.shape_axes,
            topic_documents=self.topic_documents,
            shape_documents=self.shape_documents,
            widths=self.widths,
            document_weights=dual / PARTS,
            bias=mean - centre @ by_word,
            keep=keep,
        )


def _axes(shape: Floats) -> Floats:
    """The first principal axes, `[features, SHAPE_AXES]`."""
    vectors = np.linalg.svd(shape.astype(np.float64), full_matrices=False)[2]
    return np.ascontiguousarray(vectors[:SHAPE_AXES].T, dtype=np.float32)


def _distances(rows: Floats) -> Doubles:
    """Squared distances of all pairs, `[rows, rows]`."""
    exact = rows.astype(np.float64)
    norms = np.square(exact).sum(axis=1)
    result: Doubles = np.maximum(norms[:, None] + norms - 2 * exact @ exact.T, 0)
    return result


def _dual(kernel: Doubles, targets: Doubles) -> Doubles:
    result: Doubles = np.linalg.solve(kernel + RIDGE * np.eye(len(kernel)), targets)
    return result


def _cross_predict(base: _Base, read: Read, train: Labelled, seed: int) -> Doubles:
    """Each training document's scores by heads that saw no document of its site."""
    total = np.zeros_like(train.scores)
    for round_ in range(FOLD_ROUNDS):
        fold = _folds(train.groups, seed + round_)
        for number in range(FOLDS):
            inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            mean = train.scores[inside].mean(axis=0)
            dual = _dual(base.kernel[np.ix_(inside, inside)], train.scores[inside] - mean)
            total[outside] += base.kernel[np.ix_(outside, inside)] @ dual + mean
    return total / FOLD_ROUNDS


def _folds(groups: Sequence[str], seed: int) -> NDArray[np.int64]:
    return np.array([zlib.crc32(f"{seed} {group}".encode()) % FOLDS for group in groups])


def _logistic(inputs: Doubles, labels: Doubles) -> Doubles:
    """Weights and constant of a lightly damped logistic regression, by Newton's method."""
    rows = np.column_stack((inputs, np.ones(len(inputs))))
    damping = np.diag([1e-1] * inputs.shape[1] + [0.0])
    weights = np.zeros(rows.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (chance - labels) + damping @ weights
        curve = (rows * (chance * (1 - chance))[:, None]).T @ rows + damping
        weights -= np.linalg.solve(curve, slope)
    return weights


def _sigmoid(inputs: Doubles, keep: Doubles) -> Doubles:
    result: Doubles = 1 / (1 + np.exp(-(inputs @ keep[:-1] + keep[-1])))
    return result


def _best_threshold(chance: Doubles, labels: Doubles) -> float:
    """The probability, in hundredths, from which keeping gives the best F1."""
    steps = np.arange(5, 96) / 100
    return float(steps[int(np.argmax([_f1(chance >= step, labels) for step in steps]))])


def _measure(guesses: Doubles, truth: Doubles, threshold: float, seed: int) -> dict[str, Any]:
    """Scores of guesses `[documents, targets]` with 95 % bootstrap intervals over documents."""
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, len(truth), (BOOTSTRAPS, len(truth)))
    result: dict[str, Any] = {}
    for name, score in {
        "r_edu": lambda g, t: _correlation(g[:, 0], t[:, 0]),
        "r_format": lambda g, t: _correlation(g[:, 1], t[:, 1]),
        "auc_keep": lambda g, t: _auc(g[:, 2], t[:, 2]),
        "f1_keep": lambda g, t: _f1(g[:, 2] >= threshold, t[:, 2]),
    }.items():
        drawn = [score(guesses[draw], truth[draw]) for draw in draws]
        low, high = np.nanquantile(drawn, (0.025, 0.975))
        result[name] = round(score(guesses, truth), 4)
        result[f"{name}_interval"] = [round(float(low), 4), round(float(high), 4)]
    return result


def _correlation(first: Doubles, second: Doubles) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def _auc(scores: Doubles, labels: Doubles) -> float:
    """Chance that a document to keep scores above one to drop; ties count half."""
    good, bad = scores[labels > 0.5], np.sort(scores[labels <= 0.5])
    if not len(good) or not len(bad):
        return float("nan")
    below = np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")
    return float(below.mean() / 2 / len(bad))


def _f1(kept: NDArray[np.bool_], labels: Doubles) -> float:
    hits = float(labels[kept].sum())
    return 2 * hits / max(float(kept.sum() + labels.sum()), 1.0)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
