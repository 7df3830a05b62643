"""Windows: who owns which line, and programs cut to it."""

from __future__ import annotations

import pytest

from burnish.chunking import merge, windows
from burnish.program.executor import execute
from burnish.program.lines import Chunk, line_starts, split_lines
from burnish.program.operations import InsertLines, RemoveLines, ReplaceText

LINES = ["aaaa"] * 6  # five characters each with their LF


def sizes(lines: list[str]) -> list[int]:
    return [len(line) + 1 for line in lines]


def spans(chunks: list[Chunk]) -> list[tuple[int, tuple[int, int]]]:
    return [(chunk.first, chunk.owned) for chunk in chunks]


def test_lines_are_split_at_lf_alone() -> None:
    text = "a\rb\x0c\x85\u2028\u2029\x1cc\nd\r\n"
    assert split_lines(text) == ["a\rb\x0c\x85\u2028\u2029\x1cc", "d\r", ""]
    assert split_lines("") == [""]
    assert line_starts(["ab", "", "c"]) == [0, 3, 4, 6]


def test_windows_fill_up_and_number_through_the_document() -> None:
    chunks, passed_over = windows(LINES, sizes(LINES), 10)
    assert spans(chunks) == [(0, (0, 1)), (2, (2, 3)), (4, (4, 5))]
    assert passed_over == []
    assert chunks[1].last == 3 and chunks[1].text == "aaaa\naaaa"


def test_overlap_is_context_and_never_a_second_decision() -> None:
    chunks, _ = windows(LINES, sizes(LINES), 15, overlap=0.4)
    assert spans(chunks) == [(0, (0, 2)), (2, (3, 4)), (4, (5, 5))]
    both = [(RemoveLines(2, 2), ReplaceText(2, 4, "a", "b")) for _ in chunks]
    assert merge(chunks, both) == (
        RemoveLines(2, 2),
        ReplaceText(2, 2, "a", "b"),
        ReplaceText(3, 4, "a", "b"),
    )


def test_context_never_crowds_out_the_owned_line() -> None:
    lines = ["a", "b", "c", "dddddd"]  # 2, 2, 2 and 7 with their LF
    chunks, _ = windows(lines, sizes(lines), 9, overlap=0.5)
    assert spans(chunks) == [(0, (0, 2)), (2, (3, 3))]


def test_a_line_longer_than_the_window_is_passed_over_and_not_cut() -> None:
    lines = ["a", "x" * 100, "b", "c"]
    chunks, passed_over = windows(lines, sizes(lines), 10, overlap=0.5)
    assert passed_over == [1]
    assert spans(chunks) == [(0, (0, 0)), (2, (2, 3))]
    text = "\n".join(lines)
    program = merge(chunks, [(RemoveLines(0, 3),), (RemoveLines(0, 3),)])
    assert execute(text, program).text == "x" * 100


def test_all_lines_too_long_makes_no_window() -> None:
    assert windows(["xxx"], [4], 2) == ([], [0])


def test_the_empty_document_is_one_window() -> None:
    assert spans(windows([""], [1], 10)[0]) == [(0, (0, 0))]


def test_a_replacement_of_one_window_stays_in_it() -> None:
    chunks, _ = windows(LINES, sizes(LINES), 10)
    program = merge(chunks, [(), (ReplaceText(2, 3, "aaaa", "b"),), ()])
    assert execute("\n".join(LINES), program).text == "aaaa\naaaa\nb\nb\naaaa\naaaa"


def test_an_insertion_between_windows_is_made_once() -> None:
    chunks, _ = windows(LINES, sizes(LINES), 10)
    said = [(InsertLines(2, 0, "first"),), (InsertLines(2, 0, "second"),), ()]
    assert merge(chunks, said) == (InsertLines(2, 0, "first"),)


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 2])
def test_overlap_out_of_range_is_an_error(overlap: float) -> None:
    with pytest.raises(ValueError, match="overlap"):
        windows(LINES, sizes(LINES), 10, overlap)


def test_each_window_needs_its_program() -> None:
    with pytest.raises(ValueError):
        merge(windows(LINES, sizes(LINES), 10)[0], [()])
