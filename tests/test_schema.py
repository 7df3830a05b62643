"""What is stored: edits and their inverse, traces, and removed lines over several stages."""

from __future__ import annotations

import json

import pytest

from burnish.program.executor import execute
from burnish.program.limits import Limits
from burnish.program.operations import InsertLines, Operation, RemoveLines, ReplaceText, to_json
from burnish.schema import (
    Document,
    Edit,
    Issue,
    Record,
    StageTrace,
    Status,
    apply_edits,
    removed_input_lines,
    revert_edits,
    text_hash,
)

LIMITLESS = Limits(max_removed=2, min_words=0)


def traces(text: str, *programs: tuple[Operation, ...]) -> list[StageTrace]:
    """The traces of the programs, each executed on what the one before it left."""
    found = []
    for program in programs:
        outcome = execute(text, program, limits=LIMITLESS)
        text = outcome.text
        found.append(
            StageTrace(
                "stage",
                "refiner",
                outcome.status,
                program=to_json(program),
                edits=outcome.edits,
                issues=outcome.issues,
                removed_lines=outcome.removed_lines,
                reason=outcome.reason,
            )
        )
    return found


def test_edits_apply_and_revert() -> None:
    edits = [Edit(0, "a", "xx"), Edit(1, "", "-"), Edit(2, "c\n")]
    assert apply_edits("abc\nd", edits) == "xx-bd"
    assert revert_edits("xx-bd", edits) == "abc\nd"


@pytest.mark.parametrize(
    "edits",
    [
        [Edit(0, "z")],
        [Edit(9, "", "x")],
        [Edit(-1, "c")],
        [Edit(0, "ab"), Edit(1, "b")],
        [Edit(1, "b"), Edit(0, "a")],
    ],
)
def test_edits_of_another_text_are_an_error(edits: list[Edit]) -> None:
    with pytest.raises(ValueError, match="the text has no"):
        apply_edits("abc", edits)


def test_reverting_another_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="the text has no"):
        revert_edits("abc", [Edit(0, "a", "z")])


def test_a_trace_survives_json() -> None:
    issue = Issue("syntax", "bad \ud800", 3, 1, "x(")
    (trace,) = traces("a\nb\nc", (RemoveLines(0, 0), ReplaceText(0, 2, "b", "\u2028")))
    trace = StageTrace.from_json({**trace.to_json(), "issues": [issue.to_json()]})
    again = StageTrace.from_json(json.loads(json.dumps(trace.to_json())))
    assert again == trace
    assert again.issues == (issue,) and again.removed_lines == ((0, 0),)


def test_text_hash_takes_lone_surrogates() -> None:
    assert len({text_hash(text) for text in ("", "a", "\ud800", "\u2028")}) == 4


def test_lines_of_a_second_stage_are_told_in_the_numbering_of_the_first() -> None:
    text = "0\n1\n2\n3\n4\n5"
    assert removed_input_lines(
        text, traces(text, (RemoveLines(1, 2),), (RemoveLines(0, 1),), (RemoveLines(1, 1),))
    ) == {0, 1, 2, 3, 5}


def test_the_last_line_removed_twice_is_two_lines() -> None:
    text = "0\n1\n2"
    stages = traces(text, (RemoveLines(2, 2),), (RemoveLines(1, 1),))
    assert removed_input_lines(text, stages) == {1, 2}


def test_an_inserted_line_that_goes_again_takes_no_input_line_along() -> None:
    text = "0\n1"
    stages = traces(text, (InsertLines(1, 0, "new"),), (RemoveLines(1, 1),))
    assert removed_input_lines(text, stages) == set()


def test_a_split_line_has_gone_when_all_its_parts_have() -> None:
    text = "0\na-b\n2"
    split = (ReplaceText(1, 1, "-", "\n"),)
    assert removed_input_lines(text, traces(text, split, (RemoveLines(1, 1),))) == set()
    assert removed_input_lines(text, traces(text, split, (RemoveLines(1, 2),))) == {1}


def test_joined_lines_go_together() -> None:
    text = "0\na\nb\n3"
    stages = traces(text, (ReplaceText(0, 3, "a\nb", "ab"),), (RemoveLines(1, 1),))
    assert removed_input_lines(text, stages) == {1, 2}


def test_a_record_sums_its_stages_up() -> None:
    text = "0\n1\n2"
    first, second = traces(text, (RemoveLines(0, 0),), (RemoveLines(0, 0),))
    record = Record(Document("id", text), Status.EDITED, "2", (first, second))
    assert record.removed_lines == {0, 1}
    assert record.program == [["remove_lines", 0, 0], ["remove_lines", 0, 0]]
    assert Record(Document("id", text), Status.DROPPED, "").removed_lines == {0, 1, 2}
    failed = StageTrace("s", "r", Status.FAILED, reason="cut off")
    record = Record(Document("id", text), Status.FAILED, text, (first, failed))
    assert record.program is None and record.reason == "cut off"
