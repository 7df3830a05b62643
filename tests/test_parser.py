"""Reading call syntax: places, salvage, and time linear in the text."""

from __future__ import annotations

import time

import pytest

from burnish.program.parser import Function, Parameter, functions, quote, read_calls

KNOWN = functions(
    Function("remove_lines", (Parameter("first", int, ("start",)), Parameter("last", int))),
    Function("normalize", (Parameter("old", str), Parameter("new", str))),
    Function("keep"),
)


def arguments(text: str) -> list[tuple[object, ...]]:
    calls, issues = read_calls(text, KNOWN)
    assert issues == []
    return [call.arguments for call in calls]


def codes(text: str) -> list[str]:
    return [issue.code for issue in read_calls(text, KNOWN)[1]]


def test_calls_and_issues_name_their_place() -> None:
    text = "keep()\n\n  - remove_lines(1, 2); nope(3)\nnormalize(\n'a',\n'b')\nremove_lines(1)"
    calls, issues = read_calls(text, KNOWN)
    assert [(c.name, c.line, c.column) for c in calls] == [
        ("keep", 1, 1),
        ("remove_lines", 3, 5),
        ("normalize", 4, 1),
    ]
    assert [(i.code, i.line, i.column) for i in issues] == [
        ("unknown", 3, 25),
        ("arguments", 7, 1),
    ]
    assert str(issues[1]) == (
        "line 7: remove_lines takes two line numbers, got one\n    remove_lines(1)"
    )


def test_lines_of_a_program_are_counted_at_lf_alone() -> None:
    issue = read_calls("# a\x0cb\u2028c\x85d\re\nremove_lines(1)", KNOWN)[1][0]
    assert (issue.line, issue.column) == (2, 1)


def test_a_misspelt_name_gets_a_hint() -> None:
    assert "did you mean remove_lines?" in read_calls("remove_line(1, 2)", KNOWN)[1][0].message
    assert "known: remove_lines, normalize, keep" in read_calls("xyz()", KNOWN)[1][0].message


@pytest.mark.parametrize("comma", [",", ")", "=", '\\"', "(", "'", "#", ";", "\\\\"])
def test_no_character_of_a_string_ends_or_changes_it(comma: str) -> None:
    wanted = f"a{comma}b".replace('\\"', '"').replace("\\\\", "\\")
    assert arguments(f'normalize("a{comma}b", "")') == [(wanted, "")]
    assert arguments(f'normalize(new="", old="{comma}")') == [(wanted[1:-1], "")]


@pytest.mark.parametrize("character", ["\n", "\r", "\f", "\x85", "\u2028", "\xa0", "\ud83d\ude00"])
def test_what_quote_writes_is_one_line_and_is_read_back(character: str) -> None:
    text = f"a{character}b"
    assert quote(text).isprintable()
    assert arguments(f"normalize({quote(text)}, {quote(character)})") == [(text, character)]


def test_a_json_pair_of_surrogates_is_one_character() -> None:
    assert arguments(r'normalize("\ud83d\ude00", "")') == [("\U0001f600", "")]


def test_huge_numbers_cost_nothing() -> None:
    assert arguments(f"remove_lines(0, {'9' * 100_000})") == [(0, 10**18)]
    assert arguments("remove_lines(-99999999999999999999, +3)")[0][1] == 3


@pytest.mark.parametrize(
    "value", ["1.5", "1_0", "1e3", "0x1f", "None", "a", "[1, 2]", "1 2", "--1"]
)
def test_what_is_no_line_number_is_an_issue(value: str) -> None:
    calls, issues = read_calls(f"remove_lines(0, {value})\nkeep()", KNOWN)
    assert [call.name for call in calls] == ["keep"]
    assert len(issues) == 1


def test_nothing_is_evaluated() -> None:
    assert codes("remove_lines(0, 1+1)\nkeep()") == ["syntax"]
    assert codes("normalize(str(1), 'a')\nkeep()") == ["syntax"]


def test_stored_issues_are_short() -> None:
    huge = "x" * 10_000
    texts = [f"normalize('{huge}')", f"{huge}()", f"remove_lines('{huge}', 1)", f"keep({huge}=1)"]
    for text in [*texts, f"keep() {huge}"]:
        (issue,) = read_calls(text, KNOWN)[1]
        assert len(issue.message) + len(issue.source) < 400


def test_arguments_given_twice_or_unknown_are_issues() -> None:
    assert codes("remove_lines(1, first=2)") == ["arguments"]
    assert codes("remove_lines(last=1, last=2)") == ["arguments"]
    assert codes("remove_lines(start=1, end=2)") == ["arguments"]
    assert codes("keep(1)") == ["arguments"]


def test_an_issue_behind_a_call_on_its_line_spares_the_call() -> None:
    calls, issues = read_calls("keep(); remove_lines(1, x); normalize('a', 'b')", KNOWN)
    assert [call.name for call in calls] == ["keep", "normalize"]
    assert [issue.code for issue in issues] == ["syntax"]


@pytest.mark.parametrize("lead", ["", "normalize(", 'normalize("', "remove_lines(1,"])
@pytest.mark.parametrize(
    "pattern",
    (
        *('remove_lines("', '"', 'f("""', '"""', "\n", "(", '"a"b",', "normalize(“a\n", "f();"),
        *(" ", "\\", "a=", "f(\n", "keep();", "1", "<think>\n", "</think>", "remove_lines ", "--"),
        *("</think>\n" + " " * 100_000, " " * 99_999 + "<think>"),
    ),
)
def test_reading_takes_linear_time(lead: str, pattern: str) -> None:
    """A quadratic reader takes minutes for these 200 kB, a linear one a fraction of a second."""
    text = lead + pattern * (200_000 // len(pattern))
    start = time.process_time()
    read_calls(text, KNOWN)
    assert time.process_time() - start < 2
