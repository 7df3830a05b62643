"""From a refiner's name or folder to the refiner of one stage and its settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from burnish.errors import RefinerError, UsageError
from burnish.refiners.base import Refiner
from burnish.spec import CARD_FILE, RefinerCard, StageSpec

DEFAULT = "default"
_RULES = ("c4-lines",)


def refiner_names() -> list[str]:
    """The refiners that come with the package."""
    return [DEFAULT, *_RULES]


def load_refiner(name: str, stage: str) -> tuple[Refiner, StageSpec]:
    """The refiner of that name, or in that folder, for the stage "document" or "chunk".

    Raises RefinerError if it can not be loaded, UsageError if it has no such stage.
    """
    if name in _RULES:
        from burnish.refiners.rules import C4Lines

        rules = C4Lines()
        return rules, _stage({"chunk": rules.spec}, name, stage)
    folder = find_folder(name)
    card = RefinerCard.read(folder)
    spec = _stage(card.stages, name, stage)
    if card.kind != "tagger":
        raise RefinerError(f"{folder / CARD_FILE}: no refiner is of the kind {card.kind!r}")
    from burnish.refiners.tagging import DocumentTagger, LineTagger

    if stage == "document":
        return DocumentTagger(folder, card), spec
    return LineTagger(folder, card), spec


def identity(name: str) -> str:
    """What a run remembers of its refiner: the name, and for one with weights a fingerprint of its
    files, so that another refiner under the same name is another setting.
    """
    if name in _RULES:
        return name
    folder = find_folder(name)
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in (".json", ".onnx", ".npz"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{RefinerCard.read(folder).name} {digest.hexdigest()[:16]}"


def find_folder(name: str) -> Path:
    """Where the refiner's card lies. Raises RefinerError if nothing has that name."""
    if name == DEFAULT:
        return Path(__file__).parent / "weights"
    folder = Path(name)
    if folder.is_dir():
        return folder
    known = ", ".join(refiner_names())
    raise RefinerError(
        f"there is no refiner {name!r}: not a folder, and the known ones are {known}"
    )


def _stage(stages: Mapping[str, StageSpec], name: str, stage: str) -> StageSpec:
    spec = stages.get(stage)
    if spec is None:
        known = ", ".join(stages)
        raise UsageError(f"the refiner {name!r} has no stage {stage!r}; it has: {known}")
    return spec
