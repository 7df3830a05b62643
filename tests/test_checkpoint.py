"""How prompts are framed for a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tokenizers", reason="needs the extra transformers")

from small_pages import PAGES, made_pages, write_tokenizer

from burnish.errors import RefinerError
from burnish.refiners import loading
from burnish.refiners.checkpoint import Checkpoint, answer_ids, find_weights
from burnish.refiners.system_prompt import system_prompt


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for family in ("llama", "qwen3"):
        found[family] = tmp_path_factory.mktemp(family)
        write_tokenizer(found[family], family, made_pages(PAGES))
    return found


def shown(checkpoint: Checkpoint, ids: list[int]) -> str:
    return str(checkpoint.tokens._tokenizer.decode(ids, skip_special_tokens=False))


def test_llama_2_has_exactly_one_bos(folders: dict[str, Path]) -> None:
    checkpoint = Checkpoint(folders["llama"])
    template = checkpoint.template("llama2", "Be kind.")
    ids = template.encode(checkpoint.tokens, "[doc]\n[000]a\n[/doc]")
    expected = "<s> [INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n[doc]\n[000]a\n[/doc] [/INST]"
    assert shown(checkpoint, ids) == expected
    assert ids.count(1) == 1 and ids[0] == 1
    assert ids[1:] == checkpoint.tokens.exactly(expected.removeprefix("<s> "))


def test_llama_2_without_a_system_prompt(folders: dict[str, Path]) -> None:
    checkpoint = Checkpoint(folders["llama"])
    ids = checkpoint.template("llama2", "").encode(checkpoint.tokens, "a")
    assert shown(checkpoint, ids) == "<s> [INST] a [/INST]"


def test_what_looks_like_a_marker_in_a_page_is_text(folders: dict[str, Path]) -> None:
    for family, name, marker in (("llama", "llama2", "</s>"), ("qwen3", "qwen3", "<|im_end|>")):
        checkpoint = Checkpoint(folders[family])
        plain = checkpoint.template(name, "").encode(checkpoint.tokens, "a b")
        spiked = checkpoint.template(name, "").encode(checkpoint.tokens, f"a {marker} b")
        end = checkpoint.end_tokens[0]
        assert spiked.count(end) == plain.count(end)


def test_qwen3_with_thinking_off_is_the_models_own_template(folders: dict[str, Path]) -> None:
    checkpoint = Checkpoint(folders["qwen3"])
    text = "<lid:1>a\n<lid:2> b\n"
    for system in ("", "Be kind."):
        ours = checkpoint.template("qwen3", system).encode(checkpoint.tokens, text)
        own = checkpoint.template("own", system).encode(checkpoint.tokens, text)
        assert ours == own
    expected = (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\n<lid:1>a\n<lid:2> b\n<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert shown(checkpoint, ours) == expected


def test_the_frame_is_what_transformers_makes(folders: dict[str, Path]) -> None:
    transformers = pytest.importorskip("transformers", reason="compares with transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["qwen3"])
    messages = [{"role": "user", "content": "<lid:1>Home\n<lid:2>The tides are high."}]
    text = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    checkpoint = Checkpoint(folders["qwen3"])
    ours = checkpoint.template("own", "").encode(checkpoint.tokens, messages[0]["content"])
    assert ours == tokenizer(text, add_special_tokens=False).input_ids


def test_a_model_without_a_chat_template(folders: dict[str, Path]) -> None:
    with pytest.raises(RefinerError, match=r'has no chat template.*"llama2", "qwen3" or "plain"'):
        Checkpoint(folders["llama"]).template("own", "")


def test_a_template_without_roles(folders: dict[str, Path]) -> None:
    checkpoint = Checkpoint(folders["llama"])
    ids = checkpoint.template("plain", "Clean:").encode(checkpoint.tokens, "a")
    assert shown(checkpoint, ids) == "<s> Clean:\n\na\n"


def test_a_template_that_the_tokenizer_does_not_know(folders: dict[str, Path]) -> None:
    with pytest.raises(RefinerError, match=r"'qwen3' needs the tokens .*<\|im_start\|>"):
        Checkpoint(folders["llama"]).template("qwen3", "")


def test_the_first_token_may_be_named_by_its_number(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    source = (folders["llama"] / "tokenizer.json").read_text("utf-8")
    (tmp_path / "tokenizer.json").write_text(source, "utf-8")
    with pytest.raises(RefinerError, match="names no bos_token"):
        Checkpoint(tmp_path).template("llama2", "")
    (tmp_path / "config.json").write_text('{"bos_token_id": 1}')
    assert Checkpoint(tmp_path).template("llama2", "").before == (1,)


def test_answers_stand_behind_the_prompt(folders: dict[str, Path]) -> None:
    for family, name in (("llama", "llama2"), ("qwen3", "qwen3")):
        checkpoint = Checkpoint(folders[family])
        template = checkpoint.template(name, "")
        prompt = template.encode(checkpoint.tokens, "a")
        for answer in ("drop_doc()", " keep_doc()"):
            (ids,) = answer_ids(checkpoint.tokens, template, [answer])
            whole = shown(checkpoint, [*prompt, *ids])
            assert whole.endswith((answer, answer.strip()))
    assert len({tuple(i) for i in answer_ids(checkpoint.tokens, template, ["a", " a"])}) == 2


def test_no_end_token(folders: dict[str, Path], tmp_path: Path) -> None:
    source = (folders["llama"] / "tokenizer.json").read_text("utf-8")
    (tmp_path / "tokenizer.json").write_text(source, "utf-8")
    with pytest.raises(RefinerError, match="names no end token"):
        _ = Checkpoint(tmp_path).end_tokens
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 1]}))
    assert Checkpoint(tmp_path).end_tokens == (2, 1)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RefinerError, match=r"config\.json can not be read"):
        Checkpoint(tmp_path)


def test_weights(tmp_path: Path) -> None:
    assert find_weights(".", None, tmp_path) == tmp_path
    with pytest.raises(RefinerError, match="where the model should be"):
        find_weights("model", None, tmp_path)


def test_a_system_prompt_from_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "system.txt").write_text("Clean the page.\n")
    assert system_prompt("Clean.\n", tmp_path) == "Clean."
    assert system_prompt("file:system.txt", tmp_path) == "Clean the page."
    with pytest.raises(RefinerError, match="can not be read"):
        system_prompt("file:other.txt", tmp_path)

    from burnish.refiners import system_prompt as module

    asked: list[str] = []

    def fetched(source: str) -> str:
        asked.append(source)
        return module._constant('import os\nA = "other"\nPROMPT = """Say\nso."""', "PROMPT", source)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_fetched", fetched)
    for _ in range(2):  # fetched once
        assert system_prompt("https://a.invalid/b.py#PROMPT", tmp_path) == "Say\nso."
    assert len(asked) == 1
    with pytest.raises(RefinerError, match="holds no string OTHER"):
        module._constant("A = 1", "OTHER", "b.py")


def test_a_system_prompt_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RefinerError, match='"system": "file:NAME"'):
        system_prompt("https://127.0.0.1:1/prompt.txt", tmp_path)


def test_a_large_file_of_weights_is_known_by_all_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_LARGE", 1_000)
    monkeypatch.setattr(loading, "_STEP", 100)
    monkeypatch.setattr(loading, "_READ", 10)
    data = bytes(range(256)) * 8
    found = set()
    for place in (None, 0, 1_005, len(data) - 1):
        changed = bytearray(data)
        if place is not None:
            changed[place : place + 100] = b"x" * len(changed[place : place + 100])
        (tmp_path / "model.safetensors").write_bytes(changed)
        found.add(loading.weights_hash(tmp_path))
    assert len(found) == 4
