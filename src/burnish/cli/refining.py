"""The options that say how a corpus is refined; the same for every verb that refines one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from burnish.cli.engine import engine_options
from burnish.cli.share import SHARE
from burnish.workflows.retention import Choice


def refining_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options from --refiner to --workers, those of the engine among them."""
    for option in reversed((*_WHO, engine_options, *_HOW)):
        command = option(command)
    return command


def threshold_told(choice: Choice) -> str:
    """What was chosen for a share of tokens, in a line."""
    told = f"Documents with a keep probability below {choice.threshold:g} are dropped"
    if choice.kept is None:
        return f"{told}, as this folder's run began (to keep {choice.wanted:.1%} of the text)."
    kept, documents = choice.kept, f"document{'s' * (choice.documents > 1)}"
    return (
        f"{told}: of {choice.documents:,} {documents} of the input that keeps {kept.value:.1%} of "
        f"the text (95 % interval {kept.low:.1%} to {kept.high:.1%}; wanted {choice.wanted:.1%})."
    )


_WHO = (
    click.option(
        "--refiner",
        "refiners",
        multiple=True,
        default=("default",),
        show_default=True,
        metavar="R",
        help="Name (burnish refiners), folder or hf:organisation/name; again for another stage.",
    ),
    click.option(
        "--stages",
        metavar="S",
        help="document, chunk or both, comma-separated.  [default: all it has]",
    ),
)
_HOW = (
    click.option(
        "--keep-threshold",
        "--min-score",
        "keep_threshold",
        type=click.FloatRange(0, 1),
        metavar="P",
        help="Drop documents whose keep probability is below P.  [default: the refiner's own]",
    ),
    click.option(
        "--keep-tokens",
        type=SHARE,
        metavar="S",
        help="Choose the threshold so that this share of the text stays after all stages: 25% or "
        "0.25 of its UTF-8 bytes, by a sample of the input.",
    ),
    click.option(
        "--noise-threshold",
        type=click.FloatRange(0, 1),
        metavar="P",
        help="Remove lines whose probability of being noise is P or more; higher loses less "
        "content and leaves more noise.  [default: the refiner's own]",
    ),
    click.option("--text-column", default="text", show_default=True, metavar="C"),
    click.option(
        "--id-column",
        metavar="C",
        help='[default: "id" where a row has it, else file and position]',
    ),
    click.option(
        "--format",
        "form",
        default="jsonl.zst",
        show_default=True,
        type=click.Choice(["jsonl.zst", "parquet"]),
        help="Format of documents/ and its siblings.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        metavar="N",
        help="[default: all cores; with a language model, one for each GPU]",
    ),
)
