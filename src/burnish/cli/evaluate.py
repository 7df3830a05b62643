"""burnish evaluate: a refiner against gold, and against another refiner."""

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
from burnish.errors import OutputError
from burnish.refiners import EngineChoice
from burnish.report.evaluation_page import Case, State, page
from burnish.workflows.evaluate import (
    GROUPS,
    Evaluation,
    Judgement,
    evaluate_all,
    evaluate_labels,
    facts,
    worst,
)

_SHOWN = 12  # groups of one table; the others are in --json and --html


@click.command("evaluate")
@click.argument("gold", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--refiner", default="default", show_default=True, help="Name, folder or hf:...")
@click.option(
    "--against",
    metavar="R",
    help="A second refiner, compared on the same pages or documents with a paired test.",
)
@click.option(
    "--keep-threshold", type=click.FloatRange(0, 1), metavar="P",
    help="Judge REFINER with another threshold of documents.",
)  # fmt: skip
@click.option(
    "--noise-threshold", type=click.FloatRange(0, 1), metavar="P",
    help="Judge REFINER with another threshold of lines.",
)  # fmt: skip
@click.option(
    "--annotations", type=click.Path(path_type=Path), metavar="DIR",
    help="Judge the labels that burnish annotate wrote there, and no refiner.",
)  # fmt: skip
@engine_options
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE",
    help="Write a page with all numbers and the worst documents of each kind.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    gold: tuple[Path, ...],
    refiner: str,
    against: str | None,
    keep_threshold: float | None,
    noise_threshold: float | None,
    annotations: Path | None,
    engine: EngineChoice,
    html: Path | None,
    as_json: bool,
) -> None:
    """Measure a refiner on GOLD files: pages with line labels, or documents with scores.

    For pages: F1 of the removed lines, pooled over all lines (paper A.3), F1 of the kept words, of
    removed characters and of runs of them (one that covers half of what it and the gold's run
    cover together is right), the share of content words that went (lost) and of noise words that
    stayed (left).
    For documents: F1 and ROC AUC of keep, Pearson r of each score. Intervals are 95 % bootstraps
    over pages. Lines labelled -1 are not scored. Gold that several annotators made also tells how
    well they agree (Cohen's kappa beside F1 and r).

    \b
    Examples:
      burnish evaluate gold/dev.jsonl.zst seed/dev.jsonl.zst --refiner default
      burnish evaluate gold/dev.jsonl.zst --against c4-lines --html report.html
      burnish evaluate gold/dev.jsonl.zst --annotations seed
    """
    if annotations is not None:
        thresholds = keep_threshold is not None or noise_threshold is not None
        if html or against or thresholds or refiner != "default" or engine != EngineChoice():
            raise click.UsageError(
                "--annotations judges labels, without a refiner, its engine and thresholds, "
                "--against and --html"
            )
        _judge_labels(gold, annotations, as_json)
        return
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise click.UsageError(f"--html names a file in a folder that exists, not {html}")
    if html is not None and html.resolve() in [path.resolve() for path in gold]:
        raise click.UsageError(f"--html would write over the gold {html}")
    results = evaluate_all(
        gold,
        refiner,
        engine,
        against=against,
        keep_threshold=keep_threshold,
        noise_threshold=noise_threshold,
    )
    data = [result.to_json() for result in results]
    unwritten = ""
    if html is not None:
        cases = [_cases(result) for result in results]
        try:
            html.write_text(page(f"{refiner} evaluated", data, cases), "utf-8", "backslashreplace")
        except OSError as error:
            unwritten = f"{html} can not be written: {error.strerror or error}"
    if as_json:
        click.echo(json.dumps(data, indent=1))
    else:
        console = Console(file=sys.stdout, markup=False)
        for result, numbers in zip(results, data, strict=True):
            for table in _tables(result.kind, numbers):
                console.print(table)
        if html is not None and not unwritten:
            console.print(f"The worst documents: {html}", highlight=False)
    if unwritten:  # told after the numbers, which took the time
        raise OutputError(unwritten)


def _judge_labels(gold: tuple[Path, ...], annotations: Path, as_json: bool) -> None:
    found = {str(path): evaluate_labels(path, annotations).to_json() for path in gold}
    if as_json:
        click.echo(json.dumps([{"gold": path, **data} for path, data in found.items()], indent=1))
        return
    console = Console(file=sys.stdout, markup=False)
    for table in _agreement_tables(f"labels in {annotations} against gold", found):
        console.print(table)


def _agreement_tables(title: str, groups: Mapping[str, Any]) -> list[Table]:
    """Lines and documents, as far as there are some; of labels and gold, precision and recall are
    the labels'."""
    lines = _table(f"{title}: lines", _LINE_AGREEMENT)
    documents = _table(f"{title}: documents", _DOCUMENT_AGREEMENT)
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


