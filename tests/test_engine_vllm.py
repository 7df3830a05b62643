"""The vLLM engine against transformers, on tiny models with random weights."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from burnish.errors import MissingExtra, RefinerError
from burnish.refiners.engines.base import Completion, Request

pytest.importorskip("tokenizers", reason="tokenizers is not installed")

if TYPE_CHECKING:
    from burnish.refiners.engines.vllm import VllmEngine

pytestmark = [pytest.mark.engines]
needs_vllm = pytest.mark.skipif(
    find_spec("vllm") is None or find_spec("transformers") is None, reason="vLLM is not installed"
)

SENTENCES = [
    "The river rose in the night and took the old bridge with it.",
    "Share this page with a friend.",
    "remove_lines(line_start=3, line_end=12)",
    "keep_chunk()",
]
GRAMMAR = r"""root ::= "keep_chunk()" | call ("\n" call)*
call ::= "remove_lines(line_start=" line ", line_end=" line ")"
line ::= [0-9] | "1" [0-9]
"""
PROGRAM = re.compile(r"keep_chunk\(\)|(remove_lines\(line_start=1?\d, line_end=1?\d\)(\n(?!$)|$))+")
BEGIN, END, OTHER_END = 0, 1, 2
CONTEXT = 256
NEW_TOKENS = 40


@dataclass
class Case:
    """A model's folder, and the engine that runs it."""

    folder: Path
    engine: VllmEngine


