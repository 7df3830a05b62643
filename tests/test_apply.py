"""burnish apply writes what it was given, byte for byte."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from burnish.cli.apply import command


def test_a_lone_surrogate_and_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    page, program = tmp_path / "page.txt", tmp_path / "program.txt"
    page.write_bytes(b"a \xff bx\r\nb \xe9 b")
    program.write_text(r"normalize('bx', '\ud800')")
    result = CliRunner().invoke(command, ["--program", str(program), str(page)])
    assert result.exit_code == 0
    assert result.stdout_bytes == b"a \xff \xed\xa0\x80\r\nb \xe9 b"
