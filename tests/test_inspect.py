"""Labelled documents on the terminal: what is shown, what is found, and that nothing escapes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner, Result
from rich.console import Console

from burnish.cli.inspect import command
from burnish.errors import InputError
from burnish.io.labels import CHUNK, DOCUMENT, REJECTED, LabelledFile, labelled_files
from burnish.report.labelled import Found, Wanted, disagree, find
from burnish.report.labelled_page import Look, page
from burnish.report.line_pieces import line_pieces
from burnish.report.visible import visible

Row = dict[str, Any]


def annotator(number: int = 0, **fields: Any) -> Row:
    return {"teacher": "strong", "pass": number, "prompts": {}, **fields}


def line(text: str, label: int = 0, *kinds: str, **fields: Any) -> Row:
    return {"text": text, "label": label, **({"kinds": list(kinds)} if kinds else {}), **fields}


DOCUMENT_ROW: Row = {
    "id": "otters",
    "text": "\n".join(f"Line {n} of it" for n in range(60)),
    "edu": 3,
    "format": 4,
    "keep": 1,
    "reason": "a clear report",
    "lang": "en",
    "url": "https://example.org/otters",
    "annotators": [
        annotator(0, edu=4, format=4, critiques={"educational": "Explains it.\nAt length."}),
        annotator(1, edu=2, format=4, critiques={"educational": "Only news."}),
    ],
}
SHOP_ROW: Row = {"id": "shop", "text": "Buy now", "edu": 0, "keep": 0}
WINDOW_ROW: Row = {
    "id": "otters",
    "variant": "web",
    "window": "head",
    "first_line": 12,
    "of_lines": 80,
    "status": "edited",
    "edits": [[0, "Home | News\n", ""], [27, " [edit]", " today"]],
    "kinds": ["navigation", "footer"],
    "lines": [
        line("Home | News", 1, "navigation", votes=2),
        line("Otters are back [edit]", 0, "footer", votes=1),
        line("They swim.", votes=0),
    ],
    "annotators": [
        annotator(0, program=["remove_lines(0, 0)", "remove_str(1, ' [edit]')"]),
        annotator(1, program=["remove_lines(0, 0)"]),
        {"teacher": "other", "pass": 0, "program": ["remove_lines(0, 0)"]},
    ],
}
KEPT_ROW: Row = {"id": "plain", "status": "kept", "lines": [line("All of it stays.")]}
REJECTED_ROW: Row = {
    "id": "bad",
    "stage": "chunk",
    "task": "navigation",
    "teacher": "strong",
    "reason": "no score",
    "detail": "cut off",
    "answer": "I would\nsay \x1b[2Jthree",
    "edu": "none",
}


def write(path: Path, rows: Iterable[Mapping[str, Any] | bytes]) -> Path:
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    data = b"".join(each + b"\n" for each in lines)
    path.write_bytes(zstandard.compress(data) if path.suffix == ".zst" else data)
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    write(tmp_path / "train.jsonl.zst", [DOCUMENT_ROW])
    write(tmp_path / "dev.jsonl.zst", [SHOP_ROW])
    write(tmp_path / "chunks_train.jsonl.zst", [WINDOW_ROW])
    write(tmp_path / "chunks_dev.jsonl.zst", [KEPT_ROW])
    write(tmp_path / "rejected.jsonl.zst", [REJECTED_ROW])
    write(tmp_path / "usage.jsonl", [{"tokens": 3}])  # not of labels
    return tmp_path


def inspect(*arguments: object, **environment: str) -> Result:
    env = {"COLUMNS": "100", "FORCE_COLOR": None, "NO_COLOR": None, **environment}
    return CliRunner().invoke(command, list(map(str, arguments)), env=env)


def shown(kind: str, row: Row, look: Look | None = None, color: bool = False) -> str:
    console = Console(
        width=100, force_terminal=color, color_system="standard" if color else None, no_color=False
    )
    with console.capture() as capture:
        console.print(page(Found(LabelledFile(Path("x.jsonl"), kind, "x"), 7, row), look))
    return capture.get()


def titles(output: str) -> list[str]:
    """The names of the rows that were shown, in order: file and row."""
    heads = [each for each in output.split("\n") if "jsonl" in each and ", row " in each]
    return [each.split(" · ")[1].split(" ─")[0] for each in heads]


# --- pages


def test_window(labels: Path) -> None:
    result = inspect(labels, "--stage", "chunk", "--split", "train")
    assert result.exit_code == 0
    lines = [each.split() for each in result.output.split("\n")]
    assert ["12", "-", "Home", "|", "News", "navigation", "2", "of", "3"] in lines
    changed = next(each for each in result.output.split("\n") if each.startswith("13"))
    assert changed.startswith("13 ~ Otters are back[- [edit]-]{+ today+}")
    assert changed.rstrip().endswith("footer  1 of 3")
    assert ["14", "They", "swim."] in lines
    assert "lines 12-14 of 80" in result.output
    assert "edited" in result.output
    assert "kinds  navigation, footer" in result.output
    assert "strong, pass 0 · strong, pass 1 · other, pass 0" in result.output
    assert "only strong, pass 0: remove_str(1, ' [edit]')" in result.output
    assert "\x1b" not in result.output


def test_window_in_color() -> None:
    output = shown(CHUNK, WINDOW_ROW, color=True)
    assert "\x1b[9;31mHome | News" in output
    assert "Otters are back\x1b[9;31m [edit]\x1b[0m\x1b[32m today" in output
    assert "\x1b[33m1 of 3" in output
    assert "[-" not in output


def test_document() -> None:
    output = shown(DOCUMENT, DOCUMENT_ROW)
    assert "x.jsonl, row 7" in output
    assert "keep · edu 3 · format 4 · en" in output
    assert "reason  a clear report" in output
    assert "strong, pass 1 · edu 2 · format 4" in output
    assert "educational  Explains it." in output
    assert "               At length." in output
    assert "39   Line 39 of it" in output
    assert "Line 40 of it" not in output
    assert "… 20 more lines (--full shows them)" in output
    assert "59   Line 59 of it" in shown(DOCUMENT, DOCUMENT_ROW, Look(full=True))


def test_document_in_color() -> None:
    assert "\x1b[1;32mkeep" in shown(DOCUMENT, DOCUMENT_ROW, color=True)
    assert "\x1b[1;31mdrop" in shown(DOCUMENT, SHOP_ROW, color=True)
    assert "\x1b[33medu 2" in shown(DOCUMENT, DOCUMENT_ROW, color=True)
    assert "\x1b[33mformat 4" not in shown(DOCUMENT, DOCUMENT_ROW, color=True)


def test_document_of_one_long_line() -> None:
    output = shown(DOCUMENT, {"id": "long", "text": "x" * 5000})
    assert "3,000 more characters (--full" in " ".join(output.split())
    assert shown(DOCUMENT, {"text": "x" * 5000}, Look(full=True)).count("x") == 5000 + 1  # its file


def test_rejected() -> None:
    output = shown(REJECTED, REJECTED_ROW)
    assert "stage chunk · task navigation · teacher strong" in output
    assert "no score: cut off" in output
    assert "│ I would " in output
    assert "│ say ␛[2Jthree " in output
    assert "\x1b[1;33mno score" in shown(REJECTED, REJECTED_ROW, color=True)


@pytest.mark.parametrize("kind", [DOCUMENT, CHUNK, REJECTED])
@pytest.mark.parametrize("row", [{}, {"id": None, "text": None, "lines": None, "edits": None}])
def test_missing_fields(kind: str, row: Row) -> None:
    assert "row 7" in shown(kind, row)


def test_missing_fields_of_lines_and_annotators() -> None:
    row = {"lines": [{}, {"text": "a", "votes": None}], "annotators": [{}, {"program": None}]}
    assert "1   a" in shown(CHUNK, row)
    assert "unknown teacher" in shown(CHUNK, row)


# --- pieces of a line


def pieces(lines: Sequence[Row], *edits: list[Any]) -> list[list[tuple[str, str]]]:
    return line_pieces({"lines": lines, "edits": list(edits)})


def test_pieces_of_an_edit_inside_a_line() -> None:
    assert pieces([line("one two three")], [4, "two", "2"]) == [
        [("kept", "one "), ("old", "two"), ("new", "2"), ("kept", " three")]
    ]


def test_pieces_of_insertions() -> None:
    inserted = pieces([line("ab"), line("cd")], [0, "", "x"], [2, "", "y"], [3, "", "z"])
    assert inserted == [
        [("new", "x"), ("kept", "ab"), ("new", "y")],
        [("new", "z"), ("kept", "cd")],
    ]


def test_pieces_of_joined_lines() -> None:
    joined = pieces([line("broken-"), line("up word")], [6, "-\n", ""])
    assert joined == [[("kept", "broken"), ("old", "-\n")], [("kept", "up word")]]


def test_pieces_of_removed_lines() -> None:
    lines = [line("a"), line("b", 1), line("c"), line("d", 1)]
    whole = [[("kept", "a")], [("old", "b")], [("kept", "c")], [("old", "d")]]
    assert pieces(lines, [2, "b\n", ""], [5, "\nd", ""]) == whole
    assert pieces(lines) == whole


def test_pieces_of_a_replacement_over_lines() -> None:
    assert pieces([line("ab", 1), line("cd", 1), line("ef")], [0, "ab\ncd", "X"]) == [
        [("old", "ab")],
        [("old", "cd"), ("new", "X")],
        [("kept", "ef")],
    ]
    assert pieces([line("ab"), line("cd")], [1, "b\nc", "X"]) == [
        [("kept", "a"), ("old", "b\n")],
        [("old", "c"), ("new", "X"), ("kept", "d")],
    ]


def test_pieces_are_the_text_before_and_after() -> None:
    text = "one\n\ntwo  three\nfour"
    edits = [[0, "one\n", ""], [4, "\n", ""], [8, "  ", " "], [15, "\nfour", ""]]
    found = pieces([line("one", 1), line("", 1), line("two  three"), line("four", 1)], *edits)
    before = ["".join(part for kind, part in each if kind != "new") for each in found]
    after = ["".join(part for kind, part in each if kind != "old") for each in found]
    assert "\n".join(before) == text
    assert "".join(after) == "two three"


# --- characters


def test_what_can_not_be_seen_is_made_visible() -> None:
    odd = "a\xa0b\u200bc\ufeffd\re\x1b[31m\x00\x7f\x9b1m\u202e\ud83d\u3164\tz\u3000é水🦦"
    assert visible(odd).plain == (
        "a⍽b<ZWSP>c<BOM>d␍e␛[31m␀␡<9b>1m<202e><d83d><3164>→   z\u3000é水🦦"
    )


def test_every_character_is_safe() -> None:
    every = "".join(map(chr, chain(range(0x20000), range(0xE0000, 0xE0200))))  # the last are tags
    plain = visible(every).plain
    categories = {unicodedata.category(each) for each in set(plain) - {"\u3000", " "}}
    assert not categories & {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"}


def test_blanks_alone_are_shown_where_they_change() -> None:
    output = shown(CHUNK, {"lines": [line("a  b")], "edits": [[1, "  ", " "]]}, Look(marks=True))
    assert "a[-␣␣-]{+␣+}b" in output


@pytest.mark.parametrize("kind", [DOCUMENT, CHUNK, REJECTED])
def test_no_field_lets_an_escape_through(kind: str) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e\r"
    row: Row = {
        **{name: evil for name in ("id", "url", "domain", "lang", "variant", "route", "window")},
        **{name: evil for name in ("dialect", "source", "license", "status", "of_lines", "task")},
        **{name: evil for name in ("stage", "teacher", "reason", "detail", "answer", "text")},
        "kinds": [evil],
        "lines": [line(evil, 1, evil, votes=1), line(evil + "x")],
        "edits": [[len(evil) + 1, evil, evil]],
        "annotators": [
            annotator(program=[evil], critiques={evil: evil}),
            {"teacher": evil, "pass": evil, "program": []},
        ],
    }
    output = shown(kind, row, Look(marks=True))
    assert not {each for each in output if unicodedata.category(each)[0] == "C"} - {"\n"}


def test_markup_in_a_text_is_text() -> None:
    output = shown(CHUNK, {"id": "[red]x[/red]", "lines": [line("[b]bold[/b] :smile:")]})
    assert "[b]bold[/b] :smile:" in output
    assert "[red]x[/red]" in output


def test_wide_scripts_align() -> None:
    output = shown(CHUNK, {"lines": [line("水獭" * 60, 1, "noise"), line("a" * 60, 1, "noise")]})
    rows = [each for each in output.split("\n") if each.endswith(" noise") and "- " in each]
    places = []
    for each in rows:
        before = each[: each.index("noise")]
        places.append(sum(2 if unicodedata.east_asian_width(c) == "W" else 1 for c in before))
    assert len(set(places)) == 1
    assert output.count("水") == 60


# --- what is found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", "train 1, dev 1, chunks_train 1, chunks_dev 1"),
        ("--stage document", "train 1, dev 1"),
        ("--stage chunk", "chunks_train 1, chunks_dev 1"),
        ("--split dev", "dev 1, chunks_dev 1"),
        ("--kind navigation", "chunks_train 1"),
        ("--disagreement", "train 1, chunks_train 1"),
        ("--disagreement --stage document", "train 1"),
        ("--status kept", "chunks_dev 1"),
        ("--status edited --id otters", "chunks_train 1"),
        ("--id otters", "train 1, chunks_train 1"),
        ("--limit 3", "train 1, dev 1, chunks_train 1"),
        ("--rejected", "rejected 1"),
        ("--rejected --kind navigation --stage chunk", "rejected 1"),
    ],
)
def test_filters(labels: Path, options: str, expected: str) -> None:
    result = inspect(labels, *options.split())
    assert result.exit_code == 0, result.output
    found = [each.replace(".jsonl.zst, row", "") for each in titles(result.output)]
    assert ", ".join(found) == expected


def test_status_of_windows_that_do_not_say_it(tmp_path: Path) -> None:
    """As those of burnish export labels."""
    rows = [{"id": name, "lines": [{"text": "x", "label": label}]} for name, label in
            (("gone", 1), ("stays", 0))]  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "chunks_train.jsonl").write_text(text)
    for status, name in (("edited", "gone"), ("kept", "stays")):
        result = inspect(tmp_path, "--status", status)
        assert result.exit_code == 0 and name in result.output
        assert len(titles(result.output)) == 1


@pytest.mark.parametrize(
    "options",
    ["--kind nobody", "--id nobody", "--split test", "--rejected --status kept",
     "--rejected --stage document", "--rejected --disagreement"],
)  # fmt: skip
def test_nothing_found_says_what_there_is(labels: Path, options: str) -> None:
    result = inspect(labels, *options.split())
    assert (result.exit_code, result.stdout) == (1, "")
    told = " ".join(result.stderr.split())
    assert "is as you ask" in told
    assert "train.jsonl.zst 1 documents lang en 1 decision keep 1" in told
    assert "kind navigation 1, footer 1 annotators disagree 1" in told
    assert "rejected.jsonl.zst 1 rejected rows stage chunk 1 task navigation 1" in told


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, False),
        ({"annotators": [annotator(edu=1), annotator(edu=2)]}, False),
        ({"annotators": [annotator(edu=1), annotator(edu=3)]}, True),
        ({"annotators": [annotator(format=5), annotator(), annotator(format=2)]}, True),
        ({"annotators": [annotator(keep=1), annotator(keep=0)]}, True),
        ({"annotators": [annotator(keep=1), annotator(keep=1)]}, False),
        ({"annotators": [annotator(program=["a"]), annotator(program=["a"])]}, False),
        ({"annotators": [annotator(program=["a"]), annotator(program=[])]}, True),
        ({"annotators": [annotator(program=["a"]), annotator()]}, False),
        ({"annotators": [annotator()] * 3, "lines": [line("x", votes=3)]}, False),
        ({"annotators": [annotator()] * 3, "lines": [line("x", votes=1)]}, True),
    ],
)
def test_disagreement(row: Row, expected: bool) -> None:
    assert disagree(row) is expected


# --- files


def test_any_of_the_files_may_be_missing(tmp_path: Path) -> None:
    write(tmp_path / "rejected.jsonl.zst", [REJECTED_ROW])
    assert inspect(tmp_path, "--rejected").exit_code == 0
    assert "1  rejected rows" in inspect(tmp_path).stderr


def test_files_plain_and_compressed_with_other_splits(tmp_path: Path) -> None:
    for name in ("extra.jsonl", "chunks_extra.jsonl", "other.jsonl", "train.jsonl.zst", "a.txt"):
        write(tmp_path / name, [SHOP_ROW])
    names = [file.path.name for file in labelled_files(tmp_path)]
    assert names == ["train.jsonl.zst", "extra.jsonl", "chunks_extra.jsonl"]
    assert "other.jsonl" in [file.path.name for file in labelled_files(tmp_path, "other")]


def test_a_folder_without_labels(tmp_path: Path) -> None:
    write(tmp_path / "usage.jsonl", [{}])
    for folder in (tmp_path, tmp_path / "none", tmp_path / "usage.jsonl"):
        error = inspect(folder).exception
        assert isinstance(error, InputError)
        assert "train.jsonl.zst" in str(error)
        assert "burnish annotate" in str(error)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b'{"id":', "not JSON"),
        (b"[1]", "not a JSON object but list"),
        (b'{"lines": 3}', "lines must be list, not int"),
        (b'{"lines": [3]}', "lines[0] must be an object, not int"),
        (b'{"lines": [{"text": 3}]}', "lines[0].text must be str, not int"),
        (b'{"lines": [{"text": "a\\nb"}]}', "lines[0].text holds a line feed"),
        (b'{"lines": [], "edits": [[1, "a"]]}', "edits[0] must be [start, old, new]"),
        (b'{"lines": [{"text": "a"}], "edits": [[0, "b", ""]]}', "the text has no 'b'"),
        (b'{"annotators": [{"edu": "3"}]}', "annotators[0].edu must be int or float, not str"),
        (b'{"annotators": {}}', "annotators must be list, not dict"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, broken: bytes, message: str) -> None:
    path = write(tmp_path / "chunks_train.jsonl.zst", [KEPT_ROW, b"", broken])
    with pytest.raises(InputError) as caught:
        list(find(tmp_path, Wanted()))
    assert f"{path}, row 3: " in str(caught.value)
    assert message in str(caught.value)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl.zst", [DOCUMENT_ROW])
    path.write_bytes(path.read_bytes()[:-5])
    error = inspect(tmp_path).exception
    assert isinstance(error, InputError)
    assert "train.jsonl.zst: the archive is cut short" in str(error)


def test_rows_are_read_as_they_are_shown(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [SHOP_ROW, SHOP_ROW, b"{"])
    assert inspect(tmp_path, "--limit", 2).exit_code == 0
    assert isinstance(inspect(tmp_path).exception, InputError)


# --- the terminal

SCRIPT = (sys.executable, "-c", "from burnish.cli.inspect import command; command()")


def test_help_has_an_example() -> None:
    assert "burnish inspect labels" in inspect("--help").output


def test_colors_in_a_pipe_only_where_they_are_forced(labels: Path) -> None:
    run = [*SCRIPT, str(labels), "--id", "otters"]
    env = {name: os.environ[name] for name in os.environ if name not in ("NO_COLOR", "FORCE_COLOR")}
    env["TERM"] = "xterm"
    plain = subprocess.run(run, capture_output=True, check=True, env=env).stdout
    forced = subprocess.run(run, capture_output=True, check=True, env={**env, "FORCE_COLOR": "1"})
    assert b"\x1b" not in plain
    assert b" \n" not in plain  # nor the blanks that fill a table
    assert b"\x1b[9;31mHome | News" in forced.stdout


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl.zst", [DOCUMENT_ROW] * 300)
    with subprocess.Popen(
        [*SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def on_a_terminal(arguments: Sequence[object], **environment: str) -> tuple[int, str]:
    """Exit code and output of the command on a terminal of its own."""
    env = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **environment}
    env.pop("NO_COLOR", None)
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*SCRIPT, *map(str, arguments)], stdin=terminal, stdout=terminal, stderr=terminal, env=env
    )
    os.close(terminal)
    parts = []
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:  # how a terminal ends on Linux
            break
        if not part:
            break
        parts.append(part)
    os.close(controller)
    return process.wait(), b"".join(parts).decode()


def pager(tmp_path: Path, script: str) -> str:
    path = tmp_path / "pager"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_terminal_gets_colors_and_a_pager(labels: Path) -> None:
    code, output = on_a_terminal([labels], PAGER=pager(labels, 'echo "<$LESS>"; cat'), LESS="-i")
    assert code == 0
    assert "<-R -F -i>" in output
    assert "\x1b[9;31mHome | News" in output
    code, output = on_a_terminal([labels, "--no-pager"], PAGER=pager(labels, "echo paged"))
    assert code == 0
    assert "paged" not in output
    assert "They swim." in output


def test_a_pager_that_is_left_ends_the_reading_quietly(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl.zst", [DOCUMENT_ROW] * 2000)
    left = pager(tmp_path, "head -c 100 >/dev/null; exec 0<&-; echo left")
    code, output = on_a_terminal([tmp_path], PAGER=left)
    assert (code, output.strip()) == (0, "left")


def test_a_pager_that_is_left_ends_a_search(tmp_path: Path) -> None:
    rows = [DOCUMENT_ROW, *[SHOP_ROW] * 200_000, b"{"]
    write(tmp_path / "train.jsonl.zst", rows)
    left = pager(tmp_path, "head -c 100 >/dev/null; exec 0<&-; echo left")
    code, output = on_a_terminal([tmp_path, "--id", "otters"], PAGER=left)
    assert (code, output.strip()) == (0, "left")  # it never came to the broken row


def test_an_error_comes_after_the_pages_before_it(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [SHOP_ROW, b"{"])
    code, output = on_a_terminal([tmp_path], PAGER=pager(tmp_path, "cat; echo end of pages"))
    assert code == 1
    assert output.index("Buy now") < output.index("row 2: not JSON") < output.index("end of pages")
