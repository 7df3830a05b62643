"""The dialects, over `fixtures/dialects/<name>.txt`: program text => operations and issues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish.dialects import Parsed, dialect_names, get_dialect
from burnish.dialects.rewrite import Rewrite
from burnish.errors import UsageError
from burnish.program.lines import Chunk
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    Operation,
    RemoveLines,
    ReplaceText,
    RewriteLines,
)

FIXTURES = Path(__file__).parent / "fixtures" / "dialects"
CHUNK = Chunk([f"line {n}" for n in range(10, 20)], 10, (10, 19))


def cases() -> Iterator[tuple[str, str, str, list[str]]]:
    for name in dialect_names():
        source = (FIXTURES / f"{name}.txt").read_text(encoding="utf-8")
        for case in source.split("\n== ")[1:]:
            title, *lines = case.rstrip("\n").split("\n")
            expected = [line[3:] for line in lines if line.startswith("=> ")]
            answer = "\n".join(line for line in lines if not line.startswith("=> "))
            yield name, title, answer.replace("\\r", "\r"), expected


def told(parsed: Parsed) -> list[str]:
    """What was read, in the words of the fixtures."""
    if parsed.program is None:
        lines = ["nothing"]
    else:
        lines = [tell(operation) for operation in parsed.program] or ["keep"]
    for issue in parsed.issues:
        place = f" line {issue.line}" if issue.line else ""
        lines.append(f"issue {issue.code}{place}")
    return lines


def tell(operation: Operation) -> str:
    match operation:
        case RemoveLines(first, last):
            return f"RemoveLines {first} {last}"
        case ReplaceText(10, 19, old, new, None, None):
            return f"ReplaceText {old!a} {new!a}"
        case ReplaceText(line, last, old, new, count, None):
            lines = f"{line} {last} " if last > line else f"{line} "
            times = "" if count is None else f" {count}"
            return f"ReplaceText {lines}{old!a} {new!a}{times}"
        case InsertLines(before, order, text):
            return f"InsertLines {before} {order} {text!a}"
        case RewriteLines(10, 19, text):
            return f"RewriteLines {text!a}"
        case DropDocument():
            return "DropDocument"
    raise AssertionError(operation)


@pytest.mark.parametrize(("name", "title", "answer", "expected"), list(cases()))
def test_reading(name: str, title: str, answer: str, expected: list[str]) -> None:
    assert told(get_dialect(name).parse(answer, CHUNK)) == expected


@pytest.mark.parametrize("name", dialect_names())
def test_a_dialect_says_what_it_is(name: str) -> None:
    dialect = get_dialect(name)
    assert dialect.name == name and dialect.source and dialect.operations


@pytest.mark.parametrize("name", dialect_names())
def test_what_a_dialect_can_not_say_is_an_error(name: str) -> None:
    dialect = get_dialect(name)
    others = (InsertLines(10, 0, "x"), RewriteLines(11, 12, "x"), ReplaceText(11, 12, "x", "y"))
    for operation in others:
        with pytest.raises(ValueError, match=f"{name} can not say {type(operation).__name__}"):
            dialect.format((operation,), CHUNK)


CHUNKS = ["prox-chunk", "ultrax", "rescraper", "refinex", "rewrite", "line-labels"]


@pytest.mark.parametrize("name", CHUNKS)
def test_lines_outside_of_the_chunk_can_not_be_said(name: str) -> None:
    for operation in (RemoveLines(9, 10), RemoveLines(19, 20), RemoveLines(12, 11)):
        with pytest.raises(ValueError, match="can not say"):
            get_dialect(name).format((operation,), CHUNK)


def test_unknown_dialect() -> None:
    with pytest.raises(UsageError, match="known: prox-document, prox-chunk, ultrax, "):
        get_dialect("prox")


def test_prox_chunk_numbers_lines_through_the_document() -> None:
    chunk = Chunk(["a\x0cb", "", "c\u2028d"], 998, (998, 1000))
    prompt = get_dialect("prox-chunk").render(chunk)
    assert prompt.user == "[doc]\n[998]a\x0cb\n[999]\n[1000]c\u2028d\n[/doc]"
    few = get_dialect("prox-chunk").render(Chunk(["a"], 7, (7, 7)))
    assert few.user == "[doc]\n[007]a\n[/doc]"


@pytest.mark.parametrize("name", ["prox-document", "rewrite", "line-labels"])
def test_the_others_show_the_bare_text(name: str) -> None:
    assert get_dialect(name).render(Chunk(["a", "", "b"], 3, (3, 5))).user == "a\n\nb"


def test_ultrax_and_rescraper_number_lines_from_one_and_refinex_from_zero() -> None:
    chunk = Chunk(["a\x0cb", ""], 0, (0, 1))
    assert get_dialect("ultrax").render(chunk).user == "<lid:1>a\x0cb\n<lid:2>"
    assert get_dialect("rescraper").render(chunk).user == "<lid:1> a\x0cb\n<lid:2> "
    assert get_dialect("refinex").render(chunk).user == "[0]a\x0cb\n[1]"


@pytest.mark.parametrize("name", ["ultrax", "refinex"])
def test_a_string_that_does_not_stand_once_in_its_line_can_not_be_said(name: str) -> None:
    for old in ("", "line 1 ", "1"):
        with pytest.raises(ValueError, match="can not say"):
            get_dialect(name).format((ReplaceText(11, 11, old),), CHUNK)


def test_the_new_line_of_ultrax_keeps_its_own_line_ends() -> None:
    dialect = get_dialect("ultrax")
    program = (InsertLines(20, 3, "two\nlines\n"), InsertLines(11, 1, ""))
    written = dialect.format(program, CHUNK)
    assert written == "add_line(20, 3, 'two\\nlines\\n\\n')\nadd_line(11, 1, '\\n')"
    assert dialect.parse(written, CHUNK).program == program
    assert dialect.parse("add_line(11, 1, '')", CHUNK).program == program[1:]
    for order in (-1, 10**18):
        with pytest.raises(ValueError, match="can not say"):
            dialect.format((InsertLines(11, order, "x"),), CHUNK)


def test_before_the_first_line_is_a_place_in_the_first_window_alone() -> None:
    dialect = get_dialect("ultrax")
    first = Chunk(["a", "b"], 0, (0, 1))
    assert dialect.parse("add_line(0, 1, 'x')", first).program == (InsertLines(0, 1, "x"),)
    assert dialect.parse("add_line(10, 1, 'x')", CHUNK).issues[0].code == "range"


def test_rescraper_can_not_say_one_string_twice_nor_oftener_than_it_stands() -> None:
    dialect = get_dialect("rescraper")
    one = ReplaceText(11, 11, "1", "", 1)
    for program in ((one, one), (ReplaceText(11, 11, "1", "", 3),), (ReplaceText(11, 11, "1"),)):
        with pytest.raises(ValueError, match="can not say"):
            dialect.format(program, CHUNK)


@pytest.mark.parametrize("text", ["", " a", "a\n", "a</rewrite>", "a<|im_end|>", "b</think>"])
def test_rescraper_can_not_say_a_text_that_would_be_read_otherwise(text: str) -> None:
    with pytest.raises(ValueError, match="can not say RewriteLines"):
        get_dialect("rescraper").format((RewriteLines(10, 19, text),), CHUNK)


def test_a_rewritten_text_keeps_the_blank_lines_around_it() -> None:
    dialect = get_dialect("rewrite")
    chunk = Chunk(["", " ", "Menu", "  a", "", "b", "", "\t"], 7, (7, 14))
    removed = (RemoveLines(9, 9),)
    for answer in ("  a\n\nb", "\n\n\n  a\n\nb\n", "<text>  a\n\nb</text>"):
        assert dialect.parse(answer, chunk).program == removed
    assert dialect.format(removed, chunk) == "<text>\n\n \n  a\n\nb\n\n\t\n</text>"
    for program in ((RemoveLines(7, 9),), (RemoveLines(9, 9), RemoveLines(13, 13))):
        with pytest.raises(ValueError, match="rewrite can not say RemoveLines"):
            dialect.format(program, chunk)
    assert dialect.parse("<text></text>", chunk).program == (RemoveLines(7, 14),)
    assert dialect.parse("<text></text>", Chunk(["", " "], 0, (0, 1))).program == ()


def test_marks_of_the_source_are_no_marks_of_the_answer() -> None:
    dialect = get_dialect("rewrite")
    code = Chunk(["Menu", "```", "x = 1", "```"], 0, (0, 3))
    assert dialect.parse("```\nx = 1\n```", code).program == (RemoveLines(0, 0),)
    drawing = Chunk(["Menu", "<text>", "a", "</text>", "b"], 0, (0, 4))
    answer = "Here it is:\n<text>\na\n</text>\nb"
    assert dialect.parse("<text>\na\n</text>\nb", drawing).program != (RemoveLines(0, 0),)
    assert "paraphrase" not in {issue.code for issue in dialect.parse(answer, drawing).issues}
    for program in ((), (RemoveLines(0, 0),), (RemoveLines(4, 4),)):
        written = dialect.format(program, drawing)
        assert dialect.parse(written, drawing).program == program


def test_a_rewrite_may_be_held_to_deletions_or_allowed_new_lines() -> None:
    chunk = Chunk(["Menu", "a b"], 3, (3, 4))
    deleting, inserting = Rewrite("d", mode="delete"), Rewrite("i", mode="insert")
    assert InsertLines not in deleting.operations and InsertLines in inserting.operations
    assert [issue.code for issue in deleting.parse("a c", chunk).issues] == ["inserts-text"]
    program = (RemoveLines(3, 3), InsertLines(5, 1, "new"))
    assert inserting.parse("a b\nnew", chunk).program == program
    assert inserting.format(program, chunk) == "<text>\na b\nnew\n</text>"
