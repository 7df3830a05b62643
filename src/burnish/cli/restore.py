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
@click.option("--partial", is_flag=True, help="Take what is done of a run that is not finished.")
def command(folder: Path, output: Path | None, document_id: str | None, partial: bool) -> None:
    """Bring the original documents of the run in FOLDER back.

    Every text comes back to the byte, the other columns by value.

    Everything comes from documents/, dropped/ and programs/; each text is checked against the hash
    that was taken before it was refined. Refined documents are not touched.

    \b
    Examples:
      burnish restore out
      burnish restore out --id lesson-1
    """
    if document_id is not None:
        if output is not None:
            raise click.UsageError(
                f"--id prints the text: burnish restore {folder} --id {document_id} > {output}"
            )
        texts = (found.text for found in restore(folder, partial) if found.id == document_id)
        text = next(texts, None)
        if text is None:
            raise InputError(f"{folder} has no document {document_id!r}")
        sys.stdout.buffer.write(text.encode("utf-8", "surrogatepass"))
        if more := sum(1 for _ in texts):
            click.echo(f"{more + 1} documents have the id {document_id!r}: the first", err=True)
        return
    target, count = write_restored(folder, output, partial)
    click.echo(f"{count:,} documents: {target}", err=True)
