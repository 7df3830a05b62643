"""The command line as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from burnish import cli as cli_module
from burnish.io.output import read_run

EXAMPLES = Path(__file__).parent.parent / "examples" / "pages.jsonl"
RULES = ("--refiner", "c4-lines", "--stages", "chunk", "--workers", "1")


def burnish(*arguments: object, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "burnish", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, check=False)


def read_jsonl(path: Path) -> list[dict[str, object]]:
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize(
    "arguments", [(), ("refine",), ("apply",), ("restore",), ("evaluate",), ("train",)]
)
def test_help(arguments: Sequence[str]) -> None:
    result = burnish(*arguments, "--help")
    assert result.returncode == 0
    assert b"burnish " in result.stdout  # an example


def test_refine_then_restore(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = burnish("refine", EXAMPLES, "--output", out, *RULES)
    assert result.returncode == 0, result.stderr
    assert b"edited" in result.stdout
    again = burnish("refine", EXAMPLES, "--output", out, *RULES)
    assert again.returncode == 0
    assert b"Nothing to do" in again.stderr
    restored = tmp_path / "restored.jsonl"
    assert burnish("restore", out, "--output", restored).returncode == 0
    assert read_jsonl(restored) == read_jsonl(EXAMPLES)


def test_restore_one_document(tmp_path: Path) -> None:
    out = tmp_path / "out"
    burnish("refine", EXAMPLES, "--output", out, *RULES)
    row = read_jsonl(EXAMPLES)[0]
    result = burnish("restore", out, "--id", row["id"])
    assert result.stdout.decode() == row["text"]
    told = burnish("restore", out, "--id", "a", "--output", "a.txt")
    assert told.returncode == 2 and b"--id prints the text" in told.stderr
    missing = burnish("restore", out, "--id", "nobody")
    assert missing.returncode == 1
    assert b"nobody" in missing.stderr


def test_restore_tells_of_several_documents_with_one_id(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"id":"a","text":"One"}\n{"id":"a","text":"Two"}\n')
    burnish("refine", tmp_path / "x.jsonl", "--output", tmp_path / "out", *RULES)
    result = burnish("restore", tmp_path / "out", "--id", "a")
    assert (result.returncode, result.stdout) == (0, b"One")
    assert b"2 documents have the id 'a'" in result.stderr


def test_restore_wants_a_finished_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    burnish("refine", EXAMPLES, "--output", out, *RULES)
    (out / "summary.json").unlink()
    result = burnish("restore", out)
    assert result.returncode == 1
    assert b"not finished: run burnish refine again, or use --partial" in result.stderr
    assert burnish("restore", out, "--partial").returncode == 0


def test_refine_takes_nanoseconds(tmp_path: Path) -> None:
    texts = [row["text"] for row in read_jsonl(EXAMPLES)]
    when = pa.array([1600000000123456789] * len(texts), pa.timestamp("ns"))
    pq.write_table(pa.table({"text": texts, "when": when}), tmp_path / "x.parquet")
    options = ("--output", tmp_path / "out", *RULES, "--format", "parquet")
    result = burnish("refine", tmp_path / "x.parquet", *options)
    assert result.returncode == 0, result.stderr


def test_refine_fails_where_no_row_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text":1}\n{"text":2}\n{"text":null}\n')
    result = burnish("refine", tmp_path / "x.jsonl", "--output", tmp_path / "out", *RULES)
    assert result.returncode == 1
    assert b"no row is a document; the commonest reason: the column 'text' is int" in result.stderr


def test_restore_notices_a_changed_document(tmp_path: Path) -> None:
    out = tmp_path / "out"
    burnish("refine", EXAMPLES, "--output", out, *RULES)
    (part,) = (out / "documents").iterdir()
    rows = read_jsonl(part)
    rows[0]["text"] = "something else"
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    part.write_bytes(zstandard.compress(lines.encode()))
    result = burnish("restore", out, "--output", tmp_path / "r.jsonl")
    assert result.returncode == 1
    assert str(rows[0]["id"]).encode() in result.stderr
    assert not (tmp_path / "r.jsonl").exists()


def test_parquet_output_restores_too(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = burnish("refine", EXAMPLES, "--output", out, *RULES, "--format", "parquet")
    assert result.returncode == 0, result.stderr
    assert len(list(read_run(out))) == len(read_jsonl(EXAMPLES))
    restored = tmp_path / "restored.jsonl"
    assert burnish("restore", out, "--output", restored).returncode == 0
    assert [r["text"] for r in read_jsonl(restored)] == [r["text"] for r in read_jsonl(EXAMPLES)]


def test_parquet_input_restores_with_its_types(tmp_path: Path) -> None:
    rows = read_jsonl(EXAMPLES)
    when = [datetime(2024, 1, n + 1, tzinfo=UTC) for n in range(len(rows))]
    table = pa.table(
        {
            "when": pa.array(when, pa.timestamp("ms", "UTC")),
            "text": [row["text"] for row in rows],
            "nested": [[{"n": n}] for n in range(len(rows))],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    out = tmp_path / "out"
    options = (*RULES, "--format", "parquet")
    result = burnish("refine", tmp_path / "in.parquet", "--output", out, *options)
    assert result.returncode == 0, result.stderr
    assert burnish("restore", out).returncode == 0
    assert pq.read_table(tmp_path / "out-restored.parquet").equals(table)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--refiner", "nobody"), 1, b"no refiner 'nobody'"),
        (("--refiner", "c4-lines", "--stages", "sentence"), 2, b"unknown stage"),
        (("--refiner", "c4-lines", "--stages", "document"), 2, b"no stage 'document'"),
        (("--keep-threshold", "2"), 2, b"keep-threshold"),
        (("--task", "3/3"), 2, b"I/N"),
        (("--format", "csv"), 2, b"jsonl.zst"),
        (("--workers", "0"), 2, b"workers"),
    ],
)
def test_wrong_options(tmp_path: Path, options: tuple[str, ...], code: int, message: bytes) -> None:
    result = burnish("refine", EXAMPLES, "--output", tmp_path / "out", *options)
    assert result.returncode == code
    assert message in result.stderr
    assert b"Traceback" not in result.stderr


def test_missing_input(tmp_path: Path) -> None:
    result = burnish("refine", tmp_path / "none.jsonl", "--output", tmp_path / "out", *RULES)
    assert result.returncode == 1
    assert b"none.jsonl" in result.stderr


def test_other_settings_are_refused_with_the_difference(tmp_path: Path) -> None:
    out = tmp_path / "out"
    burnish("refine", EXAMPLES, "--output", out, *RULES)
    result = burnish("refine", EXAMPLES, "--output", out, *RULES, "--limit", "2")
    assert result.returncode == 1
    assert b"limit: None -> 2" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["estimate", "crawl"], "Stopped. Nothing was written."),
        (["evaluate", "gold.jsonl"], "Stopped. Nothing was written."),
        (["refine", "crawl"], "Stopped. Run the same command again to go on from here."),
        (["train", "causal"], "Stopped. Run the same command again to go on from here."),
        (["train", "tagger"], "Stopped."),
        (["push", "refiner"], "Stopped."),
    ],
)
def test_ctrl_c(
    words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**_: object) -> None:
        raise click.Abort

    monkeypatch.setattr(sys, "argv", ["burnish", *words])
    monkeypatch.setattr(cli_module, "cli", interrupted)
    with pytest.raises(SystemExit) as stopped:
        cli_module.main()
    assert stopped.value.code == 130
    assert capsys.readouterr().err == f"{told}\n"


def test_apply(tmp_path: Path) -> None:
    page, program = tmp_path / "page.txt", tmp_path / "program.txt"
    page.write_bytes(b"Home\r\nA sentence\x0cof one line.\r\nFooter")
    program.write_text("- remove_lines(0, 0)\nremove_lines(2")
    result = burnish("apply", "--program", program, page)
    assert result.returncode == 0
    assert result.stdout == b"A sentence\x0cof one line.\r\nFooter"
    assert b"line 2: remove_lines is cut off" in result.stderr


def test_apply_reads_standard_input(tmp_path: Path) -> None:
    program = tmp_path / "program.txt"
    program.write_text("10")
    result = burnish(
        "apply", "--dialect", "line-labels", "--program", program, text=b"Menu\nText \xff here"
    )
    assert (result.returncode, result.stdout) == (0, b"Text \xff here")


@pytest.mark.parametrize("program", ["remove_lines(0, 1)", "I would keep it."])
def test_apply_says_when_nothing_was_executed(tmp_path: Path, program: str) -> None:
    page, file = tmp_path / "page.txt", tmp_path / "program.txt"
    page.write_text("Menu\nText")
    file.write_text(program)
    result = burnish("apply", "--program", file, page)
    assert (result.returncode, result.stdout) == (1, b"Menu\nText")


def test_apply_wrong_usage(tmp_path: Path) -> None:
    assert burnish("apply", "--program", tmp_path / "none.txt").returncode == 2
    assert burnish("apply", "--program", "-").returncode == 2
    assert burnish("apply", "--dialect", "klingon", "--program", "-").returncode == 2