def _tables(kind: str, data: Mapping[str, Any]) -> list[Table]:
    tables = [_metrics(data)]
    if data["comparison"] and data["comparison"]["metrics"]:
        tables.append(_comparison(kind, data["comparison"]))
    for name in GROUPS:
        if len(data[f"by_{name}"]) > 1:
            tables.append(_groups(kind, name.replace("_", " "), data[f"by_{name}"]))
    if data["agreement"]:
        tables += _agreement_tables("agreement of annotators", data["agreement"])
    return tables


def _metrics(data: Mapping[str, Any]) -> Table:
    """All metrics with their intervals, and what became of the pages."""
    told = [f"{name} threshold {at:g}" for name, at in data["thresholds"].items()]
    title = ", ".join((f"{data['refiner']} on {data['gold']}", *told))
    table = _table(title, ("", "value", "95 % interval"))
    total = data["total"]
    for name in ("pages", "documents", "dropped", "failed", "refused"):
        if name in total:
            table.add_row(name, f"{total[name]:,}", "")
    counts = total["removed_lines"] if "removed_lines" in total else total["keep"]
    for name in ("precision", "recall"):
        what = "removed lines" if "removed_lines" in total else "keep"
        table.add_row(f"{name} of {what}", _show(counts[name]), "")
    for name, found in total["metrics"].items():
        table.add_row(_named(name), _show(found["value"]), _interval(found))
    for name, curve in data["calibration"].items():
        error = curve["expected_calibration_error"]
        table.add_row(f"calibration error, {name}", _show(error), "")
    return table


def _comparison(kind: str, found: Mapping[str, Any]) -> Table:
    heads = ("", "this", "other", "difference", "95 % interval", "p")
    title = f"against {found['refiner']}"
    if kind == "documents":
        title += f", on the {found['compared']:,} documents that neither failed"
    table = _table(title, heads)
    for name, one in found["metrics"].items():
        difference = one["difference"]
        table.add_row(
            _named(name), _show(one["first"]), _show(one["second"]), _show(difference["value"]),
            _interval(difference), _show(one["p"]),
        )  # fmt: skip
    return table


def _groups(kind: str, title: str, groups: Mapping[str, Any]) -> Table:
    count = "pages" if kind == "lines" else "documents"
    shown = _LINE_COLUMNS if kind == "lines" else _DOCUMENT_COLUMNS
    table = _table(f"by {title}", ("", count, *shown.values(), "failed"))
    for name, part in list(groups.items())[:_SHOWN]:
        values = (_show(part["metrics"][metric]["value"]) for metric in shown)
        failed = part["failed"] + part.get("refused", 0)
        table.add_row(name, f"{part[count]:,}", *values, f"{failed:,}")
    return table


def _table(title: str, heads: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    return table


def _named(metric: str) -> str:
    return metric.replace("_", " ").replace(" f1", " F1").replace("roc auc", "ROC AUC")


def _interval(found: Mapping[str, float | None]) -> str:
    return "" if found["low"] is None else f"{_show(found['low'])} to {_show(found['high'])}"


_LINE_COLUMNS = {
    "removed_lines_f1": "F1 lines",
    "kept_words_f1": "F1 words",
    "content_words_lost": "lost",
    "noise_words_left": "left",
}
_DOCUMENT_COLUMNS = {
    "keep_f1": "F1 keep",
    "keep_roc_auc": "AUC keep",
    "edu_pearson_r": "r edu",
    "format_pearson_r": "r format",
}
_LINE_AGREEMENT = ("", "windows", "precision", "recall", "F1 removed", "kappa")
_DOCUMENT_AGREEMENT = ("", "documents", "F1 keep", "kappa", "r edu", "r format")


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


# ---------------------------------------------------------------------------------- the page


def _cases(result: Evaluation) -> dict[str, list[Case]]:
    """The worst documents of each kind with their texts."""
    return {
        kind: [_case(result, judgement) for judgement in found]
        for kind, found in worst(result).items()
    }


def _case(result: Evaluation, judgement: Judgement) -> Case:
    row = result.rows[judgement.number]
    title = str(row.get("url") or row.get("id") or f"row {judgement.number}")
    lines: list[tuple[State, str]]
    if result.kind == "lines":
        gone = result.removed[judgement.number]
        lines = [(_state(line["label"], n in gone), line["text"])
                 for n, line in enumerate(row["lines"])]  # fmt: skip
    else:
        lines = [("unscored-kept", line) for line in row["text"].split("\n")]
    return Case(title, facts(judgement), lines)


def _state(label: int, removed: bool) -> State:
    if label < 0:
        return "unscored-removed" if removed else "unscored-kept"
    if removed:
        return "removed" if label else "lost"
    return "left" if label else "kept"
