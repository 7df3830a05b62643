"""The public Python interface, pinned."""

from __future__ import annotations

import pytest

import burnish
from burnish.errors import InputError, RefinerError, UsageError

PUBLIC = [
    "BurnishError", "Derivation", "Document", "Edit", "Issue", "Limits", "Outcome", "Parsed",
    "Record", "Status", "__version__", "derive", "execute", "parse", "refine",
]  # fmt: skip

PAGE = """Home
News
About us
Contact
Why the sea is salt
Rivers dissolve small amounts of minerals from the rocks that they run over, and carry them away.
The water leaves the sea again as vapour, but the minerals stay, so the sea grows saltier.
Copyright 2024 Example Media. All rights reserved.
Privacy policy
Terms of use"""


def test_public_names() -> None:
    assert sorted(burnish.__all__) == sorted(PUBLIC)
    assert all(getattr(burnish, name) is not None for name in PUBLIC)
    assert dir(burnish) == burnish.__all__
    with pytest.raises(AttributeError):
        _ = burnish.nothing


def test_derive() -> None:
    clean = PAGE.split("\n", 4)[4].rsplit("\nCopyright", 1)[0]
    found = burnish.derive(PAGE, clean, mode="delete")
    assert found.program is not None and found.outcome is not None
    assert found.outcome.text == clean
    other = burnish.derive(PAGE, "The sea is salty, and rivers are to blame for all of it.")
    assert other.program is None and other.reason == "paraphrase"


def test_execute() -> None:
    outcome = burnish.execute("Home\nA sentence.", "remove_lines(0, 0)", dialect="prox-chunk")
    assert outcome.status == "edited"
    assert outcome.text == "A sentence."
    assert outcome.original == "Home\nA sentence."
    assert [edit.old for edit in outcome.edits] == ["Home\n"]
    assert outcome.issues == ()


def test_execute_drops() -> None:
    outcome = burnish.execute("A text.", "drop_doc()", "prox-document")
    assert (outcome.status, outcome.text) == ("dropped", "")


def test_execute_fails_and_refuses() -> None:
    assert burnish.execute("A text.", "no program").status == "failed"
    refused = burnish.execute("A text.", "remove_lines(0, 0)")
    assert (refused.status, refused.text) == ("refused", "A text.")


def test_parse() -> None:
    parsed = burnish.parse("remove_lines(start=0, end=0)", "Home\nText", "prox-chunk")
    assert parsed.program is not None and len(parsed.program) == 1
    assert burnish.parse("01", "Home\nText", "line-labels").program
    assert burnish.parse("", "Home\nText", "prox-document").program is None


def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="prox-chunk"):
        burnish.parse("", "", "klingon")
    with pytest.raises(UsageError, match="document"):
        burnish.refine([], stages=("sentence",))
    with pytest.raises(UsageError):
        burnish.refine([], stages=())
    with pytest.raises(RefinerError, match="default"):
        burnish.refine([], refiner="nobody")


def test_refine_with_the_packaged_refiner() -> None:
    rows = [{"id": 7, "text": PAGE, "url": "https://example.org/"}, {"text": ""}]
    first, second = burnish.refine(rows, stages=("chunk",))
    assert first.status == "edited"
    assert first.id == "7" and second.id == "1"
    assert {0, 1, 2, 3, 7, 8, 9} <= first.removed_lines
    assert not {5, 6} & first.removed_lines
    assert first.document.columns["url"] == "https://example.org/"
    assert second.text == ""


def test_refine_scores_documents() -> None:
    (record,) = burnish.refine([burnish.Document("a", PAGE)], stages=("document",))
    assert set(record.scores) == {"edu", "format", "keep"}
    assert 0 <= record.scores["keep"] <= 1


def test_the_threshold_is_the_users() -> None:
    (dropped,) = burnish.refine([{"text": PAGE}], stages=("document",), keep_threshold=1.0)
    (kept,) = burnish.refine([{"text": PAGE}], stages=("document",), keep_threshold=0.0)
    assert (dropped.status, kept.status) == ("dropped", "kept")
    with pytest.raises(UsageError):
        burnish.refine([], keep_threshold=7)


def test_the_threshold_of_lines_is_the_users() -> None:
    removed = []
    for threshold in (0.0, None, 0.999999, 1.0):
        (record,) = burnish.refine([{"text": PAGE}], stages="chunk", noise_threshold=threshold)
        removed.append(len(record.removed_lines))
    everything, own, *careful = removed
    assert everything > own > max(careful)
    with pytest.raises(UsageError, match="noise threshold is a probability"):
        burnish.refine([], noise_threshold=7)
    with pytest.raises(UsageError, match="no effect without the stage 'chunk'"):
        burnish.refine([], stages="document", noise_threshold=0.5)
    with pytest.raises(UsageError, match="no probabilities of lines"):
        burnish.refine([], "c4-lines", noise_threshold=0.5)


def test_the_same_program_in_any_company() -> None:
    pages = [{"text": PAGE}, {"text": PAGE * 30}, {"text": "A line."}, {"text": PAGE.upper()}]
    alone = [next(burnish.refine([page])) for page in pages]
    together = list(burnish.refine(list(reversed(pages))))[::-1]
    assert [r.program for r in alone] == [r.program for r in together]
    assert [r.scores for r in alone] == [r.scores for r in together]


def test_refine_reads_lazily_and_names_the_bad_document() -> None:
    with pytest.raises(InputError, match="document 1"):
        list(burnish.refine([{"text": "fine"}, {"body": "no text"}], refiner="c4-lines",
                            stages=("chunk",)))  # fmt: skip


def test_the_records_before_a_bad_document_are_not_lost() -> None:
    rows: list[object] = [{"text": f"Text {n}."} for n in range(10)]
    rows[5] = {"body": "no text"}
    records = burnish.refine(rows, "c4-lines", "chunk")  # type: ignore[arg-type]
    assert [next(records).id for _ in range(5)] == ["0", "1", "2", "3", "4"]
    with pytest.raises(InputError, match="document 5"):
        next(records)


@pytest.mark.parametrize("row", ["a text", None, {"text": 1}, {1: "x"}, burnish.Document("a", b"")])  # type: ignore[arg-type]
def test_what_is_no_document_is_an_input_error(row: object) -> None:
    with pytest.raises(InputError, match="document 0"):
        list(burnish.refine([row], "c4-lines", "chunk"))  # type: ignore[list-item]


@pytest.mark.parametrize("documents", ["a text", {"text": "a text"}, burnish.Document("a", ""), 5])
def test_documents_come_in_a_row(documents: object) -> None:
    with pytest.raises(UsageError, match="list"):
        burnish.refine(documents, "c4-lines", "chunk")  # type: ignore[arg-type]


def test_ids_are_those_of_the_command_line() -> None:
    values = ["a", 7, None, "", 1.5, True]
    rows = [{"id": value, "text": ""} for value in values]
    found = [record.id for record in burnish.refine(rows, "c4-lines", "chunk")]
    assert found == ["a", "7", "2", "3", "4", "5"]
    with pytest.raises(InputError, match="'key'"):
        list(burnish.refine([{"text": ""}], "c4-lines", "chunk", id_column="key"))


def test_arguments_without_effect_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="probability"):
        burnish.refine([], keep_threshold="0.5")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no effect"):
        burnish.refine([], stages="chunk", keep_threshold=0.5)
    with pytest.raises(UsageError, match="twice"):
        burnish.refine([], stages=("chunk", "chunk"))
