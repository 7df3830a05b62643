"""Whole runs with a language model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="a language model needs torch")
pytest.importorskip("transformers", reason="a language model needs transformers")
pytest.importorskip("llguidance", reason="a language model needs llguidance")

from small_pages import PAGES, made_pages

import burnish
from burnish.errors import SettingsChanged
from burnish.refiners import EngineChoice
from burnish.schema import Status
from burnish.workflows import refine

pytestmark = pytest.mark.slow
TRANSFORMERS = EngineChoice("transformers", (("dtype", "float32"),))


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    path = tmp_path / "pages.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for n, page in enumerate(made_pages(60, seed=5)):
            file.write(json.dumps({"id": f"p{n}", "text": page.text}) + "\n")
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "timing.json" and ".locks" not in path.parts
    }


def config(pages: Path, output: Path, llama: Path, **changes: object) -> refine.Config:
    settings: dict[str, object] = {
        "inputs": (pages,),
        "output": output,
        "refiner": (str(llama / "prox-document.json"), str(llama / "prox-chunk.json")),
        "engine": TRANSFORMERS,
    }
    return refine.Config(**{**settings, **changes})  # type: ignore[arg-type]


def test_a_run_does_not_depend_on_workers_batches_or_kills(
    llama: Path, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refine, "_ON_CPU", ((7, 1 << 14), 3_000))
    one = refine.run(config(pages, tmp_path / "one", llama))
    assert one.documents == 60 and one.failed == 0 and one.shards > 4
    refine.run(config(pages, tmp_path / "two", llama, workers=2))
    assert tree(tmp_path / "two") == tree(tmp_path / "one")

    script = (
        "from pathlib import Path\n"
        "from burnish.refiners import EngineChoice\n"
        "from burnish.workflows import refine\n"
        "refine._ON_CPU = ((7, 1 << 14), 3_000)\n"
        f"refine.run(refine.Config(inputs=(Path({str(pages)!r}),), output=Path('killed'),\n"
        f"    refiner={config(pages, tmp_path, llama).refiner!r}, engine={TRANSFORMERS!r}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    while not list(tmp_path.glob("killed/manifest/0*.json")):
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    monkeypatch.setattr(refine, "_ON_CPU", ((64, 1 << 14), 3_000))
    refine.run(config(pages, tmp_path / "killed", llama))
    assert tree(tmp_path / "killed") == tree(tmp_path / "one")

    for change in (
        {"engine": EngineChoice("transformers", (("dtype", "bfloat16"),))},
        {"engine": EngineChoice("transformers", (("dtype", "float32"),), constrained=False)},
        {"refiner": str(llama / "prox-chunk.json")},
    ):
        with pytest.raises(SettingsChanged):
            refine.run(config(pages, tmp_path / "one", llama, **change))


def test_known_pages_come_out_as_learned(llama: Path) -> None:
    known = made_pages(PAGES)
    rows = [{"id": str(n), "text": page.text} for n, page in enumerate(known)]
    cards = [str(llama / "prox-document.json"), str(llama / "prox-chunk.json")]
    records = list(burnish.refine(rows, cards, engine="transformers"))
    for page, record in zip(known, records, strict=True):
        if page.keep:
            assert record.status is Status.EDITED and record.scores["keep"] > 0.5
            assert record.removed_lines == set(page.noise)
        else:
            assert record.status is Status.DROPPED and record.scores["keep"] < 0.5
            assert record.text == ""
