"""burnish restore: the original documents of a run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from burnish.errors import InputError
from burnish.workflows.restore import restore, write_restored


@click.command("restore")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path),
    help="File for the documents: .jsonl, .jsonl.zst, .parquet.  [default: FOLDER-restored.…]",
)  # fmt: skip
@click.option("--id", "document_id", help="Print the original text of this document only.")
def command(folder: Path, output: Path | None, document_id: str | None) -> None:
    """Bring the original documents of the run in FOLDER back, byte for byte.

    Everything comes from documents/, dropped/ and programs/; each text is checked against the hash
    that was taken before it was refined. Refined documents are not touched.

    \b
    Examples:
      burnish restore out
      burnish restore out --id lesson-1
    """
    if document_id is not None:
        for found in restore(folder):
            if found.id == document_id:
                sys.stdout.buffer.write(found.text.encode("utf-8", "surrogatepass"))
                return
        raise InputError(f"{folder} has no document {document_id!r}")
    target, count = write_restored(folder, output)
    click.echo(f"{count:,} documents: {target}", err=True)
