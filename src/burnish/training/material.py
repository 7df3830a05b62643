"""What a tagger is made from: the data of the packaged one, or anybody's labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.io.digests import sha256_of
from burnish.refiners.document_head import TARGETS
from burnish.training import pages
from burnish.training.pages import DEV, Page

SCORED = {"train": "seed/train", "dev": "seed/dev"}
LAYOUT = ("boilerplate", "seed", "corpus", "text")
"""The folders of the packaged refiner's data."""

FEWEST_DOCUMENTS = 50
"""Scored documents from which a document head is trained."""

_POOL = (
    "corpus/webpages_full",
    "corpus/webpages_main",
    "corpus/openwebtext_1k",
    "corpus/web_registers_multilingual",
    "corpus/news_pt",
    "corpus/c4_dolma_redpajama_rows",
    "boilerplate/train",
    "boilerplate/train_quality",
)
"""Unlabelled text; German news is left out, as its licence forbids commercial use."""
_BOOKS = {
    "text/books_en": 6,
    "text/stacks_math_tex": 4,
    "text/wikitext2_valid_test": 3,
}
"""Long texts and how many passages are taken of each."""
_PASSAGE = 8000  # characters
Worth = Mapping[str, Mapping[str, float]]
"""How much a measure of a dev file counts, by the file's name and the measure's."""
_WORTH: Worth = {
    "full": {"noise_f1": 1, "kept_f1": 1, "turku_noise_f1": 0.5},
    "mild": {"noise_f1": 1},
    "chunks": {"noise_f1": 0.5},
}
"""What the packaged refiner's thresholds and epoch are chosen for."""
_NEWS_SHARE = 3
"""One in so many Portuguese news pages is read, lest they rule the topics."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled documents: texts, groups (site or id) and scores `[documents, TARGETS]`."""

    texts: list[str]
    groups: list[str]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that training reads.

    Attributes:
        gold: labelled pages to learn from, by the name of their part.
        dev: labelled pages to decide by, by the name of their file.
        text: pages without labels: where embeddings start, and what extractors dropped.
        start: parts of `gold` whose words embeddings start from as well.
        documents, dev_documents: scored documents; None where there are none.
        pool: texts without scores, for the topics of documents.
        files: the files behind it with their SHA-256.
        sources: source -> its licences, as the rows name them.
        worth: how much measures of dev count where thresholds and the epoch are chosen.
    """

    gold: Mapping[str, Sequence[Page]]
    dev: Mapping[str, Sequence[Page]]
    text: Sequence[Page]
    start: Sequence[str]
    documents: Labelled | None
    dev_documents: Labelled | None
    pool: Sequence[str]
    files: Mapping[str, str]
    sources: Mapping[str, Sequence[str]] = field(default_factory=dict)
    worth: Worth = field(default_factory=dict)


def is_packaged_layout(folder: Path) -> bool:
    """Whether a folder is laid out as the packaged refiner's data."""
    return (folder / LAYOUT[0]).is_dir()


def packaged(folder: Path, seed: int, passages_seed: int) -> Material:
    """The data that the packaged refiner is made from, in `boilerplate/`, `seed/`, `corpus/` and
    `text/`. The seeds are those of windows and of passages."""
    learnt = pages.learnt_files()
    names = {*learnt, *(name for name, _ in DEV.values()), *SCORED.values(), *_POOL, *_BOOKS}
    paths = {f"{name}.jsonl.zst": folder / f"{name}.jsonl.zst" for name in sorted(names)}
    sources: dict[str, set[str]] = {}
    for name in [*learnt, *(name for name, _ in DEV.values())]:
        _add_sources(sources, pages.read(folder, name))
    return Material(
        gold=pages.learnt_pages(folder, seed),
        dev=dev_pages(folder),
        text=pages.unlabelled_pages(folder),
        start=("train", "train_snippets"),
        documents=scored(pages.read(folder, SCORED["train"])),
        dev_documents=scored(pages.read(folder, SCORED["dev"])),
        pool=list(_texts(folder, passages_seed)),
        files={name: sha256_of(path) for name, path in paths.items()},
        sources={name: sorted(found) for name, found in sorted(sources.items())},
        worth=_WORTH,
    )


