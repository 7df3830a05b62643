"""The documentation runs as it is written.

Every `sh` block and every `python` block of a page is run, from top to bottom, in a folder that
holds only the examples. Blocks marked `text` are for reading; their `burnish` commands must still
name verbs and options that exist.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from burnish.cli import cli

PYTHON = Path(sys.executable).absolute()
ROOT = Path(__file__).absolute().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`")
COMMAND = re.compile(r"^burnish ([a-z]+)([^\n#]*)", re.MULTILINE)
# Installing was done before, and the tests are what is running.
DONE_ALREADY = {"pip install -e .", "pip install -e '.[dev]'", "python -m pytest"}

by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def run(command: list[str], folder: Path) -> str:
    path = f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}"
    environment = dict(os.environ, PATH=path, COLUMNS="100")
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@by_name
def test_the_commands_and_snippets_run(page: Path, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for language, code in BLOCK.findall(page.read_text("utf-8")):
        if language == "sh":
            lines = [line for line in code.splitlines() if line not in DONE_ALREADY]
            run(["bash", "-euo", "pipefail", "-c", "\n".join(lines)], tmp_path)
        elif language == "python":
            run([str(PYTHON), "-W", "error", "-c", code], tmp_path)
        else:
            assert language == "text", f"a block of {page.name} is marked {language}"


@by_name
def test_the_commands_and_options_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    code = "\n".join([block for _, block in BLOCK.findall(text)] + INLINE.findall(text))
    for verb, rest in COMMAND.findall(code):
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None, f"{page.name}: burnish {verb}"
        known = {"--help"} | set(options_of(command))
        given = set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", rest))
        assert given <= known, f"{page.name}: burnish {verb} has no {given - known}"


def options_of(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            assert below is not None
            yield from options_of(below)


@by_name
def test_links_lead_to_files(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@by_name
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert "TODO" not in page.read_text("utf-8")


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_the_examples_run(script: Path, tmp_path: Path) -> None:
    assert run([str(PYTHON), "-W", "error", str(script)], tmp_path)


def test_the_readme_names_every_part_of_the_package() -> None:
    tree = (ROOT / "README.md").read_text("utf-8")
    for path in sorted((ROOT / "src" / "burnish").iterdir()):
        if path.name.startswith(("_", ".")) or path.suffix not in ("", ".py"):
            continue
        name = f"{path.name}/" if path.is_dir() else path.name
        assert re.search(rf"^  {re.escape(name)} ", tree, re.MULTILINE), name


def test_contributing_draws_the_layers_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    drawn = "\n".join(layer.replace("(", "").replace(")", "") for layer in layers)
    assert f"```text\n{drawn}\n```" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")
