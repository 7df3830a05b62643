"""Execution: which characters go, which stay, and what is an issue."""

from __future__ import annotations

import pytest

from burnish.program.executor import execute, execute_parsed
from burnish.program.limits import Limits
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    Operation,
    RemoveLines,
    ReplaceText,
    RewriteLines,
    cut,
    from_json,
    to_json,
)
from burnish.schema import Edit, Issue, Status

ALL = Limits(max_removed=2, min_words=0)
TEXT = "zero\none\ntwo\nthree"


def after(*program: Operation, text: str = TEXT) -> str:
    return execute(text, program, limits=ALL).text


def codes(*program: Operation, text: str = TEXT) -> list[str]:
    return [issue.code for issue in execute(text, program, limits=ALL).issues]


def test_the_empty_program_keeps() -> None:
    outcome = execute(TEXT, ())
    assert (outcome.status, outcome.text, outcome.edits) == (Status.KEPT, TEXT, ())


def test_lines_go_with_their_line_ends() -> None:
    assert after(RemoveLines(0, 1)) == "two\nthree"
    assert after(RemoveLines(1, 2)) == "zero\nthree"
    assert after(RemoveLines(2, 3)) == "zero\none"
    assert after(RemoveLines(0, 0), RemoveLines(3, 3)) == "one\ntwo"
    assert after(RemoveLines(0, 3)) == ""


@pytest.mark.parametrize("character", ["\r", "\f", "\v", "\x1c", "\x85", "\u2028", "\u2029"])
def test_only_lf_shifts_line_numbers(character: str) -> None:
    text = f"a{character}b\nmenu\nc{character}"
    assert after(RemoveLines(1, 1), text=text) == f"a{character}b\nc{character}"


def test_blank_lines_and_indentation_stay() -> None:
    code = "menu\n\n\n    if x:\n\n        y\n\t| a | b |\n\n"
    assert after(RemoveLines(0, 0), text=code) == code[5:]


def test_strings_with_line_feeds_shift_no_removal() -> None:
    program = (ReplaceText(0, 0, "zero", "a\nb\nc"), RemoveLines(2, 2))
    assert after(*program) == "a\nb\nc\none\nthree"
    assert after(ReplaceText(0, 3, "zero\none", "01"), RemoveLines(3, 3)) == "01\ntwo"


def test_a_replacement_stays_in_its_lines() -> None:
    text = "a b\na b\na b"
    assert after(ReplaceText(1, 1, "a", "X"), text=text) == "a b\nX b\na b"
    assert after(ReplaceText(0, 1, "b\na", "-"), text=text) == "a - b\na b"
    assert codes(ReplaceText(0, 0, "b\na", "-"), text=text) == ["not-found"]


def test_count_and_offset_choose_the_occurrence() -> None:
    text = "x x x\nx"
    assert after(ReplaceText(0, 1, "x", "y", count=2), text=text) == "y y x\nx"
    assert after(ReplaceText(0, 1, "x", "y", offset=2), text=text) == "x y x\nx"
    assert codes(ReplaceText(0, 1, "x", "y", offset=1), text=text) == ["not-found"]
    assert codes(ReplaceText(-1, 1, "x", "y", offset=0), text=text) == ["clamped", "not-found"]
    assert after(ReplaceText(0, 1, "x", "y", count=0), text=text) == text


def test_no_occurrence_is_none_at_an_offset_too() -> None:
    assert after(ReplaceText(0, 0, "=", "", count=0, offset=0), text="=") == "="


def test_replacements_do_not_cascade() -> None:
    assert after(ReplaceText(0, 0, "a", "b"), ReplaceText(0, 0, "b", "c"), text="ab") == "bc"


def test_removal_wins_over_replacement() -> None:
    program = (ReplaceText(0, 3, "o", "0"), RemoveLines(1, 1))
    assert after(*program) == "zer0\ntw0\nthree"
    assert codes(*program) == []


def test_a_replacement_that_reaches_into_removed_lines_is_an_issue() -> None:
    program = (ReplaceText(0, 3, "one\ntwo", "12"), RemoveLines(1, 1))
    assert after(*program) == "zero\ntwo\nthree"
    assert codes(*program) == ["overlap"]


def test_overlapping_replacements_are_an_issue() -> None:
    program = (ReplaceText(0, 0, "zer", "ZER"), ReplaceText(0, 0, "ero", "ERO"))
    assert after(*program) == "ZERo\none\ntwo\nthree"
    assert codes(*program) == ["overlap"]


def test_lines_are_inserted_and_rewritten() -> None:
    program = (InsertLines(1, 2, "b"), InsertLines(1, 1, "a"), InsertLines(4, 0, "end"))
    assert after(*program) == "zero\na\nb\none\ntwo\nthree\nend"
    assert after(RewriteLines(1, 2, "1\n2\n3")) == "zero\n1\n2\n3\nthree"
    assert after(RemoveLines(1, 2), InsertLines(2, 0, "new")) == "zero\nnew\nthree"
    assert after(RemoveLines(2, 3), InsertLines(4, 0, "new")) == "zero\none\nnew"
    assert after(RemoveLines(0, 3), InsertLines(0, 0, "new")) == "new"


def test_an_insertion_inside_of_a_replaced_span_is_an_issue() -> None:
    assert codes(ReplaceText(0, 3, "zero\none", ""), InsertLines(1, 0, "x")) == ["overlap"]
    assert codes(ReplaceText(0, 3, "zero\n", ""), InsertLines(1, 0, "x")) == ["overlap"]
    assert codes(InsertLines(5, 0, "x"), InsertLines(-1, 0, "x")) == ["range", "range"]