def dev_pages(folder: Path) -> dict[str, list[Page]]:
    """The labelled pages of dev in the packaged refiner's data."""
    return {name: pages.gold_pages(folder, *place) for name, place in DEV.items()}


Rows = Iterable[Mapping[str, Any]]


def from_labels(
    train: Mapping[Path, Rows], dev: Mapping[Path, Rows], text: Sequence[str], seed: int
) -> Material:
    """Anybody's labels: rows of gold (see `burnish.io.gold`) by file, and texts without labels.

    Whole pages are cut to windows as well, as the packaged refiner's are. Documents count if they
    have all of `TARGETS`.
    """
    sources: dict[str, set[str]] = {}
    learnt, decided = _parts(train, sources), _parts(dev, sources)
    gold: dict[str, Sequence[Page]] = {name: part.pages for name, part in learnt.items()}
    whole = [page for part in gold.values() for page in part if page.kind != "chunks"]
    gold["windows"] = pages.windows(whole, "snippets", 2, seed)
    texts = ["\n".join(page.lines) for part in learnt.values() for page in part.pages]
    fewest, most = pages.UNLABELLED_LINES
    unlabelled = [one.split("\n")[:most] for one in text]
    return Material(
        gold={name: part for name, part in gold.items() if part},
        dev={name: part.pages for name, part in decided.items() if part.pages},
        text=[
            Page(tuple(lines), (-1,) * len(lines), "plain")
            for lines in unlabelled
            if len(lines) >= fewest
        ],
        start=[name for name, part in learnt.items() if part.pages],
        documents=scored([row for part in learnt.values() for row in part.documents]),
        dev_documents=scored([row for part in decided.values() for row in part.documents]),
        pool=[_ends(one) for one in (*texts, *text)],
        files={str(path): sha256_of(path) for path in (*train, *dev)},
        sources={name: sorted(found) for name, found in sorted(sources.items())},
    )


def scored(rows: Sequence[Mapping[str, Any]]) -> Labelled | None:
    """The documents that have all scores, and what keeps those of a site together."""
    whole = [row for row in rows if all(row.get(target) is not None for target in TARGETS)]
    if not whole:
        return None
    return Labelled(
        [row["text"] for row in whole],
        [pages.site_of(row) or row["text"] for row in whole],
        np.array([[row[target] for target in TARGETS] for row in whole], np.float64),
    )


@dataclass(slots=True)
class _Part:
    """What one file holds."""

    pages: list[Page] = field(default_factory=list)
    documents: list[Mapping[str, Any]] = field(default_factory=list)


def _parts(files: Mapping[Path, Rows], sources: dict[str, set[str]]) -> dict[str, _Part]:
    """The files' contents by name; files of one name are told apart by a number."""
    found: dict[str, _Part] = {}
    for number, (path, rows) in enumerate(files.items()):
        name = path.name.partition(".")[0]
        part = found[f"{name}_{number}" if name in found else name] = _Part()
        for row in rows:
            _add_sources(sources, (row,))
            if "lines" not in row:
                part.documents.append(row)
            elif row["lines"]:
                part.pages.append(pages.page_of(row, "chunks" if "first_line" in row else "full"))
    return found


def _add_sources(sources: dict[str, set[str]], rows: Rows) -> None:
    for row in rows:
        if row.get("source"):
            sources.setdefault(str(row["source"]), set()).add(str(row.get("license")))


def _texts(folder: Path, seed: int) -> Iterator[str]:
    """Pages and passages of books, each `_PASSAGE` characters at most."""
    for name in _POOL:
        for number, row in enumerate(pages.read(folder, name)):
            if "news" in name and number % _NEWS_SHARE:
                continue
            yield _ends(row.get("text") or "\n".join(line["text"] for line in row["lines"]))
    generator = np.random.default_rng(seed)
    for name, passages in _BOOKS.items():
        for row in pages.read(folder, name):
            text = row["text"]
            for start in generator.integers(0, max(1, len(text) - _PASSAGE), passages):
                yield text[start : start + _PASSAGE]


def _ends(text: str) -> str:
    """The first three quarters and the last quarter of `_PASSAGE`."""
    tail = _PASSAGE // 4
    return text if len(text) <= _PASSAGE else f"{text[: 3 * tail]}\n{text[-tail:]}"
