"""Train the packaged kind of refiner from labelled data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish import __version__
from burnish.annotation.sampling import read_corpus
from burnish.errors import InputError, MissingExtra, OutputError, UsageError
from burnish.io.gold import Row, read_gold, text_of
from burnish.io.labels import REJECTED, labelled_files
from burnish.program.limits import Limits
from burnish.refiners.document_head import WEIGHTS_FILE as HEAD_FILE
from burnish.refiners.tagger import Tagger
from burnish.schema import Document
from burnish.spec import CARD_FILE, RefinerCard, StageSpec

if TYPE_CHECKING:
    from burnish.training.material import Material

_LINE_NOTES = ("what", "sources", "versions", "features", "policy", "recipe")
_HEAD_NOTES = ("documents", "line_noise", "feature_version")

_PACKAGED_NAME = "burnish-tagger"
_PACKAGED_NOTE = (
    "Weights: Apache-2.0. Labels and texts come from the sources named; texts stay their "
    "publishers'. German news (non-commercial) was not used. Some sources state no licence."
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train on, where the refiner goes, and the seed of everything random.

    `data` are folders of labels, as `burnish annotate` and `burnish export labels` write them, or
    the one that the packaged refiner is made from; `train` and `dev` single files of gold beside
    them; `text` files or folders of documents without labels. `quick` trains one small network for
    one epoch, to try the way and not to use the result.
    """

    output: Path
    data: tuple[Path, ...] = ()
    train: tuple[Path, ...] = ()
    dev: tuple[Path, ...] = ()
    text: tuple[Path, ...] = ()
    text_column: str = "text"
    name: str = ""
    seed: int = 0
    quick: bool = False


def run(config: Config, say: Callable[[str], None] = print) -> RefinerCard:
    """Trains the tagger and the document head, chooses on dev, writes weights and card.

    Without enough scored documents the refiner has the chunk stage alone. Raises InputError for
    data that can not be used or lacks a part, UsageError where none is named, OutputError for a
    folder that can not be used or holds a refiner, MissingExtra without torch, onnx and scipy.
    """
    if (config.output / CARD_FILE).exists():
        raise OutputError(f"{config.output} holds a refiner already; name another folder")
    if config.output.exists() and not config.output.is_dir():
        raise OutputError(f"can not use {config.output}: it is no folder")
    try:
        from burnish.training import document_head, line_ends, tagger
        from burnish.training.material import FEWEST_DOCUMENTS, is_packaged_layout, packaged
    except ModuleNotFoundError as error:
        raise MissingExtra("burnish train", error.name or "torch", "train") from None
    recipe = tagger.RecipeConfig().with_seed(config.seed)
    recipe = recipe.quick() if config.quick else recipe
    ours = next((folder for folder in config.data if is_packaged_layout(folder)), None)
    if ours is None:
        material = _material(config, recipe.text_seed, say)
    else:
        _check_layout(config, ours)
        material = packaged(ours, recipe.text_seed, config.seed)
    try:
        config.output.mkdir(parents=True, exist_ok=True)
        # A head that a stopped training left must not judge this network; the card comes last.
        (config.output / HEAD_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"can not use {config.output}: {error.strerror or error}") from None
    lines = tagger.train(material, config.output, recipe, say)
    network = Tagger.load(config.output)
    head = None
    scored = material.documents
    if scored is None or len(scored.texts) < FEWEST_DOCUMENTS:
        found = 0 if scored is None else len(scored.texts)
        say(
            f"no document stage: {found} documents have edu, format and keep, and it takes "
            f"{FEWEST_DOCUMENTS}"
        )
    elif len(set(scored.scores[:, 2])) < 2:
        say("no document stage: all scored documents have the same keep")
    else:
        say("document head")
        head = document_head.train_document_head(
            scored,
            material.dev_documents,
            material.pool,
            config.output,
            config.seed,
            lambda text: network.predict(text).noise,
        )
    ends = line_ends.measure(material.dev, network, line_ends.add(config.output))
    card = _card(config, material, lines, head, ends)
    if ours is not None:
        notes = {**card.notes, "licence_notes": _PACKAGED_NOTE}
        card = replace(card, name=config.name or _PACKAGED_NAME, notes=notes)
    card.write(config.output)
    return card


