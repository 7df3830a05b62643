"""burnish train: make a refiner from labelled data."""

from __future__ import annotations

from pathlib import Path

import click

from burnish.workflows.train import Config, run


@click.group("train")
def command() -> None:
    """Train a refiner.

    \b
    Example:
      burnish train tagger --data data --output my-refiner
    """


@command.command("tagger")
@click.option(
    "--data", required=True, type=click.Path(path_type=Path),
    help="Folder with boilerplate/, seed/, corpus/ and text/.",
)  # fmt: skip
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path),
    help="Folder for the refiner: weights and card.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--quick", is_flag=True, help="One short epoch, to try the way; not for use.")
def tagger(data: Path, output: Path, seed: int, quick: bool) -> None:
    """Make a tagger: the kind of refiner that comes with the package.

    Trains on the train files, chooses on the dev files, and writes an ONNX network, the document
    head and the refiner card. Needs the extra [train].

    \b
    Example:
      burnish train tagger --data data --output my-refiner
      burnish refine pages.jsonl --output out --refiner my-refiner
    """
    card = run(Config(data=data, output=output, seed=seed, quick=quick), click.echo)
    click.echo(f"{card.name} {card.version}: {output}")
