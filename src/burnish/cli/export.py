"""burnish export: a refiner's model in another form."""

from __future__ import annotations

from pathlib import Path

import click

from burnish.errors import OutputError
from burnish.spec import CARD_FILE


@click.group("export")
def command() -> None:
    """Write a language model in the form that an engine reads fastest.

    \b
    Example:
      burnish export openvino my-refiner --output my-refiner-int8
    """


@command.command("openvino")
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), help="Folder to be made."
)
@click.option(
    "--int8/--no-int8", default=True, show_default=True,
    help="Store matrices as 8-bit integers, else as they are.",
)  # fmt: skip
def openvino(model: Path, output: Path, int8: bool) -> None:
    """Write the Hugging Face folder MODEL for OpenVINO, with its refiner card if it has one.

    The openvino engine does the same by itself, and keeps the result in a cache; this is for
    machines that shall not hold the original. Needs the extra [openvino].

    \b
    Examples:
      burnish export openvino my-refiner --output my-refiner-int8
      burnish refine pages.jsonl --output out --refiner my-refiner-int8 --engine openvino
    """
    from burnish.refiners.engines.openvino_export import export

    if output.exists():
        raise OutputError(f"{output} exists already; name a folder that does not")
    card = model / CARD_FILE
    export(
        model,
        output,
        int8=int8,
        note=(CARD_FILE, card.read_text("utf-8")) if card.is_file() else None,
    )
    size = sum(path.stat().st_size for path in output.iterdir()) / 1e6
    click.echo(f"{output}: {size:,.1f} MB")
