"""burnish export: a refiner's model in another form, or its programs as labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from burnish.cli.export_labels import labels
from burnish.errors import OutputError, UsageError
from burnish.spec import CARD_FILE, RefinerCard

_MODEL = click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
_OUTPUT = click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), help="Folder to be made."
)


@click.group("export")
def command() -> None:
    """Write a language model in the form that an engine reads fastest, or programs as labels.

    \b
    Examples:
      burnish export openvino my-refiner --output my-refiner-int8
      burnish export onnx my-refiner --output my-refiner-onnx
      burnish export labels run-1 run-2 --output distilled
    """


command.add_command(labels)


@command.command("openvino")
@_MODEL
@_OUTPUT
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

    with _new(output):
        export(model, output, int8=int8, note=_card(model))
    _tell(output)


@command.command("onnx")
@_MODEL
@_OUTPUT
@click.option(
    "--weights", type=click.Choice(["int4", "int8", "float32"]), default="int8", show_default=True,
    help="How matrices are stored.",
)  # fmt: skip
def onnx(model: Path, output: Path, weights: str) -> None:
    """Write the Hugging Face folder MODEL in ONNX, with its refiner card if it has one.

    The onnx engine does the same by itself, and keeps the result in a cache; this is for machines
    that shall not hold the original. Needs the extra [onnx-export]; running needs only [onnx].

    \b
    Examples:
      burnish export onnx my-refiner --output my-refiner-onnx
      burnish refine pages.jsonl --output out --refiner my-refiner-onnx --engine onnx
    """
    from burnish.refiners.engines.onnx_export import export

    with _new(output):
        export(model, output, weights=weights, note=_card(model))
    _tell(output)


@contextmanager
def _new(output: Path) -> Iterator[None]:
    """For a folder that is made in the block. Raises OutputError where it is there, or can not be
    written."""
    if output.exists():
        raise OutputError(f"{output} exists already; name a folder that does not")
    try:
        yield
    except OSError as error:
        raise OutputError(f"can not write {output}: {error.strerror or error}") from None


def _card(model: Path) -> tuple[str, str] | None:
    """Name and text of the refiner card. Raises UsageError for one of no language model."""
    card = model / CARD_FILE
    if not card.is_file():
        return None
    if (kind := RefinerCard.read(model).kind) != "causal":
        raise UsageError(f"{model} is a refiner of the kind {kind}, which runs as it is")
    return CARD_FILE, card.read_text("utf-8")


def _tell(output: Path) -> None:
    size = sum(path.stat().st_size for path in output.iterdir()) / 1e6
    click.echo(f"{output}: {size:,.1f} MB")
