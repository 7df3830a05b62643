"""The ONNX engine against transformers, on small models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from math import isnan
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the models need torch")
pytest.importorskip("transformers", reason="the models need transformers")
pytest.importorskip("llguidance", reason="the extra [onnx] is not installed")
pytest.importorskip("onnx", reason="the extra [onnx-export] is not installed")
pytest.importorskip("onnx_ir", reason="the extra [onnx-export] is not installed")
pytest.importorskip("onnxruntime_genai", reason="the extra [onnx-export] is not installed")

import torch
from click.testing import CliRunner
from random_models import CONTEXT, END, GRAMMAR, KINDS, PROGRAM, Tiny, make
from small_pages import DIALECTS, PAGES, gold, made_pages

from burnish.cli import cli
from burnish.dialects import get_dialect
from burnish.errors import BurnishError, OutputError, RefinerError, UsageError
from burnish.program.lines import Chunk
from burnish.refiners import EngineChoice, load_refiner
from burnish.refiners.engines.base import Completion, Request
from burnish.refiners.engines.onnx import MODEL_FILE, OnnxEngine, exported
from burnish.refiners.engines.onnx_export import PRECISIONS, export
from burnish.refiners.folder import read_refiner
from burnish.workflows.refine import load_pipeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Such small models are computed fastest by one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def loaded(kind: str, factory: pytest.TempPathFactory) -> Tiny:
    folder = factory.mktemp(kind)
    model = make(folder, kind)
    engine = OnnxEngine(folder, [END], weights="float32", threads=1)
    return Tiny(folder, model, engine, model.config.vocab_size)


@pytest.fixture(scope="module", params=KINDS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return loaded(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return loaded("llama", tmp_path_factory)


# -------------------------------------------------------------------------------------- answers


def test_generates_what_transformers_generates(tiny: Tiny) -> None:
    for told, margin in tiny.check_generates():
        assert told == pytest.approx(margin, abs=1e-3)


def test_scores_as_transformers_does(tiny: Tiny) -> None:
    assert tiny.engine.score_tolerance == 0
    tiny.check_scores([[5], [300, 7, 9], [300, 8], [12, 13, 14, 15, 16], [300, 7, 9, 4], [300, 8]])


def test_keeps_to_the_grammar(tiny: Tiny) -> None:
    prompts = tiny.prompts(10, seed=2)
    answers = tiny.engine.generate([Request(prompt, 60, GRAMMAR) for prompt in prompts])
    for answer in answers:
        if answer.finish == "stop":
            assert PROGRAM.fullmatch(answer.text)
        else:
            assert (answer.finish, answer.tokens) == ("length", 60)
            assert answer.text.startswith("remove_lines(line_start=")
    one = 'root ::= "remove_lines(line_start=1, line_end=20)\\n\u00e9"'  # blanks, LF, two bytes
    (only,) = tiny.engine.generate([Request(prompts[0], 60, one)])
    assert (only.text, only.finish) == ("remove_lines(line_start=1, line_end=20)\n\u00e9", "stop")


def test_one_bad_request_does_not_lose_the_others(untrained: Tiny) -> None:
    prompts = untrained.prompts(4, seed=3)
    good = [Request(prompts[0], 8), Request(prompts[1], 40, GRAMMAR), Request(prompts[2], 8)]
    bad = [
        Request(prompts[3], 8, "root ::= nothing"),
        Request(prompts[3], 8, "root :: ("),
        Request(prompts[3], 8, ""),
        Request([5] * CONTEXT, 8),
        Request([], 8),
        Request([untrained.size], 8),
        Request(prompts[3], 0),
    ]
    alone = [untrained.engine.generate([request])[0].text for request in good]
    answers = untrained.engine.generate([bad[0], good[0], *bad[1:4], good[1], good[2], *bad[4:]])
    assert [answers[index].text for index in (1, 5, 6)] == alone
    failed = [answer for index, answer in enumerate(answers) if index not in (1, 5, 6)]
    assert {answer.finish for answer in failed} == {"error"}
    assert "the prompt has 256 tokens" in "\n".join(answer.error for answer in failed)
    assert untrained.engine.generate([]) == []
    rows = untrained.engine.score([[], prompts[0], [5] * CONTEXT], [[5], [6, 7]])
    assert [list(map(isnan, row)) for row in rows] == [[True] * 2, [False] * 2, [True] * 2]


def test_the_context_cuts_an_answer_off(untrained: Tiny) -> None:
    (answer,) = untrained.engine.generate([Request([5] * (CONTEXT - 3), 50, GRAMMAR)])
    assert (answer.finish, answer.tokens) == ("length", 3)


def test_stopping(untrained: Tiny) -> None:
    untrained.engine.stop()
    with pytest.raises(RefinerError, match="stopped"):
        untrained.engine.generate([Request([5], 8)])
    untrained.engine.ready()
    assert untrained.engine.generate([Request([5], 8)])[0].tokens


@pytest.mark.parametrize("weights", PRECISIONS)
def test_an_answer_does_not_depend_on_its_batch(untrained: Tiny, weights: str) -> None:
    engine = OnnxEngine(untrained.folder, [END], weights=weights, threads=1)
    assert engine.name == f"onnx {weights}"
    requests = [
        Request(prompt, 12, GRAMMAR if number % 2 else None)
        for number, prompt in enumerate(untrained.prompts(40, seed=4))
    ]
    alone = [engine.generate([request])[0] for request in requests]
    assert alone == [engine.generate([request])[0] for request in requests]
    together = engine.generate(requests)
    backwards = engine.generate(requests[::-1])[::-1]
    parts = [answer for n in range(0, 40, 7) for answer in engine.generate(requests[n : n + 7])]
    small = OnnxEngine(untrained.folder, [END], weights=weights, threads=2, cache_tokens=300)
    for batch in (together, backwards, parts, small.generate(requests)):
        assert same(alone, batch, engine.tolerance)


def same(one: list[Completion], other: list[Completion], tolerance: float) -> bool:
    """Whether all answers are the same but for choices that were nearly tied."""
    return all(
        min(a.margin, b.margin) < tolerance
        or (
            (a.text, a.finish, a.tokens) == (b.text, b.finish, b.tokens)
            and abs(a.log_probability - b.log_probability) <= tolerance
        )
        for a, b in zip(one, other, strict=True)
    )


def test_integers_are_close(untrained: Tiny) -> None:
    """Of the best token's probability; random weights are hard to round."""
    prompts = untrained.prompts(20, seed=5)
    for weights, most in (("int8", 0.1), ("int4", 1.0)):
        engine = OnnxEngine(untrained.folder, [END], weights=weights, threads=1)
        off = []
        for prompt in prompts:
            values = untrained.log_softmax(prompt)[-1]
            best = int(values.argmax())
            off.append(abs(engine.score([prompt], [[best]])[0][0] - float(values[best])))
        assert 0 < sum(off) / len(off) < most


