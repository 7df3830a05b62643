"""Training the packaged kind of refiner, on pages made here: the way, not the quality."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

import burnish
from burnish.errors import InputError, OutputError, UsageError
from burnish.spec import RefinerCard
from burnish.workflows import refine
from burnish.workflows.distil import write_labels
from burnish.workflows.train_tagger import Config, run

pytest.importorskip("torch", reason="the extra [train] is not installed")
pytest.importorskip("onnx", reason="the extra [train] is not installed")
pytest.importorskip("scipy", reason="the extra [train] is not installed")

import numpy as np

from burnish.training import tagger
from burnish.training.network import NetConfig, build
from burnish.training.pages import Page

NOISE = ["Home", "News", "Contact us", "Log in", "Share on a network", "Privacy policy", "Cookies"]
SUBJECTS = ["The river", "A teacher", "The old engine", "My neighbour", "A small bird"]
VERBS = ["explains", "carries", "measures", "repairs", "follows"]
OBJECTS = ["the heavy stones", "a simple rule", "the broken wheel", "every second letter"]


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(zstandard.compress(lines.encode()))


class Maker:
    """Pages of sentences between menus and footers, with everything the data files have."""

    def __init__(self) -> None:
        self.random = random.Random(1)

    def sentence(self) -> str:
        chosen = (self.random.choice(words) for words in (SUBJECTS, VERBS, OBJECTS))
        return f"{' '.join(chosen)} and nobody knows the reason, not even on day {self.number()}."

    def number(self) -> int:
        return self.random.randrange(1000)

    def labelled(self) -> list[dict[str, Any]]:
        noise = [{"text": self.random.choice(NOISE), "label": 1} for _ in range(12)]
        body = [{"text": self.sentence(), "label": 0} for _ in range(self.random.randrange(4, 12))]
        return [*noise[:6], *body, *noise[6:]]

    def page(self, number: int, **more: Any) -> dict[str, Any]:
        lines = self.labelled()
        site = f"site{number}.example"
        return {
            "id": f"page-{number}",
            "source": "made" if number % 4 else "turku-linewise",
            "license": "ours",
            "domain": site,
            "title": lines[6]["text"],
            "variant": "resiliparse_main",
            "lines": lines,
            **more,
        }

    def document(self, number: int) -> dict[str, Any]:
        text = "\n".join(line["text"] for line in self.labelled())
        keep = number % 3 == 0
        return {
            "id": f"document-{number}",
            "source": "made" if number % 5 else "stack_exchange",
            "license": "ours",
            "lang": "en",
            "domain": f"place{number}.example",
            "file": "made",
            "text": text if keep else text.replace("explains", "sells"),
            "edu": 3 if keep else number % 2,
            "format": 1 + number % 4,
            "keep": int(keep),
        }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    maker = Maker()
    for part, first, count in (("train", 0, 40), ("dev", 100, 12)):
        numbers = range(first, first + count)
        write(folder / f"boilerplate/{part}.jsonl.zst", map(maker.page, numbers))
        mild = [maker.page(n, id=f"page-{n}#resiliparse_main") for n in numbers]
        write(folder / f"boilerplate/{part}_mild.jsonl.zst", mild)
        for name in (f"boilerplate/{part}_snippets", f"seed/chunks_{part}"):
            write(folder / f"{name}.jsonl.zst", map(maker.page, numbers))
        scored = range(first, first + 60)
        write(folder / f"seed/{part}.jsonl.zst", map(maker.document, scored))
        quality = [{**maker.document(n), "unanimous": 1} for n in numbers]
        write(folder / f"boilerplate/{part}_quality.jsonl.zst", quality)
    for number, name in enumerate(
        (
            "webpages_full",
            "webpages_main",
            "openwebtext_1k",
            "web_registers_multilingual",
            "c4_dolma_redpajama_rows",
            "news_pt",
        )
    ):
        rows = [maker.document(200 + 50 * number + n) for n in range(30)]
        write(folder / f"corpus/{name}.jsonl.zst", rows)
    for name in ("books_en", "stacks_math_tex", "wikitext2_valid_test"):
        write(folder / f"text/{name}.jsonl.zst", [maker.document(n) for n in range(900, 906)])
    return folder


@pytest.mark.slow
def test_a_tagger_is_made_from_data_and_refines(data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    config = Config(data=(data,), output=tmp_path / "tagger", seed=3, quick=True)
    card = run(config, said.append)
    assert said
    written = RefinerCard.read(tmp_path / "tagger").to_json()
    assert written == json.loads(json.dumps(card.to_json()))
    assert {"boilerplate/train.jsonl.zst", "seed/train.jsonl.zst"} <= set(card.data)
    assert card.stages["document"].keep_threshold is not None
    text = "\n".join(["Home", "News", "Log in", *(Maker().sentence() for _ in range(6)), "Cookies"])
    (record,) = burnish.refine([{"text": text}], refiner=str(tmp_path / "tagger"))
    assert 0 <= record.scores["keep"] <= 1

    again = Config(data=(data,), output=tmp_path / "again", seed=3, quick=True)
    run(again, said.append)
    for name in ("lines.onnx", "document_head.npz"):
        assert (tmp_path / "tagger" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_missing_part_of_the_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "boilerplate").mkdir()
    with pytest.raises(InputError, match="no folder 'seed'"):
        run(Config(data=(tmp_path,), output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------ anybody's labels


def seed_set(folder: Path, train: int, documents: int = 0) -> Path:
    """A folder as burnish annotate writes it."""
    maker = Maker()
    for part, first, count in (("train", 0, train), ("dev", 1000, 12)):
        numbers = range(first, first + count)
        write(folder / f"chunks_{part}.jsonl.zst", (maker.page(n, first_line=0) for n in numbers))
        if documents:
            rows = map(maker.document, range(first, first + documents))
            write(folder / f"{part}.jsonl.zst", rows)
    return folder


def noise_found(refiner: Path) -> float:
    """Share of the lines of unseen pages that are judged right."""
    maker = Maker()
    maker.random.seed(77)
    pages = [maker.labelled() for _ in range(20)]
    texts = [{"text": "\n".join(line["text"] for line in page)} for page in pages]
    records = burnish.refine(texts, str(refiner), "chunk")
    right = [
        (number in record.removed_lines) == (line["label"] == 1)
        for page, record in zip(pages, records, strict=True)
        for number, line in enumerate(page)
    ]
    return sum(right) / len(right)


@pytest.mark.slow
def test_a_seed_set_makes_a_refiner(tmp_path: Path) -> None:
    said: list[str] = []
    seed = seed_set(tmp_path / "seed", 60, documents=60)
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps(Maker().document(n)) + "\n" for n in range(40)))
    config = Config(data=(seed,), text=(texts,), output=tmp_path / "mine")
    card = run(config, said.append)
    assert card.name == "mine"
    assert set(card.stages) == {"document", "chunk"}
    assert set(card.metrics["lines"]["dev"]) == {
        f"chunks_dev_{measure}" for measure in ("noise_f1", "kept_f1", "lost")
    }
    assert "licence_notes" not in card.notes and card.notes["sources"]["made"] == ["ours"]
    assert noise_found(tmp_path / "mine") > 0.9


@pytest.mark.slow
def test_few_or_no_scored_documents_leave_the_chunk_stage(tmp_path: Path) -> None:
    said: list[str] = []
    seed = seed_set(tmp_path / "seed", 30, documents=20)
    card = run(Config(data=(seed,), output=tmp_path / "out", quick=True), said.append)
    assert set(card.stages) == {"chunk"}
    assert any("no document stage: 20 documents" in line for line in said)
    assert not (tmp_path / "out" / "document_head.npz").exists()
    (record,) = burnish.refine([{"text": "Home\nNews"}], refiner=str(tmp_path / "out"))
    assert record.traces[0].stage == "chunk"


@pytest.mark.slow
def test_a_tagger_learns_from_the_programs_of_another_refiner(tmp_path: Path) -> None:
    """The teacher keeps lines that end as sentences do, which is what the labels say here."""
    maker = Maker()
    pages = [{"id": f"{n}", "text": "\n".join(_texts(maker.labelled()))} for n in range(60)]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(page) + "\n" for page in pages))
    refine.run(
        refine.Config(
            inputs=(corpus,), output=tmp_path / "run", refiner="c4-lines", stages=("chunk",)
        )
    )
    write_labels([tmp_path / "run"], tmp_path / "distilled")
    dev = seed_set(tmp_path / "seed", 0) / "chunks_dev.jsonl.zst"
    run(
        Config(data=(tmp_path / "distilled",), dev=(dev,), output=tmp_path / "out"),
        lambda line: None,
    )
    assert noise_found(tmp_path / "out") > 0.9


def _texts(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    return [line["text"] for line in lines]


@pytest.mark.parametrize(
    ("parts", "error", "told"),
    [
        ({}, UsageError, "nothing to train on"),
        ({"data": "empty"}, InputError, "holds no labelled documents"),
        ({"train": "pages"}, InputError, "--dev"),
        ({"train": "documents", "dev": "pages"}, InputError, "train files hold no lines"),
    ],
)
def test_what_is_missing_is_told(
    tmp_path: Path, parts: Mapping[str, str], error: type[Exception], told: str
) -> None:
    (tmp_path / "empty").mkdir()
    maker = Maker()
    write(tmp_path / "pages.jsonl.zst", map(maker.page, range(3)))
    write(tmp_path / "documents.jsonl.zst", map(maker.document, range(3)))
    files = {
        part: (tmp_path / (name if part == "data" else f"{name}.jsonl.zst"),)
        for part, name in parts.items()
    }
    with pytest.raises(error, match=told):
        run(Config(output=tmp_path / "out", **files))
    assert not (tmp_path / "out").exists()


def test_pages_of_dev_are_not_learnt(tmp_path: Path) -> None:
    from burnish.workflows import train_tagger

    maker = Maker()
    pages = list(map(maker.page, range(4)))
    write(tmp_path / "train.jsonl.zst", pages)
    write(tmp_path / "dev.jsonl.zst", pages[2:])
    said: list[str] = []
    config = Config(
        train=(tmp_path / "train.jsonl.zst",),
        dev=(tmp_path / "dev.jsonl.zst",),
        output=tmp_path / "out",
    )
    material = train_tagger._material(config, 0, said.append)
    assert [page.site for page in material.gold["train"]] == ["site0.example", "site1.example"]
    assert said == ["left out, its text is among the dev files: 2"]


def test_embeddings_of_a_few_words_start_from_nothing() -> None:
    page = Page(("a", "hello world this is"), (1, 0), "full")
    table = tagger.word_table([build([page])], NetConfig(vocabulary=1 << 10, embedding=8), 0)
    assert table.shape == (1 << 10, 8) and np.isfinite(table).all()


def test_few_labels_make_small_steps_and_more_epochs() -> None:
    from burnish.training.tagger import RecipeConfig

    recipe = RecipeConfig()
    assert recipe.fitting(2_000_000) is recipe
    small = recipe.fitting(17_000).network
    assert small.batch_lines < recipe.network.batch_lines and small.epochs > recipe.network.epochs
    assert recipe.fitting(10).network.batch_lines >= 300


def test_a_page_around_a_window_of_dev_is_not_learnt() -> None:
    """A seed's dev windows come again, whole, where a refiner ran over the same corpus."""
    from burnish.training.held_out import HeldOut

    long = "The otter sleeps beside the river, as it did on all the other days of that long summer."
    held_out = HeldOut([f"Home\n{long}\nIt is late, and nobody is there.", "News"])
    inside = f"{long}\nIt is late, and nobody is there."
    assert f"Menu\nHome\n{inside}\nFooter" in held_out
    assert inside in held_out
    assert f"Home\nIt is late, and nobody is there.\n{long}" not in held_out
    assert inside.replace("\n", " ") not in held_out
    assert "News" in held_out
    assert "A page with\nNews\nbetween its lines" not in held_out  # a part that many pages have
    assert "" not in HeldOut([])