def _check_layout(config: Config, folder: Path) -> None:
    """Raises InputError where a part of the packaged refiner's data is missing, UsageError where
    other data is named beside it."""
    from burnish.training.material import LAYOUT

    for part in LAYOUT:
        if not (folder / part).is_dir():
            raise InputError(
                f"{folder} has no folder {part!r}; the packaged refiner is made from "
                f"{', '.join(LAYOUT)}"
            )
    if len(config.data) > 1 or config.train or config.dev or config.text:
        raise UsageError(
            f"{folder} is the data of the packaged refiner, which is made from that alone; to "
            "train on other labels as well, name its files with --train, --dev and --text"
        )


def _material(config: Config, seed: int, say: Callable[[str], None]) -> Material:
    """The rows of the named files; what is learnt from is not among dev."""
    from burnish.training.held_out import HeldOut
    from burnish.training.material import from_labels

    if not (config.data or config.train):
        raise UsageError("nothing to train on: name a folder with --data, or a file with --train")
    train = [*_files(config.data, "train"), *config.train]
    dev = [*_files(config.data, "dev"), *config.dev]
    decided: dict[Path, list[Row]] = {path: list(read_gold(path)) for path in dev}
    held_out = HeldOut(text_of(row) for rows in decided.values() for row in rows)
    learnt: dict[Path, list[Row]] = {}
    left_out = 0
    for path in train:
        rows = list(read_gold(path))
        learnt[path] = [row for row in rows if text_of(row) not in held_out]
        left_out += len(rows) - len(learnt[path])
    if left_out:
        say(f"left out, its text is among the dev files: {left_out}")
    if left_out and not any(learnt.values()):
        raise InputError(
            f"all {left_out} rows of the train files are among the dev files; name another --dev"
        )
    material = from_labels(learnt, decided, list(_texts(config)), seed)
    for part, found, files in (("train", material.gold, train), ("dev", material.dev, dev)):
        labels = {label for pages in found.values() for page in pages for label in page.labels}
        if not {0, 1} <= labels:
            where = ", ".join(map(str, files)) or "no file"
            raise InputError(
                f"the {part} files hold no lines with both labels, noise (1) and content (0): "
                f"{where}; thresholds are chosen on dev, and pages for it can be named with --dev"
                if part == "dev"
                else f"the train files hold no lines with both labels, 1 and 0: {where}"
            )
    return material


def _files(folders: Sequence[Path], split: str) -> list[Path]:
    return [
        found.path
        for folder in folders
        for found in labelled_files(folder)
        if found.kind != REJECTED and found.split == split
    ]


def _texts(config: Config) -> Iterator[str]:
    if config.text:
        for row in read_corpus(config.text, config.text_column):
            if isinstance(row, Document):
                yield row.text


def _card(
    config: Config,
    material: Material,
    lines: dict[str, Any],
    head: dict[str, Any] | None,
    ends: dict[str, Any],
) -> RefinerCard:
    """The card of the whole refiner, from what its parts say of themselves."""
    # What is noise to the last line is no text to train on: it is dropped, as ProX does.
    stages = {"chunk": StageSpec(name="chunk", dialect="refinex", limits=Limits(on_removal="drop"))}
    metrics = {"lines": lines["metrics"], "line_ends": ends}
    notes = {"seed": config.seed, **{key: lines[key] for key in _LINE_NOTES}}
    if head is not None:
        document = StageSpec(
            name="document", dialect="prox-document", keep_threshold=head["keep_threshold"]
        )
        stages = {"document": document, **stages}
        measured = {key: head[key] for key in ("dev", "cross_validation") if key in head}
        metrics = {"lines": lines["metrics"], "documents": measured, "line_ends": ends}
        notes["document_head"] = {key: head[key] for key in _HEAD_NOTES}
    return RefinerCard(
        name=config.name or config.output.resolve().name,
        kind="tagger",
        version=__version__,
        stages=stages,
        thresholds=lines["thresholds"],
        calibration=lines["calibration"],
        data=dict(material.files),
        metrics=metrics,
        notes=notes,
    )
