"""burnish inspect: labelled documents on the terminal."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TextIO

import click
from rich.console import Console, RenderableType

from burnish.errors import BurnishError
from burnish.io.labels import CHUNK, DOCUMENT
from burnish.report.labelled import Wanted, find
from burnish.report.labelled_overview import overview
from burnish.report.labelled_page import Look, page

_WIDEST = 132  # columns: on a wider terminal the reasons stand too far from short lines


@click.command("inspect")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--stage", type=click.Choice([DOCUMENT, CHUNK]), help="Documents only, or windows of them only."
)
@click.option("--split", metavar="NAME", help="One split only: train, dev, ...")
@click.option(
    "--kind", metavar="KIND",
    help="Windows where something of this kind is removed or changed, such as navigation.",
)  # fmt: skip
@click.option(
    "--disagreement", is_flag=True,
    help="Where annotators differ: in keep, in a score by 2 or more, in a line, in their programs.",
)  # fmt: skip
@click.option("--status", type=click.Choice(["kept", "edited"]), help="Windows of this status.")
@click.option(
    "--rejected", is_flag=True, help="The answers that are no labels, instead of labelled rows."
)
@click.option("--id", "identity", metavar="ID", help="Rows with this id.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Show at most N rows.")
@click.option(
    "--full", is_flag=True, help="All of a document or an answer, not its first 40 lines alone."
)
@click.option("--pager/--no-pager", default=True, help="On a terminal, page through the output.")
def command(
    folder: Path,
    stage: str | None,
    split: str | None,
    kind: str | None,
    disagreement: bool,
    status: str | None,
    rejected: bool,
    identity: str | None,
    limit: int | None,
    full: bool,
    pager: bool,
) -> None:
    """Page through the labelled documents in DIR, which burnish annotate wrote.

    Removed text is struck out, new text green; a - marks lines that went whole, a ~ lines that
    changed, and the reasons stand beside them. Lines are numbered from 0, as in the document.
    Characters that can not be seen have a dim sign. Filters combine.

    \b
    Examples:
      burnish inspect labels
      burnish inspect labels --stage chunk --kind navigation --disagreement
      burnish inspect labels --rejected --no-pager | head -50
    """
    wanted = Wanted(stage, split, kind, disagreement, status, rejected, identity)
    console = Console(file=sys.stdout, markup=False)
    console.width = min(console.width, _WIDEST)
    look = Look(full, marks=console.color_system is None or console.no_color)
    shown = (
        None if found is None else _render(console, page(found, look))
        for found in find(folder, wanted)
    )
    pages = _at_most(limit, shown)
    first = next(filter(None, pages), None)
    if first is None:
        _say_nothing_found(folder)
        raise click.exceptions.Exit(1)
    if pager and sys.stdout.isatty():
        _show_in_pager(chain([first], pages), console.color_system is not None)
    else:
        _print(chain([first], filter(None, pages)))


def _at_most(limit: int | None, pages: Iterable[str | None]) -> Iterator[str | None]:
    """The pages up to the last of `limit`; None is not one."""
    count = 0
    for shown in pages:
        yield shown
        count += shown is not None
        if count == limit:
            return


def _render(console: Console, shown: RenderableType) -> str:
    with console.capture() as capture:
        console.print(shown)
    # Tables fill their last column with blanks, which a file has no use for.
    return capture.get() if console.color_system else re.sub(" +\n", "\n", capture.get())


def _show_in_pager(pages: Iterable[str | None], color: bool) -> None:
    """Hands pages to the pager as it asks for them, until its end.

    An error comes after the pager, so that the pages before it can be read in peace.
    """
    # Colours, and no waiting for q where one screen holds it all; the user's own options stay.
    os.environ["LESS"] = f"-R -F {os.environ.get('LESS', '')}".rstrip()
    failed: BurnishError | None = None
    # Ctrl-C belongs to the pager, which stops a search with it.
    with suppress(KeyboardInterrupt), click.get_pager_file(color) as pager:
        try:
            for shown in pages:
                if shown is not None:
                    pager.write(shown)
                    pager.flush()
                elif _has_gone(pager):
                    break
        except BurnishError as error:
            failed = error
            pager.write(f"Error: {error}\n")
    if failed is not None:
        raise failed


def _has_gone(pager: TextIO) -> bool:
    """Whether nobody reads what is written to the pager; a search would go on for nothing."""
    poll = select.poll()
    poll.register(pager.fileno(), 0)  # errors are reported always
    return bool(poll.poll(0))


def _print(pages: Iterable[str]) -> None:
    """Writes pages to standard output until its reader has seen enough."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        for shown in pages:
            # As bytes: click would look for colours again, and a Latin terminal lacks the signs.
            click.echo(shown.encode(encoding, "replace"), nl=False)
    except BrokenPipeError:
        # What is still in the buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say_nothing_found(folder: Path) -> None:
    console = Console(stderr=True, markup=False)
    counts = overview(folder)
    console.print(f"Nothing in {folder} is as you ask. There is:", markup=False, highlight=False)
    console.print(counts)
