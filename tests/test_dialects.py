"""The dialects, over `fixtures/dialects/<name>.txt`: program text => operations and issues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish.dialects import Parsed, dialect_names, get_dialect
from burnish.errors import UsageError
from burnish.program.lines import Chunk
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    Operation,
    RemoveLines,
    ReplaceText,
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
    with pytest.raises(ValueError, match=f"{name} can not say InsertLines"):
        get_dialect(name).format((InsertLines(10, 0, "x"),), CHUNK)


@pytest.mark.parametrize("name", ["prox-chunk", "line-labels"])
def test_lines_outside_of_the_chunk_can_not_be_said(name: str) -> None:
    for operation in (RemoveLines(9, 10), RemoveLines(19, 20), RemoveLines(12, 11)):
        with pytest.raises(ValueError, match="can not say"):
            get_dialect(name).format((operation,), CHUNK)


def test_unknown_dialect() -> None:
    with pytest.raises(UsageError, match="known: prox-document, prox-chunk, line-labels"):
        get_dialect("prox")


def test_prox_chunk_numbers_lines_through_the_document() -> None:
    chunk = Chunk(["a\x0cb", "", "c\u2028d"], 998, (998, 1000))
    prompt = get_dialect("prox-chunk").render(chunk)
    assert prompt.user == "[doc]\n[998]a\x0cb\n[999]\n[1000]c\u2028d\n[/doc]"
    few = get_dialect("prox-chunk").render(Chunk(["a"], 7, (7, 7)))
    assert few.user == "[doc]\n[007]a\n[/doc]"


@pytest.mark.parametrize("name", ["prox-document", "line-labels"])
def test_the_others_show_the_bare_text(name: str) -> None:
    assert get_dialect(name).render(Chunk(["a", "", "b"], 3, (3, 5))).user == "a\n\nb"
