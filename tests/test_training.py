"""Training the packaged kind of refiner, on pages made here: the way, not the quality."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

import burnish
from burnish.spec import RefinerCard

pytest.importorskip("torch", reason="the extra [train] is not installed")
pytest.importorskip("onnx", reason="the extra [train] is not installed")
pytest.importorskip("scipy", reason="the extra [train] is not installed")

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
        write(folder / f"seed/{part}.jsonl.zst", map(maker.document, numbers))
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
    from burnish.workflows.train_tagger import Config, run

    said: list[str] = []
    config = Config(data=data, output=tmp_path / "tagger", seed=3, quick=True)
    card = run(config, said.append)
    assert said
    written = RefinerCard.read(tmp_path / "tagger").to_json()
    assert written == json.loads(json.dumps(card.to_json()))
    assert {"boilerplate/train.jsonl.zst", "seed/train.jsonl.zst"} <= set(card.data)
    assert card.stages["document"].keep_threshold is not None
    text = "\n".join(["Home", "News", "Log in", *(Maker().sentence() for _ in range(6)), "Cookies"])
    (record,) = burnish.refine([{"text": text}], refiner=str(tmp_path / "tagger"))
    assert 0 <= record.scores["keep"] <= 1

    again = Config(data=data, output=tmp_path / "again", seed=3, quick=True)
    run(again, said.append)
    for name in ("lines.onnx", "document_head.npz"):
        assert (tmp_path / "tagger" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_missing_part_of_the_data_is_named(tmp_path: Path) -> None:
    from burnish.errors import InputError
    from burnish.workflows.train_tagger import Config, run

    with pytest.raises(InputError, match="boilerplate"):
        run(Config(data=tmp_path, output=tmp_path / "out"))
