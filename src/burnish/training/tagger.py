"""Remakes the packaged line tagger from labelled pages: read, train, choose on dev, export.

Embeddings start from the co-occurrence of words in text without labels. One network then learns
the gold labels and, on labelled and unlabelled pages alike, which lines an extractor that sees the
page's HTML dropped. Epoch and thresholds are chosen on the dev files and on nothing else.

Dropping much and learning the embeddings slowly matters most: a network without it knows the
training sites by heart after one epoch. The mean of two networks is a little better and twice as
slow; a student of that mean was no better than either.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
import zstandard
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]
from torch import Tensor, nn

from burnish.refiners.features import (
    FEATURE_VERSION,
    LINE_COLUMNS,
    SURFACE,
    TOKEN_COLUMNS,
    features,
)
from burnish.refiners.tagger import LINES_FILE, THRESHOLD, WEIGHTS, Tagger
from burnish.training.tagger_onnx import export

GAP = 16
"""Empty rows between documents of a batch; no single convolution reaches across."""

KINDS = ("full", "mild", "turku", "chunks", "snippets", "plain")
"""What a document is like; an auxiliary head learns to tell, so that policies can differ."""


@dataclass(frozen=True, slots=True)
class NetConfig:
    """Shape of the network. Sizes are numbers of units; `vocabulary` is a power of two."""

    vocabulary: int = 1 << 16
    embedding: int = 32
    hidden: int = 96
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    heads: int = 4
    context: int = 64
    scan: int = 16
    """Width of each head's running average over the lines before, and of that after."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a network is trained. Rates are a step's; `batch_lines` counts lines of one step."""

    net: NetConfig = field(default_factory=NetConfig)
    seed: int = 1
    epochs: int = 3
    batch_lines: int = 6000
    rate: float = 3e-3
    # the table starts from unlabelled text; at the network's own rate it learns pages by heart
    embedding_rate: float = 3e-4
    weight_decay: float = 0.02
    token_dropout: float = 0.3
    dropout: float = 0.3
    smoothing: float = 0.02
    average: float = 0.995
    """Decay of the moving average that is kept, a step."""
    group_weights: dict[str, float] = field(
        default_factory=lambda: {
            "full": 1.0,
            "mild": 0.6,
            "turku": 2.0,
            "chunks": 2.0,
            "snippets": 1.0,
            "plain": 1.0,
        }
    )
    long_document: int = 800
    """Documents of more lines weigh no more than one of so many."""
    auxiliary: float = 0.5
    """Weight of the first opinion's loss and of the extractor's; a tenth of it for the kind."""


@dataclass(slots=True)
class Corpus:
    """Documents as arrays, one after the other; document *i* owns rows `starts[i]:starts[i+1]`.

    `labels`: 1 noise, 0 content, -1 unknown. `extract`: 1 if an extractor dropped the line, 0 if it
    kept it, -1 unknown. `words`: blank-separated words.
    """

    tokens: NDArray[np.uint32]
    counts: NDArray[np.int64]
    lines: NDArray[np.uint32]
    surface: NDArray[np.float32]
    weights: NDArray[np.float32]
    labels: NDArray[np.int8]
    extract: NDArray[np.int8]
    words: NDArray[np.int32]
    starts: NDArray[np.int64]
    kinds: NDArray[np.int64]
    token_starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.kinds)


@dataclass(frozen=True, slots=True)
class Page:
    """A document to learn from, or to label: its lines, their labels, and its kind."""

    lines: tuple[str, ...]
    labels: tuple[int, ...]
    kind: str
    extract: tuple[int, ...] | None = None


def build(pages: Iterable[Page]) -> Corpus:
    """Featurises pages."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "tokens",
            "counts",
            "lines",
            "surface",
            "weights",
            "labels",
            "extract",
            "words",
        )
    }
    kinds, sizes = [], []
    for page in pages:
        found = features("\n".join(page.lines))
        if len(found) != len(page.lines):
            raise ValueError(f"a line holds a line feed: {page.lines[0][:60]!r} ...")
        for name in ("tokens", "counts", "lines", "surface", "weights"):
            columns[name].append(getattr(found, name))
        columns["labels"].append(np.array(page.labels, np.int8))
        unknown = (-1,) * len(page.lines)
        columns["extract"].append(np.array(page.extract or unknown, np.int8))
        columns["words"].append(np.array([len(line.split()) for line in page.lines], np.int32))
        kinds.append(KINDS.index(page.kind))
        sizes.append(len(found))
    joined = {name: np.concatenate(column) for name, column in columns.items()}
    token_starts = np.concatenate(([0], np.cumsum(joined["counts"])))
    return Corpus(
        **joined,
        starts=np.concatenate(([0], np.cumsum(sizes))),
        kinds=np.array(kinds),
        token_starts=token_starts,
    )


