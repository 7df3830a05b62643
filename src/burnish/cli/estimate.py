"""burnish estimate: what a run would come to, told from a small sample."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from burnish.cli.refining import refining_options, threshold_told
from burnish.refiners import EngineChoice
from burnish.workflows.estimate import Config, Prediction, run
from burnish.workflows.retention import Estimate


@click.command("estimate")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@refining_options
@click.option(
    "--sample", type=click.IntRange(1), metavar="N",
    help="Refine so many documents.  [default: 2000; with a language model 500]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    inputs: tuple[Path, ...],
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
    sample: int | None,
    as_json: bool,
) -> None:
    """Tell what burnish refine would make of INPUTS, without making it.

    A small sample is drawn, the same each time, and refined into a temporary folder. Of plain JSONL
    and Parquet only the places of the sample are read; a compressed file is read from its start.

    \b
    Examples:
      burnish estimate crawl/
      burnish estimate crawl/ --keep-tokens 25% --workers 16
    """
    config = Config(
        inputs=inputs,
        refiner=refiners,
        stages=None if stages is None else tuple(filter(None, map(str.strip, stages.split(",")))),
        engine=engine,
        keep_threshold=keep_threshold,
        noise_threshold=noise_threshold,
        keep_tokens=keep_tokens,
        text_column=text_column,
        id_column=id_column,
        format=form,
        workers=workers,
        sample=sample,
    )
    found = run(config)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1))
        return
    console = Console(file=sys.stdout, markup=False)
    about = "" if found.whole else "about "
    console.print(
        f"{about}{found.documents:,.0f} documents, {found.text_bytes / 1e6:,.1f} MB of text; "
        f"{found.sampled:,} of them refined, drawn from {'; '.join(found.places)}",
        highlight=False,
    )
    if found.rejected:
        console.print(f"{found.rejected:,} of the rows read are no documents: to be rejected")
    for name in found.damaged:
        console.print(f"{name} is damaged: what is behind the damage is not counted")
    if found.choice is not None:
        console.print(threshold_told(found.choice), highlight=False)
    console.print(_table(found))


def _table(found: Prediction) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column, justify in (("", "left"), ("estimate", "right"), ("95 % interval", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]

    def row(name: str, estimate: Estimate, form: str, factor: float = 1) -> None:
        low, high = (form.format(value * factor) for value in (estimate.low, estimate.high))
        table.add_row(name, form.format(estimate.value * factor), f"{low} to {high}")

    row("documents that stay", found.kept_documents, "{:.1%}")
    row("… how many", found.kept_documents, "{:,.0f}", found.documents)
    for stage, share in found.dropped.items():
        row(f"dropped by the {stage} stage", share, "{:.1%}")
    row("text that stays, of all bytes", found.kept_bytes, "{:.1%}")
    row("… MB", found.kept_bytes, "{:,.2f}", found.text_bytes / 1e6)
    row("lines removed from what stays, of all lines", found.removed_lines, "{:.1%}")
    for folder, size in found.output_bytes.items():
        row(f"{folder}/ on disk, MB", size, "{:,.2f}", 1e-6)
    workers = f"{found.workers} worker" + ("s" if found.workers > 1 else "")
    form, factor = _unit(found.seconds.value)
    low, high = (form.format(value * factor) for value in (found.seconds.low, found.seconds.high))
    shown = form.format(found.seconds.value * factor)
    off = found.seconds.high / found.seconds.value - 1
    table.add_row(f"time, {workers} on this machine", shown, f"{low} to {high} (± {off:.0%})")
    for cost in found.models:
        table.add_section()
        name = f"{cost.stage} stage: tokens"
        row(f"{name} read, millions", cost.prefill_tokens, "{:,.2f}", 1e-6)
        row(f"{name} written, millions", cost.decode_tokens, "{:,.2f}", 1e-6)
        if cost.flops is not None and cost.a100_hours is not None:
            row(f"… FLOPs of {cost.parameters or 0:,} parameters", cost.flops, "{:.2e}")
            row("… hours of an A100 at ProX's rate", cost.a100_hours, "{:,.3g}")
    return table


def _unit(seconds: float) -> tuple[str, float]:
    """How a time is shown: a form, and what it is multiplied by.

    >>> _unit(30), _unit(600)
    (('{:,.0f} s', 1), ('{:,.0f} min', 0.016666666666666666))
    """
    if seconds < 120:
        return "{:,.0f} s", 1
    return ("{:,.0f} min", 1 / 60) if seconds < 7200 else ("{:,.1f} h", 1 / 3600)
