"""Train the packaged kind of refiner from labelled data: the step that made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish import __version__
from burnish.errors import InputError, MissingExtra
from burnish.program.limits import Limits
from burnish.refiners.document_head import WEIGHTS_FILE as HEAD_FILE
from burnish.refiners.tagger import Tagger
from burnish.spec import RefinerCard, StageSpec

_LINE_NOTES = ("what", "sources", "licence_notes", "versions", "features", "policy", "recipe")
_HEAD_NOTES = ("documents", "line_noise", "feature_version")

NEEDED = ("boilerplate", "seed", "corpus", "text")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where the data lies, where the refiner goes, and the seed of everything random.

    `quick` trains one small network for one epoch, to try the way and not to use the result.
    """

    data: Path
    output: Path
    name: str = "burnish-tagger"
    seed: int = 0
    quick: bool = False


def run(config: Config, say: Callable[[str], None] = print) -> RefinerCard:
    """Trains the tagger and the document head, chooses on dev, writes weights and card.

    Raises InputError if the data folder lacks a part, MissingExtra without torch, onnx and scipy.
    """
    for part in NEEDED:
        if not (config.data / part).is_dir():
            needed = ", ".join(NEEDED)
            raise InputError(f"{config.data} has no folder {part!r}; training reads {needed}")
    try:
        from burnish.training import document_head, line_ends, tagger
    except ModuleNotFoundError as error:
        raise MissingExtra("burnish train", error.name or "torch", "train") from None
    config.output.mkdir(parents=True, exist_ok=True)
    # A head that was made for another network must not judge this one.
    (config.output / HEAD_FILE).unlink(missing_ok=True)
    recipe = tagger.RecipeConfig().with_seed(config.seed)
    lines = tagger.train(
        config.data, config.output, recipe.quick() if config.quick else recipe, say
    )
    say("document head")
    network = Tagger.load(config.output)
    head = document_head.train_document_head(
        config.data, config.output, config.seed, lambda text: network.predict(text).noise
    )
    ends = line_ends.measure(config.data, network, line_ends.add(config.output))
    card = make_card(config, lines, head, ends)
    card.write(config.output)
    return card


def make_card(
    config: Config, lines: dict[str, Any], head: dict[str, Any], ends: dict[str, Any]
) -> RefinerCard:
    """The card of the whole refiner, from what its parts say of themselves."""
    stages = {
        "document": StageSpec(
            name="document",
            dialect="prox-document",
            keep_threshold=head["keep_threshold"],
        ),
        # What is noise to the last line is no text to train on: it is dropped, as ProX does.
        "chunk": StageSpec(name="chunk", dialect="refinex", limits=Limits(on_removal="drop")),
    }
    return RefinerCard(
        name=config.name,
        kind="tagger",
        version=__version__,
        stages=stages,
        thresholds=lines["thresholds"],
        calibration=lines["calibration"],
        data={**lines["data"], **head["data"]},
        metrics={
            "lines": lines["metrics"],
            "documents": {name: head[name] for name in ("dev", "cross_validation")},
            "line_ends": ends,
        },
        notes={
            "seed": config.seed,
            **{key: lines[key] for key in _LINE_NOTES},
            "document_head": {key: head[key] for key in _HEAD_NOTES},
        },
    )
