"""What a language model is trained on: the prompts of inference, and programs that it may write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tokenizers", reason="a language model needs tokenizers")

from small_pages import PAGES, gold, made_pages, write_tokenizer

from burnish.dialects import get_dialect
from burnish.errors import InputError, UsageError
from burnish.program.executor import execute
from burnish.program.lines import Chunk
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    RemoveLines,
    ReplaceText,
    RewriteLines,
    shift,
    to_json,
)
from burnish.refiners.base import Draft
from burnish.refiners.checkpoint import Checkpoint
from burnish.refiners.engines.base import Completion, Request
from burnish.refiners.generative import Generative
from burnish.spec import ModelSpec, RefinerCard, StageSpec
from burnish.stages import Stage
from burnish.training import examples
from burnish.training.dev import score
from burnish.training.examples import Gold, gold_of, make_examples, read_gold, settled
from burnish.training.recipe import Recipe, read_recipe, recipe_names

TEXTS = [page.text for page in made_pages(40, seed=3)]
LONG = "\n".join(TEXTS[:30])


class Listening:
    """An engine that remembers what it was asked, and keeps everything."""

    name = "listening"
    tolerance = score_tolerance = 0.0
    can_score, grammar_is_slow = True, False

    def __init__(self) -> None:
        self.prompts: list[tuple[int, ...]] = []

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        self.prompts += [tuple(request.prompt) for request in requests]
        return [Completion("keep_chunk()", "stop") for _ in requests]

    def score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        self.prompts += [tuple(prompt) for prompt in prompts]
        return [[0.0] * len(choices) for _ in prompts]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for family in ("llama", "qwen3"):
        made[family] = tmp_path_factory.mktemp(family)
        write_tokenizer(made[family], family, made_pages(PAGES))
    return made


def writer(
    base: Path, dialect: str, template: str, engine: Any = None, **settings: Any
) -> tuple[Generative, StageSpec, int]:
    document = dialect == "prox-document"
    window = settings.pop("window", 90)
    name = "document" if document else "chunk"
    spec = StageSpec(name=name, dialect=dialect, window=None if document else window)
    model = ModelSpec(
        **{
            "weights": ".", "template": template, "max_new_tokens": 60, "context": 1_024,
            "max_text": window if document else None, **settings,
        }
    )  # fmt: skip
    card = RefinerCard(name="x", kind="causal", version="1", stages={name: spec}, model=model)
    checkpoint = Checkpoint(base)
    made = Generative(card, spec, checkpoint, lambda _: engine or Listening())
    return made, spec, checkpoint.end_tokens[0]


WAYS = [
    ("llama", "prox-chunk", "llama2"),
    ("llama", "prox-document", "llama2"),
    ("llama", "refinex", "plain"),
    ("qwen3", "prox-chunk", "qwen3"),
    ("qwen3", "prox-document", "own"),
    ("qwen3", "ultrax", "own"),
]
each_way = pytest.mark.parametrize(("family", "dialect", "template"), WAYS)


def gold_rows(dialect: str, text: str) -> dict[str, Any]:
    if dialect == "prox-document":
        return {"text": text, "keep": 1}
    return {"lines": [{"text": line, "label": 0} for line in text.split("\n")]}


@each_way
def test_prompts_windows_and_numbers_are_those_of_inference(
    bases: dict[str, Path], family: str, dialect: str, template: str
) -> None:
    engine = Listening()
    refiner, spec, end = writer(bases[family], dialect, template, engine)
    texts = [LONG, *TEXTS]
    Stage(spec, refiner).run(texts)
    golds = [gold_of(gold_rows(dialect, text), spec.name) for text in texts]
    made = make_examples([g for g in golds if g], spec, refiner, end)
    assert not made.left_out
    assert [example.prompt for example in made.found] == engine.prompts
    assert dialect == "prox-document" or len(engine.prompts) > 60


def test_a_window_from_within_a_document_is_numbered_as_there(bases: dict[str, Path]) -> None:
    refiner, spec, end = writer(bases["llama"], "prox-chunk", "llama2", window=400)
    lines = LONG.split("\n") * 12
    sizes = refiner.measure(lines)
    for first in (0, 1, 998, 999, 1_000, len(lines) - 3):
        assert refiner.measure(lines[first:], first) == sizes[first:]
    row = {
        "first_line": 998,
        "lines": [{"text": f"Line {n}", "label": int(n in (1, 2))} for n in range(4)],
    }
    found = gold_of(row, "chunk")
    assert found is not None and found.program == (RemoveLines(999, 1_000),)
    (example,) = make_examples([found], spec, refiner, end).found
    tokens = Checkpoint(bases["llama"]).tokens
    assert "[998]Line 0\n[999]Line 1\n[1000]Line 2" in tokens.decode(example.prompt)
    assert tokens.decode(example.answer) == "remove_lines(line_start=999, line_end=1000)"
    assert example.answer[-1] == end


@each_way
def test_an_answer_is_what_the_grammar_allows_and_reads_back(
    bases: dict[str, Path], family: str, dialect: str, template: str
) -> None:
    llguidance = pytest.importorskip("llguidance", reason="grammars need llguidance")
    from llguidance.gbnf_to_lark import gbnf_to_lark

    refiner, spec, end = writer(bases[family], dialect, template, window=400)
    tokens = Checkpoint(bases[family]).tokens
    source = (bases[family] / "tokenizer.json").read_text("utf-8")
    vocabulary = llguidance.LLTokenizer(source, n_vocab=tokens.size, eos_token=end)
    for page in made_pages(24, seed=2):
        chunk = Chunk.whole(page.text)
        program = settled(gold(page, dialect), chunk)
        ((_, request),) = refiner.asked(chunk)
        ids = refiner.answer(program, chunk)
        assert request.grammar is not None
        matcher = llguidance.LLMatcher(vocabulary, gbnf_to_lark(request.grammar))
        assert matcher.consume_tokens(ids) and matcher.is_accepting()
        read = get_dialect(dialect).parse(tokens.decode(ids), chunk)
        assert read.program == program and not read.issues
        if spec.name == "document":
            assert ids in refiner._choices


def test_unknown_labels_stay_and_are_not_scored(bases: dict[str, Path]) -> None:
    lines = [
        {"text": text, "label": label}
        for text, label in (("Home", 1), ("Perhaps", -1), ("A sentence.", 0), ("More", 1))
    ]
    found = gold_of({"lines": lines}, "chunk")
    assert found is not None
    assert found.program == (RemoveLines(0, 0), RemoveLines(3, 3))

    class Removing(Listening):
        def generate(self, requests: Sequence[Request]) -> list[Completion]:
            answer = "remove_lines(line_start=0, line_end=2)"
            return [Completion(answer, "stop") for _ in requests]

    refiner, spec, end = writer(bases["llama"], "prox-chunk", "llama2", Removing())
    counts = score([found], spec, refiner).counts
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (1, 1, 1, 0)
    blank = Gold(("Perhaps",) * 3, 0, (), (-1,) * 3)
    assert make_examples([blank], spec, refiner, end).left_out == {examples.UNKNOWN: 1}


def test_a_failure_on_dev_keeps_its_lines() -> None:
    class Failing:
        def measure(self, lines: Sequence[str], first: int = 0) -> list[int]:
            return [1 for _ in lines]

        def write(self, chunks: Sequence[Chunk]) -> list[Draft]:
            return [Draft(None) for _ in chunks]

    spec = StageSpec(name="chunk", dialect="prox-chunk", window=2)
    found = score([Gold(("a", "b", "c"), 5, (), (1, 0, 0))], spec, Failing())  # type: ignore[arg-type]
    assert (found.asked, found.failed) == (2, 2)
    assert (found.counts.fn, found.counts.tn, found.f1) == (1, 2, 0.0)


def test_what_is_left_out_is_counted(bases: dict[str, Path]) -> None:
    refiner, spec, end = writer(bases["llama"], "prox-chunk", "llama2", max_new_tokens=20)
    known = (0,)
    golds = [
        Gold(("A line.",), 0, (InsertLines(0, 1, "new"),), known),
        Gold(("word " * 500,), 0, (), known),
        Gold(("A line.",), 0, None, known),
        Gold(("Held out",), 0, (), known),
        Gold(tuple("abcdefgh"), 0, tuple(RemoveLines(n, n) for n in (0, 2, 4, 6)), (1, 0) * 4),
        Gold(("A line.",), 0, (), known),
    ]
    made = make_examples(golds, spec, refiner, end, frozenset({"Held out"}))
    assert len(made.found) == 1
    assert made.left_out == {
        examples.UNSAYABLE: 1, examples.LONG_LINE: 1, examples.UNREADABLE: 1,
        examples.HELD_OUT: 1, examples.LONG_PROGRAM: 1,
    }  # fmt: skip
    assert len(make_examples(golds * 3, spec, refiner, end, limit=2).found) == 2


@pytest.mark.parametrize(
    "operation",
    [
        RemoveLines(2, 4), RemoveLines(0, 0), RemoveLines(998, 999), RemoveLines(1_001, 1_000),
        ReplaceText(1_002, 1_002, "A", "B"), RewriteLines(1_001, 1_002, "x"),
        InsertLines(1_003, 0, "x"),
    ],
)  # fmt: skip
def test_a_program_about_lines_that_are_not_there_is_not_taught_as_keep(
    bases: dict[str, Path], operation: Any
) -> None:
    """Such as one that counts from the window's first line, and not from the page's."""
    refiner, spec, end = writer(bases["qwen3"], "ultrax", "qwen3")
    gold_there = Gold(("Home", "A", "B"), 999, (RemoveLines(999, 999),), (1, 0, 0))
    gold_not = Gold(("Home", "A", "B"), 999, (operation,), (1, 0, 0))
    made = make_examples([gold_there, gold_not], spec, refiner, end)
    assert len(made.found) == 1 and made.left_out == {examples.OUTSIDE: 1}
    row = {"lines": [{"text": "Home", "label": 1}], "operations": [["remove_lines", 5, 5]]}
    told = gold_of(row, "chunk")
    assert told is not None
    assert make_examples([told], spec, refiner, end).left_out == {examples.OUTSIDE: 1}


def test_programs_are_taught_in_one_way() -> None:
    chunk = Chunk(["Home", "News", "A x b x", "Footer x", "B x"], 10, (10, 14))
    program = (
        ReplaceText(10, 14, " x", ""), RemoveLines(13, 13), RemoveLines(11, 11),
        RemoveLines(10, 10), ReplaceText(10, 14, "Footer", ""), ReplaceText(10, 14, " x", ""),
    )  # fmt: skip
    assert settled(program, chunk) == (
        RemoveLines(10, 11), RemoveLines(13, 13), ReplaceText(10, 14, " x", ""),
    )  # fmt: skip


def test_a_dialect_that_speaks_of_one_line_is_told_each(bases: dict[str, Path]) -> None:
    refiner, spec, end = writer(bases["qwen3"], "ultrax", "qwen3")
    told = {"program": ["normalize(source_str=' [edit]', target_str='')"], "first_line": 7}
    lines = [{"text": text, "label": 0} for text in ("A [edit]", "B", "C [edit]")]
    found = gold_of({**told, "lines": lines}, "chunk")
    assert found is not None
    (example,) = make_examples([found], spec, refiner, end).found
    answer = Checkpoint(bases["qwen3"]).tokens.decode(example.answer)
    assert answer == "replace_str(8, ' [edit]', '')\nreplace_str(10, ' [edit]', '')"


def test_a_row_says_its_program_in_several_ways() -> None:
    lines = [{"text": "Home", "label": 1}, {"text": "Text", "label": 0}]
    removed = (RemoveLines(0, 0),)
    for told in (
        {},
        {"program": ["remove_lines(line_start=0, line_end=0)"]},
        {"program": "remove_lines(0, 0)"},
        {"program": ["remove_lines(1, 1)"], "dialect": "ultrax"},
        {"program": None, "operations": to_json(removed)},
    ):
        found = gold_of({"lines": lines, **told}, "chunk")
        assert found is not None and found.program == removed
    broken = gold_of({"lines": lines, "program": ["remove_lines(0"]}, "chunk")
    assert broken is not None and broken.program is None
    assert gold_of({"text": "a", "keep": 1}, "chunk") is None
    assert gold_of({"lines": lines}, "document") is None


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"lines": [{"text": "a", "label": 2}]}, "label of line 0"),
        ({"lines": [{"text": "a\nb", "label": 1}]}, "line feed"),
        ({"lines": ["a"]}, "needs a text"),
        ({"lines": [{"text": "a", "label": 0}], "first_line": -1}, "first_line"),
        ({"lines": [{"text": "a", "label": 0}], "operations": [["fly", 1]]}, "fly"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    path = tmp_path / "rows.jsonl"
    good = {"lines": [{"text": "a", "label": 0}]}
    path.write_text(f"{json.dumps(good)}\n{json.dumps(row)}\n")
    with pytest.raises(InputError, match=f"rows.jsonl, row 2: .*{told}"):
        list(read_gold(path, "chunk"))


def test_a_shifted_program_does_the_same_further_down() -> None:
    text = "Home\nA b\nFooter\nEnd"
    program = (
        RemoveLines(0, 0), ReplaceText(1, 1, "b", "c"), InsertLines(2, 0, "new"),
        RewriteLines(3, 3, "Over"),
    )  # fmt: skip
    above = "x\ny\n"
    moved = execute(above + text, shift(program, 2))
    assert moved.text == above + execute(text, program).text
    assert shift((DropDocument(),), 3) == (DropDocument(),)


# --------------------------------------------------------------------------------------- recipes


def test_every_recipe_of_the_package_can_be_used() -> None:
    assert {"tlm-xs", "tlm-s", "tlm-m", "qwen3-0.6b"} <= set(recipe_names())
    for name in recipe_names():
        settings = read_recipe(name)
        Recipe(**{"base": "models/mine", "stage": "chunk", **settings}).check()


def test_a_recipe_with_a_mistake_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for text, told in (
        ("epoch = 4", "unknown setting 'epoch'"),
        ("epochs = 4.5", "epochs must be of the kind int"),
        ("epochs = true", "epochs must be of the kind int"),
        ("epochs =", "can not be read"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=told):
            read_recipe(str(path))
    with pytest.raises(UsageError, match=r"known are .*tlm-xs"):
        read_recipe("tlm-xl")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"base": ""}, "--base"),
        ({"stage": "page"}, "--stage"),
        ({"dialect": "prox-document"}, "does not speak"),
        ({"dialect": "rescraper"}, "dialect is one of"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"min_lr": 1.0}, "min_lr"),
        ({"template": "chatml"}, "template is one of"),
        ({"lora": 8, "fsdp": True}, "LoRA"),
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 2**32}, "seed must be from 0"),
        ({"warmup": float("nan")}, "warmup must be a number"),
    ],
)
def test_settings_that_can_not_be(change: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Recipe(**{"base": "b", "stage": "chunk", **change}).check()


def test_a_batch_is_divided() -> None:
    assert Recipe().micro_batch(1) == (4, 16)
    assert Recipe(per_device_batch=8).micro_batch(2) == (8, 4)
    assert Recipe(batch=7).micro_batch(1) == (1, 7)
    for recipe, devices in ((Recipe(), 3), (Recipe(per_device_batch=5), 1), (Recipe(batch=2), 4)):
        with pytest.raises(UsageError, match="batch"):
            recipe.micro_batch(devices)
