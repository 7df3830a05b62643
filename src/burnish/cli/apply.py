"""burnish apply: one program on one text."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from burnish.api import execute
from burnish.dialects import dialect_names
from burnish.schema import Status

# Lone surrogates that are no byte of the input: a program may write them.
_WRITTEN_SURROGATES = re.compile("([\ud800-\udc7f\udd00-\udfff]+)")


@click.command("apply")
@click.argument("textfile", required=False, default="-", type=click.Path(path_type=Path))
@click.option(
    "--dialect", type=click.Choice(dialect_names()), default="prox-chunk", show_default=True
)
@click.option(
    "--program",
    "program_file",
    required=True,
    type=click.Path(path_type=Path),
    help="File with the program text; - reads it from standard input.",
)
def command(textfile: Path, dialect: str, program_file: Path) -> None:
    """Execute one program on TEXTFILE (default: standard input).

    The refined text goes to standard output, issues to standard error. Exit code 0 means executed,
    1 refused or failed (the text is printed as it was), 2 wrong usage.

    \b
    Example:
      echo 'remove_lines(0, 1)' > program.txt
      burnish apply --program program.txt page.txt
    """
    if str(textfile) == str(program_file) == "-":
        raise click.UsageError("only one of TEXTFILE and --program can be standard input")
    outcome = execute(_read(textfile), _read(program_file), dialect)
    sys.stdout.buffer.write(_encode(outcome.text))
    sys.stdout.flush()
    for issue in outcome.issues:
        click.echo(str(issue), err=True)
    click.echo(f"{outcome.status}{': ' + outcome.reason if outcome.reason else ''}", err=True)
    if outcome.status in (Status.REFUSED, Status.FAILED):
        raise click.exceptions.Exit(1)


def _read(path: Path) -> str:
    """The text, byte for byte: no newline translation; bytes that are not UTF-8 survive too."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    return data.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    """The bytes of a text that `_read` and a program made; a lone surrogate takes three bytes."""
    parts = enumerate(_WRITTEN_SURROGATES.split(text))
    return b"".join(
        part.encode("utf-8", "surrogatepass" if n % 2 else "surrogateescape") for n, part in parts
    )
