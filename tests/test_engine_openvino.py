"""The OpenVINO engine against transformers, on tiny models with random weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from math import isnan, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from burnish.errors import RefinerError
from burnish.refiners.engines.base import Completion, Request

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
pytest.importorskip("openvino_genai", reason="openvino-genai is not installed")
pytest.importorskip("openvino_tokenizers", reason="openvino-tokenizers is not installed")

from random_models import CONTEXT, END, GRAMMAR, KINDS, PROGRAM, Tiny, make, write_tokenizer  # noqa: E402

from burnish.refiners.engines.openvino import (  # noqa: E402
    MODEL_FILE,
    OpenVinoEngine,
    _margin,
    exported,
    token_bytes,
)
from burnish.refiners.engines.openvino_export import export, quantize  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Such small models are computed fastest by one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=KINDS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return loaded(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return loaded("llama", tmp_path_factory)


def loaded(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp(kind)
    model = make(folder, kind)
    engine = OpenVinoEngine(folder, end_tokens=[END], int8=False, cache_gib=1)
    return Tiny(folder, model, engine, model.config.vocab_size)


def test_generates_what_transformers_generates(tiny: Tiny) -> None:
    for told, margin in tiny.check_generates():
        assert told <= margin + 1e-4


def test_scores_as_transformers_does(tiny: Tiny) -> None:
    tiny.check_scores([[5], [300, 7, 9], [300, 8], [12, 13, 14, 15, 16]])


def test_int8_weights_are_the_rounded_ones(llama: Tiny, tmp_path: Path) -> None:
    rounded = transformers.LlamaForCausalLM(llama.model.config).eval()
    rounded.load_state_dict(llama.model.state_dict())
    with torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.dim() > 1:
                integers, scale = quantize(parameter.numpy())
                assert np.abs(integers * scale - parameter.numpy()).max() <= scale.max() * 0.51
                parameter.copy_(torch.from_numpy(integers * scale))
    engine = OpenVinoEngine(llama.folder, end_tokens=[END], cache_gib=1)
    assert engine.name == "openvino int8" and llama.engine.name == "openvino float32"
    prompt = llama.prompts(1)[0]
    choices = [[token] for token in range(llama.size)]
    with torch.no_grad():
        wanted = rounded(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    assert engine.score([prompt], choices)[0] == pytest.approx(wanted.tolist(), abs=1e-3)


def test_keeps_to_the_grammar(tiny: Tiny) -> None:
    prompts = tiny.prompts(10, seed=2)
    answers = tiny.engine.generate([Request(prompt, 60, GRAMMAR) for prompt in prompts])
    assert {answer.finish for answer in answers} <= {"stop", "length"}
    for answer in answers:
        assert isnan(answer.log_probability)
        if answer.finish == "stop":
            assert PROGRAM.fullmatch(answer.text)
        else:
            assert answer.tokens == 60
            assert answer.text.startswith("remove_lines(line_start=")
    one = 'root ::= "remove_lines(line_start=1, line_end=20)\\n\u00e9"'  # blanks, LF, two bytes
    (only,) = tiny.engine.generate([Request(prompts[0], 60, one)])
    assert (only.text, only.finish) == ("remove_lines(line_start=1, line_end=20)\n\u00e9", "stop")


def test_one_bad_request_does_not_lose_the_others(llama: Tiny) -> None:
    prompts = llama.prompts(4, seed=3)
    good = [Request(prompts[0], 8), Request(prompts[1], 40, GRAMMAR), Request(prompts[2], 8)]
    bad = [
        Request(prompts[3], 8, "root ::= nothing"),
        Request(prompts[3], 8, "root :: ("),
        Request(prompts[3], 8, ""),
        Request([5] * CONTEXT, 8),
        Request([], 8),
        Request([llama.size], 8),
        Request(prompts[3], 0),
    ]
    alone = [llama.engine.generate([request])[0].text for request in good]
    answers = llama.engine.generate([bad[0], good[0], *bad[1:4], good[1], good[2], *bad[4:]])
    assert [answers[index].text for index in (1, 5, 6)] == alone
    failed = [answer for index, answer in enumerate(answers) if index not in (1, 5, 6)]
    assert {answer.finish for answer in failed} == {"error"}
    said = "\n".join(answer.error for answer in failed)
    assert '"nothing" is not defined' in said
    assert "the prompt has 256 tokens" in said
    assert "/" not in said
    assert llama.engine.generate([]) == []
    with pytest.raises(RefinerError, match="the prompt is empty"):
        llama.engine.score([[]], [[5]])


def test_the_context_cuts_an_answer_off(llama: Tiny) -> None:
    (answer,) = llama.engine.generate([Request([5] * (CONTEXT - 3), 50, GRAMMAR)])
    assert (answer.finish, answer.tokens) == ("length", 3)


def test_a_request_too_large_for_the_cache_fails_alone(
    llama: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino_genai

    class FourBlocks(openvino_genai.SchedulerConfig):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.num_kv_blocks = 4  # of 32 tokens

    monkeypatch.setattr("burnish.refiners.engines.openvino.genai.SchedulerConfig", FourBlocks)
    engine = OpenVinoEngine(llama.folder, end_tokens=[END], int8=False, cache_gib=0)
    requests = [Request([token] * length, 8) for token, length in ((5, 10), (6, 200), (7, 30))]
    answers = engine.generate(requests)
    assert [answer.finish == "error" for answer in answers] == [False, True, False]
    assert "cache_gib" in answers[1].error
    assert answers[2].text == llama.engine.generate([requests[2]])[0].text


@pytest.mark.parametrize("int8", [False, True])
def test_an_answer_does_not_depend_on_its_batch(llama: Tiny, int8: bool) -> None:
    engine = OpenVinoEngine(llama.folder, end_tokens=[END], int8=int8, cache_gib=1, batch_size=16)
    requests = [
        Request(prompt, 12, GRAMMAR if number % 2 else None)
        for number, prompt in enumerate(llama.prompts(40, seed=4))
    ]
    alone = [engine.generate([request])[0] for request in requests]
    assert same(alone, [engine.generate([request])[0] for request in requests], 0.0)
    together = engine.generate(requests)
    backwards = engine.generate(requests[::-1])[::-1]
    parts = [answer for n in range(0, 40, 7) for answer in engine.generate(requests[n : n + 7])]
    for batch in (together, backwards, parts):
        assert same(alone, batch, engine.tolerance)


def same(one: list[Completion], other: list[Completion], tolerance: float) -> bool:
    return all(
        (a.text, a.finish, a.tokens) == (b.text, b.finish, b.tokens)
        and (isnan(a.log_probability) or abs(a.log_probability - b.log_probability) <= tolerance)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("sentencepiece", [False, True])
def test_what_tokens_stand_for(tmp_path: Path, sentencepiece: bool) -> None:
    size = write_tokenizer(tmp_path, sentencepiece)
    found = token_bytes(tmp_path / "tokenizer.json")
    assert len(found) == size
    assert found[:2] == [b"", b""]
    assert {bytes([byte]) for byte in range(256)} <= set(found)
    assert any(len(text) > 1 and text.startswith(b" ") for text in found)
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "Home | remove_lines(line_start=1, line_end=20)\n\u00e9 \U0001f600"
    ids = tokenizer.encode(text).ids
    assert b"".join(found[token] for token in ids).decode().lstrip() == text


def test_margin_is_a_lower_bound() -> None:
    assert _margin(log(0.5)) == pytest.approx(0)
    assert _margin(log(0.3)) == 0
    assert _margin(log(0.75)) == pytest.approx(log(3))
    assert _margin(0.0) == float("inf")
    assert _margin(1e-9) == float("inf")


def test_exports_once_and_again_for_new_weights(tmp_path: Path) -> None:
    make(tmp_path, "llama")
    out = exported(tmp_path)
    assert out == tmp_path / "openvino-int8"
    assert exported(out) == out
    first = (out / MODEL_FILE).stat().st_mtime_ns
    assert exported(tmp_path) == out and (out / MODEL_FILE).stat().st_mtime_ns == first
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert exported(tmp_path) == out and (out / MODEL_FILE).stat().st_mtime_ns > first
    assert sorted(path.name for path in tmp_path.iterdir() if "part" in path.name) == []


def test_exports_elsewhere_if_the_folder_can_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "model", "llama")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("os.access", lambda *_: False)
    out = exported(tmp_path / "model", int8=False)
    assert out.parent.parent == tmp_path / "home/.cache/burnish/openvino"
    assert out.name == "openvino-float"
    assert exported(tmp_path / "model", int8=False) == out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "type 'gpt2'"),
        ({"quantization_config": {"bits": 4}}, "already quantized"),
        ({"hidden_act": "gelu"}, "'gelu'"),
        ({"layer_types": ["sliding_attention"]}, "sliding window"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "'yarn'"),
    ],
)
def test_what_can_not_be_exported(
    llama: Tiny, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    for path in llama.folder.glob("*.*"):
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RefinerError, match=f"{message}.*optimum-cli"):
        export(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(RefinerError, match="holds no model"):
        OpenVinoEngine(tmp_path, end_tokens=[END])


def test_an_export_without_its_tokenizer(llama: Tiny, tmp_path: Path) -> None:
    shutil.copytree(llama.engine._folder, tmp_path / "out")
    (tmp_path / "out" / "openvino_detokenizer.xml").unlink()
    with pytest.raises(RefinerError, match=r"Make it with: convert_tokenizer .* -o"):
        OpenVinoEngine(tmp_path / "out", end_tokens=[END])


def test_says_which_extra_is_missing() -> None:
    script = (
        "import sys; sys.modules['openvino_genai'] = None\n"
        "from burnish.errors import MissingExtra\n"
        "try: import burnish.refiners.engines.openvino\n"
        "except MissingExtra as error: print(error.extra, error)\n"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("openvino the OpenVINO engine needs openvino_genai.")