@pytest.mark.slow
def test_measures_that_are_not_defined_are_null(tmp_path: Path) -> None:
    seed = seed_set(tmp_path / "seed", 30, documents=60)
    maker = Maker()
    kept = [{**maker.document(number), "keep": 1} for number in range(2000, 2006)]
    write(seed / "dev.jsonl.zst", kept)
    unknown = maker.page(3000)
    unknown["lines"] = [{**line, "label": -1} for line in unknown["lines"]]
    write(tmp_path / "unknown.jsonl.zst", [unknown])
    config = Config(
        data=(seed,), dev=(tmp_path / "unknown.jsonl.zst",), output=tmp_path / "out", quick=True
    )
    card = run(config, lambda line: None)
    json.dumps(card.to_json(), allow_nan=False)
    assert set(card.metrics["lines"]["calibration"]) == {"chunks_dev", "all"}
    assert card.metrics["documents"]["dev"]["auc_keep"] is None


def test_a_refiner_is_not_trained_over(tmp_path: Path) -> None:
    config = Config(output=tmp_path / "file", train=(tmp_path / "none.jsonl",))
    config.output.write_text("")
    with pytest.raises(OutputError, match="can not use"):
        run(config)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "card.json").write_text("{}")
    with pytest.raises(OutputError, match="holds a refiner already"):
        run(replace(config, output=tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["card.json"]


def test_train_files_that_are_dev_files_are_told(tmp_path: Path) -> None:
    page = tmp_path / "page.jsonl"
    lines = [{"text": "Home", "label": 1}, {"text": "The otters are back.", "label": 0}]
    page.write_text(json.dumps({"lines": lines}) + "\n")
    with pytest.raises(InputError, match="all 1 rows of the train files are among the dev files"):
        run(Config(output=tmp_path / "out", train=(page,), dev=(page,)))
