"""The grammars of the dialects, against llguidance and a tokenizer of single bytes.

What `format` writes is allowed, what is allowed can be read, and lines that are not shown can not
be named.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest

from burnish.dialects import dialect_names, get_dialect
from burnish.program.grammar import numbers
from burnish.program.lines import Chunk
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    Operation,
    Program,
    RemoveLines,
    ReplaceText,
    RewriteLines,
)

llguidance = pytest.importorskip("llguidance", reason="the grammars are tried in llguidance")

END = 256
ALPHABET = "ab \n\n\r\t\f\x85\u2028\xa0\ufeff\"'\\,()/=#[]中\U0001f642"
HARMLESS = {"not-found", "ambiguous", "range", "contradiction"}  # of what a grammar can not know


class Bytes:
    """A tokenizer whose tokens are the bytes, and one that ends the text."""

    eos_token_id = END
    bos_token_id = None
    tokens = [bytes([n]) for n in range(256)] + [b"<end>"]
    special_token_ids = (END,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


@cache
def tokenizer() -> Any:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))


@cache
def compiled(grammar: str) -> Any:
    from llguidance.gbnf_to_lark import gbnf_to_lark

    lark = llguidance.LLMatcher.grammar_from_lark(gbnf_to_lark(grammar))
    matcher = llguidance.LLMatcher(tokenizer(), lark)
    assert not matcher.is_error(), matcher.get_error()
    return matcher


def allows(grammar: str, text: str) -> bool:
    match = compiled(grammar).deep_copy()
    tokens = list(text.encode())
    if match.try_consume_tokens(tokens) < len(tokens):
        return False
    return bool(match.is_accepting())


def walk(grammar: str, rng: random.Random, longest: int = 400) -> str | None:
    """A random text that the grammar allows; None if it does not end in time.

    Ends, line ends, marks and commas are taken more often than other bytes, so that it does.
    """
    match = compiled(grammar).deep_copy()
    written = bytearray()
    while len(written) < longest:
        mask = match.compute_bitmask()
        allowed = [n for n in range(END + 1) if mask[n >> 3] >> (n & 7) & 1]
        closing = [n for n in allowed if n == END or n in b"\n,'\")>"]
        token = rng.choice(closing if closing and rng.random() < 0.3 else allowed)
        if token == END:
            return written.decode()
        written.append(token)
        assert match.consume_token(token)
        if match.is_stopped():
            return written.decode()
    return None


def chunk_of(rng: random.Random) -> Chunk:
    lines = "".join(rng.choices(ALPHABET, k=60)).split("\n")
    first = rng.choice([0, 7, 95, 988])
    return Chunk(lines, first, (first, first + len(lines) - 1))


def program_for(name: str, chunk: Chunk, rng: random.Random) -> Program:
    """A random program that the dialect can say, with short strings."""
    alone = {
        "prox-document": (DropDocument(),),
        "rescraper": (RewriteLines(chunk.first, chunk.last, 'A "new"\n\n<text>'),),
    }
    if name in alone and rng.random() < 0.5:
        return alone[name]
    dialect = get_dialect(name)
    program: Program = ()
    for _ in range(rng.randrange(12)):
        operation = operation_for(name, chunk, rng)
        try:
            dialect.format((*program, operation), chunk)
        except ValueError:
            continue
        program = (*program, operation)
    return program


def operation_for(name: str, chunk: Chunk, rng: random.Random) -> Operation:
    first = rng.randint(chunk.first, chunk.last)
    last = rng.randint(first, chunk.last)
    old, new = ("".join(rng.choices(ALPHABET, k=rng.randint(1, 4))) for _ in range(2))
    new = new.replace("\n", rng.choice(["", "\n"]))
    match rng.randrange(4):
        case 0:
            return RemoveLines(first, last)
        case 1:
            return InsertLines(first + 1, rng.randrange(100), new)
        case 2 if name == "prox-chunk":
            return ReplaceText(chunk.first, chunk.last, old, new)
    line = chunk.lines[first - chunk.first]
    start = rng.randrange(len(line)) if line else 0
    old = line[start : start + rng.randint(1, 9)]
    if name == "rescraper":
        return ReplaceText(first, first, old, "", rng.choice([1, 1, 2]))
    return ReplaceText(first, first, old, "" if name == "refinex" else new)


@pytest.mark.parametrize("name", dialect_names())
def test_what_a_dialect_writes_is_allowed(name: str) -> None:
    rng = random.Random(1)
    for _ in range(60):
        chunk = chunk_of(rng)
        program = program_for(name, chunk, rng)
        written = get_dialect(name).format(program, chunk)
        assert allows(get_dialect(name).grammar(chunk), written), written


@pytest.mark.parametrize("name", dialect_names())
def test_what_is_allowed_can_be_read(name: str) -> None:
    rng = random.Random(2)
    ended = 0
    for _ in range(60):
        chunk = chunk_of(rng)
        written = walk(get_dialect(name).grammar(chunk), rng)
        if written is None:
            continue
        ended += 1
        parsed = get_dialect(name).parse(written, chunk)
        if name != "rewrite":  # any text at all is an answer, and most are no edit of the chunk's
            assert {issue.code for issue in parsed.issues} <= HARMLESS, written
        assert parsed.program is not None or parsed.issues
    assert ended > 20


WINDOW = Chunk([f"line {n}" for n in range(95, 121)], 95, (95, 120))
SHOWN = {  # calls on lines {a} to {b}, and the number of the window's first line
    "prox-chunk": (
        ["remove_lines(line_start={a}, line_end={b})", "remove_lines(start={a}, end={b})"],
        95,
    ),
    "ultrax": (
        ["remove_lines({a}, {b})", "replace_str({b}, 'a', '')", "add_line({b}, 1, 'a')"],
        96,
    ),
    "rescraper": (
        ["<extract>\nrm {a}-{b}\n<keep>", '<extract>\n<edit>\nsub {b}: "a"'],
        96,
    ),
    "refinex": (["remove_lines({a},{b})", "remove_lines({a}, {b})", 'remove_str({b},"a")'], 95),
}


@pytest.mark.parametrize("name", list(SHOWN))
def test_only_lines_of_the_window_can_be_named(name: str) -> None:
    spellings, top = SHOWN[name]
    grammar = get_dialect(name).grammar(WINDOW)
    for spelling in spellings:
        for number in (top, 99, 100, 109, 110, top + 25):
            assert allows(grammar, spelling.format(a=top, b=number)), number
        for number in (0, top - 1, top + 26, 1000, 9, 10, "0100", "-99", ""):
            assert not allows(grammar, spelling.format(a=top, b=number)), number


def test_a_program_of_prox_keeps_to_the_spelling_it_begins_with() -> None:
    grammar = get_dialect("prox-chunk").grammar(WINDOW)
    paper = "remove_lines(line_start=95, line_end=95)"
    released = "remove_lines(start=95, end=95)"
    replacing = 'normalize(source_str="a, \\"b\\"", target_str="")'
    for one, other in ((paper, released), (released, paper)):
        assert allows(grammar, f"{one}\n{replacing}\n{one}")
        assert allows(grammar, f"{replacing}\n{one}")
        assert not allows(grammar, f"{one}\n{replacing}\n{other}")
        assert not allows(grammar, f"{replacing}\n{one}\n{other}")


def test_what_stands_everywhere_is_no_source() -> None:
    grammar = get_dialect("prox-chunk").grammar(WINDOW)
    for source in ("|", "»", "•", "…", "(a", " a", "\\n|", "\\xa0", "\\\\", "中文"):
        assert allows(grammar, f'normalize(source_str="{source}", target_str="")'), source
    for source in ("", " ", "  ", "a", "7", "é", "²", "中", "\\n", "\\t\\n", "\n|", "\\x41"):
        assert not allows(grammar, f'normalize(source_str="{source}", target_str="")'), source


@pytest.mark.parametrize("name", ["prox-chunk", "ultrax", "refinex"])
def test_a_program_keeps_or_changes(name: str) -> None:
    dialect = get_dialect(name)
    keep, grammar = dialect.format((), WINDOW), dialect.grammar(WINDOW)
    change = dialect.format((RemoveLines(95, 96),), WINDOW)
    assert allows(grammar, keep) and allows(grammar, f"{change}\n{change}")
    for text in ("", f"{keep}\n{change}", f"{change}\n{keep}", f"{change}\n", f"{change} {change}"):
        assert not allows(grammar, text)


def test_a_label_for_each_line() -> None:
    grammar = get_dialect("line-labels").grammar(WINDOW)
    assert allows(grammar, "01" * 13)
    assert not allows(grammar, "0" * 25) and not allows(grammar, "0" * 27)


def test_a_string_has_an_end() -> None:
    grammar = get_dialect("ultrax").grammar(WINDOW)
    assert allows(grammar, f"replace_str(96, '{'a' * 200}', '')")
    assert not allows(grammar, f"replace_str(96, '{'a' * 201}', '')")


RANGES = [(0, 0), (0, 9), (0, 10), (1, 300), (5, 12), (7, 1003), (99, 100), (120, 419), (9, 999)]


@pytest.mark.parametrize(("first", "last"), RANGES)
def test_numbers_are_those_of_the_range_and_few_alternatives(first: int, last: int) -> None:
    grammar = f'root ::= "rm " number\nnumber ::= {numbers(first, last)}\n'
    allowed = [n for n in range(1100) if allows(grammar, f"rm {n}")]
    assert allowed == list(range(first, last + 1))
    assert grammar.count("|") < 2 * len(str(last))


def test_numbers_of_a_huge_window_stay_few() -> None:
    assert numbers(123_456, 98_765_432).count("|") < 20
