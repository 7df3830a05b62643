"""burnish export labels: programs of runs, for another refiner to learn from."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("labels")
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), help="Folder for the labels."
)
@click.option("--partial", is_flag=True, help="Take the finished shards of unfinished runs.")
def labels(runs: tuple[Path, ...], output: Path, partial: bool) -> None:
    """Write the decisions of RUNS as labels that burnish train takes (distillation).

    RUNS are output folders of burnish refine over the same input. Removed lines are noise, the
    others content; with a document stage, kept and dropped documents are labels too. Of several
    runs the majority counts.

    \b
    Examples:
      burnish refine crawl/ -o by-model --refiner hf:gair-prox/web-chunk-refining-lm
      burnish export labels by-model -o distilled
      burnish train tagger --data seed --data distilled --text crawl/ -o my-refiner
    """
    from burnish.workflows.distil import write_labels

    found = write_labels(runs, output, partial)
    click.echo(
        f"{output}: {found.pages:,} pages with line labels, {found.documents:,} documents with a "
        f"decision; {found.silent:,} documents of which nothing is said"
    )
    if found.alone:
        click.echo(f"of {found.alone:,} of the pages, one run alone says something")
