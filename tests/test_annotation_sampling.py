"""Samples do not depend on order, grow at their end, and are spread evenly over strata."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.annotation import languages, sampling
from burnish.annotation.languages import language_of, recognise
from burnish.annotation.sampling import (
    Sample,
    Stratum,
    draw,
    fingerprint,
    length_stratum,
    priority,
    read_corpus,
)
from burnish.annotation.variants import variant_of
from burnish.errors import InputError, MissingExtra, UsageError
from burnish.io.rows import Damage
from burnish.schema import Document, Rejected

ROOT = Path(__file__).absolute().parents[1]
CORPUS = ROOT.parent / "shared" / "data" / "corpus"
BOILERPLATE = ROOT.parent / "shared" / "data" / "boilerplate"
needs_data = pytest.mark.skipif(not CORPUS.exists(), reason="needs the folder shared/data")

GERMAN = "Die Otter sind zurück im Fluss und bauen dort ihre Höhlen, sagt die Försterin im Dorf."
ENGLISH = "The otters are back in the river, and they build their dens there, says the ranger."


def doc(text: str, identity: str = "", **columns: Any) -> Document:
    return Document(identity or f"id of {text}", text, columns)


rows = st.builds(
    lambda n, copy, kind: Document(f"{n}-{copy}", f"text {n}", {"kind": kind}, kind),
    st.integers(0, 60),
    st.integers(0, 2),
    st.sampled_from("abc"),
)


# ---------------------------------------------------------------------------------------- drawing


@given(st.lists(rows, max_size=80), st.integers(1, 30), st.integers(-2, 2), st.randoms())
def test_order_does_not_matter(documents: list[Document], size: int, seed: int, random: Any):
    for stratify in (None, "kind", "length"):
        first = draw(documents, size, seed, stratify)
        mixed = documents[:]
        random.shuffle(mixed)
        assert draw(mixed, size, seed, stratify) == first
    everything = [d.text for d in draw(documents, None, seed).documents]
    assert everything == sorted({d.text for d in documents}, key=lambda t: priority(t, seed))


@given(st.lists(rows, max_size=80), st.integers(1, 20), st.integers(0, 20))
def test_a_larger_sample_begins_with_the_smaller(rows: list[Document], size: int, more: int):
    small, large = draw(rows, size).documents, draw(rows, size + more).documents
    assert large[: len(small)] == small
    assert len(large) == min(size + more, len({row.text for row in rows}))


def test_another_seed_draws_others():
    documents = [doc(f"text {n}") for n in range(100)]
    assert draw(documents, 10, 1).documents != draw(documents, 10, 2).documents


def filled(counts: dict[str, int], size: int, rank: Any) -> dict[str, int]:
    """Brute force: one for each stratum in turn, as long as it has some."""
    shares = dict.fromkeys(counts, 0)
    while sum(shares.values()) < min(size, sum(counts.values())):
        open_ones = [name for name in counts if shares[name] < counts[name]]
        lowest = min(shares[name] for name in open_ones)
        name = min((n for n in open_ones if shares[n] == lowest), key=rank)
        shares[name] += 1
    return shares


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 2)), max_size=150),
    st.integers(1, 60),
    st.integers(0, 5),
    st.integers(1, 9),
)
def test_strata_are_filled_like_water(
    drawn: list[tuple[int, int]], size: int, seed: int, strata: int
):
    kind = {n: str(int(strata * (n / 81) ** 2)) for n in range(81)}  # of different sizes
    documents = [doc(f"text {n}", f"{n}-{copy}", kind=kind[n]) for n, copy in drawn]
    texts: dict[str, set[str]] = defaultdict(set)
    for document in documents:
        texts[document.columns["kind"]].add(document.text)
    counts = {name: len(found) for name, found in texts.items()}
    shares = filled(counts, size, lambda name: priority(name, seed))
    expected: set[str] = set()
    for name, found in texts.items():
        expected.update(sorted(found, key=lambda t: priority(t, seed))[: shares[name]])
    sample = draw(documents, size, seed, "kind")
    assert {d.text for d in sample.documents} == expected
    assert {name: s.drawn for name, s in sample.strata.items()} == shares
    assert sample.duplicates == sum(d.text in expected for d in documents) - len(expected)
    for document in sample.documents:
        assert document.id == min(d.id for d in documents if d.text == document.text)


def test_memory_is_that_of_the_sample():
    held = []
    documents = (doc(f"text {n}", kind=str(n % 7)) for n in range(20_000))
    draw(documents, 50, 0, "kind", on_progress=lambda drawing: held.append(drawing.held))
    assert len(held) == 21 and max(held) == 50


def test_a_text_in_two_strata_is_drawn_once():
    documents = [doc("same", "b", kind="x"), doc("same", "a", kind="y"), doc("other", "c")]
    sample = draw(documents, None, 0, "kind")
    assert sorted(d.id for d in sample.documents) == ["a", "c"]
    assert sample.strata == {"": Stratum(1, 1), "x": Stratum(1, 0), "y": Stratum(1, 1)}
    assert sample.duplicates == 1


def test_what_is_no_document_is_counted_and_costs_nothing_else():
    bad, damage = Rejected("x", 3, "not JSON"), Damage("x", 9, "cut short")
    told: list[Rejected] = []
    found = draw(
        [doc("one"), bad, doc(" \n"), doc(""), damage, doc("two")], 5, on_rejected=told.append
    )
    assert (found.seen, found.blank, found.rejected, found.damaged) == (4, 2, 2, 1)
    assert told == [bad, damage] and {d.text for d in found.documents} == {"one", "two"}
    assert draw([], 3) == Sample(())


def test_columns_of_any_kind_give_strata():
    values = ["a", None, True, 3, {"b": 1, "a": [2]}, ["x"], ""]
    documents = [doc(f"text {n}", kind=value) for n, value in enumerate(values)]
    sample = draw([*documents, doc("without")], None, 0, "kind")
    assert set(sample.strata) == {"a", "", "True", "3", '{"a": [2], "b": 1}', '["x"]'}
    assert sample.strata[""].seen == 3


def test_a_column_of_names_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sampling, "MOST_STRATA", 10)
    with pytest.raises(UsageError, match="more than 10 strata"):
        draw([doc(f"text {n}", url=f"u{n}") for n in range(11)], 5, 0, "url")
    with pytest.raises(UsageError, match="at least 1"):
        draw([], 0)


def test_lengths():
    bounds = [1, 999, 1_000, 3_999, 4_000, 16_000, 63_999, 64_000]
    names = ["<1k", "<1k", "1k-4k", "1k-4k", "4k-16k", "16k-64k", "16k-64k", ">=64k"]
    assert [length_stratum("x" * n) for n in bounds] == names


# ---------------------------------------------------------------------------------------- reading


def write_inputs(folder: Path) -> dict[str, list[str]]:
    """The same six rows in several files; the texts by file."""
    lines = [json.dumps({"id": f"r{n}", "text": f"text {n}", "kind": n % 2}) for n in range(6)]
    data = ("\n".join([*lines[:3], "no JSON", *lines[3:]]) + "\n").encode()
    (folder / "plain.jsonl").write_bytes(data)
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress(data))
    table = pa.table(
        {
            "id": [f"p{n}" for n in range(4)],
            "text": ["text 0", None, "text 7", "text 8"],
            "kind": [0, 0, 1, 1],
        }
    )
    pq.write_table(table, folder / "rows.parquet")
    return {"jsonl": [f"text {n}" for n in range(6)], "parquet": ["text 0", "text 7", "text 8"]}


def test_files_of_all_kinds_are_read(tmp_path: Path):
    texts = write_inputs(tmp_path)
    rows = list(read_corpus([tmp_path]))
    found = Counter(row.text for row in rows if isinstance(row, Document))
    assert found == Counter(texts["jsonl"] * 2 + texts["parquet"])
    assert sorted(row.file for row in rows if isinstance(row, Rejected)) == [
        "packed.jsonl.gz",
        "plain.jsonl",
        "rows.parquet",
    ]
    forward = [tmp_path / "plain.jsonl", tmp_path / "rows.parquet"]
    first = draw(read_corpus(forward), 5, 3, "kind")
    second = draw(read_corpus(forward[::-1]), 5, 3, "kind")
    assert [d.id for d in first.documents] == [d.id for d in second.documents]
    assert [dict(d.columns) for d in first.documents] == [dict(d.columns) for d in second.documents]
    assert first.rejected == 2
    assert len(list(read_corpus([tmp_path / "plain.jsonl"], limit=2))) == 2
    assert fingerprint(forward) == fingerprint(forward[::-1]) != fingerprint([tmp_path])


def test_a_row_of_parquet_does_not_hold_its_batch(tmp_path: Path):
    write_inputs(tmp_path)
    for document in draw(read_corpus([tmp_path / "rows.parquet"]), 2).documents:
        assert len(document.columns.batch.table) == 1  # type: ignore[attr-defined]
        assert document.columns["text"] == document.text


def test_pages_with_labels_are_read(tmp_path: Path):
    page = {"id": "p", "lines": [{"text": "Menu", "label": 1}, {"text": "Otters.", "label": 0}]}
    bad = [{"lines": [{"label": 1}]}, {"lines": "x"}, {"lines": [], "text": None}]
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [page, *bad, {"text": "plain"}]))
    first, *rejected, last = read_corpus([path])
    assert isinstance(first, Document) and isinstance(last, Document)
    assert (first.id, first.text, first.columns) == ("p", "Menu\nOtters.", page)
    assert all(isinstance(row, Rejected) for row in rejected) and len(rejected) == 3
    path.write_text("\ufeff" + json.dumps(page) + "\n")
    (only,) = read_corpus([path])
    assert isinstance(only, Document)


def test_inputs_that_can_not_be_read_are_told_at_once(tmp_path: Path):
    with pytest.raises(InputError, match="there is no file"):
        read_corpus([tmp_path / "x.jsonl"])
    (tmp_path / "x.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(InputError, match="no column 'text'"):
        read_corpus([tmp_path / "x.jsonl"])
    write_inputs(tmp_path)
    with pytest.raises(InputError, match="no column 'body'"):
        read_corpus([tmp_path / "rows.parquet"], "body")


def test_a_damaged_file_costs_its_rest(tmp_path: Path):
    write_inputs(tmp_path)
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-12])
    sample = draw(read_corpus([packed]), None)
    assert sample.damaged == 1 and sample.documents


# --------------------------------------------------------------------------- languages, variants


def test_languages(monkeypatch: pytest.MonkeyPatch):
    assert language_of(doc(ENGLISH, lang="PT-br")) == "pt"
    monkeypatch.setattr(languages, "LanguageIdentifier", None)
    languages._identifier.cache_clear()
    with pytest.raises(MissingExtra, match=r"burnish\[annotate\]"):
        recognise(ENGLISH)
    assert variant_of(doc(ENGLISH, lang="en")) == "web"
    monkeypatch.undo()
    pytest.importorskip("py3langid", reason="needs the extra annotate")
    assert [recognise(ENGLISH), recognise(GERMAN), recognise("§")] == ["en", "de", "und"]
    assert recognise(ENGLISH * 100 + GERMAN * 1000) == "en"
    sample = draw([doc(ENGLISH), doc(GERMAN), doc("x", lang="fr")], None, 0, "language")
    assert set(sample.strata) == {"en", "de", "fr"}


CODE = "How do I sort?\nimport heapq\ndef first(rows):\n    return heapq.nsmallest(3, rows)\n\n"
TEX = r"Let \(x \in \mathbb{R}\) with $x^{2} \leq 1$. Then \[ \sum_i x_i = 0 \]."


def test_variants():
    assert variant_of(doc(TEX, lang="en")) == "math"
    formulas = "x ≤ 1 and y ≥ 2, as we saw. " + ENGLISH * 90
    assert variant_of(doc(formulas, lang="en", math=True)) == "math"
    # The column alone is no proof.
    assert variant_of(doc(ENGLISH, lang="en", math=True)) == "web"
    assert variant_of(doc(CODE * 3, lang="es")) == "code"
    assert variant_of(doc(GERMAN, lang="de")) == "multilingual"
    assert variant_of(doc("12 34", lang="zxx")) == "web"
    prose = "We sell:\n- otters (small);\n- beavers;\n- voles (two);\n- mice;\n- rats;\n- bats;\n"
    assert variant_of(doc(prose, lang="en")) == "web"
    assert variant_of(doc("<unk> was born in <unk> .\n" * 9, lang="en")) == "web"


@needs_data
def test_real_documents_of_each_kind():
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for row in read_corpus([CORPUS / "c4_dolma_redpajama_rows.jsonl.zst"]):
        assert isinstance(row, Document)
        source = row.columns["source"]
        kinds[source][variant_of(row)] += 1
    assert kinds["llm-foundry:arxiv"]["math"] >= 18
    assert kinds["data-juicer:stack_exchange"]["code"] >= 37
    assert set(kinds["c4 (OLMo fixtures)"]) == {"web"}


@needs_data
def test_real_pages_with_labels():
    rows = list(read_corpus([BOILERPLATE / "dev.jsonl.zst"]))
    assert len(rows) == 441 and all(isinstance(row, Document) for row in rows)


@needs_data
def test_a_real_corpus_is_drawn_by_length():
    sample = draw(read_corpus([CORPUS / "webpages_full.jsonl.zst"]), 250, 0, "length")
    assert len(sample.documents) == 250 and sample.rejected == 0
    drawn = {name: stratum.drawn for name, stratum in sample.strata.items()}
    assert drawn["<1k"] == drawn["1k-4k"] or abs(drawn["<1k"] - drawn["1k-4k"]) == 1
    assert sum(stratum.seen for stratum in sample.strata.values()) == 2558
