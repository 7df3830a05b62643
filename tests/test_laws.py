"""Laws that hold for every text and every program, tried on random ones.

The executor is compared with a slow model that works line by line and character by character.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from burnish.chunking import merge, windows
from burnish.dialects import get_dialect
from burnish.program.executor import Outcome, execute
from burnish.program.limits import Limits
from burnish.program.lines import Chunk, split_lines
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    Operation,
    Program,
    RemoveLines,
    ReplaceText,
    RewriteLines,
    cut,
    from_json,
    to_json,
)
from burnish.schema import (
    Edit,
    StageTrace,
    Status,
    apply_edits,
    removed_input_lines,
    revert_edits,
)

LIMITLESS = Limits(max_removed=2, min_words=0, growth_floor=10**9)
FAST = settings(max_examples=200, deadline=None)

# Few characters, so that strings are found again; all that other programs split lines at.
ALPHABET = "ab \n\n\r\f\v\x1c\x85\u2028\u2029\xa0\"'\\,()=#`\t中\U0001f642\ud800\udc00"
texts = st.text(ALPHABET, max_size=40)
strings = st.text(ALPHABET, max_size=4)
numbers = st.integers(-2, 9)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int]:
    first = draw(numbers)
    return first, first + draw(st.integers(-1, 5))


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    first, last = draw(ranges())
    return draw(
        st.one_of(
            st.just(RemoveLines(first, last)),
            st.builds(
                ReplaceText,
                st.just(first),
                st.just(last),
                strings,
                strings,
                st.none() | st.integers(0, 2),
                st.none() | st.integers(-1, 6),
            ),
            st.builds(InsertLines, numbers, st.integers(0, 2), strings),
            st.just(RewriteLines(first, last, draw(strings))),
        )
    )


programs = st.lists(operations(), max_size=6).map(tuple)


def fate(outcome: Outcome) -> tuple[object, ...]:
    """All of an outcome, issues in no order."""
    return (
        outcome.status,
        outcome.text,
        outcome.edits,
        outcome.removed_lines,
        outcome.reason,
        Counter(outcome.issues),
    )


# ------------------------------------------------------------------------------------ the model


def model(text: str, program: Program) -> str:
    """What `execute` should leave: one LF after every line, then a decision for each character."""
    body = text + "\n"
    lines = text.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    line_of = [n for n, line in enumerate(lines) for _ in range(len(line) + 1)]
    removed = {
        n
        for o in program
        if isinstance(o, RemoveLines)
        for n in range(len(lines))
        if o.first <= n <= o.last
    }

    wanted: set[tuple[int, int, str]] = set()
    for o in program:
        if isinstance(o, (ReplaceText, RewriteLines)):
            mine = [n for n in range(len(lines)) if o.first <= n <= o.last]
            if not mine:
                continue
            begin, end = starts[mine[0]], starts[mine[-1] + 1] - 1
            if isinstance(o, RewriteLines):
                wanted.add((begin, end, o.text))
            elif o.old:
                wanted.update(occurrences(text, o, begin, end))

    chosen: list[tuple[int, int, str]] = []
    for start, end, new in sorted(wanted, key=lambda s: (s[0], -s[1], s[2])):
        touched = {line_of[start], *line_of[start:end]}
        if end > start and body[end - 1] == "\n":
            touched.add(line_of[end])
        free = all(start >= b for _, b, _ in chosen) and (start, end) not in [
            (a, b) for a, b, _ in chosen
        ]
        if free and not touched & removed:
            chosen.append((start, end, new))

    inserted: dict[int, str] = {}
    for o in sorted(
        {o for o in program if isinstance(o, InsertLines)},
        key=lambda o: (o.before, o.order, o.text),
    ):
        if not 0 <= o.before <= len(lines):
            continue
        place = starts[o.before]
        if not any(a < place < b or (place == b > a and new[-1:] != "\n") for a, b, new in chosen):
            inserted[o.before] = inserted.get(o.before, "") + o.text + "\n"

    result = ""
    for place in range(len(body) + 1):
        if place in starts:
            result += inserted.get(starts.index(place), "")
        result += "".join(new for start, _, new in chosen if start == place)
        if place < len(body) and line_of[place] not in removed:
            result += body[place] if not any(a <= place < b for a, b, _ in chosen) else ""
    return result[:-1] if result else ""


def occurrences(text: str, o: ReplaceText, begin: int, end: int) -> set[tuple[int, int, str]]:
    found: set[tuple[int, int, str]] = set()
    size = len(o.old)
    if o.offset is not None:
        place = begin + o.offset
        fits = o.offset >= 0 and o.first >= 0 and place + size <= end
        if fits and text[place : place + size] == o.old and o.count != 0:
            found.add((place, place + size, o.new))
    else:
        place, left = begin, o.count
        while place + size <= end and left != 0:
            if text[place : place + size] == o.old:
                found.add((place, place + size, o.new))
                place += size
                left = None if left is None else left - 1
            else:
                place += 1
    return {span for span in found if o.old != o.new}


@settings(max_examples=600, deadline=None)
@given(texts, programs)
def test_executor_agrees_with_the_model(text: str, program: Program) -> None:
    assert execute(text, program, limits=LIMITLESS).text == model(text, program)


@pytest.mark.parametrize("seed", range(3))
def test_executor_agrees_with_the_model_on_long_programs(seed: int) -> None:
    rng = random.Random(seed)
    text = "\n".join("".join(rng.choices("ab ", k=rng.randrange(6))) for _ in range(60))
    program: list[Operation] = []
    for _ in range(40):
        first = rng.randrange(60)
        word = "".join(rng.choices("ab \n", k=rng.randrange(4)))
        program += [
            InsertLines(rng.randrange(62), rng.randrange(3), word),
            ReplaceText(first, first + rng.randrange(30), "b" + word, word[::-1]),
            RewriteLines(first, first + rng.randrange(2), word),
        ]
    program += [RemoveLines(n, n + 2) for n in rng.sample(range(60), 5)]
    outcome = execute(text, tuple(program), limits=LIMITLESS)
    assert outcome.text == model(text, tuple(program))


# ------------------------------------------------------------------------------------ laws


@FAST
@given(texts, programs, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_operations_means_nothing(
    text: str, program: Program, rng: random.Random, limited: bool
) -> None:
    limits = Limits(max_edits=3, growth_floor=2) if limited else LIMITLESS
    shuffled = list(program)
    rng.shuffle(shuffled)
    one, other = (
        execute(text, program, limits=limits),
        execute(text, tuple(shuffled), limits=limits),
    )
    assert fate(one) == fate(other)


@FAST
@given(texts, programs, st.booleans())
def test_the_original_comes_back(text: str, program: Program, drop: bool) -> None:
    program = (*program, DropDocument()) if drop else program
    for limits in (LIMITLESS, Limits(), Limits(on_removal="drop")):
        outcome = execute(text, program, limits=limits)
        assert outcome.original == text
        assert apply_edits(text, outcome.edits) == outcome.text
        if outcome.status in (Status.KEPT, Status.REFUSED):
            assert (outcome.text, outcome.edits, outcome.removed_lines) == (text, (), ())


@FAST
@given(texts, programs)
def test_nothing_changes_outside_of_the_edits(text: str, program: Program) -> None:
    outcome = execute(text, program, limits=LIMITLESS)
    at, shift = 0, 0
    for edit in outcome.edits:
        assert at <= edit.start and edit.old != edit.new
        assert text[edit.start : edit.end] == edit.old
        assert text[at : edit.start] == outcome.text[at + shift : edit.start + shift]
        at, shift = edit.end, shift + len(edit.new) - len(edit.old)
    assert text[at:] == outcome.text[at + shift :]


@FAST
@given(texts, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), strings), max_size=5))
def test_revert_is_the_inverse_of_apply(text: str, gaps: list[tuple[int, int, str]]) -> None:
    edits: list[Edit] = []
    at = 0
    for gap, size, new in gaps:
        start = at + gap
        if start + size > len(text):
            break
        edits.append(Edit(start, text[start : start + size], new))
        at = start + size
    assert revert_edits(apply_edits(text, edits), edits) == text


@FAST
@given(programs)
def test_the_stored_form_gives_the_program_back(program: Program) -> None:
    program = (*program, DropDocument())
    assert from_json(to_json(program)) == program


@FAST
@given(texts, programs, st.data())
def test_windows_together_do_what_each_does_alone(
    text: str, program: Program, data: st.DataObject
) -> None:
    lines = split_lines(text)
    size, overlap = data.draw(st.integers(2, 20)), data.draw(st.floats(0, 0.9))
    chunks, passed_over = windows(lines, [len(line) + 1 for line in lines], size, overlap)
    assume(chunks)
    written = [data.draw(programs) for _ in chunks]
    whole = execute(text, merge(chunks, written), lines=lines, limits=LIMITLESS)

    joined: list[str] = []
    parts = {chunk.owned[0]: (chunk, p) for chunk, p in zip(chunks, written, strict=True)}
    number = 0
    while number < len(lines):
        if number in passed_over:
            joined.append(lines[number])
            number += 1
            continue
        chunk, program = parts[number]
        joined += surviving(lines, chunk.owned, cut(program, *chunk.owned))
        number = chunk.owned[1] + 1
    assert whole.text == "\n".join(joined)


def surviving(lines: list[str], owned: tuple[int, int], program: Program) -> list[str]:
    """The lines left when the owned lines stand alone; a line is put behind them, and taken away,
    so that no line can be told from an empty one."""
    first, last = owned
    alone = "\n".join([*lines[first : last + 1], "THE END"])
    outcome = execute(alone, tuple(shifted(o, -first) for o in program), limits=LIMITLESS)
    left = outcome.text.split("\n")
    assert left.pop() == "THE END"
    return left


def shifted(operation: Operation, by: int) -> Operation:
    match operation:
        case InsertLines(before, order, text):
            return InsertLines(before + by, order, text)
        case RemoveLines(first, last):
            return RemoveLines(first + by, last + by)
        case RewriteLines(first, last, text):
            return RewriteLines(first + by, last + by, text)
        case ReplaceText(first, last, old, new, count, offset):
            return ReplaceText(first + by, last + by, old, new, count, offset)
    return operation


@FAST
@given(texts, st.integers(1, 20), st.floats(0, 0.9))
def test_every_line_is_owned_once_or_passed_over(text: str, size: int, overlap: float) -> None:
    lines = split_lines(text)
    chunks, passed_over = windows(lines, [len(line) + 1 for line in lines], size, overlap)
    owned = [n for chunk in chunks for n in range(chunk.owned[0], chunk.owned[1] + 1)]
    assert sorted(owned + passed_over) == list(range(len(lines)))
    for chunk in chunks:
        assert list(chunk.lines) == lines[chunk.first : chunk.last + 1]
        assert chunk.first <= chunk.owned[0] <= chunk.owned[1] == chunk.last
        assert sum(len(line) + 1 for line in chunk.lines) <= size


@FAST
@given(texts, programs, programs)
def test_lines_that_went_are_told_in_the_first_numbering(
    text: str, one: Program, other: Program
) -> None:
    """By removals alone, the lines that are left are the text that is left."""
    one, other = (tuple(o for o in p if isinstance(o, RemoveLines)) for p in (one, other))
    first = execute(text, one, limits=LIMITLESS)
    second = execute(first.text, other, limits=LIMITLESS)
    assume(first.text and second.text)
    traces = [
        StageTrace("s", "r", o.status, edits=o.edits, removed_lines=o.removed_lines)
        for o in (first, second)
    ]
    removed = removed_input_lines(text, traces)
    left = [line for n, line in enumerate(text.split("\n")) if n not in removed]
    assert "\n".join(left) == second.text


# ------------------------------------------------------------------------------------ dialects


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    lines = draw(texts).split("\n")
    first = draw(st.integers(0, 2000))
    return Chunk(lines, first, (first, first + len(lines) - 1))


@st.composite
def line_ranges(draw: st.DrawFn, chunk: Chunk) -> RemoveLines:
    first = draw(st.integers(chunk.first, chunk.last))
    return RemoveLines(first, draw(st.integers(first, chunk.last)))


any_strings = st.text(max_size=12) | st.text(st.characters(), max_size=12) | strings


@settings(max_examples=400, deadline=None)
@given(chunks(), st.data())
def test_prox_chunk_reads_what_it_writes(chunk: Chunk, data: st.DataObject) -> None:
    everywhere = any_strings.filter(
        lambda s: bool(s.strip(" \t\r\n")) and not (len(s) == 1 and s.isalnum())
    )
    replace = st.builds(
        ReplaceText, st.just(chunk.first), st.just(chunk.last), everywhere, any_strings
    )
    program = tuple(data.draw(st.lists(line_ranges(chunk) | replace, max_size=6)))
    dialect = get_dialect("prox-chunk")
    parsed = dialect.parse(dialect.format(program, chunk), chunk)
    assert (parsed.program, parsed.issues) == (program, ())


@FAST
@given(chunks(), st.sampled_from([(), (DropDocument(),)]))
def test_prox_document_reads_what_it_writes(chunk: Chunk, program: Program) -> None:
    dialect = get_dialect("prox-document")
    parsed = dialect.parse(dialect.format(program, chunk), chunk)
    assert (parsed.program, parsed.issues) == (program, ())


@FAST
@given(chunks(), st.data())
def test_line_labels_read_what_they_write(chunk: Chunk, data: st.DataObject) -> None:
    dialect = get_dialect("line-labels")
    program = tuple(data.draw(st.lists(line_ranges(chunk), max_size=4)))
    labels = dialect.format(program, chunk)
    parsed = dialect.parse(labels, chunk)
    assert parsed.program is not None and parsed.issues == ()
    assert dialect.format(parsed.program, chunk) == labels
    gone = {n for o in program if isinstance(o, RemoveLines) for n in range(o.first, o.last + 1)}
    read = {
        n for o in parsed.program if isinstance(o, RemoveLines) for n in range(o.first, o.last + 1)
    }
    assert gone == read


@st.composite
def removed_once(draw: st.DrawFn, chunk: Chunk, new: st.SearchStrategy[str]) -> ReplaceText:
    """A replacement of what stands exactly once in its line; the LF behind it may be its end."""
    number = draw(st.integers(0, len(chunk.lines) - 1))
    line = chunk.lines[number] + ("\n" if number < len(chunk.lines) - 1 else "")
    assume(line)
    start = draw(st.integers(0, len(line) - 1))
    old = line[start : draw(st.integers(start + 1, len(line)))]
    assume(line.count(old) == 1)
    first = chunk.first + number
    return ReplaceText(first, first + old.endswith("\n"), old, draw(new))


@settings(max_examples=300, deadline=None)
@given(chunks(), st.data())
def test_ultrax_reads_what_it_writes(chunk: Chunk, data: st.DataObject) -> None:
    first = chunk.first if chunk.first == 0 else chunk.first + 1
    insertion = st.builds(
        InsertLines,
        st.integers(first, chunk.last + 1),
        st.integers(0, 99) | st.integers(0, 10**18 - 1),
        any_strings,
    )
    operation = line_ranges(chunk) | removed_once(chunk, any_strings) | insertion
    program = tuple(data.draw(st.lists(operation, max_size=6)))
    dialect = get_dialect("ultrax")
    parsed = dialect.parse(dialect.format(program, chunk), chunk)
    assert (parsed.program, parsed.issues) == (program, ())


@settings(max_examples=300, deadline=None)
@given(chunks(), st.data())
def test_refinex_reads_what_it_writes(chunk: Chunk, data: st.DataObject) -> None:
    operation = line_ranges(chunk) | removed_once(chunk, st.just(""))
    program = tuple(data.draw(st.lists(operation, max_size=6)))
    dialect = get_dialect("refinex")
    parsed = dialect.parse(dialect.format(program, chunk), chunk)
    assert (parsed.program, parsed.issues) == (program, ())


@st.composite
def removed_often(draw: st.DrawFn, chunk: Chunk) -> ReplaceText:
    number = draw(st.integers(0, len(chunk.lines) - 1))
    line = chunk.lines[number]
    assume(line)
    start = draw(st.integers(0, len(line) - 1))
    old = line[start : draw(st.integers(start + 1, len(line)))]
    count = draw(st.integers(1, line.count(old)))
    return ReplaceText(chunk.first + number, chunk.first + number, old, "", count)


@settings(max_examples=300, deadline=None)
@given(chunks(), st.data())
def test_rescraper_reads_what_it_writes(chunk: Chunk, data: st.DataObject) -> None:
    whole = st.builds(RewriteLines, st.just(chunk.first), st.just(chunk.last), any_strings)
    alone = st.just((DropDocument(),)) | st.tuples(whole)
    operation = line_ranges(chunk) | removed_often(chunk)
    program = data.draw(st.lists(operation, max_size=6, unique_by=_place).map(tuple) | alone)
    dialect = get_dialect("rescraper")
    try:
        written = dialect.format(program, chunk)
    except ValueError:  # a text that begins or ends in a blank
        assert isinstance(program[0], RewriteLines)
        return
    parsed = dialect.parse(written, chunk)
    assert (parsed.program, parsed.issues) == (program, ())


@settings(max_examples=300, deadline=None)
@given(chunks(), st.data())
def test_rewrite_reads_what_it_writes(chunk: Chunk, data: st.DataObject) -> None:
    operation = line_ranges(chunk) | removed_once(chunk, strings)
    program = tuple(data.draw(st.lists(operation, max_size=3)))
    dialect = get_dialect("rewrite")
    try:
        written = dialect.format(program, chunk)
    except ValueError:  # there is a smaller program, or the text would be rejected
        return
    parsed = dialect.parse(written, chunk)
    assert (parsed.program, parsed.issues) == (program, ())


def _place(operation: Operation) -> object:
    """A string of one line can be removed in one operation only."""
    if isinstance(operation, ReplaceText):
        return operation.first, operation.old
    return operation


PIECES = (
    *("remove_lines(", "normalize(", "drop_doc()", "keep_doc()", "keep_chunk()", "0", "12", ","),
    *(
        ")",
        '"',
        "'",
        '"""',
        "“",
        "”",
        "\\",
        ";",
        "line_start=",
        "source_str=",
        "<think>",
        "</think>",
    ),
    *("replace_str(", "add_line(", "remove_str(", "remove_all()", "keep_all()", "'a'"),
    *("<extract>", "<keep>", "<edit>", "</edit>", "<delete>", "<rewrite>", "<", "rm ", "sub "),
    *("1-2", '1: "a"', "-", ":", "\x85", "<text>", "</text>"),
    *("#", "- ", "--", "1. ", "```", "word", "\u2028", "9" * 30, " ", "\n", "\r\n", "\ud800"),
)
SPEAKING = ["prox-chunk", "prox-document", "ultrax", "rescraper", "refinex", "rewrite"]
pieces = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@FAST
@given(st.text(max_size=60) | pieces, chunks(), st.sampled_from(SPEAKING))
def test_any_answer_is_read_without_exception(answer: str, chunk: Chunk, name: str) -> None:
    dialect = get_dialect(name)
    parsed = dialect.parse(answer, chunk)
    assert parsed.program is not None or parsed.issues
    if parsed.program is not None:
        again = dialect.parse(dialect.format(parsed.program, chunk), chunk)
        assert set(again.program or ()) == set(parsed.program)
    for issue in parsed.issues:
        assert len(issue.source) <= 200
        if issue.line:
            line = answer.split("\n")[issue.line - 1]
            assert line[issue.column - 1 :].startswith(issue.source.split("\n")[0][:100])
