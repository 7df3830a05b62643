"""Makes a line tagger from labelled pages: train, choose on dev, export.

Embeddings start from the co-occurrence of words in text without labels. One network then learns
the gold labels and, on labelled and unlabelled pages alike, which lines an extractor that sees the
page's HTML dropped. Epoch and thresholds are chosen on the dev files and on nothing else.

A network without much dropout and slowly learnt embeddings knows the training sites by heart after
one epoch; windows of the pages help as much again. The mean of two networks is a little better and
twice as slow; a student of that mean was no better than either.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]
from torch import Tensor, nn

from burnish.program.words import count_words
from burnish.refiners.features import FEATURE_VERSION, TOKEN_COLUMNS
from burnish.refiners.tagger import LINES_FILE, THRESHOLD, WEIGHTS, Tagger
from burnish.training.calibration import calibrate
from burnish.training.material import Material, Worth
from burnish.training.network import (
    Batch,
    Corpus,
    LineNet,
    NetConfig,
    batch_of,
    batches,
    build,
    join,
)
from burnish.training.pages import KINDS, Page
from burnish.training.policy import (
    Judged,
    Policy,
    choose_policy,
    dev_score,
    judge,
    kept_f1,
    line_f1,
    lost_words,
    report,
)
from burnish.training.tagger_onnx import export


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a network is trained. Rates are a step's; `batch_lines` counts lines of one step."""

    net: NetConfig = field(default_factory=NetConfig)
    seed: int = 1
    epochs: int = 4
    batch_lines: int = 6000
    rate: float = 3e-3
    # the table starts from unlabelled text; at the network's own rate it learns pages by heart
    embedding_rate: float = 3e-4
    weight_decay: float = 0.02
    token_dropout: float = 0.45
    dropout: float = 0.35
    smoothing: float = 0.02
    average: float = 0.995
    """Decay of the moving average that is kept, a step."""
    group_weights: dict[str, float] = field(
        default_factory=lambda: {
            "full": 1.0,
            "mild": 0.8,
            "turku": 1.5,
            "chunks": 0.5,
            "snippets": 1.0,
            "plain": 1.0,
        }
    )
    long_document: int = 800
    """Documents of more lines weigh no more than one of so many."""
    auxiliary: float = 0.5
    """Weight of the first opinion's loss and of the extractor's; a tenth of it for the kind."""


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
    spread = table.std() or 1.0  # of a few lines, no pair of words comes twice
    scaled: NDArray[np.float32] = (table * (0.05 / spread)).astype(np.float32)
    return scaled


FEWEST_STEPS, MOST_EPOCHS, LEAST_LINES = 400, 12, 300
"""Of a training on few labels: steps, epochs, and lines of a step."""


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

    def fitting(self, lines: int) -> RecipeConfig:
        """The same recipe for so many labelled lines: of few, a step takes fewer and there are more
        epochs, so that `FEWEST_STEPS` are made. (Dev chooses among the epochs.)"""
        network = self.network
        steps = lines * network.epochs / network.batch_lines
        if steps >= FEWEST_STEPS or network.epochs == 1:
            return self
        batch = max(LEAST_LINES, int(lines * MOST_EPOCHS / FEWEST_STEPS))
        batch = min(batch, network.batch_lines)
        epochs = min(MOST_EPOCHS, math.ceil(FEWEST_STEPS * batch / lines))
        return replace(self, network=replace(network, batch_lines=batch, epochs=epochs))

    def quick(self) -> RecipeConfig:
        """A small network and one epoch: to try the way, not to use the result."""
        net = NetConfig(vocabulary=1 << 14, hidden=32, context=16, scan=4)
        return replace(self, network=replace(self.network, net=net, epochs=1))


