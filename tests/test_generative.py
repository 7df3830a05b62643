"""A language model as refiner, with an engine that plays answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import log, nan
from pathlib import Path

import pytest

pytest.importorskip("tokenizers", reason="needs the extra transformers")

from small_pages import PAGES, made_pages, write_tokenizer

from burnish.errors import RefinerError, UsageError
from burnish.program.lines import Chunk
from burnish.program.operations import DropDocument, RemoveLines, RewriteLines
from burnish.refiners import EngineChoice, identity, load_refiner, refiner_card, refiner_names
from burnish.refiners.checkpoint import Checkpoint
from burnish.refiners.engines.base import Completion, Engine, Request
from burnish.refiners.engines.choice import make_engine
from burnish.refiners.generative import Generative
from burnish.schema import Document, Status
from burnish.spec import RefinerCard, StageSpec
from burnish.stages import Pipeline, Stage

Answer = Callable[[Request], Completion]


class Played:
    """Answers by a function; notes what it was asked."""

    name = "played"
    tolerance = 0.1
    score_tolerance = 0.0
    grammar_is_slow = False

    def __init__(
        self, answer: Answer, scores: Sequence[float] = (), can_score: bool = True
    ) -> None:
        self.answer = answer
        self.scores = list(scores)
        self.can_score = can_score
        self.asked: list[list[Request]] = []

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        self.asked.append(list(requests))
        return [self.answer(request) for request in requests]

    def score(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        assert len(choices) == len(self.scores)
        return [self.scores for _ in prompts]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("model")
    write_tokenizer(folder, "llama", made_pages(PAGES))
    return Checkpoint(folder)


def refiner(
    checkpoint: Checkpoint,
    engine: Engine,
    dialect: str = "prox-chunk",
    window: int | None = None,
    **settings: object,
) -> Generative:
    constrained = bool(settings.pop("constrained", True))
    system = settings.pop("system", None)
    stage = "document" if dialect == "prox-document" else "chunk"
    card = RefinerCard._from_json(
        {
            "name": "played", "kind": "causal", "version": "1",
            "stages": {stage: {"name": stage, "dialect": dialect, "window": window}},
            "model": {
                "weights": ".", "template": "llama2", "context": 400, "max_new_tokens": 50,
                **settings,
            },
        }
    )  # fmt: skip
    return Generative(
        card,
        card.stages[stage],
        checkpoint,
        lambda context: engine,
        constrained=constrained,
        system=None if system is None else str(system),
    )


def says(text: str, **settings: object) -> Answer:
    return lambda request: Completion(text, **{"finish": "stop", **settings})  # type: ignore[arg-type]


CHUNK = Chunk(["Home", "The tides are high.", "Privacy policy"], 10, (10, 12))


def test_a_program_is_read(checkpoint: Checkpoint) -> None:
    engine = Played(says(" remove_lines(start=10, end=10)"))
    (draft,) = refiner(checkpoint, engine).write([CHUNK])
    assert draft.program == (RemoveLines(10, 10),) and not draft.issues
    (request,) = engine.asked[0]
    shown = checkpoint.tokens._tokenizer.decode(request.prompt, skip_special_tokens=False)
    assert shown.startswith("<s> [INST] <<SYS>>\nYou are a helpful")
    assert shown.endswith(
        "[010]Home\n[011]The tides are high.\n[012]Privacy policy\n[/doc] [/INST]"
    )
    assert request.grammar is not None and request.grammar.startswith('root ::= " "? program\n')
    assert request.chat is not None and "[011]The tides" in request.chat.user


def test_without_grammar_and_with_another_system_prompt(checkpoint: Checkpoint) -> None:
    engine = Played(says("keep_chunk()"))
    free = refiner(checkpoint, engine, constrained=False, system="Clean it.")
    assert free.write([CHUNK])[0].program == ()
    (request,) = engine.asked[0]
    assert request.grammar is None
    assert request.chat is not None and request.chat.system == "Clean it."


def test_no_answer_is_never_keep(checkpoint: Checkpoint) -> None:
    for answer, code in (
        (says("", finish="error", error="503 overloaded"), "engine"),
        (says(""), "empty"),
        (says("<html>"), "empty"),
    ):
        (draft,) = refiner(checkpoint, Played(answer)).write([CHUNK])
        assert draft.program is None, code
        assert draft.issues


def test_an_answer_that_was_cut_off(checkpoint: Checkpoint) -> None:
    text = "remove_lines(10, 10)\nremove_lines(11, "
    (draft,) = refiner(checkpoint, Played(says(text, finish="length"))).write([CHUNK])
    assert draft.program == (RemoveLines(10, 10),)
    assert [issue.code for issue in draft.issues] == ["cut-off"]
    # A text that ends between two calls looks complete; only the engine knows.
    (draft,) = refiner(checkpoint, Played(says(text[:20], finish="length"))).write([CHUNK])
    assert draft.program == (RemoveLines(10, 10),)
    assert [issue.code for issue in draft.issues] == ["cut-off"]


def test_a_rewritten_page_that_was_cut_off_is_a_failure(checkpoint: Checkpoint) -> None:
    text = "<rewrite>\n<extract>\n<rewrite>\nThe tides"
    whole = refiner(checkpoint, Played(says(text)), "rescraper").write([CHUNK])[0]
    assert whole.program == (RewriteLines(10, 12, "The tides"),)
    cut = refiner(checkpoint, Played(says(text, finish="length")), "rescraper").write([CHUNK])[0]
    assert cut.program is None and cut.issues[-1].code == "cut-off"


def test_near_ties_are_asked_again_alone(checkpoint: Checkpoint) -> None:
    def answer(request: Request) -> Completion:
        alone = len(engine.asked[-1]) == 1
        return Completion("keep_chunk()" if alone else "remove_lines(10, 10)", "stop", margin=0.05)

    engine = Played(answer)
    drafts = refiner(checkpoint, engine).write([CHUNK, CHUNK])
    assert [draft.program for draft in drafts] == [(), ()]
    assert [len(asked) for asked in engine.asked] == [2, 1, 1]


def test_a_prompt_that_is_too_long_fails_alone(checkpoint: Checkpoint) -> None:
    long = Chunk(["The tides are high. " * 100], 0, (0, 0))
    engine = Played(says("keep_chunk()"))
    first, second, third = refiner(checkpoint, engine).write([CHUNK, long, CHUNK])
    assert first.program == third.program == ()
    assert second.program is None and second.issues[0].code == "context"
    assert len(engine.asked[0]) == 2


def test_a_window_that_the_context_can_not_hold(checkpoint: Checkpoint) -> None:
    with pytest.raises(RefinerError, match="do not fit into the model's context of 400"):
        refiner(checkpoint, Played(says("")), window=350)
    with pytest.raises(RefinerError, match="do not fit"):
        refiner(checkpoint, Played(says("")), "prox-document", max_text=390)


def test_windows_are_measured_with_their_markers(checkpoint: Checkpoint) -> None:
    engine = Played(says("keep_chunk()"))
    tight = refiner(checkpoint, engine, window=100)
    spec = StageSpec(name="chunk", dialect="prox-chunk", window=100)
    text = "\n".join("a" for _ in range(120))
    (record,) = Pipeline([Stage(spec, tight)]).run([Document("1", text)])
    assert record.status is Status.KEPT
    sizes = [len(r.prompt) for asked in engine.asked for r in asked]
    frame = len(tight._request(Chunk([""], 0, (0, 0))).prompt) - len(
        checkpoint.tokens.exactly("[000]")
    )
    assert max(sizes) <= 100 + frame + 2 and len(sizes) > 5


def test_documents_are_scored(checkpoint: Checkpoint) -> None:
    # keep_doc, untouch_doc (each with and without a blank), drop_doc (the same)
    scores = [log(p) for p in (0.5, 0.1, 0.1, 0.1, 0.1, 0.1)]
    (draft,) = refiner(checkpoint, Played(says(""), scores), "prox-document").write([CHUNK])
    assert draft.program == () and draft.scores == {"keep": 0.8}
    (draft,) = refiner(
        checkpoint, Played(says(""), [-2000.0] * 4 + [-1.0, -1.0]), "prox-document"
    ).write([CHUNK])
    assert draft.program == (DropDocument(),) and draft.scores == {"keep": 0.0}
    (draft,) = refiner(checkpoint, Played(says(""), [nan] * 6), "prox-document").write([CHUNK])
    assert draft.program is None and draft.issues[0].code == "engine"


def test_an_engine_that_can_not_score_is_asked_in_words(checkpoint: Checkpoint) -> None:
    engine = Played(says(" drop_doc()"), can_score=False)
    (draft,) = refiner(checkpoint, engine, "prox-document").write([CHUNK])
    assert draft.program == (DropDocument(),) and not draft.scores


def test_a_document_is_cut_before_the_template(checkpoint: Checkpoint) -> None:
    engine = Played(says("keep_doc()"), can_score=False)
    text = Chunk.whole("The tides are high. " * 500)
    (draft,) = refiner(checkpoint, engine, "prox-document", max_text=100).write([text])
    assert draft.program == ()
    prompt = engine.asked[0][0].prompt
    assert len(prompt) < 200
    assert checkpoint.tokens.decode(prompt).endswith("[/INST]")


def test_a_broken_engine_stops_the_run(checkpoint: Checkpoint) -> None:
    def gone(request: Request) -> Completion:
        raise RefinerError("the server does not answer")

    spec = StageSpec(name="chunk", dialect="prox-chunk")
    with pytest.raises(RefinerError, match="does not answer"):
        list(Pipeline([Stage(spec, refiner(checkpoint, Played(gone)))]).run([Document("1", "a")]))


# ------------------------------------------------------------------------------------- loading


def test_the_published_refiners_are_known_by_name() -> None:
    for name in refiner_names():
        card = refiner_card(name)
        assert card is None or card.kind == "tagger" or card.model is not None
    assert {"prox-web-document", "prox-web-chunk", "ultrax", "rescraper"} <= set(refiner_names())
    card = refiner_card("hf:gair-prox/web-chunk-refining-lm")
    assert card is not None and card.name == "prox-web-chunk"


def test_unknown_engines_and_options(checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match="unknown engine 'vlm'"):
        EngineChoice("vlm").settled()
    with pytest.raises(UsageError, match="NAME=VALUE"):
        EngineChoice.parse("auto", ("dtype",), True)
    choice = EngineChoice.parse("transformers", ("dtype=float32", "layers=1"), True)
    assert choice.options == (("dtype", "float32"), ("layers", 1))
    with pytest.raises(UsageError, match="is one value"):
        EngineChoice.parse("transformers", ("layers=[1]",), True)
    pytest.importorskip("llguidance", reason="needs the extra transformers")
    with pytest.raises(UsageError, match="no option 'layers'; it has: device, dtype"):
        choice.engine_class()
    with pytest.raises(UsageError, match=r"prompt_tokens is int \| None, not 'many'"):
        EngineChoice.parse("transformers", ("prompt_tokens=many",), True).engine_class()
    with pytest.raises(RefinerError, match="can not be loaded as a model"):
        make_engine(EngineChoice("transformers"), checkpoint.folder, (2,), 100)


def test_a_card_without_model(tmp_path: Path) -> None:
    card = {"name": "x", "kind": "causal", "version": "1", "stages": {}}
    card["stages"] = {"chunk": {"name": "chunk", "dialect": "prox-chunk"}}  # type: ignore[assignment]
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(RefinerError, match="needs the setting model"):
        load_refiner(str(tmp_path), "chunk")


def test_another_model_in_the_folder_is_another_refiner(tmp_path: Path) -> None:
    card = {
        "name": "x", "kind": "causal", "version": "1",
        "stages": {"chunk": {"name": "chunk", "dialect": "prox-chunk"}},
        "model": {"weights": ".", "template": "llama2", "max_new_tokens": 10},
    }  # fmt: skip
    (tmp_path / "card.json").write_text(json.dumps(card))
    (tmp_path / "model.safetensors").write_bytes(b"1")
    engine = EngineChoice("transformers")
    before = identity(str(tmp_path), engine)
    assert before == identity(str(tmp_path), engine)
    assert before != identity(str(tmp_path), EngineChoice("openvino"))
    assert before != identity(str(tmp_path), EngineChoice("transformers", constrained=False))
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert before != identity(str(tmp_path), engine)


def test_a_window_that_fails_leaves_no_kept_document(checkpoint: Checkpoint) -> None:
    def answer(request: Request) -> Completion:
        assert request.chat is not None
        if "noise" in request.chat.user:
            return Completion("", "error", error="500")
        return Completion(program, "stop")

    spec = StageSpec(name="chunk", dialect="prox-chunk", window=40)
    stage = Stage(spec, refiner(checkpoint, Played(answer), window=40))
    text = "\n".join(["The tides are high."] * 3 + ["noise", "noise"])
    program = "keep_chunk()"
    (record,) = Pipeline([stage]).run([Document("1", text)])
    assert record.status is Status.FAILED and record.text == text
    assert record.traces[0].reason == "some windows failed"
    program = "remove_lines(0, 0)"
    (record,) = Pipeline([stage]).run([Document("1", text)])
    assert record.status is Status.EDITED and record.traces[0].reason == "some windows failed"


def test_windows_of_high_line_numbers_do_not_overflow(checkpoint: Checkpoint) -> None:
    engine = Played(says("keep_chunk()"))
    writer = refiner(checkpoint, engine, window=200)
    lines = ["a"] * 12_000
    sizes = writer.measure(lines)
    assert sizes[0] < sizes[999] < sizes[9_999]
    stage = Stage(StageSpec(name="chunk", dialect="prox-chunk", window=200), writer)
    (record,) = Pipeline([stage]).run([Document("1", "\n".join(lines))])
    assert record.status is Status.KEPT
    frame = len(writer._request(Chunk([""], 0, (0, 0))).prompt)
    assert max(len(r.prompt) for asked in engine.asked for r in asked) <= 200 + frame


def test_a_card_does_not_stretch_the_models_context(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(checkpoint.config, "max_position_embeddings", 300)
    with pytest.raises(RefinerError, match="do not fit into the model's context of 300"):
        refiner(checkpoint, Played(says("")), window=280)


def test_an_engine_that_breaks(checkpoint: Checkpoint) -> None:
    def breaks(request: Request) -> Completion:
        if broken or len(request.prompt) == longest:
            raise RuntimeError("device lost")
        return Completion("keep_chunk()", "stop")

    writer = refiner(checkpoint, Played(breaks))
    long = Chunk(["The tides are high, very high."], 0, (0, 0))
    longest, broken = len(writer._request(long).prompt), False
    first, second, third = writer.write([CHUNK, long, CHUNK])
    assert first.program == third.program == ()
    assert second.program is None and "device lost" in second.issues[0].message
    broken = True
    with pytest.raises(RefinerError, match="the engine played is broken: RuntimeError"):
        writer.write([CHUNK, long])


def test_refiners_and_engines_without_anything_to_do(checkpoint: Checkpoint) -> None:
    from burnish.workflows.refine import load_pipeline

    with pytest.raises(UsageError, match="c4-lines has nothing to do: document by default"):
        load_pipeline(["default", "c4-lines"])
    with pytest.raises(UsageError, match="the refiner default has nothing to do"):
        load_pipeline(["default", "default"])
    with pytest.raises(UsageError, match="no language model is among default"):
        load_pipeline("default", engine=EngineChoice("vllm"))


def test_cards_that_make_no_sense() -> None:
    stage = {"name": "chunk", "dialect": "prox-chunk"}
    model = {"weights": ".", "template": "own", "max_new_tokens": 9, "max_text": 9}
    card = {"name": "x", "kind": "causal", "version": "1", "stages": {"chunk": stage}}
    with pytest.raises(RefinerError, match="would cut numbered lines"):
        RefinerCard._from_json({**card, "model": model})
    stage["dialect"] = "prox-document"
    with pytest.raises(RefinerError, match="stage 'chunk' does not speak prox-document"):
        RefinerCard._from_json(card)


def test_a_slow_grammar_is_for_answers_that_need_it(checkpoint: Checkpoint) -> None:
    def answer(request: Request) -> Completion:
        if request.grammar is not None:
            return Completion("remove_lines(12, 12)", "stop")
        last = request.chat is not None and "tides" in request.chat.user
        return Completion("remove_lines(10, 10)" if last else "remove_lines(99, 99)", "stop")

    engine = Played(answer)
    engine.grammar_is_slow = True
    other = Chunk(["Home", "Privacy policy", "Log in"], 10, (10, 12))
    first, second = refiner(checkpoint, engine).write([CHUNK, other])
    assert first.program == (RemoveLines(10, 10),)
    assert second.program == (RemoveLines(12, 12),) and not second.issues
    assert [[r.grammar is None for r in asked] for asked in engine.asked] == [[True, True], [False]]


def test_overlapping_windows_decide_about_their_own_lines(checkpoint: Checkpoint) -> None:
    def answer(request: Request) -> Completion:
        assert request.chat is not None
        shown = request.chat.user.split("\n")
        windows.append([int(line[5 : line.index(">")]) for line in shown])
        return Completion("remove_all()" if len(windows) == 2 else "keep_all()", "stop")

    windows: list[list[int]] = []
    writer = refiner(
        checkpoint, Played(answer), "ultrax", window=300, measure="characters", context=2_000
    )
    spec = StageSpec(name="chunk", dialect="ultrax", window=300, overlap=0.2)
    text = "\n".join(f"line {n} of the page" for n in range(40))
    (record,) = Pipeline([Stage(spec, writer)]).run([Document("1", text)])
    first, second, third = windows[:3]
    assert second[0] <= first[-1] < second[-1] and third[0] <= second[-1]  # they overlap
    owned = set(range(first[-1], second[-1]))  # from 0; the lines that the second adds
    assert record.removed_lines == owned
    assert all(
        len("\n".join(f"<lid:{n}>line {n - 1} of the page" for n in w)) <= 300 for w in windows
    )


def test_a_window_with_too_many_tokens_is_shown_in_halves(checkpoint: Checkpoint) -> None:
    def answer(request: Request) -> Completion:
        assert request.chat is not None
        first = int(request.chat.user[5 : request.chat.user.index(">")])
        return Completion(f"remove_lines({first}, {first})", "stop")

    engine = Played(answer)
    writer = refiner(checkpoint, engine, "ultrax", window=1_500, measure="characters")
    spec = StageSpec(name="chunk", dialect="ultrax", window=1_500)
    text = "\n".join("\u6f6e\u6c34" * 8 for _ in range(40))
    (record,) = Pipeline([Stage(spec, writer)]).run([Document("1", text)])
    assert record.status is Status.EDITED and not record.issues
    asked = [request for requests in engine.asked for request in requests]
    assert max(len(request.prompt) for request in asked) <= 350
    assert len(record.removed_lines) == len(asked) > 3
    # A single line that is too long is still a failure.
    (draft,) = writer.write([Chunk(["\u6f6e" * 400], 0, (0, 0))])
    assert draft.program is None and draft.issues[0].code == "context"