def make_model(folder: Path, family: str) -> None:
    """A model of two layers; heads of 32 are the smallest that vLLM has on a CPU."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<s>", "</s>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 5, trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    kinds: dict[str, tuple[Any, Any]] = {
        "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig),
        "qwen3": (transformers.Qwen3ForCausalLM, transformers.Qwen3Config),
    }
    kind, config = kinds[family]
    torch.manual_seed(0)
    model = kind(
        config(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=CONTEXT,
            initializer_range=0.2,
            tie_word_embeddings=False,
            bos_token_id=BEGIN,
            eos_token_id=END,
            pad_token_id=None,
        )
    )
    model.save_pretrained(folder)


def start(folder: Path, **settings: Any) -> VllmEngine:
    from burnish.refiners.engines.vllm import VllmEngine

    defaults = {"dtype": "float32", "cpu_cache_bytes": 64 << 20, "gpu_memory_utilization": 0.2}
    return VllmEngine(
        folder, end_tokens=[END, OTHER_END], max_model_len=CONTEXT, **{**defaults, **settings}
    )


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    import torch

    folder = tmp_path_factory.mktemp("models") / request.param
    environment, set_num_threads = dict(os.environ), torch.set_num_threads
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model waits for its threads more than it computes
    make_model(folder, request.param)
    found = Case(folder, start(folder))
    yield found
    found.engine.close()
    torch.set_num_threads = set_num_threads  # vLLM puts its own in the place of it on a CPU
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(environment)


def made_requests(count: int, seed: int = 0) -> list[Request]:
    """Prompts of random tokens, a third with a common beginning; every second has a grammar."""
    chance = random.Random(seed)
    common = [BEGIN, *(chance.randrange(3, 320) for _ in range(70))]
    requests = []
    for n in range(count):
        start = common if n % 3 == 0 else [BEGIN]
        tail = [chance.randrange(3, 320) for _ in range(chance.randrange(2, 100))]
        requests.append(Request([*start, *tail], NEW_TOKENS, GRAMMAR if n % 2 else None))
    return requests


def settled(engine: VllmEngine, requests: Sequence[Request]) -> list[Completion]:
    """Answers to requests that come together; near ties are asked again alone."""
    answers = engine.generate(requests)
    for n, answer in enumerate(answers):
        if answer.margin < engine.tolerance:
            answers[n] = engine.generate([requests[n]])[0]
    return answers


def logits_after(model: Any, ids: Sequence[int]) -> Any:
    import torch

    with torch.inference_mode():
        return torch.log_softmax(model(torch.tensor([list(ids)])).logits[0].double(), -1)


def reference(folder: Path) -> Any:
    import torch
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@needs_vllm
def test_greedy_as_transformers(case: Case) -> None:
    from burnish.refiners.tokens import Tokens

    model, tokens = reference(case.folder), Tokens(case.folder / "tokenizer.json")
    requests = [replace(r, grammar=None, max_new_tokens=12) for r in made_requests(12, seed=1)]
    for request, answer in zip(requests, settled(case.engine, requests), strict=True):
        ids, total, margin = list(request.prompt), 0.0, inf
        while len(ids) < len(request.prompt) + 12 and ids[-1] not in (END, OTHER_END):
            two = logits_after(model, ids)[-1].topk(2)
            ids.append(int(two.indices[0]))
            total += float(two.values[0])
            margin = min(margin, float(two.values[0] - two.values[1]))
        new = ids[len(request.prompt) :]
        stopped = new[-1] in (END, OTHER_END)
        assert answer.text == tokens.decode(new)
        assert answer.finish == ("stop" if stopped else "length")
        assert answer.tokens == len(new) - stopped
        assert answer.log_probability == pytest.approx(total, abs=1e-3)
        assert answer.margin == pytest.approx(margin, abs=1e-3)


@needs_vllm
def test_grammar_is_obeyed(case: Case) -> None:
    requests = [r for r in made_requests(60, seed=2) if r.grammar]
    answers = case.engine.generate(requests)
    assert {answer.finish for answer in answers} >= {"stop"}
    for answer in answers:
        assert answer.log_probability <= 0
        if answer.finish == "stop":
            assert PROGRAM.fullmatch(answer.text), answer
        else:
            assert (answer.finish, answer.tokens) == ("length", NEW_TOKENS)
    (cut,) = case.engine.generate([Request([BEGIN, 9], 2, 'root ::= "keep_chunk()"')])
    assert (cut.finish, cut.tokens, cut.margin) == ("length", 2, inf)  # there was no choice yet
    assert "keep_chunk()".startswith(cut.text)
    assert cut.log_probability == 0


@needs_vllm
def test_grammar_may_end_with_every_end_token(case: Case) -> None:
    """The probability of what remains after the last forced token is that of both ends."""
    import torch

    model = reference(case.folder)
    request = Request([BEGIN, 9, 8], NEW_TOKENS, 'root ::= "a"')
    (answer,) = case.engine.generate([request])
    read = [*request.prompt, token_of(case.folder, "a")]
    ends = torch.log_softmax(logits_after(model, read)[-1][[END, OTHER_END]], -1)
    assert (answer.text, answer.finish, answer.tokens) == ("a", "stop", 1)
    assert answer.log_probability == pytest.approx(float(ends.max()), abs=1e-3)
    assert answer.margin == pytest.approx(float(ends.max() - ends.min()), abs=1e-3)


def token_of(folder: Path, text: str) -> int:
    from burnish.refiners.tokens import Tokens

    (found,) = Tokens(folder / "tokenizer.json").exactly(text)
    return found


@needs_vllm
def test_score_as_transformers(case: Case) -> None:
    model = reference(case.folder)
    prompts = [request.prompt for request in made_requests(10, seed=3)]
    choices = [[40, 41], [40, 42, 43], [40, 42, 44, 45], [50], [51, 40], [], [40, 41]]
    scores = case.engine.score(prompts, choices)
    for prompt, found in zip(prompts, scores, strict=True):
        for choice, value in zip(choices, found, strict=True):
            rows = logits_after(model, [*prompt, *choice])
            expected = sum(
                float(rows[len(prompt) - 1 + place, token]) for place, token in enumerate(choice)
            )
            assert value == pytest.approx(expected, abs=1e-3)
    case.engine.generate(made_requests(10, seed=3))  # what the cache holds makes no difference
    assert case.engine.score(prompts[::-1], choices)[::-1] == scores
    assert case.engine.score([], choices) == []
    wide = [[token] for token in range(3, 250)]
    (row,) = case.engine.score(prompts[:1], wide)
    assert row[40 - 3] == pytest.approx(float(logits_after(model, prompts[0])[-1, 40]), abs=1e-3)
    with pytest.raises(RefinerError, match="prompt 1 can not be scored"):
        case.engine.score([prompts[0], [BEGIN] * CONTEXT], choices)


@needs_vllm
def test_bad_requests_lose_no_others(case: Case) -> None:
    good = made_requests(4, seed=4)
    bad = {
        "max_model_len": Request([BEGIN] * CONTEXT, 5),
        "the prompt is empty": Request([], 5),
        "outside 0": Request([BEGIN, 99_999], 5),
        "max_new_tokens": Request([BEGIN, 7], 0),
        "can not be read": Request([BEGIN, 7], 5, "root ::= ("),
        "nothing": Request([BEGIN, 7], 5, "root ::= nothing"),
        "root": Request([BEGIN, 7], 5, ""),
        "gave up": Request([BEGIN, 7], 5, 'root ::= "a" root'),
    }
    answers = case.engine.generate([good[0], *bad.values(), *good[1:]])
    for (word, _), answer in zip(bad.items(), answers[1:], strict=False):
        assert answer.finish == "error"
        assert word in answer.error
        assert answer.text == ""
    kept = [answers[0], *answers[1 + len(bad) :]]
    assert [a.text for a in kept] == [a.text for a in case.engine.generate(good)]


@needs_vllm
def test_a_completion_ends_with_the_context(case: Case) -> None:
    answer = case.engine.generate([Request([BEGIN, *[9] * (CONTEXT - 6)], 1_000)])[0]
    assert (answer.finish, answer.tokens) == ("length", 5)


@needs_vllm
def test_answers_do_not_depend_on_the_batch(case: Case) -> None:
    requests = [replace(request, max_new_tokens=16) for request in made_requests(60)]
    alone = [case.engine.generate([request])[0] for request in requests]
    order = list(range(len(requests)))
    random.Random(5).shuffle(order)
    shuffled = settled(case.engine, [requests[n] for n in order])
    for together in (settled(case.engine, requests), [shuffled[order.index(n)] for n in range(60)]):
        assert [a.text for a in together] == [a.text for a in alone]
        for a, b in zip(together, alone, strict=True):
            assert a.log_probability == pytest.approx(b.log_probability, abs=case.engine.tolerance)
    assert [case.engine.generate([request])[0] for request in requests[:10]] == alone[:10]


@needs_vllm
def test_a_new_engine_gives_the_same(case: Case) -> None:
    requests, choices = made_requests(12), [[40, 41], [50, 51, 52]]
    prompts = [request.prompt for request in requests]
    before = [case.engine.generate([r])[0] for r in requests], case.engine.score(prompts, choices)
    case.engine.close()
    with pytest.raises(RefinerError, match="closed"):
        case.engine.generate(requests)
    case.engine = start(case.folder)
    after = [case.engine.generate([r])[0] for r in requests], case.engine.score(prompts, choices)
    assert after == before
    assert case.engine.name == "vllm float32"


SCRIPT = """
import sys
from pathlib import Path
from burnish.refiners.engines.base import Request
from burnish.refiners.engines.vllm import VllmEngine