def train(
    material: Material,
    out: Path = WEIGHTS,
    config: RecipeConfig | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Trains the line tagger and writes it to `lines.onnx` in the folder `out`.

    Args:
        material: what it is made from; it needs labelled pages, to learn from and to decide by.
        out: where to write; the packaged weights by default.
        config: the recipe.
        say: told how it goes, a line at a time.

    Returns:
        What the refiner card says of it: settings, files with their SHA-256, dev metrics.
    """
    recipe = config or RecipeConfig()
    gold = {name: build(pages) for name, pages in material.gold.items()}
    unlabelled = [build(material.text)] if material.text else []
    dev = {name: build(pages) for name, pages in material.dev.items()}
    say(f"{sum(map(len, gold.values()))} labelled and {len(material.text)} unlabelled documents")
    recipe = recipe.fitting(sum(len(corpus.labels) for corpus in gold.values()))

    text = (*unlabelled, *(gold[name] for name in material.start))
    table = word_table(text, recipe.network.net, recipe.text_seed)
    best = Best(dev, material.worth, say)
    fit(join([*gold.values(), *unlabelled]), recipe.network, best.watch, table)
    policy = choose_policy(best.judged, material.worth)
    out.mkdir(parents=True, exist_ok=True)
    export(best.net, out / LINES_FILE, policy)
    tagger = Tagger.load(out)
    calibration, errors = calibrate(material.dev, tagger)
    measured = evaluate(material.dev, tagger)
    say(json.dumps(measured))
    return {
        **describe(material, recipe, policy),
        "calibration": {"noise": calibration},
        "metrics": {"dev": measured, "calibration": errors, "chosen_epoch": best.epoch},
    }


class Best:
    """Keeps the epoch that does best on dev, each with its own best policy."""

    def __init__(self, dev: Mapping[str, Corpus], worth: Worth, say: Callable[[str], None]) -> None:
        self.dev = dev
        self.worth = worth
        self.say = say
        self.score = -math.inf
        self.epoch = -1
        self.net: LineNet
        self.judged: dict[str, Judged]

    def watch(self, epoch: int, net: LineNet) -> None:
        judged = {name: judge(net, part) for name, part in self.dev.items()}
        policy = choose_policy(judged, self.worth)
        score = dev_score(judged, policy, self.worth)
        self.say(f"epoch {epoch}: {json.dumps(report(judged, policy))}")
        if score > self.score:
            self.score, self.epoch, self.judged = score, epoch, judged
            self.net = LineNet(net.config)
            self.net.load_state_dict(net.state_dict())
            self.net.eval()


def evaluate(dev: Mapping[str, Sequence[Page]], tagger: Tagger) -> dict[str, float]:
    """Measures an exported tagger on the dev files, document by document: F1 of removed lines and
    of kept words, and the share of the words of content that is lost."""
    found: dict[str, float] = {}
    for name, pages in dev.items():
        labels = np.concatenate([np.array(page.labels) for page in pages])
        words = np.array([count_words(line) for page in pages for line in page.lines])
        score = np.concatenate([tagger.predict("\n".join(page.lines)).noise for page in pages])
        noise = score >= THRESHOLD
        found[f"{name}_noise_f1"] = round(line_f1(labels, noise), 4)
        found[f"{name}_kept_f1"] = round(kept_f1(labels, noise, words), 4)
        found[f"{name}_lost"] = round(lost_words(labels, noise, words), 4)
        turku = np.concatenate([np.full(len(p.lines), p.kind == "turku") for p in pages])
        if turku.any():
            found["turku_noise_f1"] = round(line_f1(labels[turku], noise[turku]), 4)
    return found


def describe(material: Material, recipe: RecipeConfig, policy: Policy) -> dict[str, Any]:
    """What the tagger was made from and how."""
    return {
        "what": "line tagger: probability that a line is noise; 0.5 is the best cut on dev",
        "features": FEATURE_VERSION,
        "thresholds": {"noise": THRESHOLD},
        "policy": asdict(policy),
        "recipe": asdict(recipe),
        "data": dict(material.files),
        "sources": {name: list(licences) for name, licences in material.sources.items()},
        "versions": {
            "numpy": np.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }
