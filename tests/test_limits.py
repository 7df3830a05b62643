"""Limits: what a program may not do, and how words are counted for it."""

from __future__ import annotations

import pytest

from burnish.program.executor import execute, execute_parsed
from burnish.program.limits import Limits
from burnish.program.operations import InsertLines, RemoveLines, ReplaceText, RewriteLines
from burnish.program.words import count_words
from burnish.schema import Issue, Status

HUNDRED = "\n".join(f"w{n}" for n in range(100))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        (" \n\t\xa0\u2028", 0),
        ("two words", 2),
        ("naïve café", 2),
        ("这是中文", 4),
        ("日本語のテキスト", 8),
        ("ภาษาไทย", 7),
        ("mixed 中文 text", 4),
        ("abc中文def", 4),
        ("한국어 문장", 2),
        ("\ud800 \ud800x", 2),
    ],
)
def test_words_are_counted_in_scripts_without_spaces(text: str, words: int) -> None:
    assert count_words(text) == words


def test_removing_nearly_everything_is_refused_and_leaves_the_text() -> None:
    outcome = execute(HUNDRED, (RemoveLines(0, 94),))
    assert (outcome.status, outcome.text, outcome.edits) == (Status.REFUSED, HUNDRED, ())
    assert outcome.reason == "removal limit"
    assert outcome.issues[-1].message == "95% of the words would go; the limit is 95%"
    assert outcome.removed_lines == ()
    assert execute(HUNDRED, (RemoveLines(0, 93),)).status is Status.EDITED


def test_a_broken_removal_limit_may_drop_instead() -> None:
    outcome = execute(HUNDRED, (RemoveLines(0, 98),), limits=Limits(on_removal="drop"))
    assert (outcome.status, outcome.text, outcome.original) == (Status.DROPPED, "", HUNDRED)
    assert outcome.reason == "removal limit"


@pytest.mark.parametrize("text", ["短い文章です。\n広告", "สวัสดีชาวโลก\nโฆษณา", "Few words.\nad"])
def test_short_and_unspaced_documents_are_edited_not_deleted(text: str) -> None:
    outcome = execute(text, (RemoveLines(1, 1),))
    assert (outcome.status, outcome.text) == (Status.EDITED, text.split("\n")[0])


def test_an_unspaced_document_can_lose_too_much() -> None:
    text = "中" * 99 + "\n文"
    assert execute(text, (RemoveLines(0, 0),)).status is Status.REFUSED


def test_a_document_without_words_loses_nothing() -> None:
    assert execute(" \n\n ", (RemoveLines(0, 1),)).status is Status.EDITED


def test_the_last_words_must_stay() -> None:
    limits = Limits(min_words=10)
    assert execute(HUNDRED, (RemoveLines(0, 90),), limits=limits).status is Status.REFUSED
    assert execute(HUNDRED, (RemoveLines(0, 89),), limits=limits).status is Status.EDITED
    assert execute("five\nwords", (RemoveLines(0, 0),), limits=limits).status is Status.REFUSED


def test_words_replaced_by_blanks_are_removed_words() -> None:
    """The text keeps its length, and no word."""
    assert execute("aaaa", (ReplaceText(0, 0, "aaaa", "    "),)).status is Status.REFUSED
    assert execute("aaaa", (RewriteLines(0, 0, " " * 40),)).status is Status.REFUSED


def test_replacements_can_not_blow_a_document_up() -> None:
    text = "a " * 1_000
    outcome = execute(text, (ReplaceText(0, 0, "a", "b" * 500),))
    assert (outcome.status, outcome.text) == (Status.REFUSED, text)
    assert execute(text, (InsertLines(0, 0, "x" * 1_001),)).status is Status.REFUSED
    assert execute(text, (InsertLines(0, 0, "x" * 999),)).status is Status.EDITED


def test_huge_growth_is_refused_before_it_is_built() -> None:
    program = (ReplaceText(0, 0, "a", "b" * 10_000_000),)
    assert execute("a" * 10_000, program).status is Status.REFUSED  # 100 GB


def test_too_many_replacements_are_refused() -> None:
    limits = Limits(max_edits=5)
    assert execute("a" * 6, (ReplaceText(0, 0, "a", "b"),), limits=limits).status is Status.REFUSED
    assert execute("a" * 5, (ReplaceText(0, 0, "a", "b"),), limits=limits).status is Status.EDITED
    many = tuple(InsertLines(0, n, "") for n in range(6))
    assert execute("a", many, limits=limits).status is Status.REFUSED


def test_unusable_calls_refuse_the_program_only_where_that_is_asked_for() -> None:
    bad = Issue("syntax", "x")
    harmless = [Issue(code, "x") for code in ("prose", "clamped", "contradiction")]
    program = (RemoveLines(0, 0),)

    def status(issues: list[Issue], limits: Limits) -> Status:
        return execute_parsed(HUNDRED, program, issues, limits=limits).status

    assert status([bad] * 9, Limits()) is Status.EDITED
    assert status([bad] * 2, Limits(max_issues=2)) is Status.REFUSED
    assert status([bad, *harmless], Limits(max_issues=2)) is Status.EDITED
