"""Stages and pipelines, driven by the scripted refiner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from burnish.errors import RefinerError
from burnish.program.limits import Limits
from burnish.program.lines import Chunk
from burnish.refiners.base import Draft
from burnish.refiners.scripted import Scripted
from burnish.schema import Document, Record, Status
from burnish.spec import StageSpec
from burnish.stages import Pipeline, Stage

CHUNK = StageSpec(name="chunk", dialect="prox-chunk")
TEXT = "Home\nA first sentence stands here.\nA second one follows it.\nShare this\nFooter"


def refine(text: str, *stages: Stage) -> Record:
    (record,) = Pipeline(stages).run([Document("d", text, {"text": text})])
    return record


def scripted(program: str, spec: StageSpec = CHUNK) -> Stage:
    return Stage(spec, Scripted(lambda chunk: program, spec.dialect))


def test_an_edited_document_carries_its_program_and_its_removed_lines() -> None:
    record = refine(TEXT, scripted("remove_lines(0, 0)\nremove_lines(3, 4)"))
    assert record.status is Status.EDITED
    assert record.text == "A first sentence stands here.\nA second one follows it."
    assert record.removed_lines == {0, 3, 4}
    assert record.program == [["remove_lines", 0, 0], ["remove_lines", 3, 4]]
    assert not record.issues


def test_a_failed_program_is_not_a_decision_to_keep() -> None:
    record = refine(TEXT, scripted("The menu should be removed."))
    assert record.status is Status.FAILED
    assert record.text == TEXT
    assert record.program is None
    assert record.issues


def test_a_window_that_fails_takes_nothing_from_the_others() -> None:
    spec = StageSpec(name="chunk", dialect="prox-chunk", window=40)

    def answer(chunk: Chunk) -> str:
        return "nonsense" if chunk.first == 0 else f"remove_lines({chunk.last}, {chunk.last})"

    record = refine(TEXT, Stage(spec, Scripted(answer)))
    assert record.status is Status.EDITED
    assert record.removed_lines
    assert 0 not in record.removed_lines
    assert {issue.code for issue in record.issues} == {"empty"}


def test_too_many_issues_count_against_their_window_alone() -> None:
    limits = Limits(max_issues=2)
    spec = StageSpec(name="chunk", dialect="prox-chunk", window=40, limits=limits)

    def answer(chunk: Chunk) -> str:
        good = f"remove_lines({chunk.last}, {chunk.last})"
        return f"{good}\nremove_lines(1)\nremove_lines(2)" if chunk.first == 0 else good

    record = refine(TEXT, Stage(spec, Scripted(answer)))
    assert record.status is Status.EDITED
    assert min(record.removed_lines) > 1


def test_a_replacement_stays_in_the_window_it_was_proposed_for() -> None:
    text = "one cat here\ntwo cat here"
    spec = StageSpec(name="chunk", dialect="prox-chunk", window=13)

    def answer(chunk: Chunk) -> str:
        return 'normalize("cat ", "")' if chunk.first == 0 else "keep_chunk()"

    assert refine(text, Stage(spec, Scripted(answer))).text == "one here\ntwo cat here"


def test_a_line_longer_than_the_window_is_passed_over_and_noted() -> None:
    text = f"short\n{'long ' * 30}\nshort too"
    spec = StageSpec(name="chunk", dialect="prox-chunk", window=40)
    record = refine(text, Stage(spec, Scripted(lambda chunk: "keep_chunk()")))
    assert record.status is Status.KEPT
    assert [issue.code for issue in record.issues] == ["long-line"]


def test_a_refiner_that_raises_fails_that_document_and_no_other() -> None:
    def answer(chunk: Chunk) -> str:
        if "bad" in chunk.text:
            raise RuntimeError("out of memory")
        return "remove_lines(0, 0)"

    documents = [Document(str(n), f"menu\n{word} text is here") for n, word in enumerate("xby")]
    documents[1] = Document("1", "menu\nbad text is here")
    records = list(Pipeline([Stage(CHUNK, Scripted(answer))]).run(documents))
    assert [record.status for record in records] == [Status.EDITED, Status.FAILED, Status.EDITED]
    assert "out of memory" in records[1].issues[0].message


def test_dropped_documents_are_not_shown_to_the_next_stage() -> None:
    shown: list[str] = []

    def answer(chunk: Chunk) -> str:
        shown.append(chunk.text)
        return "keep_chunk()"

    document = StageSpec(name="document", dialect="prox-document")
    judge = Scripted(
        lambda chunk: "drop_doc()" if "spam" in chunk.text else "keep_doc()", "prox-document"
    )
    first = Stage(document, judge)
    pipeline = Pipeline([first, Stage(CHUNK, Scripted(answer))])
    records = list(pipeline.run([Document("a", "spam"), Document("b", "a text")]))
    assert [record.status for record in records] == [Status.DROPPED, Status.KEPT]
    assert shown == ["a text"]
    assert records[0].text == ""
    assert records[0].removed_lines == {0}


class _Scored:
    name = "scored"

    def measure(self, text: str) -> int:
        return len(text)

    def write(self, chunks: Sequence[Chunk]) -> list[Draft]:
        return [Draft((), scores={"keep": 0.4}) for _ in chunks]


@pytest.mark.parametrize(("threshold", "status"), [(0.3, Status.KEPT), (0.5, Status.DROPPED)])
def test_a_threshold_decides_by_the_stored_score(threshold: float, status: Status) -> None:
    spec = StageSpec(name="document", dialect="prox-document", keep_threshold=threshold)
    record = refine(TEXT, Stage(spec, _Scored()))
    assert record.status is status
    assert record.scores == {"keep": 0.4}


def test_a_second_editing_stage_numbers_lines_of_the_input() -> None:
    first, second = scripted("remove_lines(0, 0)"), scripted("remove_lines(2, 3)")
    record = refine(TEXT, first, second)
    assert record.removed_lines == {0, 3, 4}


def test_limits_of_the_stage_apply() -> None:
    drop = StageSpec(name="chunk", dialect="prox-chunk", limits=Limits(on_removal="drop"))
    assert refine(TEXT, scripted("remove_lines(0, 4)")).status is Status.REFUSED
    assert refine(TEXT, scripted("remove_lines(0, 4)")).text == TEXT
    assert refine(TEXT, scripted("remove_lines(0, 4)", drop)).status is Status.DROPPED


@pytest.mark.parametrize("text", ["", "\n", " \n\t\n"])
def test_blank_documents_go_through(text: str) -> None:
    record = refine(text, scripted("keep_chunk()"))
    assert (record.status, record.text) == (Status.KEPT, text)


class _Counting(_Scored):
    """Writes a number of drafts that has nothing to do with the chunks."""

    def __init__(self, count: int) -> None:
        self.count = count

    def write(self, chunks: Sequence[Chunk]) -> list[Draft]:
        return [Draft(())] * self.count


@pytest.mark.parametrize("count", [0, 3])
def test_a_wrong_number_of_drafts_is_a_failure(count: int) -> None:
    documents = [Document("a", "x"), Document("b", "y")]
    records = list(Pipeline([Stage(CHUNK, _Counting(count))]).run(documents))
    assert [record.status for record in records] == [Status.FAILED] * 2
    assert records[0].issues[0].message.startswith("scored: ")


class _Unsure(_Scored):
    def write(self, chunks: Sequence[Chunk]) -> list[Draft]:
        return [Draft((), scores={"keep": float("nan") if "?" in c.text else 0.9}) for c in chunks]


def test_a_keep_score_that_is_no_number_keeps_nothing() -> None:
    spec = StageSpec(name="document", dialect="prox-document", keep_threshold=0.5)
    documents = [Document("a", "?"), Document("b", "y")]
    records = list(Pipeline([Stage(spec, _Unsure())]).run(documents))
    assert [record.status for record in records] == [Status.FAILED, Status.KEPT]


def test_documents_before_a_failure_of_their_source_come_through() -> None:
    def source() -> Iterator[Document]:
        yield Document("a", "x")
        raise OSError("gone")

    records = Pipeline([scripted("keep_chunk()")]).run(source())
    assert next(records).id == "a"
    with pytest.raises(OSError, match="gone"):
        next(records)


def test_two_batches_under_way_keep_the_order_and_the_records() -> None:
    texts = [f"line {n}\nnoise" for n in range(57)]
    stage = Stage(CHUNK, Scripted(lambda chunk: "remove_lines(1, 1)"))
    documents = [Document(str(n), text) for n, text in enumerate(texts)]
    plain = list(Pipeline([stage]).run(documents))
    both = list(Pipeline([stage], batch_documents=4, overlap=True).run(iter(documents)))
    assert both == plain and len(both) == 57


def test_an_error_in_a_batch_under_way_comes_after_the_records_before_it() -> None:
    def answer(chunk: Chunk) -> str:
        if chunk.text == "bad":
            raise RefinerError("the server does not answer")
        return "keep_chunk()"

    stage = Stage(CHUNK, Scripted(answer))
    documents = [Document(str(n), "bad" if n == 13 else "good") for n in range(40)]
    found = []
    with pytest.raises(RefinerError, match="does not answer"):
        for record in Pipeline([stage], batch_documents=4, overlap=True).run(documents):
            found.append(record.id)
    assert found == [str(n) for n in range(12)]


def test_documents_before_a_broken_input_are_not_lost() -> None:
    def documents() -> Iterator[Document]:
        for n in range(22):
            yield Document(str(n), "good")
        raise ValueError("the input is broken")

    stage = Stage(CHUNK, Scripted(lambda chunk: "keep_chunk()"))
    found = []
    with pytest.raises(ValueError, match="input is broken"):
        for record in Pipeline([stage], batch_documents=4, overlap=True).run(documents()):
            found.append(record.id)
    assert found == [str(n) for n in range(22)]


def test_a_released_executor_is_an_option() -> None:
    spec = StageSpec(name="chunk", dialect="ultrax", execution="ultrax")
    stage = Stage(spec, Scripted(lambda chunk: "remove_lines(1, 1)", "ultrax"))
    (record,) = Pipeline([stage]).run([Document("1", "Home\n\none\n\n\ntwo\n")])
    assert record.text == "one\ntwo"
    ours = Stage(replace(spec, execution="burnish"), stage.refiner)
    assert next(Pipeline([ours]).run([Document("1", "Home\n\none\n\n\ntwo\n")])).text == (
        "\none\n\n\ntwo\n"
    )