@dataclass(slots=True)
class Batch:
    """Several documents with `GAP` empty rows around each; rows, tokens and documents flat."""

    tokens: Tensor
    token_rows: Tensor
    offsets: Tensor
    lines: Tensor
    surface: Tensor
    weights: Tensor
    documents: Tensor
    mask: Tensor
    rows: NDArray[np.int64]
    row_of: Tensor
    size: int


def batch_of(corpus: Corpus, chosen: Sequence[int], vocabulary: int) -> Batch:
    """Puts documents side by side."""
    shift = 32 - int(math.log2(vocabulary))
    rows, places, documents, at = [], [], [], GAP
    for number, index in enumerate(chosen):
        start, end = corpus.starts[index], corpus.starts[index + 1]
        rows.append(np.arange(start, end))
        places.append(np.arange(at, at + end - start))
        documents.append(np.full(end - start, number))
        at += end - start + GAP
    row, place = np.concatenate(rows), np.concatenate(places)
    counts = np.zeros(at, np.int64)
    counts[place] = corpus.counts[row]
    ends = np.cumsum(counts)
    tokens = np.concatenate(
        [corpus.tokens[corpus.token_starts[r[0]] : corpus.token_starts[r[-1] + 1]] for r in rows]
    )
    lines = np.zeros((at, LINE_COLUMNS), np.int64)
    lines[place] = corpus.lines[row] >> shift
    surface = np.zeros((at, SURFACE), np.float32)
    surface[place] = corpus.surface[row]
    weights = np.zeros(at, np.float32)
    weights[place] = corpus.weights[row]
    document = np.zeros(at, np.int64)
    document[place] = np.concatenate(documents)
    mask = np.zeros((at, 1), np.float32)
    mask[place] = 1
    return Batch(
        torch.from_numpy((tokens >> shift).astype(np.int64)),
        torch.from_numpy(np.repeat(np.arange(at), counts)),
        torch.from_numpy(ends - counts),
        torch.from_numpy(lines),
        torch.from_numpy(surface),
        torch.from_numpy(weights),
        torch.from_numpy(document),
        torch.from_numpy(mask),
        row,
        torch.from_numpy(place),
        len(chosen),
    )


