"""The published executors as options: what they do differently, and that it can be undone."""

from __future__ import annotations

import random

import pytest

from burnish.program.executor import execute
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    Operation,
    Program,
    RemoveLines,
    ReplaceText,
    RewriteLines,
)
from burnish.program.released import SYSTEMS, execute_as
from burnish.schema import Issue, Status, apply_edits

WORDS = "\n".join(f"line {n} has five words" for n in range(8))  # 40 words


def test_prox_replaces_over_the_whole_document_one_after_the_other() -> None:
    text = f"a b\n{WORDS}\nb"
    program = (ReplaceText(0, 0, "a", "b"), ReplaceText(0, 0, "b", "c"))
    assert execute(text, program).text.startswith("b c\nline")
    outcome = execute_as("prox", text, program)
    assert outcome.text.startswith("c c\nline") and outcome.text.endswith("\nc")


def test_prox_removes_by_the_numbers_of_the_replaced_text() -> None:
    text = f"one|two\n{WORDS}"
    program = (ReplaceText(0, 0, "|", "\n"), RemoveLines(1, 1))
    assert execute(text, program).text.startswith("one\ntwo\nline 1")
    assert execute_as("prox", text, program).text.startswith("one\nline 0")


def test_prox_does_not_replace_a_space() -> None:
    assert execute_as("prox", WORDS, (ReplaceText(0, 7, " ", ""),)).status is Status.KEPT


def test_prox_drops_what_loses_most_words_or_has_few_left() -> None:
    text = "\n".join("one two three four five six" for _ in range(40))
    assert execute_as("prox", text, (RemoveLines(0, 36),)).status is Status.EDITED
    outcome = execute_as("prox", text, (RemoveLines(0, 37),))  # 12 words are left: 5 %
    assert (outcome.status, outcome.reason) == (Status.DROPPED, "removal limit")
    assert execute_as("prox", "a short text", ()).status is Status.DROPPED
    assert execute_as("prox", " \n", ()).status is Status.KEPT


def test_prox_ignores_a_program_with_two_bad_operations() -> None:
    bad, harmless = Issue("range", ""), Issue("prose", "")
    program = (RemoveLines(0, 0),)
    assert execute_as("prox", WORDS, program, (bad, harmless)).status is Status.EDITED
    outcome = execute_as("prox", WORDS, program, (bad, Issue("clamped", "")))
    assert (outcome.status, outcome.text) == (Status.REFUSED, WORDS)
    # But it looks at the words that would be left first.
    assert execute_as("prox", WORDS, (RemoveLines(0, 6),), (bad, bad)).status is Status.DROPPED


def test_prox_can_not_blow_a_text_up() -> None:
    program = tuple(ReplaceText(0, 0, "e" * 2**n, "e" * 2 ** (n + 1)) for n in range(9))
    assert execute_as("prox", WORDS, program).reason == "growth limit"


def test_ultrax_collapses_blank_lines() -> None:
    text = "\n\none\n\n\ntwo\n \nthree\nfour\n\n"
    program = (RemoveLines(7, 7), InsertLines(3, 1, "1b"))
    assert execute(text, program).text == "\n\none\n1b\n\n\ntwo\n \nfour\n\n"
    outcome = execute_as("ultrax", text, program)
    assert (outcome.text, outcome.removed_lines) == ("one\n1b\ntwo\n \nfour", ((7, 7),))
    assert execute_as("ultrax", text, ()).text == text


def test_rescraper_collapses_blanks_even_of_a_page_that_is_kept() -> None:
    text = "  one   two\n\n\tthree\xa0 \n"
    assert execute_as("rescraper", text, ()).text == "one two\nthree"
    assert execute_as("rescraper", text, (ReplaceText(0, 0, "two", "", 1),)).text == "one\nthree"


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_empty_text_is_no_edit(system: str) -> None:
    outcome = execute_as(system, WORDS, (RemoveLines(0, 7),))
    assert (outcome.status, outcome.text, outcome.original) == (Status.DROPPED, "", WORDS)
    assert execute_as(system, WORDS, (DropDocument(),)).reason == "program"


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_original_comes_back(system: str) -> None:
    rng = random.Random(3)
    for _ in range(300):
        text = "".join(rng.choices("ab \n\n\t\xa0\u2028中", k=rng.randrange(60)))
        program = tuple(operation(rng) for _ in range(rng.randrange(5)))
        outcome = execute_as(system, text, program)
        assert outcome.original == text
        assert apply_edits(text, outcome.edits) == outcome.text
        if outcome.status in (Status.KEPT, Status.REFUSED):
            assert (outcome.text, outcome.edits) == (text, ())


def operation(rng: random.Random) -> Operation:
    first = rng.randrange(-1, 9)
    program: Program = (
        RemoveLines(first, first + rng.randrange(3)),
        ReplaceText(first, first, rng.choice("ab \n"), rng.choice(["", "b", "\n", "aa"])),
        InsertLines(first, 1, rng.choice(["", "a\n", "b"])),
        RewriteLines(first, first, " a  b "),
    )
    return rng.choice(program)
