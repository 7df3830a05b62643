"""No site and no near copy is in two splits, whatever the order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.annotation import splits
from burnish.annotation.near_copies import Sketcher, near_copies
from burnish.annotation.sampling import read_corpus
from burnish.annotation.sites import site_of
from burnish.annotation.splits import check_shares, components, split
from burnish.errors import UsageError
from burnish.schema import Document

ROOT = Path(__file__).absolute().parents[1]
CORPUS = ROOT.parent / "shared" / "data" / "corpus"
needs_data = pytest.mark.skipif(not CORPUS.exists(), reason="needs the folder shared/data")

SHARES = {"train": 0.5, "dev": 0.3, "test": 0.2}


def shares_reached(assigned: Mapping[str, str], shares: Mapping[str, float]) -> dict[str, float]:
    """The share that each split came to have of the documents that are in one, by id."""
    counts = Counter(assigned.values())
    return {name: counts[name] / len(assigned) for name in shares}


def words(seed: Any, count: int = 200) -> list[str]:
    source = random.Random(f"words {seed}")
    return [f"w{source.randrange(5_000)}" for _ in range(count)]


def doc(identity: str, text: str | list[str], site: str | None = None) -> Document:
    text = text if isinstance(text, str) else " ".join(text)
    return Document(identity, text, {"url": f"https://www.{site}/page"} if site else {})


def pairs(*texts: list[str]) -> set[tuple[int, int]]:
    sketch = Sketcher()
    return set(near_copies([sketch(" ".join(text)) for text in texts]))


# ------------------------------------------------------------------------------------------ sites


@pytest.mark.parametrize(
    ("row", "site"),
    [
        ({"url": "https://News.BBC.co.uk:80/a?b=c.d"}, "bbc.co.uk"),
        ({"url": "http://user:pw@www.example.com./x"}, "example.com"),
        ({"url": "www.example.de/x"}, "example.de"),
        ({"url": "http://192.168.0.12/x"}, "192.168.0.12"),
        ({"url": "http://bücher.example.org"}, "example.org"),
        ({"domain": "a.b.example.com.br", "url": "http://other.org"}, "example.com.br"),
        ({"domain": "co.uk"}, "co.uk"),
        ({"domain": "<https", "url": "https://a.example.org/"}, "example.org"),
        ({"domain": "<https", "url": "http://[x"}, None),
        ({"domain": "localhost"}, None),
        ({"domain": None, "url": 3}, None),
        ({}, None),
    ],
)
def test_sites(row: dict[str, Any], site: str | None):
    assert site_of(row) == site


# ------------------------------------------------------------------------------------ near copies


def test_near_copies_are_found_and_strangers_are_not():
    page, other = words(1), words(2)
    changed = [*words(3, 20), *page[:90], "changed", *page[91:], *words(4, 20)]
    half = [*page[:100], *words(5, 100)]
    assert pairs(page, changed) == {(0, 1)}
    assert pairs(page, other) == pairs(page, half) == set()
    assert pairs(page, page[:]) == {(0, 1)}
    assert pairs(["two", "words"], ["two", "words"], ["two", "other"]) == {(0, 1)}
    assert pairs([], []) == {(0, 1)}
    assert set(near_copies([])) == set()


def test_a_text_within_a_long_one_is_found():
    article = words(1, 900)
    assert pairs(article, [*words(2, 4_000), *article, *words(3, 4_000)]) == {(0, 1)}


def test_a_quotation_does_not_join():
    quotation = words(1, 15)
    assert pairs([*quotation, *words(2, 8)], [*words(3, 500), *quotation]) == set()


def test_scripts_without_spaces_are_compared_by_characters():
    source = random.Random(1)
    text = "".join(chr(0x4E00 + source.randrange(2_000)) for _ in range(300))
    sketch = Sketcher()
    assert set(near_copies([sketch(text), sketch(text[:140] + "新" + text[141:])])) == {(0, 1)}


@pytest.mark.parametrize("own", [40, 60, 200])
def test_what_many_share_joins_nobody(own: int):
    banner = words("banner", 40)
    texts = [[*banner, *words(n, own)] for n in range(120)]
    assert pairs(*texts) == set()


def test_more_copies_than_are_compared_are_found():
    page = words(1)
    documents = [doc(f"{n}", [*page, f"number {n}"]) for n in range(120)]
    assert len(components([*documents, doc("stranger", words(2))])) == 2


def test_sketches_do_not_depend_on_what_came_before():
    text = " ".join(words(1, 3_000))
    used = Sketcher(remembered=10)
    used(" ".join(words(2)))
    fresh = Sketcher()(text)
    assert np.array_equal(used(text), fresh) and np.all(np.diff(fresh.astype(object)) > 0)
    assert 64 <= len(fresh) < 300


# ----------------------------------------------------------------------------------------- splits

made = st.builds(
    lambda n, page, site, change: (
        f"d{n}",
        [*words(page, 120)[change:], *words(f"tail {n}", change)],
        site and f"site{site}.org",
    ),
    st.integers(0, 25),
    st.integers(0, 12),
    st.one_of(st.none(), st.integers(1, 8)),
    st.integers(0, 30),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(made, max_size=25), st.integers(0, 50), st.randoms())
def test_no_site_and_no_near_copy_is_in_two_splits(rows: list[Any], seed: int, shuffle: Any):
    documents = [doc(*row) for row in rows]
    found = split(documents, SHARES, seed)
    assert set(found) == {document.id for document in documents}
    sites: dict[str, str] = {}
    for document in documents:
        site = site_of(document.columns)
        if site:
            assert sites.setdefault(site, found[document.id]) == found[document.id]
    for one, two in pairs(*[row[1] for row in rows]):
        assert found[documents[one].id] == found[documents[two].id]
    mixed = documents[:]
    shuffle.shuffle(mixed)
    assert split(mixed, SHARES, seed) == found


def test_shares_come_out_as_asked_where_sites_are_small():
    documents = [doc(f"d{n}", words(n, 30), f"site{n % 1_500}.org") for n in range(3_000)]
    reached = shares_reached(split(documents, SHARES, 1), SHARES)
    assert all(abs(reached[name] - share) < 0.03 for name, share in SHARES.items())
    assert split(documents, {"all": 1.0}, 1) == dict.fromkeys(
        sorted(d.id for d in documents), "all"
    )
    assert split([], SHARES, 1) == {}


def test_a_new_document_moves_no_stranger():
    documents = [doc(f"d{n}", words(n, 50), f"site{n % 9}.org") for n in range(60)]
    before = split(documents, SHARES, 4)
    after = split([doc("new", words("new")), *documents], SHARES, 4)
    assert {identity: after[identity] for identity in before} == before


def test_components_say_what_holds_together():
    page = words(1)
    documents = [
        doc("c", page, "b.org"),
        doc("b", words(2), "a.org"),
        doc("a", [*page, "x"], "a.org"),
        doc("d", words(3)),
        doc("d", words(4)),
    ]
    found = {component.key: component.ids for component in components(documents)}
    assert found == {"site:a.org": ("a", "b", "c"), "id:d": ("d",)}


def test_a_component_that_is_too_large_is_cut_into_sites(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(splits, "LARGEST_LEAST", 20)
    documents = []
    for site in range(30):  # each site has copied one report from the next
        documents += [doc(f"{site}-{n}", words(f"{site} {n}"), f"s{site}.org") for n in range(3)]
        documents.append(doc(f"{site}-copy", words(f"{(site + 1) % 30} 0"), f"s{site}.org"))
    shares = {"train": 0.7, "dev": 0.3}
    found = split(documents, shares, 0)
    assert len(components(documents)) == 30 and set(found.values()) == set(shares)
    left_out = {document.id for document in documents} - set(found)
    assert left_out and all(i.endswith(("-0", "-copy")) for i in left_out)
    for site in range(30):
        names = {found.get(f"{site}-copy"), found.get(f"{(site + 1) % 30}-0")} - {None}
        assert len(names) == 1
        assert len({found[f"{site}-{n}"] for n in (1, 2)}) == 1
    mixed = documents[:]
    random.Random(1).shuffle(mixed)
    assert split(mixed, shares, 0) == found


@pytest.mark.parametrize("shares", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 1.0, "b": 0.0}])
def test_shares_that_are_none(shares: dict[str, float]):
    with pytest.raises(UsageError, match="with sum 1"):
        check_shares(shares)


@pytest.mark.parametrize("name", ["", "rejected", "sample", "chunks_train", "../x", "a/b", ".x"])
def test_names_that_would_be_those_of_other_files(name: str):
    with pytest.raises(UsageError, match="name of a split"):
        check_shares({"train": 0.5, name: 0.5})


@needs_data
def test_real_pages():
    documents = []
    for name in ("webpages_full", "webpages_main", "openwebtext_1k"):
        for row in read_corpus([CORPUS / f"{name}.jsonl.zst"]):
            assert isinstance(row, Document)
            documents.append(Document(f"{row.id} {name}", row.text, row.columns))
    found = components(documents)
    sizes = Counter({component.key: len(component.ids) for component in found})
    assert sizes.most_common(1) == [("site:archive.org", 186)]
    assert sum(size > 30 for size in sizes.values()) <= 5
    shares = {"train": 0.9, "dev": 0.1}
    reached = shares_reached(split(documents, shares, 0), shares)
    assert 0.05 < reached["dev"] < 0.15