class Drop(nn.Module):
    """Dropout; nearly twice as fast on a CPU as the one of torch, which draws bit by bit."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        return x * (torch.rand_like(x) >= self.share) / (1 - self.share)


class Context(nn.Module):
    """A dilated convolution over lines, residual."""

    def __init__(self, hidden: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(hidden)
        self.wide = nn.Linear(3 * hidden, hidden)
        self.out = nn.Linear(hidden, hidden)
        self.drop = Drop(dropout)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        y = self.norm(h) * mask
        d = self.dilation
        padded = F.pad(y, (0, 0, d, d))
        y = torch.cat((padded[: -2 * d], y, padded[2 * d :]), 1)
        result: Tensor = h + self.drop(self.out(F.relu(self.wide(y))))
        return result


class Scan(nn.Module):
    """Weighted averages over all lines so far, and over all from here on: `[rows, 2 * width]`.

    Each head weighs lines by what they are, so that one can hold on to the last line that looks
    like "Comments" or "Related articles", however far back.
    """

    def __init__(self, hidden: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.weight = nn.Linear(hidden, heads)
        self.value = nn.Linear(hidden, heads * width)

    def forward(self, y: Tensor, b: Batch) -> Tensor:
        # double precision: sums run on through all documents of a batch, then are subtracted
        weight = (torch.exp(self.weight(y).clamp(-4, 4)) * b.mask).double()
        value = self.value(y).double().view(len(y), self.heads, -1) * weight[:, :, None]
        both = torch.cat((value, weight[:, :, None]), 2)
        place = b.row_of
        document = b.documents[place]
        total = torch.zeros(b.size, *both.shape[1:], dtype=torch.float64)
        total = total.index_add(0, document, both[place])
        start = torch.cumsum(total, 0) - total
        so_far = torch.cumsum(both, 0) - start[b.documents]
        rest = total[b.documents] - so_far + both
        sides = [(s[:, :, :-1] / s[:, :, -1:].clamp_min(1e-6)).flatten(1) for s in (so_far, rest)]
        return torch.cat(sides, 1).float() * b.mask


class LineNet(nn.Module):
    """Lines of documents to logits of noise.

    Tokens are looked up and averaged with learnt weights; with the line's own hashes and its
    surface they make one vector a line. Dilated convolutions bring in the neighbours. Half way the
    network states a first opinion; how much content it sees before and after each line, and a
    summary of the document, shape the second half.
    """

    def __init__(self, config: NetConfig, dropout: float = 0.0, token_dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.token_dropout = token_dropout
        c = config
        self.table = nn.Parameter(torch.randn(c.vocabulary, c.embedding) * 0.05)
        self.scores = nn.Parameter(torch.zeros(c.vocabulary, 1))
        self.enter = nn.Linear(2 * c.embedding + SURFACE, c.hidden)
        self.drop = Drop(dropout)
        self.blocks = nn.ModuleList(Context(c.hidden, d, dropout) for d in c.dilations)
        self.early_norm = nn.LayerNorm(c.hidden)
        self.early = nn.Linear(c.hidden, 1)
        self.attention = nn.Linear(c.hidden, c.heads)
        self.summary = nn.Linear(c.hidden * c.heads, c.context)
        self.scan = Scan(c.hidden, c.heads, c.scan)
        self.modulate = nn.Linear(c.context + 4 + 2 * c.heads * c.scan, 2 * c.hidden)
        self.final_norm = nn.LayerNorm(c.hidden)
        self.final = nn.Linear(c.hidden, 2)
        self.kind = nn.Linear(c.context, len(KINDS))

    @property
    def halves(self) -> tuple[list[Context], list[Context]]:
        """The convolutions before and after the network's first opinion."""
        blocks = [block for block in self.blocks if isinstance(block, Context)]
        return blocks[: len(blocks) // 2], blocks[len(blocks) // 2 :]

    def embed(self, b: Batch) -> Tensor:
        """What a line says by itself: `[rows, 2 * embedding + SURFACE]`."""
        size = len(b.mask)
        ids = b.tokens
        keep = torch.ones(ids.shape)
        line_keep = torch.ones(b.lines.shape)
        if self.training and self.token_dropout:
            keep = (torch.rand(ids.shape) >= self.token_dropout).float()
            line_keep = (torch.rand(b.lines.shape) >= 2 * self.token_dropout).float()
        score = (F.embedding(ids, self.scores).squeeze(-1) * keep).sum(1)
        weight = torch.exp(score.clamp(-6, 6))
        total = torch.zeros(size).index_add(0, b.token_rows, weight).clamp_min(1e-9)
        share = weight / total[b.token_rows]
        per_sample = (share[:, None] * keep).reshape(-1)
        pooled = F.embedding_bag(
            ids.reshape(-1),
            self.table,
            b.offsets * TOKEN_COLUMNS,
            mode="sum",
            per_sample_weights=per_sample,
        )
        whole = F.embedding_bag(b.lines, self.table, mode="sum", per_sample_weights=line_keep)
        return torch.cat((pooled, whole, b.surface), 1)

    def forward(self, b: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits `[rows, 2]` (noise, dropped by an extractor), early `[rows]`, kinds."""
        mask = b.mask
        x = self.embed(b)
        h = F.relu(self.enter(self.drop(x))) * mask
        for block in self.halves[0]:
            h = block(h, mask) * mask
        y = self.early_norm(h)
        early = self.early(y).squeeze(-1)
        attention = torch.exp(self.attention(y).clamp(-8, 8)) * mask
        place = b.row_of
        document = b.documents[place]
        pooled = (attention[place, :, None] * y[place, None, :]).flatten(1)
        sums = torch.zeros(b.size, pooled.shape[1]).index_add(0, document, pooled)
        norm = torch.zeros(b.size, attention.shape[1]).index_add(0, document, attention[place])
        mean = sums.view(b.size, -1, y.shape[1]) / norm[:, :, None]
        summary = F.relu(self.summary(mean.flatten(1)))
        content = torch.sigmoid(-early) * torch.log1p(b.weights) * mask.squeeze(-1)
        running = torch.cumsum(content, 0)
        total = torch.zeros(b.size).index_add(0, document, content[place])
        offset = torch.cumsum(total, 0) - total
        before = running - offset[b.documents] - content * 0.5
        after = total[b.documents] - before
        share = before / (total[b.documents] + 1)
        noise = torch.zeros(b.size, 2).index_add(
            0, document, torch.stack((torch.sigmoid(early[place]), torch.ones(len(place))), 1)
        )
        rate = noise[:, 0] / noise[:, 1]
        extra = torch.stack(
            (
                torch.log1p(before.clamp_min(0)) * 0.3,
                torch.log1p(after.clamp_min(0)) * 0.3,
                share,
                rate[b.documents],
            ),
            1,
        )
        scale, move = self.modulate(
            torch.cat((summary[b.documents], extra, self.scan(y, b)), 1)
        ).chunk(2, 1)
        h = (h * (1 + scale) + F.relu(move)) * mask
        for block in self.halves[1]:
            h = block(h, mask) * mask
        return self.final(self.final_norm(h)), early, self.kind(summary)


def batches(corpus: Corpus, order: Iterable[int], limit: int) -> Iterator[list[int]]:
    """Cuts an order of documents into batches of about `limit` lines."""
    chosen: list[int] = []
    total = 0
    for index in order:
        size = int(corpus.starts[index + 1] - corpus.starts[index])
        if chosen and total + size > limit:
            yield chosen
            chosen, total = [], 0
        chosen.append(int(index))
        total += size
    if chosen:
        yield chosen


def _loss(
    net: LineNet,
    corpus: Corpus,
    b: Batch,
    chosen: Sequence[int],
    config: TrainConfig,
    group: Tensor,
) -> Tensor:
    """Gold labels, what an extractor dropped, and the kind of document."""
    logits, early, kinds = net(b)
    logits, early = logits[b.row_of], early[b.row_of]
    labels = torch.from_numpy(corpus.labels[b.rows].astype(np.float32))
    extract = torch.from_numpy(corpus.extract[b.rows].astype(np.float32))
    weight = group[b.documents[b.row_of]] * (labels >= 0)
    target = labels.clamp_min(0) * (1 - 2 * config.smoothing) + config.smoothing
    total = weight.sum().clamp_min(1)
    bce = F.binary_cross_entropy_with_logits
    loss = (bce(logits[:, 0], target, reduction="none") * weight).sum() / total
    loss = loss + config.auxiliary * (bce(early, target, reduction="none") * weight).sum() / total
    extracted = (extract >= 0).float()
    loss = loss + config.auxiliary * (
        bce(logits[:, 1], extract.clamp_min(0), reduction="none") * extracted
    ).sum() / extracted.sum().clamp_min(1)
    kind = torch.from_numpy(corpus.kinds[list(chosen)])
    return loss + 0.1 * config.auxiliary * F.cross_entropy(kinds, kind)


def fit(
    corpus: Corpus,
    config: TrainConfig,
    watch: Callable[[int, LineNet], None] | None = None,
    table: NDArray[np.float32] | None = None,
) -> LineNet:
    """Trains one network and returns its moving average.

    `watch(epoch, net)` may look at the average after each epoch. `table` is where embeddings start.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    net = LineNet(config.net, config.dropout, config.token_dropout)
    if table is not None:
        net.table.data.copy_(torch.from_numpy(table))
    average = LineNet(config.net)
    average.load_state_dict(net.state_dict())
    tables = [net.table, net.scores]
    known = {id(p) for p in tables}
    rest = [p for p in net.parameters() if id(p) not in known]
    optimizer = torch.optim.AdamW(
        [
            {"params": tables, "weight_decay": 0.0, "lr": config.embedding_rate},
            {"params": rest, "weight_decay": config.weight_decay, "lr": config.rate},
        ],
        betas=(0.9, 0.98),
    )
    peaks = [g["lr"] for g in optimizer.param_groups]
    sizes = np.diff(corpus.starts)
    steps = math.ceil(len(corpus.labels) / config.batch_lines) * config.epochs
    step = 0
    for epoch in range(config.epochs):
        net.train()
        for chosen in batches(corpus, rng.permutation(len(corpus)), config.batch_lines):
            progress = min(step / steps, 1.0)
            factor = min(1.0, (step + 1) / 50) * (
                0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
            )
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            weights = [
                config.group_weights[KINDS[corpus.kinds[i]]]
                * min(1.0, config.long_document / int(sizes[i]))
                for i in chosen
            ]
            b = batch_of(corpus, chosen, config.net.vocabulary)
            loss = _loss(net, corpus, b, chosen, config, torch.tensor(weights, dtype=torch.float32))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(rest, 1.0)
            optimizer.step()
            step += 1
            decay = min(config.average, (1 + step) / (10 + step))
            with torch.no_grad():
                for mine, theirs in zip(average.parameters(), net.parameters(), strict=True):
                    mine.lerp_(theirs, 1 - decay)
        if watch is not None:
            watch(epoch, average)
    return average.eval()


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


@dataclass(frozen=True, slots=True)
class Judged:
    """Logits `[lines]` and kinds' probabilities `[lines, KINDS]` of a dev file."""

    corpus: Corpus
    logits: NDArray[np.float32]
    kinds: NDArray[np.float32]

    def measure(self, policy: Policy) -> dict[str, float]:
        """F1 of noise and of kept words, and of the turku part where there is one."""
        c = self.corpus
        noise = self.logits > policy.shift(self.kinds, c.weights)
        found = {"noise_f1": line_f1(c.labels, noise), "kept_f1": kept_f1(c.labels, noise, c.words)}
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


def dev_score(dev: Mapping[str, Judged], policy: Policy) -> float:
    """What is maximised: noise F1 of each file and of turku, and kept-word F1 of full pages."""
    found = {name: judged.measure(policy) for name, judged in dev.items()}
    full = found["full"]
    return (
        full["noise_f1"]
        + full["kept_f1"]
        + 0.5 * full["turku_noise_f1"]
        + found["mild"]["noise_f1"]
        + 0.5 * found["chunks"]["noise_f1"]
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


def choose_policy(dev: Mapping[str, Judged]) -> Policy:
    """Coordinate search on coarse grids."""
    best = Policy()
    for _ in range(2):
        for group in SHORT_GROUPS:
            tried = [
                replace(best, short=_with(best.short, group, value / 5)) for value in range(-10, 6)
            ]
            best = max(tried, key=lambda policy: dev_score(dev, policy))
        for group in LONG_GROUPS:
            tried = [
                replace(best, long=_with(best.long, group, value / 4)) for value in range(0, 11)
            ]
            best = max(tried, key=lambda policy: dev_score(dev, policy))
    return best


GOLD = {
    "train": ("boilerplate/train", "full"),
    "train_mild": ("boilerplate/train_mild", "mild"),
    "train_chunks": ("seed/chunks_train", "chunks"),
    "train_snippets": ("boilerplate/train_snippets", "snippets"),
}
DEV = {
    "full": ("boilerplate/dev", "full"),
    "mild": ("boilerplate/dev_mild", "mild"),
    "chunks": ("seed/chunks_dev", "chunks"),
}
UNLABELLED = {
    "corpus/webpages_full": "snippets",
    "corpus/webpages_main": "mild",
    "corpus/openwebtext_1k": "plain",
    "corpus/web_registers_multilingual": "plain",
    "corpus/c4_dolma_redpajama_rows": "plain",
    "corpus/news_pt": "plain",
}
"""Unlabelled files and the kind of document they hold; German news is left out, as its licence
forbids commercial use."""

UNLABELLED_LINES = 3, 1500
"""Fewest lines of an unlabelled document, and how many of a longer one are read."""


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """The records of a compressed JSON Lines file."""
    with (folder / f"{name}.jsonl.zst").open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        return [json.loads(line) for line in io.TextIOWrapper(reader, "utf-8", newline="\n")]


def _squeezed(lines: Iterable[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines]


def _dropped(lines: Sequence[str], kept: set[str] | None) -> tuple[int, ...] | None:
    """For each line whether an extractor dropped it, given the lines it kept."""
    return None if kept is None else tuple(int(line not in kept) for line in _squeezed(lines))


def gold_pages(folder: Path, name: str, kind: str) -> list[Page]:
    """Labelled pages; full ones also learn which lines the main-content extractor dropped."""
    kept: dict[str, set[str]] = {}
    mild = f"{name}_mild"
    if kind == "full" and (folder / f"{mild}.jsonl.zst").exists():
        for record in read(folder, mild):
            if record["variant"] == "resiliparse_main":
                key = record["id"].removesuffix("#resiliparse_main")
                kept[key] = set(_squeezed(line["text"] for line in record["lines"]))
    pages = []
    for record in read(folder, name):
        lines = tuple(line["text"] for line in record["lines"])
        labels = tuple(line["label"] for line in record["lines"])
        turku = record.get("source") == "turku-linewise"
        dropped = None if turku else _dropped(lines, kept.get(record["id"]))
        pages.append(Page(lines, labels, "turku" if turku else kind, dropped))
    return pages


def dev_sites(folder: Path) -> set[str]:
    """Sites of the dev files: unlabelled pages of theirs are not learnt from."""
    records = [record for name, _ in DEV.values() for record in read(folder, name)]
    return {record["domain"] for record in records if record.get("domain")}


def unlabelled_pages(folder: Path) -> list[Page]:
    """Unlabelled pages of other sites than the dev files'."""
    held_out = dev_sites(folder)
    fewest, most = UNLABELLED_LINES
    main = {record["id"]: record["text"] for record in read(folder, "corpus/webpages_main")}
    pages = []
    for name, kind in UNLABELLED.items():
        for record in read(folder, name):
            lines = tuple(record["text"].split("\n")[:most])
            if len(lines) < fewest or record.get("domain") in held_out:
                continue
            dropped = None
            if name == "corpus/webpages_full" and record["id"] in main:
                dropped = _dropped(lines, set(_squeezed(main[record["id"]].split("\n"))))
            pages.append(Page(lines, (-1,) * len(lines), kind, dropped))
    return pages


def join(corpora: Sequence[Corpus]) -> Corpus:
    """Several corpora as one."""
    columns: dict[str, Any] = {}
    for name in (f.name for f in fields(Corpus)):
        parts = [getattr(corpus, name) for corpus in corpora]
        if name in ("starts", "token_starts"):
            sizes = np.concatenate([np.diff(part) for part in parts])
            columns[name] = np.concatenate(([0], np.cumsum(sizes)))
        else:
            columns[name] = np.concatenate(parts)
    return Corpus(**columns)


CONTEXT_BUCKETS = 1 << 13
CONTEXT_REACH = 4


def _cooccurrence(corpus: Corpus, vocabulary: int) -> Any:
    """How often each table row stands within `CONTEXT_REACH` tokens of each hashed word."""
    context = (corpus.tokens[:, 0] >> (32 - int(math.log2(CONTEXT_BUCKETS)))).astype(np.int32)
    documents = np.repeat(np.arange(len(corpus)), np.diff(corpus.token_starts[corpus.starts]))
    total = sparse.csr_matrix((vocabulary, CONTEXT_BUCKETS), dtype=np.float32)
    for column in range(TOKEN_COLUMNS):
        rows = (corpus.tokens[:, column] >> (32 - int(math.log2(vocabulary)))).astype(np.int32)
        for reach in range(1, CONTEXT_REACH + 1):
            same = documents[reach:] == documents[:-reach]
            sides = ((rows[reach:], context[:-reach]), (rows[:-reach], context[reach:]))
            for row, word in sides:
                ones = np.ones(int(same.sum()), np.float32)
                pairs = sparse.coo_matrix((ones, (row[same], word[same])), total.shape)
                total = total + pairs.tocsr()
    return total


def word_table(corpora: Sequence[Corpus], config: NetConfig, seed: int) -> NDArray[np.float32]:
    """Embeddings `[vocabulary, embedding]` from text without labels.

    Positive pointwise mutual information of table rows and nearby words, damped for rare pairs and
    with contexts smoothed by the power 0.75, then a randomised singular value decomposition.
    """
    counts = sum(_cooccurrence(corpus, config.vocabulary) for corpus in corpora).tocoo()
    rows = np.bincount(counts.row, counts.data, config.vocabulary)
    contexts = np.bincount(counts.col, counts.data, CONTEXT_BUCKETS) ** 0.75
    contexts /= contexts.sum()
    information = np.log(counts.data / (rows[counts.row] * contexts[counts.col]))
    information *= counts.data / (counts.data + 2)
    used = (information > 0) & (counts.data >= 2)
    values = information[used].astype(np.float32)
    matrix = sparse.csr_matrix((values, (counts.row[used], counts.col[used])), counts.shape)
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((CONTEXT_BUCKETS, config.embedding + 16)).astype(np.float32)
    for _ in range(4):
        left, _ = np.linalg.qr(matrix @ basis)
        basis, _ = np.linalg.qr(matrix.T @ left)
    left, singular, _ = np.linalg.svd(matrix @ basis, full_matrices=False)
    table = left[:, : config.embedding] * np.sqrt(singular[: config.embedding])
    scaled: NDArray[np.float32] = (table * (0.05 / table.std())).astype(np.float32)
    return scaled


@dataclass(frozen=True, slots=True)
class RecipeConfig:
    """The whole recipe."""

    network: TrainConfig = TrainConfig()
    text_seed: int = 11
    """For the embeddings' start."""

    def with_seed(self, seed: int) -> RecipeConfig:
        """The same recipe with every seed moved by `seed`; 0 is the packaged one."""
        network = replace(self.network, seed=self.network.seed + seed)
        return replace(self, network=network, text_seed=self.text_seed + seed)

    def quick(self) -> RecipeConfig:
        """A small network and one epoch: to try the way, not to use the result."""
        net = NetConfig(vocabulary=1 << 14, hidden=32, context=16, scan=4)
        return replace(self, network=replace(self.network, net=net, epochs=1))


def train(
    data: Path,
    out: Path = WEIGHTS,
    config: RecipeConfig | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Remakes the packaged line tagger: `lines.onnx` and `lines.json` in the folder `out`.

    Args:
        data: the folder that holds `boilerplate`, `seed` and `corpus`.
        out: where to write; the packaged weights by default.
        config: the recipe.
        say: told how it goes, a line at a time.

    Returns:
        What `lines.json` holds: settings, files with their SHA-256, dev metrics.
    """
    recipe = config or RecipeConfig()
    gold = {name: build(gold_pages(data, *place)) for name, place in GOLD.items()}
    unlabelled = build(unlabelled_pages(data))
    dev = {name: build(gold_pages(data, *place)) for name, place in DEV.items()}
    say(f"{sum(map(len, gold.values()))} labelled and {len(unlabelled)} unlabelled documents")
    text = (unlabelled, gold["train"], gold["train_snippets"])

    table = word_table(text, recipe.network.net, recipe.text_seed)
    best = Best(dev, say)
    fit(join([*gold.values(), unlabelled]), recipe.network, best.watch, table)
    policy = choose_policy(best.judged)
    out.mkdir(parents=True, exist_ok=True)
    export(best.net, out / LINES_FILE, policy)
    card = describe(data, recipe, policy)
    card["metrics"] = {
        "dev": evaluate(data, Tagger.load(out)),
        "chosen_epoch": best.epoch,
    }
    write_json(out / LINES_CARD_FILE, card)
    say(json.dumps(card["metrics"]["dev"]))
    return card


class Best:
    """Keeps the epoch that does best on dev, each with its own best policy."""

    def __init__(self, dev: Mapping[str, Corpus], say: Callable[[str], None]) -> None:
        self.dev = dev
        self.say = say
        self.score = -math.inf
        self.epoch = -1
        self.net: LineNet
        self.judged: dict[str, Judged]

    def watch(self, epoch: int, net: LineNet) -> None:
        judged = {name: judge(net, part) for name, part in self.dev.items()}
        policy = choose_policy(judged)
        score = dev_score(judged, policy)
        self.say(f"epoch {epoch}: {json.dumps(report(judged, policy))}")
        if score > self.score:
            self.score, self.epoch, self.judged = score, epoch, judged
            self.net = LineNet(net.config)
            self.net.load_state_dict(net.state_dict())
            self.net.eval()


def report(dev: Mapping[str, Judged], policy: Policy) -> dict[str, float]:
    """All measures by name, rounded."""
    return {
        f"{name}_{measure}": round(value, 4)
        for name, judged in dev.items()
        for measure, value in judged.measure(policy).items()
    }


def evaluate(data: Path, tagger: Tagger) -> dict[str, float]:
    """Measures an exported tagger on the dev files, document by document."""
    found: dict[str, float] = {}
    for name, (file, kind) in DEV.items():
        pages = gold_pages(data, file, kind)
        labels = np.concatenate([np.array(page.labels) for page in pages])
        words = np.array([len(line.split()) for page in pages for line in page.lines])
        score = np.concatenate([tagger.predict("\n".join(page.lines)).noise for page in pages])
        noise = score >= THRESHOLD
        found[f"{name}_noise_f1"] = round(line_f1(labels, noise), 4)
        found[f"{name}_kept_f1"] = round(kept_f1(labels, noise, words), 4)
        turku = np.concatenate([np.full(len(p.lines), p.kind == "turku") for p in pages])
        if turku.any():
            found["turku_noise_f1"] = round(line_f1(labels[turku], noise[turku]), 4)
    return found


LINES_CARD_FILE = "lines.json"


def describe(data: Path, recipe: RecipeConfig, policy: Policy) -> dict[str, Any]:
    """What the tagger was made from and how."""
    files = [name for name, _ in (*GOLD.values(), *DEV.values())] + list(UNLABELLED)
    sources: dict[str, set[str]] = {}
    digests = {}
    for name in files:
        path = data / f"{name}.jsonl.zst"
        digests[f"{name}.jsonl.zst"] = hashlib.sha256(path.read_bytes()).hexdigest()
        for record in read(data, name):
            sources.setdefault(record["source"], set()).add(str(record.get("license")))
    return {
        "what": "line tagger: probability that a line is noise; 0.5 is the best cut on dev",
        "features": FEATURE_VERSION,
        "thresholds": {"noise": THRESHOLD},
        "policy": asdict(policy),
        "recipe": asdict(recipe),
        "data": digests,
        "sources": {name: sorted(licences) for name, licences in sorted(sources.items())},
        "licence_notes": (
            "Weights: Apache-2.0. Labels and texts come from the sources named; texts stay their "
            "publishers'. German news (non-commercial) was not used. Some sources state no licence."
        ),
        "versions": {
            "numpy": np.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
