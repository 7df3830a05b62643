"""burnish train: make a refiner from labelled data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from burnish.spec import STAGES, TEMPLATES
from burnish.training.recipe import DIALECTS, Recipe, read_recipe


@click.group("train")
def command() -> None:
    """Train a refiner.

    \b
    Examples:
      burnish train tagger --data data --output my-refiner
      burnish train causal --data seed --base hf:org/model --stage chunk --output my-refiner
    """


def _labels(decorated: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name the labels."""
    file = click.Path(path_type=Path, exists=True, dir_okay=False)
    for option in (
        click.option("--dev", multiple=True, type=file, help="A file of labels to decide by."),
        click.option("--train", multiple=True, type=file, help="A file of labels to train on."),
        click.option(
            "--data", multiple=True, type=click.Path(path_type=Path),
            help="Folder of labels, as burnish annotate and burnish export labels write it; may be "
            "given several times.",
        ),
    ):  # fmt: skip
        decorated = option(decorated)
    return decorated


@command.command("tagger")
@_labels
@click.option(
    "--text", multiple=True, type=click.Path(path_type=Path, exists=True),
    help="Documents without labels, a file or folder: the words that embeddings start from.",
)  # fmt: skip
@click.option("--text-column", default="text", show_default=True, metavar="C")
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path),
    help="Folder for the refiner: weights and card.",
)  # fmt: skip
@click.option("--name", default="", help="The refiner's name.  [default: the folder's]")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True,
    help="Seed of everything random.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="One short epoch, to try the way; not for use.")
def tagger(
    data: tuple[Path, ...],
    train: tuple[Path, ...],
    dev: tuple[Path, ...],
    text: tuple[Path, ...],
    text_column: str,
    output: Path,
    name: str,
    seed: int,
    quick: bool,
) -> None:
    """Make a tagger: the kind of refiner that comes with the package.

    Learns from lines with labels and from scored documents, chooses on dev, and writes an ONNX
    network, a document head where documents have scores, and the refiner card. It takes minutes on
    a CPU. Needs the extra [train].

    Programs of another refiner are labels too (distillation): see burnish export labels.

    \b
    Examples:
      burnish train tagger --data seed --text crawl/ -o my-refiner
      burnish export labels run-of-a-large-model -o distilled
      burnish train tagger --data seed --data distilled --text crawl/ -o my-refiner
      burnish refine pages.jsonl -o out --refiner my-refiner
    """
    from burnish.workflows.train_tagger import Config, run

    config = Config(
        output=output,
        data=data,
        train=train,
        dev=dev,
        text=text,
        text_column=text_column,
        name=name,
        seed=seed,
        quick=quick,
    )
    card = run(config, click.echo)
    click.echo(f"{card.name} {card.version}: {output}")


def _recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_RECIPE):
        command = option(command)
    return command


def _default(name: str) -> str:
    """What holds where neither the command line nor the recipe says anything."""
    return next(f"{f.default:g}" for f in fields(Recipe) if f.name == name)


_RECIPE = (
    click.option(
        "--base", metavar="MODEL", help="The model to train: a folder, or hf:organisation/name."
    ),
    click.option("--stage", type=click.Choice(STAGES), help="What it learns to do."),
    click.option(
        "--dialect", type=click.Choice(DIALECTS),
        help="What it learns to write.  [default: prox-document or prox-chunk, by stage]",
    ),
    click.option(
        "--template", type=click.Choice(TEMPLATES),
        help="The frame of its prompts.  [default: what fits the base]",
    ),
    click.option(
        "--window", type=int,
        help="Tokens of a window, or of a document that are shown.  [default: 1500, 1900]",
    ),
    click.option(
        "--max-new-tokens", type=int, help="The longest program, in tokens.  [default: 256, 32]"
    ),
    click.option(
        "--max-length", type=int,
        help="Prompt and program, in tokens; the context of the result.  "
        f"[default: {_default('max_length')}]",
    ),
    click.option("--epochs", type=int, help=f"[default: {_default('epochs')}]"),
    click.option(
        "--batch", type=int, help=f"Examples of a step.  [default: {_default('batch')}]"
    ),
    click.option(
        "--per-device-batch", type=int,
        help="Examples at once on each device.  [default: at most 4]",
    ),
    click.option("--lr", type=float, help=f"Learning rate.  [default: {_default('lr')}]"),
    click.option(
        "--min-lr", type=float, help=f"The same at the end.  [default: {_default('min_lr')}]"
    ),
    click.option(
        "--warmup", type=float,
        help=f"Steps of warm-up; below 1, their share.  [default: {_default('warmup')}]",
    ),
    click.option(
        "--lora", type=int, metavar="RANK",
        help="Train adapters of this rank, merged at the end.  [default: all weights]",
    ),
    click.option(
        "--bf16/--no-bf16", default=None,
        help="Compute in bfloat16.  [default: where the device can]",
    ),
    click.option(
        "--gradient-checkpointing/--no-gradient-checkpointing", default=None,
        help="Less memory, more time.  [default: off]",
    ),
    click.option(
        "--fsdp/--no-fsdp", default=None, help="Shard over the GPUs of torchrun.  [default: off]"
    ),
    click.option(
        "--eval-every", type=int, metavar="STEPS",
        help="Measure F1 on dev, and save the state.  [default: once an epoch]",
    ),
    click.option(
        "--patience", type=int, metavar="N",
        help="Stop after N measurements without a better F1.  [default: never]",
    ),
    click.option("--seed", type=int, help=f"Of everything random.  [default: {_default('seed')}]"),
)  # fmt: skip


@command.command("causal")
@_labels
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path),
    help="Folder for the refiner: the model and its card.",
)  # fmt: skip
@click.option(
    "--recipe", metavar="NAME",
    help="Settings by name (see docs/training.md) or from a TOML file; options given here win.",
)  # fmt: skip
@click.option("--name", default="", help="The refiner's name.  [default: the folder's]")
@click.option(
    "--limit", type=click.IntRange(1), help="At most so many examples and rows of dev, to try."
)
@_recipe_options
def causal(
    data: tuple[Path, ...],
    train: tuple[Path, ...],
    dev: tuple[Path, ...],
    output: Path,
    recipe: str | None,
    name: str,
    limit: int | None,
    **given: Any,
) -> None:
    """Make a refiner of a language model, by fine-tuning it on programs.

    Windows, prompts and programs are those of `burnish refine`; the state with the best F1 on dev
    is saved, as a Hugging Face folder with a card. A run that was stopped goes on with the same
    command. Several GPUs: torchrun --nproc-per-node N -m burnish train causal ... Needs the extra
    [train-causal].

    \b
    Examples:
      burnish train causal --data seed --recipe qwen3-0.6b --stage chunk -o refiner
      burnish refine pages.jsonl -o out --refiner refiner
    """
    from burnish.workflows.train_causal import Config, run

    settings = read_recipe(recipe) if recipe else {}
    settings |= {key: value for key, value in given.items() if value is not None}
    config = Config(
        output=output,
        recipe=Recipe(**settings),
        data=data,
        train=train,
        dev=dev,
        name=name,
        limit=limit,
    )
    card = run(config, click.echo)
    if card is not None:
        f1 = card.metrics["dev"]["f1"]
        told = "no F1" if f1 is None else f"F1 {f1:.3f}"
        click.echo(f"{card.name}: {told} on dev, saved in {output}")
