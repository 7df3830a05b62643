"""burnish refine: a corpus in, a refined corpus and its programs out."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from burnish.cli.progress import RunProgress
from burnish.cli.refining import refining_options, threshold_told
from burnish.io.output import read_rejected
from burnish.refiners import EngineChoice
from burnish.report.diff import excerpt
from burnish.runner.base import Summary
from burnish.schema import Status
from burnish.workflows.refine import Config, run
from burnish.workflows.restore import Restored, restore
from burnish.workflows.retention import Choice

_EXCERPTS = 3
_LOOKED_THROUGH = 200  # documents in which the excerpts are looked for
_MARKS = {"-": "red strike", "+": "green", " ": "", "…": "dim"}


class _Task(click.ParamType[tuple[int, int]]):
    name = "I/N"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)/(\d+)", str(value))
        if not match or not int(match[1]) < int(match[2]):
            self.fail(f"{value!r} is no I/N with I from 0 to N - 1, such as 0/8", param, ctx)
        return int(match[1]), int(match[2])


@click.command("refine")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path),
    help="Folder for the result; run again into the same folder to go on after a stop.",
)  # fmt: skip
@refining_options
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Refine only the first N rows.")
@click.option(
    "--task", type=_Task(), default=(0, 1), metavar="I/N",
    help="Do the I-th of N shares (from 0); several machines may share the output folder.",
)  # fmt: skip
def command(
    inputs: tuple[Path, ...],
    output: Path,
    refiners: tuple[str, ...],
    stages: str | None,
    engine: EngineChoice,
    keep_threshold: float | None,
    noise_threshold: float | None,
    keep_tokens: float | None,
    text_column: str,
    id_column: str | None,
    form: str,
    workers: int | None,
    limit: int | None,
    task: tuple[int, int],
) -> None:
    """Refine INPUTS: files or folders of .jsonl (plain, .gz, .zst) or .parquet.

    The output folder holds documents/ (refined, with all columns), dropped/ (whole), programs/
    (what was done to each document), rejected/ (rows that are no documents) and summary.json.

    \b
    Examples:
      burnish refine examples/pages.jsonl --output out
      burnish refine crawl/ --output refined --workers 16 --keep-threshold 0.4
      burnish refine crawl/ --output refined --keep-tokens 25%
      burnish refine crawl/ --output refined --refiner hf:gair-prox/web-chunk-refining-lm
      burnish refine crawl/ --output refined --refiner prox-web-document --refiner prox-web-chunk
    """
    console = Console(stderr=True, markup=False)
    config = Config(
        inputs=inputs,
        output=output,
        refiner=refiners,
        stages=None if stages is None else tuple(filter(None, map(str.strip, stages.split(",")))),
        engine=engine,
        keep_threshold=keep_threshold,
        noise_threshold=noise_threshold,
        keep_tokens=keep_tokens,
        text_column=text_column,
        id_column=id_column,
        format=form,
        limit=limit,
        task=task,
        workers=workers,
    )

    def on_choice(choice: Choice) -> None:
        console.print(threshold_told(choice), style="dim")

    with RunProgress(console) as progress:
        summary = run(config, progress.update, on_choice)
    if summary.already_done:
        console.print(f"Nothing to do: {output} is finished. Its summary:")
    _show(summary, output, Console(file=sys.stdout, markup=False))
    if summary.rejected and not summary.documents:
        reasons = Counter(row.reason for row in islice(read_rejected(output), _LOOKED_THROUGH))
        raise click.ClickException(
            f"no row is a document; the commonest reason: {reasons.most_common(1)[0][0]}"
        )
    if summary.errors:
        raise click.ClickException(
            f"{summary.errors} damaged files or parts of files were not read to their end; "
            f"see {output / 'rejected'}"
        )


def _show(summary: Summary, output: Path, console: Console) -> None:
    console.print(_table(summary))
    with suppress(Exception):  # the run is done, and no look at it may fail it
        for found in islice(_edited(output), _EXCERPTS):
            console.print(_excerpt(found, console.width))
    if not summary.finished:
        console.print("Shards of other tasks are still to do.", style="yellow")
    console.print(f"Refined documents: {output / 'documents'}", highlight=False)


def _table(summary: Summary) -> Table:
    """Documents by what became of them, with each stage's reasons."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column, justify in (("", "left"), ("documents", "right"), ("share", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    total = max(summary.documents + summary.rejected, 1)

    def row(name: str, count: int, style: str = "") -> None:
        table.add_row(name, f"{count:,}", f"{count / total:.1%}", style=style)

    for status in Status:
        row(str(status), getattr(summary, status))
    row("rejected", summary.rejected)
    if summary.reasons:
        table.add_section()
    for stage, reasons in summary.reasons.items():
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
            row(f"{stage} stage: {reason}", count, "dim")
    table.add_section()
    share = summary.kept_bytes / summary.text_bytes if summary.text_bytes else 0
    size = f"{summary.kept_bytes / 1e6:,.2f} of {summary.text_bytes / 1e6:,.2f}"
    table.add_row("text kept, MB", size, f"{share:.1%}")
    lines = f"{summary.removed_lines:,}"
    table.add_row("lines removed from what stays", lines, "")
    return table


def _edited(output: Path) -> Iterator[Restored]:
    """The first edited documents of the run, for a look at what changed."""
    documents = islice(restore(output, partial=True), _LOOKED_THROUGH)
    return (found for found in documents if found.status is Status.EDITED)


def _excerpt(found: Restored, width: int) -> Text:
    text = Text(overflow="ellipsis", no_wrap=True)
    text.append(f"{found.id}\n", style="bold")
    for line in excerpt(found.text, found.refined, width=width - 5):
        text.append(f"  {line.mark} {line.text}\n", style=_MARKS[line.mark])
    return text
