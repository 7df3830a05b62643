"""burnish refiners: what is known by name."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import click
from rich import box
from rich.console import Console
from rich.table import Table

from burnish.refiners import refiner_card, refiner_names


@click.command("refiners")
@click.argument("name", required=False)
@click.option(
    "--card", is_flag=True, help="Print the card of NAME, as it belongs into the model's folder."
)
def command(name: str | None, card: bool) -> None:
    """List the refiners, or show what is known about NAME (a name, folder or hf:...).

    \b
    Examples:
      burnish refiners
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
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("refiner", "kind", "stages", "dialect", "weights"):
        table.add_column(column, overflow="fold", no_wrap=column == "refiner")
    for each in [name] if name else refiner_names():
        table.add_row(each, *_row(each))
    Console(file=sys.stdout).print(table)


def _row(name: str) -> tuple[str, str, str, str]:
    card = refiner_card(name)
    if card is None:
        return "rules", "chunk", "line-labels", "-"
    weights = "in the package" if card.model is None else card.model.weights
    dialects = dict.fromkeys(spec.dialect for spec in card.stages.values())
    return card.kind, ", ".join(card.stages), ", ".join(dialects), weights
