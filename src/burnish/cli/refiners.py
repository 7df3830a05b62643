"""burnish refiners: what is known by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from burnish.refiners import refiner_card, refiner_names
from burnish.spec import RefinerCard, leaves

_MEASURES = {
    "F1 lines": ("full_noise_f1", "f1"),
    "r edu": ("r_edu",),
    "AUC keep": ("auc_keep",),
}
"""Column -> the names under which a card may hold the measure; the first that is there is shown."""
_SKIPPED = ("cross_validation",)  # beside dev it would be taken for it


@click.command("refiners")
@click.argument("name", required=False)
@click.option(
    "--card", is_flag=True, help="Print the card of NAME, as it belongs into the model's folder."
)
def command(name: str | None, card: bool) -> None:
    """List the refiners, or show what is known about NAME (a name, folder or hf:...).

    F1 of removed lines, r of the educational score and ROC AUC of keep are shown where the card has
    them, as measured on its dev files. With NAME, all that its card says, such as where the weights
    are.

    \b
    Examples:
      burnish refiners
      burnish refiners default
      burnish refiners prox-web-chunk --card > model/card.json
    """
    if card:
        if name is None:
            raise click.UsageError("--card needs the NAME of a refiner")
        found = refiner_card(name)
        if found is None:
            raise click.UsageError(f"{name} is a rule and has no card")
        if found.model is not None:
            found = replace(found, model=replace(found.model, weights="."))
        click.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return
    console = Console(file=sys.stdout, markup=False)
    if name is not None and (shown := refiner_card(name)) is not None:
        console.print(_whole(shown))
        return
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for column in ("refiner", "kind", "stages", "dialect", *_MEASURES):  # 80 columns wide at most
        justify = "right" if column in _MEASURES else "left"
        table.add_column(column, no_wrap=True, justify=justify)  # type: ignore[arg-type]
    for each in [name] if name else refiner_names():
        table.add_row(each, *_row(each))
    console.print(table)


def _row(name: str) -> list[str]:
    card = refiner_card(name)
    if card is None:
        return ["rules", "chunk", "line-labels", *("-" for _ in _MEASURES)]
    dialects = (spec.dialect for spec in card.stages.values())
    measures = [_measure(card.metrics, names) for names in _MEASURES.values()]
    if "chunk" not in card.stages:
        measures[0] = "-"  # its F1 is of documents
    return [card.kind, "\n".join(card.stages), "\n".join(dialects), *measures]


def _measure(metrics: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of the measures that the card holds, at whatever depth; "-" without one."""
    for name in names:
        for path, value in leaves(metrics):
            if path[-1:] == (name,) and not set(path) & set(_SKIPPED) and _is_number(value):
                return f"{value:.3f}"
    return "-"


def _whole(card: RefinerCard) -> Table:
    """All that a card says, a line each: sections, then names with dots, as in the file."""
    table = Table(
        title=f"{card.name} {card.version} ({card.kind})", title_justify="left", box=box.SIMPLE,
        pad_edge=False, show_header=False,
    )  # fmt: skip
    table.add_column(overflow="fold", style="bold")
    table.add_column(overflow="fold")
    sections = {
        **{f"stage {name}": asdict(spec) for name, spec in card.stages.items()},
        "model": {} if card.model is None else asdict(card.model),
        "thresholds": card.thresholds,
        "calibration": {
            name: " ".join(f"{x:g}→{y:g}" for x, y in found.points)
            for name, found in card.calibration.items()
        },
        "metrics": card.metrics,
        "data": {name: str(digest)[:12] for name, digest in card.data.items()},
        "notes": card.notes,
    }
    for title, section in sections.items():
        if not section:
            continue
        table.add_section()
        table.add_row(title, "", style="cyan")
        for path, value in leaves(section):
            table.add_row(f"  {'.'.join(path)}", _told(value))
    return table


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value))
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
