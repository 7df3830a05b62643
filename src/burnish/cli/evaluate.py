"""burnish evaluate: a refiner against gold."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from burnish.cli.engine import engine_options
from burnish.refiners import EngineChoice
from burnish.workflows.evaluate import Evaluation, evaluate, evaluate_labels

_SHOWN = 12  # groups of one table; the others are in --json


@click.command("evaluate")
@click.argument("gold", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--refiner", default="default", show_default=True, help="Name, folder or hf:...")
@click.option(
    "--annotations", type=click.Path(path_type=Path), metavar="DIR",
    help="Judge the labels that burnish annotate wrote there, and no refiner.",
)  # fmt: skip
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    gold: tuple[Path, ...],
    refiner: str,
    annotations: Path | None,
    engine: EngineChoice,
    as_json: bool,
) -> None:
    """Measure a refiner on GOLD files: pages with line labels, or documents with scores.

    For pages: precision, recall and F1 of the removed lines, pooled over all lines (paper A.3), and
    F1 of the kept words. For documents: F1 and ROC AUC of keep, Pearson r of each score. Lines
    labelled -1 are not scored. Gold that several annotators made also tells how well they agree
    (Cohen's kappa beside F1 and r).

    \b
    Examples:
      burnish evaluate gold/dev.jsonl.zst seed/dev.jsonl.zst --refiner default
      burnish evaluate gold/dev.jsonl.zst --annotations seed
    """
    if annotations is not None:
        _judge_labels(gold, annotations, as_json)
        return
    results = [evaluate(path, refiner, engine) for path in gold]
    if as_json:
        click.echo(json.dumps([result.to_json() for result in results], indent=1))
        return
    console = Console(file=sys.stdout)
    for result in results:
        for table in _tables(result):
            console.print(table)


def _judge_labels(gold: tuple[Path, ...], annotations: Path, as_json: bool) -> None:
    found = {str(path): evaluate_labels(path, annotations).to_json() for path in gold}
    if as_json:
        click.echo(json.dumps([{"gold": path, **data} for path, data in found.items()], indent=1))
        return
    console = Console(file=sys.stdout)
    for table in _agreement_tables(f"labels in {annotations} against gold", found):
        console.print(table)


def _agreement_tables(title: str, groups: Mapping[str, Any]) -> list[Table]:
    """Lines and documents, as far as there are some; of labels and gold, precision and recall are
    the labels'."""
    lines = Table(title=f"{title}: lines", title_justify="left", box=box.SIMPLE)
    documents = Table(title=f"{title}: documents", title_justify="left", box=box.SIMPLE)
    for table, heads in ((lines, _LINE_AGREEMENT), (documents, _DOCUMENT_AGREEMENT)):
        for number, head in enumerate(heads):
            table.add_column(head, justify="right" if number else "left")
    for name, found in groups.items():
        removed, keep = found["removed_lines"], found["keep"]
        if found["windows"]:
            shown = (_show(removed[n]) for n in ("precision", "recall", "f1", "kappa"))
            lines.add_row(name, f"{found['windows']:,}", *shown)
        if found["documents"]:
            shown = (_show(keep[n]) for n in ("f1", "kappa"))
            correlations = (_show(found[n]) for n in ("edu_pearson_r", "format_pearson_r"))
            documents.add_row(name, f"{found['documents']:,}", *shown, *correlations)
    return [table for table in (lines, documents) if table.row_count]


def _tables(result: Evaluation) -> list[Table]:
    data = result.to_json()
    row = _line_row if result.kind == "lines" else _document_row
    tables = [_table(result, f"{result.gold}", {"all": data["total"]}, row)]
    for key, title in (("by_source", "by source"), ("by_language", "by language")):
        if len(data[key]) > 1:
            tables.append(_table(result, title, data[key], row))
    if data["agreement"]:
        tables += _agreement_tables("agreement of annotators", data["agreement"])
    return tables


def _table(result: Evaluation, title: str, groups: Mapping[str, Any], row: Any) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    heads = _LINE_HEADS if result.kind == "lines" else _DOCUMENT_HEADS
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    largest = sorted(groups.items(), key=lambda item: -item[1][heads[1]])
    for name, scores in largest[:_SHOWN]:
        table.add_row(name, *row(scores))
    return table


_LINE_AGREEMENT = ("", "windows", "precision", "recall", "F1 removed", "kappa")
_DOCUMENT_AGREEMENT = ("", "documents", "F1 keep", "kappa", "r edu", "r format")
_LINE_HEADS = (
    "",
    "pages",
    "precision",
    "recall",
    "F1 removed",
    "F1 kept words",
    "dropped",
    "failed",
)
_DOCUMENT_HEADS = (
    "",
    "documents",
    "precision",
    "recall",
    "F1 keep",
    "AUC keep",
    "r edu",
    "r format",
    "failed",
)


def _line_row(scores: Mapping[str, Any]) -> list[str]:
    removed = scores["removed_lines"]
    return [
        f"{scores['pages']:,}",
        *(_show(removed[name]) for name in ("precision", "recall", "f1")),
        _show(scores["kept_words"]["f1"]),
        f"{scores['dropped']:,}",
        f"{scores['failed']:,}",
    ]


def _document_row(scores: Mapping[str, Any]) -> list[str]:
    return [
        f"{scores['documents']:,}",
        *(_show(scores["keep"][name]) for name in ("precision", "recall", "f1")),
        *(_show(scores[n]) for n in ("keep_roc_auc", "edu_pearson_r", "format_pearson_r")),
        f"{scores['failed']:,}",
    ]


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