# -------------------------------------------------------------------------------------- exports


def test_exports_once_and_again_for_new_weights(tmp_path: Path) -> None:
    make(tmp_path, "llama")
    out = exported(tmp_path)
    assert out == tmp_path / "onnx-int8"
    assert exported(out) == out
    first = (out / MODEL_FILE).stat().st_mtime_ns
    assert exported(tmp_path) == out and (out / MODEL_FILE).stat().st_mtime_ns == first
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert exported(tmp_path) == out and (out / MODEL_FILE).stat().st_mtime_ns > first
    assert sorted(path.name for path in tmp_path.iterdir() if "part" in path.name) == []


def test_what_can_not_be_exported(untrained: Tiny, tmp_path: Path) -> None:
    for path in untrained.folder.glob("*.*"):
        if path.is_file():
            shutil.copyfile(path, tmp_path / path.name)
    config = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["Gpt9"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RefinerError, match=r"can not be turned into ONNX: .*not.* supported"):
        export(tmp_path, tmp_path / "out")
    with pytest.raises(UsageError, match="weights are int4, int8, float32, not 'int2'"):
        export(tmp_path, tmp_path / "out", weights="int2")
    assert not (tmp_path / "out").exists()
    with pytest.raises(RefinerError, match="holds no model"):
        OnnxEngine(tmp_path / "nothing", [END])
    shutil.copytree(exported(untrained.folder, weights="float32"), tmp_path / "broken")
    (tmp_path / "broken" / MODEL_FILE).write_bytes(b"not a model")
    with pytest.raises(RefinerError, match="can not be loaded"):
        OnnxEngine(tmp_path / "broken", [END])


@pytest.mark.parametrize("dialect", DIALECTS["llama"])
def test_real_programs(llama: Path, dialect: str) -> None:
    stage = "document" if dialect == "prox-document" else "chunk"
    refiner, _ = load_refiner(str(llama / f"{dialect}.json"), stage, EngineChoice("onnx"))
    pages = made_pages(PAGES)
    drafts = refiner.write([Chunk.whole(page.text) for page in pages])
    reader = get_dialect(dialect)
    for page, draft in zip(pages, drafts, strict=True):
        chunk = Chunk.whole(page.text)
        text = reader.format(gold(page, dialect), chunk)
        assert draft.program == reader.parse(text, chunk).program


def test_an_export_is_a_refiner(llama: Path, tmp_path: Path) -> None:
    (llama / "card.json").write_bytes((llama / "prox-chunk.json").read_bytes())
    try:
        command = ["export", "onnx", str(llama), "-o", str(tmp_path / "out")]
        said = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert said.exit_code == 0 and "MB" in said.output
    finally:
        (llama / "card.json").unlink()
    read_refiner(tmp_path / "out")
    pipeline = load_pipeline(str(tmp_path / "out"), engine=EngineChoice("onnx"))
    page = made_pages(1)[0]
    trace, _ = pipeline.stages[0].run([page.text])[0]
    removed = {n for first, last in trace.removed_lines for n in range(first, last + 1)}
    assert removed == page.noise
    with pytest.raises(BurnishError, match="exists already"):
        CliRunner().invoke(cli, command, catch_exceptions=False)
    with pytest.raises(RefinerError, match="for the engine onnx alone: --engine onnx"):
        load_pipeline(str(tmp_path / "out"), engine=EngineChoice("transformers"))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"can not write .*file/out: File exists"):
        CliRunner().invoke(cli, [*command[:-1], str(tmp_path / "file" / "out")],
                           catch_exceptions=False)  # fmt: skip
    (tmp_path / "out" / "model.onnx.data").unlink()
    with pytest.raises(RefinerError, match=r"no model\.onnx\.data"):
        read_refiner(tmp_path / "out")


def test_says_which_extra_is_missing() -> None:
    script = (
        "import sys; sys.modules['llguidance'] = None\n"
        "from burnish.errors import MissingExtra\n"
        "try: import burnish.refiners.engines.onnx\n"
        "except MissingExtra as error: print(error.extra, error)\n"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("onnx the engine onnx needs llguidance.")


def test_says_which_extra_an_export_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.refiners.engines.onnx_export.find_spec", lambda name: None)
    with pytest.raises(BurnishError, match=r"onnxruntime-genai.*burnish\[onnx-export\]"):
        export(tmp_path, tmp_path / "out")