engine = VllmEngine(Path(sys.argv[1]), end_tokens=[1, 2], max_model_len=256, dtype="float32",
                    cpu_cache_bytes=64 << 20, gpu_memory_utilization=0.2)
print(repr(engine.generate([Request([0, 5, 6, 7], 20)])[0].text))
"""


@needs_vllm
def test_a_plain_script_leaves_nothing_behind(case: Case, tmp_path: Path) -> None:
    """A script without `if __name__ == "__main__"`; its standard output is its own."""
    expected = repr(case.engine.generate([Request([0, 5, 6, 7], 20)])[0].text)
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, "utf-8")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("VLLM_")}
    with subprocess.Popen(
        [sys.executable, str(path), str(case.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**clean, "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    ) as process:
        out, told = process.communicate(timeout=240)
    assert process.returncode == 0, told.decode()[-2_000:]
    assert out.decode("utf-8") == expected + "\n"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@needs_vllm
def test_what_can_not_be_loaded(case: Case, tmp_path: Path) -> None:
    import torch

    case.engine.close()
    with pytest.raises(RefinerError, match="can not load the model"):
        start(tmp_path / "nothing")
    with pytest.raises(RefinerError, match=r"memory does not suffice.*max_model_len"):
        start(case.folder, cpu_cache_bytes=1, gpu_memory_utilization=0.0001)
    if not torch.cuda.is_available():
        with pytest.raises(RefinerError, match="no batch-invariant kernels for a CPU"):
            start(case.folder, batch_invariant=True)
    case.engine = start(case.folder)
    assert case.engine.generate(made_requests(1))[0].finish != "error"


def test_without_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from burnish.refiners.engines.vllm import VllmEngine

    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'burnish\[vllm\]'"):
        VllmEngine(tmp_path, end_tokens=[END], max_model_len=CONTEXT)
