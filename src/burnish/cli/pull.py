"""burnish pull: a refiner or labels from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import click

from burnish.workflows.share import REFINER
from burnish.workflows.share import pull as fetch


@click.command("pull")
@click.argument("place", metavar="hf:ORGANISATION/NAME")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path),
    help="Folder to be made.  [default: in the hub's cache]",
)  # fmt: skip
@click.option("--revision", help="Branch, tag or commit.  [default: main]")
def command(place: str, output: Path | None, revision: str | None) -> None:
    """Fetch a refiner or labels that burnish push has shared, and check that they are whole.

    Needs the extra [hub]; what is private needs a token too: `hf auth login`, or HF_TOKEN.

    \b
    Examples:
      burnish pull hf:our-lab/refiner
      burnish pull hf:our-lab/seed --output seed
    """
    found = fetch(place, output, revision)
    click.echo(found.folder)
    if found.what == REFINER:
        named = place if output is None and revision is None else str(found.folder)
        click.echo(
            f"To use it: burnish refine pages.jsonl --output out --refiner {named}", err=True
        )
    else:
        click.echo(f"To look at it: burnish inspect {found.folder}", err=True)
        click.echo(f"To train on it: burnish train causal --data {found.folder} --help", err=True)
