"""The pages that the tagger learns from: read, and made to more.

Gold pages are few, and a network knows their sites by heart after an epoch or two. So each is also
cut to windows, which have other beginnings and ends and less around them; and text that is known to
be clean (formulas, code, questions and answers) is taken as content whole, since the gold has
little of its kind.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

KINDS = ("full", "mild", "turku", "chunks", "snippets", "plain")
"""What a document is like; an auxiliary head learns to tell, so that policies can differ."""

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
"""Fewest lines of an unlabelled document, and the most that are read."""

CLEAN_ROWS = "corpus/c4_dolma_redpajama_rows"
CLEAN_SOURCES = ("stack_exchange", "stackexchange", "arxiv")
CLEAN_BOOK = "text/stacks_math_tex"
CLEAN_LINES, CLEAN_BOOK_LINES, CLEAN_CHAPTERS = 200, 60, 3
"""Lines taken of a clean row and of a chapter; one chapter in so many."""

WINDOW_CHARS = 1200, 4000
"""Shortest and longest window of a gold page, in characters."""
WINDOW_LINES = 5
"""Fewest lines of a window, and half of the fewest of a page that is cut."""
TITLE_CHARS = 12
"""A line of so many letters that stands in the page's title counts as its headline."""


@dataclass(frozen=True, slots=True)
class Page:
    """A document to learn from, or to label: its lines, their labels, and its kind.

    `labels`: 1 noise, 0 content, -1 unknown. `extract`: whether an extractor that sees the page's
    HTML dropped the line. `site`: what tells related pages from others, empty if unknown.
    """

    lines: tuple[str, ...]
    labels: tuple[int, ...]
    kind: str
    extract: tuple[int, ...] | None = None
    site: str = ""

    def cut(self, first: int, end: int, kind: str) -> Page:
        """Lines `first` to `end` (exclusive) as a page of its own."""
        extract = None if self.extract is None else self.extract[first:end]
        return Page(self.lines[first:end], self.labels[first:end], kind, extract, self.site)


def page_of(record: Mapping[str, Any], kind: str) -> Page:
    """A row of gold with lines as a page."""
    lines = tuple(line["text"] for line in record["lines"])
    labels = tuple(line["label"] for line in record["lines"])
    return Page(lines, labels, kind, site=site_of(record))


def site_of(record: Mapping[str, Any]) -> str:
    """A row's site; without one, its id less the variant."""
    return str(record.get("domain") or str(record.get("id", "")).partition("#")[0])


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """The records of a compressed JSON Lines file."""
    with (folder / f"{name}.jsonl.zst").open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        return [json.loads(line) for line in io.TextIOWrapper(reader, "utf-8", newline="\n")]


def gold_pages(folder: Path, name: str, kind: str, *, headlines: bool = False) -> list[Page]:
    """Labelled pages; full ones also learn which lines the main-content extractor dropped.

    `headlines` turns the page's own headline, which is -1 where the gold leaves it out, to content.
    """
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
        labels = tuple(
            _label(line, record) if headlines else line["label"] for line in record["lines"]
        )
        turku = record.get("source") == "turku-linewise"
        dropped = None if turku else _dropped(lines, kept.get(record["id"]))
        pages.append(Page(lines, labels, "turku" if turku else kind, dropped, site_of(record)))
    return pages


def _label(line: Mapping[str, Any], record: Mapping[str, Any]) -> int:
    label: int = line["label"]
    if label != -1 or not record.get("title"):
        return label
    title, text = _letters(record["title"]), _letters(line["text"])
    return 0 if text and (text == title or (len(text) >= TITLE_CHARS and text in title)) else -1


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _squeezed(lines: Iterable[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines]


def _dropped(lines: Sequence[str], kept: set[str] | None) -> tuple[int, ...] | None:
    """For each line whether an extractor dropped it, given the lines it kept."""
    return None if kept is None else tuple(int(line not in kept) for line in _squeezed(lines))


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


def clean_pages(folder: Path, seed: int) -> list[Page]:
    """Formulas, code, questions and answers, all of it content; nothing that a dev file holds."""
    rng = np.random.default_rng(seed)
    held_out = {
        record["id"] for name in ("chunks_dev", "dev") for record in read(folder, f"seed/{name}")
    }
    held_out |= {key.partition("#")[0] for key in held_out}
    texts = [
        record["text"].split("\n")[:CLEAN_LINES]
        for record in read(folder, CLEAN_ROWS)
        if any(word in record["source"] for word in CLEAN_SOURCES) and record["id"] not in held_out
    ]
    for record in read(folder, CLEAN_BOOK)[::CLEAN_CHAPTERS]:
        lines = record["text"].split("\n")
        first = int(rng.integers(max(1, len(lines) - CLEAN_BOOK_LINES)))
        texts.append(lines[first : first + CLEAN_BOOK_LINES])
    return [Page(tuple(lines), (0,) * len(lines), "plain") for lines in texts]


def windows(pages: Sequence[Page], kind: str, times: int, seed: int) -> list[Page]:
    """Random windows of labelled pages, `times` of each that is long enough."""
    rng = np.random.default_rng(seed)
    found = []
    for page in pages:
        if page.kind == "turku" or len(page.lines) < 2 * WINDOW_LINES:
            continue
        ends = np.cumsum([len(line) + 1 for line in page.lines])
        for _ in range(times):
            first = int(rng.integers(len(page.lines)))
            room = int(rng.integers(*WINDOW_CHARS)) + (int(ends[first - 1]) if first else 0)
            window = page.cut(first, int(np.searchsorted(ends, room)), kind)
            if len(window.lines) >= WINDOW_LINES and max(window.labels) >= 0:
                found.append(window)
    return found


def learnt_pages(folder: Path, seed: int) -> dict[str, list[Page]]:
    """All labelled pages that the network learns from, the made ones among them."""
    found = {name: gold_pages(folder, *place, headlines=True) for name, place in GOLD.items()}
    found["windows"] = windows(found["train"], "snippets", 2, seed)
    found["mild_windows"] = windows(found["train_mild"][1::2], "mild", 1, seed + 1)
    found["clean"] = clean_pages(folder, seed + 2)
    return found


def learnt_files() -> list[str]:
    """The files behind `learnt_pages` and `unlabelled_pages`, without their suffix."""
    return [*(name for name, _ in GOLD.values()), *UNLABELLED, CLEAN_BOOK]
