"""The network that judges lines, and the arrays that it reads.

Tokens are looked up and averaged to a vector a line; dilated convolutions and running averages
carry what stands around; a second opinion starts from the first one and a summary of the document.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from burnish.program.words import count_words
from burnish.refiners.features import LINE_COLUMNS, SURFACE, TOKEN_COLUMNS, features
from burnish.training.pages import KINDS, Page

GAP = 16
"""Empty rows between documents of a batch; no single convolution reaches across."""


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


@dataclass(slots=True)
class Corpus:
    """Documents as arrays, one after the other; document *i* owns rows `starts[i]:starts[i+1]`.

    `labels`: 1 noise, 0 content, -1 unknown. `extract`: 1 if an extractor dropped the line, 0 if it
    kept it, -1 unknown. `words` as `count_words` counts.
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
        columns["words"].append(np.array([count_words(line) for line in page.lines], np.int32))
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
