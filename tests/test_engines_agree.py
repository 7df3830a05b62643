"""All engines write the same programs, whatever the batch, its order and the engine's start."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the small models need torch")
pytest.importorskip("transformers", reason="the small models need transformers")
pytest.importorskip("llguidance", reason="the engine transformers needs llguidance")

from servers import vllm_server
from small_pages import DIALECTS, PAGES, gold, made_pages

from burnish.dialects import get_dialect
from burnish.program.lines import Chunk
from burnish.refiners import EngineChoice, load_refiner
from burnish.refiners.base import Draft
from burnish.refiners.checkpoint import Checkpoint
from burnish.refiners.engines.base import Engine
from burnish.refiners.engines.choice import make_engine
from burnish.refiners.generative import Generative

pytestmark = pytest.mark.engines

CONTEXT = 2_048
UNSEEN = 1_000
FLOAT = ("dtype", "float32")
ENGINES: Mapping[str, tuple[str, tuple[tuple[str, Any], ...], str]] = {
    "transformers": ("transformers", (FLOAT,), "transformers"),
    "openvino-float": ("openvino", (("int8", False),), "openvino_genai"),
    "openvino-int8": ("openvino", (("int8", True),), "openvino_genai"),
    "onnx-float": ("onnx", (("weights", "float32"),), "onnxruntime_genai"),
    "onnx-int8": ("onnx", (("weights", "int8"),), "onnxruntime_genai"),
    "vllm": ("vllm", (("cpu_cache_bytes", 256 << 20), FLOAT), "vllm"),
    "server": ("", (FLOAT,), "vllm"),
}


@dataclass
class Made:
    """One engine with one model."""

    kind: str
    family: str
    folder: Path
    choice: EngineChoice
    engine: Engine

    def refiner(self, dialect: str, constrained: bool = True) -> Generative:
        stage = "document" if dialect == "prox-document" else "chunk"
        choice = EngineChoice(self.choice.name, self.choice.options, constrained)
        refiner, _ = load_refiner(str(self.folder / f"{dialect}.json"), stage, choice)
        assert isinstance(refiner, Generative)
        refiner.__dict__["engine"] = self.engine
        return refiner

    def start_again(self) -> None:
        self.close()
        self.engine = start(self.choice, self.folder)

    def close(self) -> None:
        if hasattr(self.engine, "close"):
            self.engine.close()


def start(choice: EngineChoice, folder: Path) -> Engine:
    """A new engine, even where there is one like it."""
    new = make_engine.__wrapped__
    return new(choice, folder, Checkpoint(folder).end_tokens, CONTEXT)


@pytest.fixture(scope="module", params=[(f, k) for k in ENGINES for f in DIALECTS], ids="-".join)
def made(request: pytest.FixtureRequest) -> Iterator[Made]:
    import torch

    family, kind = request.param
    name, options, library = ENGINES[kind]
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    folder = request.getfixturevalue(family)
    environment, set_num_threads = dict(os.environ), torch.set_num_threads
    threads = torch.get_num_threads()
    with ExitStack() as stack:
        if kind == "server":
            name = stack.enter_context(vllm_server(folder, max_model_len=CONTEXT)).url
        torch.set_num_threads(1)  # so small a model waits for its threads more than it computes
        choice = EngineChoice(name, options)
        found = Made(kind, family, folder, choice, start(choice, folder))
        yield found
        found.close()
    torch.set_num_threads = set_num_threads  # vLLM puts its own in the place of it on a CPU
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="module")
def keep_scores(llama: Path) -> list[float]:
    """What transformers gives for the known pages."""
    choice = EngineChoice("transformers", (FLOAT,))
    refiner, _ = load_refiner(str(llama / "prox-document.json"), "document", choice)
    chunks = [Chunk.whole(page.text) for page in made_pages(PAGES)]
    return [draft.scores["keep"] for draft in refiner.write(chunks)]


@pytest.mark.parametrize("constrained", [True, False])
def test_known_programs(made: Made, constrained: bool, keep_scores: list[float]) -> None:
    pages = made_pages(PAGES)
    chunks = [Chunk.whole(page.text) for page in pages]
    for name in DIALECTS[made.family]:
        dialect = get_dialect(name)
        drafts = made.refiner(name, constrained).write(chunks)
        wanted = [
            dialect.parse(dialect.format(gold(page, name), chunk), chunk).program
            for page, chunk in zip(pages, chunks, strict=True)
        ]
        assert [draft.program for draft in drafts] == wanted
        if name == "prox-document":
            found = [draft.scores["keep"] for draft in drafts]
            if made.kind.endswith("int8"):
                assert [score >= 0.5 for score in found] == [s >= 0.5 for s in keep_scores]
            else:
                assert found == pytest.approx(keep_scores, abs=1e-3)


def test_unseen_chunks_get_the_same_program_every_time(made: Made) -> None:
    """Guesses, and so nearly tied: all at once, in small batches of another order, and by an engine
    that was started anew."""
    if made.family != "llama":
        pytest.skip("one model is enough")
    chunks = [Chunk.whole(page.text) for page in made_pages(UNSEEN, seed=7)]
    refiner = made.refiner("prox-chunk")
    together = refiner.write(chunks)
    order = random.Random(1).sample(range(UNSEEN), UNSEEN)
    others: dict[int, Draft] = {}
    for begin in range(0, UNSEEN, 7):
        some = order[begin : begin + 7]
        others.update(zip(some, refiner.write([chunks[n] for n in some]), strict=True))
    assert [n for n in range(UNSEEN) if others[n] != together[n]] == []
    made.start_again()
    again = made.refiner("prox-chunk").write(chunks)
    assert [n for n in range(UNSEEN) if again[n] != together[n]] == []
