"""burnish push: a refiner or labels onto the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import click

from burnish.workflows.share import packed
from burnish.workflows.share import push as send


@click.command("push")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("place", metavar="hf:ORGANISATION/NAME")
@click.option("--private", is_flag=True, help="Let only its owners see it.")
@click.option("--message", "-m", help="Title of the commit.  [default: made from the card]")
@click.option("--revision", help="Branch to send it to; made if it is missing.  [default: main]")
@click.option(
    "--with-answers", is_flag=True,
    help="Of labels, send the teacher's answers and the sample too.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="List files and sizes, and send nothing.")
def command(
    folder: Path,
    place: str,
    private: bool,
    message: str | None,
    revision: str | None,
    with_answers: bool,
    dry_run: bool,
) -> None:
    """Share the refiner or the labels in FOLDER on the Hugging Face hub.

    A folder with card.json becomes a model, one that burnish annotate wrote becomes a data set; it
    is checked before. A page (README.md) is made from the card unless you wrote one. Needs the
    extra [hub] and a token: `hf auth login`, or the variable HF_TOKEN.

    \b
    Examples:
      burnish push refiner hf:our-lab/refiner --dry-run
      burnish push seed hf:our-lab/seed --private
    """
    with packed(folder, place, with_answers=with_answers) as parcel:
        for note in parcel.notes:
            click.echo(f"Note: {note}", err=True)
        if dry_run:
            sizes = parcel.sizes
            width = max(map(len, sizes))
            for name, size in sizes.items():
                made = "  (made from the card)" if isinstance(parcel.files[name], bytes) else ""
                click.echo(f"{name:{width}}  {size:>14,} bytes{made}")
            total = sum(sizes.values()) / 1e6
            click.echo(f"{parcel.title}: {len(sizes)} files, {total:,.1f} MB; nothing was sent")
            return
        done = send(parcel, place, private=private, message=message, revision=revision)
    if done.kept_page:
        click.echo("README.md was written on the hub and stays as it is there", err=True)
    if done.removed:
        click.echo(
            f"Removed there, as this version lacks them: {', '.join(done.removed)}", err=True
        )
    click.echo(done.address)
