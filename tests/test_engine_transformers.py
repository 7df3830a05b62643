"""The portable engine, with small models that write real programs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the engine transformers needs torch")
pytest.importorskip("transformers", reason="the engine transformers needs transformers")
pytest.importorskip("llguidance", reason="the engine transformers needs llguidance")

import torch
from small_pages import DIALECTS, PAGES, gold, made_pages
from transformers import AutoModelForCausalLM

from burnish.dialects import get_dialect
from burnish.errors import RefinerError
from burnish.program.lines import Chunk
from burnish.program.operations import Program
from burnish.refiners import EngineChoice, load_refiner
from burnish.refiners.checkpoint import Checkpoint
from burnish.refiners.engines.base import Request
from burnish.refiners.engines.transformers import TransformersEngine
from burnish.refiners.generative import Generative

pytestmark = pytest.mark.slow
DTYPE = (("dtype", "float32"),)
ALL = [(family, dialect) for family, names in DIALECTS.items() for dialect in names]


@pytest.fixture(scope="module")
def engine(llama: Path) -> TransformersEngine:
    return TransformersEngine(llama, Checkpoint(llama).end_tokens, dtype="float32")


def loaded(folder: Path, dialect: str, *, constrained: bool = True) -> Generative:
    stage = "document" if dialect == "prox-document" else "chunk"
    choice = EngineChoice("transformers", DTYPE, constrained)
    refiner, _ = load_refiner(str(folder / f"{dialect}.json"), stage, choice)
    assert isinstance(refiner, Generative)
    return refiner


def wanted(dialect: str) -> list[tuple[Chunk, Program | None]]:
    """Known pages and the program that the model learned, as its dialect reads it."""
    found = []
    for page in made_pages(PAGES):
        chunk = Chunk.whole(page.text)
        text = get_dialect(dialect).format(gold(page, dialect), chunk)
        found.append((chunk, get_dialect(dialect).parse(text, chunk).program))
    return found


@pytest.mark.parametrize(("family", "dialect"), ALL)
@pytest.mark.parametrize("constrained", [True, False])
def test_real_programs(
    request: pytest.FixtureRequest, family: str, dialect: str, constrained: bool
) -> None:
    pairs = wanted(dialect)
    refiner = loaded(request.getfixturevalue(family), dialect, constrained=constrained)
    drafts = refiner.write([chunk for chunk, _ in pairs])
    assert [draft.program for draft in drafts] == [program for _, program in pairs]


def unseen(count: int) -> list[Request]:
    """Prompts of pages that no model knows, so that its answers are guesses and nearly tied."""
    chance = random.Random(1)
    return [
        Request(
            [1, *(chance.randrange(300, 700) for _ in range(chance.randint(5, 200)))], 40, _CALLS
        )
        for _ in range(count)
    ]


_CALLS = """root ::= "keep_chunk()" | call ("\\n" call)*
call ::= "remove_lines(start=" line ", end=" line ")"
line ::= [0-9] | [1-9] [0-9]
"""


def test_an_answer_does_not_depend_on_its_batch(engine: TransformersEngine) -> None:
    requests = unseen(60)
    alone = [engine.generate([request])[0] for request in requests]
    together = engine.generate(requests)
    order = random.Random(2).sample(range(60), 60)
    shuffled = engine.generate([requests[n] for n in order])
    for n, one in enumerate(alone):
        for other in (together[n], shuffled[order.index(n)]):
            near = min(one.margin, other.margin) < engine.tolerance
            assert near or (one.text, one.finish, one.tokens) == (
                other.text, other.finish, other.tokens,
            )  # fmt: skip
            assert near or other.log_probability == pytest.approx(one.log_probability, abs=1e-3)


def test_prompts_read_in_parts_give_the_same(llama: Path, engine: TransformersEngine) -> None:
    small = TransformersEngine(
        llama, Checkpoint(llama).end_tokens, dtype="float32", prompt_tokens=300, cache_tokens=900
    )
    requests = unseen(20)
    texts = [c.text for c in engine.generate(requests)]
    assert [c.text for c in small.generate(requests)] == texts


def test_without_grammar_it_is_greedy_decoding(llama: Path, engine: TransformersEngine) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    for request in unseen(6):
        ids = torch.tensor([request.prompt])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False,
            pad_token_id=0,
        )[0, ids.shape[1] :].tolist()  # fmt: skip
        (found,) = engine.generate([Request(request.prompt, 12)])
        text = engine._tokens.decode(expected)
        assert found.text == text
        assert found.finish == ("stop" if 2 in expected else "length")


def test_the_grammar_is_obeyed_and_ends(engine: TransformersEngine) -> None:
    answers = engine.generate(
        [Request([1, n, n + 1], 9, 'root ::= "drop_doc()"') for n in range(5)]
    )
    assert {answer.text for answer in answers} == {"drop_doc()"}
    assert {answer.finish for answer in answers} == {"stop"}
    (cut,) = engine.generate([Request([1, 5], 3, 'root ::= "drop_doc()"')])
    assert cut.finish == "length" and cut.tokens == 3


def test_a_bad_grammar_fails_alone(engine: TransformersEngine) -> None:
    good, bad, other = engine.generate(
        [
            Request([1, 5], 9, 'root ::= "a"'),
            Request([1, 5], 9, "root ::= unknown"),
            Request([1, 5], 4),
        ]
    )
    assert good.text == "a" and other.finish in ("stop", "length")
    assert bad.finish == "error" and bad.error


def test_scores_are_the_models(llama: Path, engine: TransformersEngine) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    choices = [[300, 301, 302], [300], [400, 5]]
    prompts = [request.prompt for request in unseen(4)]
    for prompt, found in zip(prompts, engine.score(prompts, choices), strict=True):
        for choice, score in zip(choices, found, strict=True):
            ids = torch.tensor([[*prompt, *choice]])
            with torch.inference_mode():
                chances = model(input_ids=ids).logits[0].float().log_softmax(-1)
            places = range(len(prompt) - 1, ids.shape[1] - 1)
            expected = sum(
                chances[place, token].item() for place, token in zip(places, choice, strict=True)
            )
            assert score == pytest.approx(expected, abs=1e-3)


def test_out_of_memory_halves_the_batch(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = unseen(12)
    expected = [answer.text for answer in engine.generate(requests)]
    run = TransformersEngine._run
    longest = max(len(request.prompt) for request in requests)

    def short(self: TransformersEngine, rows: list) -> None:  # type: ignore[type-arg]
        if len(rows) > 2 or len(rows[0].request.prompt) == longest:
            raise torch.OutOfMemoryError("out of memory")
        run(self, rows)

    monkeypatch.setattr(TransformersEngine, "_run", short)
    for request, answer, text in zip(requests, engine.generate(requests), expected, strict=True):
        if len(request.prompt) == longest:
            assert answer.finish == "error" and "out of memory" in answer.error
        else:
            assert answer.text == text


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RefinerError, match="can not be loaded as a model"):
        TransformersEngine(tmp_path, [2])


def test_keep_scores_do_not_depend_on_the_batch(llama: Path) -> None:
    chunks = [Chunk.whole(page.text) for page in made_pages(40, seed=3)]
    refiner = loaded(llama, "prox-document")
    together = [draft.scores for draft in refiner.write(chunks)]
    alone = [refiner.write([chunk])[0].scores for chunk in chunks]
    assert together == alone


def test_a_stopped_engine_ends_at_once_and_can_go_on(engine: TransformersEngine) -> None:
    engine.stop()
    with pytest.raises(RefinerError, match="was stopped"):
        engine.generate(unseen(2))
    with pytest.raises(RefinerError, match="was stopped"):
        engine.score([[1, 5]], [[6, 7]])
    engine.ready()
    assert len(engine.generate(unseen(2))) == 2