def test_a_huge_range_is_cut_and_told_once() -> None:
    outcome = execute(TEXT, (RemoveLines(2, 10**18),))
    assert outcome.text == "zero\none"
    assert outcome.removed_lines == ((2, 3),)
    assert [issue.code for issue in outcome.issues] == ["clamped"]


def test_a_range_outside_is_an_issue_and_changes_nothing() -> None:
    for operation in (RemoveLines(4, 9), RemoveLines(-3, -1), RemoveLines(2, 1)):
        outcome = execute(TEXT, (operation,))
        assert (outcome.status, [i.code for i in outcome.issues]) == (Status.KEPT, ["range"])


@pytest.mark.parametrize("text", ["", " ", "\n", "\n\n \n"])
def test_empty_and_blank_documents_are_no_special_case(text: str) -> None:
    assert execute(text, ()).status is Status.KEPT
    assert execute(text, (RemoveLines(0, 9),)).text == ""
    assert execute(text, (DropDocument(),)).status is Status.DROPPED
    assert execute(text, (DropDocument(),)).original == text


def test_what_leaves_the_text_as_it_was_is_kept() -> None:
    program = (ReplaceText(0, 0, "a", ""), ReplaceText(0, 0, "b", "ab"))
    outcome = execute("ab", program)
    assert (outcome.status, outcome.edits, outcome.text) == (Status.KEPT, (), "ab")
    assert execute("", (RemoveLines(0, 0),)).removed_lines == ()


def test_a_dropped_document_is_told_by_its_status() -> None:
    outcome = execute(TEXT, (RemoveLines(0, 0), DropDocument()))
    assert (outcome.status, outcome.text, outcome.reason) == (Status.DROPPED, "", "program")
    assert outcome.edits == (Edit(0, TEXT),)
    assert outcome.removed_lines == ((0, 3),)


def test_no_program_is_a_failure_and_never_keeps() -> None:
    outcome = execute_parsed(TEXT, None, [Issue("cut-off", "keep is cut off")])
    assert (outcome.status, outcome.text) == (Status.FAILED, TEXT)
    assert outcome.reason == "no usable program"
    assert execute_parsed(TEXT, None, []).reason == "no usable program"


def test_issues_of_reading_stand_before_those_of_execution() -> None:
    outcome = execute_parsed(TEXT, (RemoveLines(9, 9),), [Issue("unknown", "x")])
    assert [issue.code for issue in outcome.issues] == ["unknown", "range"]


def test_issues_quote_little_of_a_huge_string() -> None:
    outcome = execute("ab", (ReplaceText(0, 0, "x" * 100_000, ""),))
    assert len(outcome.issues[0].message) < 200


def test_many_operations_take_no_quadratic_time() -> None:
    text = "\n".join(["a b c d"] * 5_000)
    lines = range(0, 5_000, 2)
    program: list[Operation] = [ReplaceText(n, n, "b", "x") for n in lines]
    program += [RemoveLines(n + 1, n + 1) for n in lines]
    program += [InsertLines(n, 0, "y") for n in lines]
    outcome = execute(text, tuple(program), limits=ALL)
    assert outcome.text == "\n".join(["y\na x c d"] * 2_500)


def test_equal_operations_are_one() -> None:
    text = "\n".join(["alpha beta"] * 5_000)
    repeated = (ReplaceText(0, 4_999, "beta", "x"),) * 5_000
    assert execute(text, repeated).text == text.replace("beta", "x")


def test_work_that_changes_nothing_has_an_end() -> None:
    text = "\n".join(["alpha beta"] * 5_000)
    missing = tuple(ReplaceText(0, 0, f"gamma {n}", "x") for n in range(10_001))
    nested = tuple(ReplaceText(0, n, "beta", "x") for n in range(5_000))
    assert execute(text, missing).reason == "edit limit"
    assert execute(text, nested).reason == "edit limit"


def test_a_program_is_cut_to_the_lines_that_a_window_owns() -> None:
    program = (
        RemoveLines(0, 9),
        ReplaceText(0, 9, "a", "b"),
        ReplaceText(2, 9, "a", "b", count=1),
        ReplaceText(4, 9, "a", "b", offset=3),
        RewriteLines(3, 5, "x"),
        RewriteLines(3, 6, "x"),
        InsertLines(3, 0, "line behind 2"),
        InsertLines(4, 0, "line behind 3"),
        InsertLines(6, 0, "line behind 5"),
        DropDocument(),
    )
    assert cut(program, 3, 5) == (
        RemoveLines(3, 5),
        ReplaceText(3, 5, "a", "b"),
        ReplaceText(4, 5, "a", "b", offset=3),
        RewriteLines(3, 5, "x"),
        InsertLines(4, 0, "line behind 3"),
        InsertLines(6, 0, "line behind 5"),
        DropDocument(),
    )


@pytest.mark.parametrize(
    "stored",
    [
        [["jump", 1]],
        [["remove_lines", 1]],
        [["remove_lines", "1", 2]],
        [["remove_lines", 1, None]],
        [["remove_lines", True, 2]],
        [["replace_text", 0, 1, 2, "x", None, None]],
        [["rewrite_lines", 0, 1, None]],
    ],
)
def test_a_damaged_stored_program_is_an_error(stored: list[list[object]]) -> None:
    with pytest.raises(ValueError):
        from_json(stored)


def test_a_stored_program_may_leave_defaults_out() -> None:
    assert from_json([["replace_text", 0, 1, "a"]]) == (ReplaceText(0, 1, "a"),)
    assert to_json((DropDocument(),)) == [["drop_document"]]
