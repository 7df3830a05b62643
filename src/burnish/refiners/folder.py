"""A folder that holds a refiner, as training writes it and as it is shared: whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path

from burnish.errors import HubError, RefinerError
from burnish.spec import CARD_FILE, HUB, ModelSpec, RefinerCard

INDEX_FILE = "model.safetensors.index.json"
_EXPORTED = {
    "openvino": ("openvino_model.xml", "openvino_model.bin"),
    "onnx": ("model.onnx", "model.onnx.data", "genai_config.json"),
}
"""The files of a model in the form that one engine alone reads."""
_LONGEST_HEADER = 100 << 20  # bytes, of a safetensors file; the format's own bound
_SYSTEM_FILE = "file:"
_WITHOUT_NETWORK = (
    "Where there is no network: fetch it elsewhere (burnish pull), copy the folder, and name that "
    "as refiner"
)


def read_refiner(folder: Path) -> RefinerCard:
    """The card of a folder that holds a whole refiner: its weights, and what they need, are there.

    Of the files nothing is read but how long those of weights should be. Raises RefinerError,
    naming what is missing or cut off.
    """
    card = RefinerCard.read(folder)
    missing = [name for name in _needed(card, folder) if not (folder / name).is_file()]
    if missing:
        raise RefinerError(f"{folder} is no whole refiner: there is no {', '.join(missing)}")
    for name in _needed(card, folder):
        if name.endswith(".safetensors") and not _is_whole_file(folder / name):
            raise RefinerError(f"{folder} is no whole refiner: {name} is cut off, or damaged")
    return card


def find_refiner(name: str) -> Path:
    """The folder of the refiner "hf:organisation/name", fetched from the hub unless it is there
    already.

    Raises RefinerError if it can not be had, MissingExtra if fetching needs a library.
    """
    from burnish.io import hub

    place = name.removeprefix(HUB)
    try:
        found = hub.kept(place)
        if found is None or not _is_whole(found):
            if not (hub.fetch(place, only=[CARD_FILE]) / CARD_FILE).is_file():
                raise RefinerError(f"{name} holds no refiner: there is no {CARD_FILE}")
            found = hub.fetch(place)
    except HubError as error:
        raise RefinerError(f"{error}. {_WITHOUT_NETWORK}") from None
    read_refiner(found)
    return found


def model_files(folder: Path) -> list[str]:
    """The files of a language model's weights that a folder should hold, by its index if there is
    one."""
    try:
        index = json.loads((folder / INDEX_FILE).read_text("utf-8"))
        return sorted({INDEX_FILE, *map(str, index["weight_map"].values())})
    except FileNotFoundError:
        pass
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RefinerError(f"{folder / INDEX_FILE} can not be read: {error}") from None
    engine = exported_for(folder)
    return list(_EXPORTED[engine]) if engine else ["model.safetensors"]


def exported_for(folder: Path) -> str | None:
    """The engine that alone can read the model in a folder; None for one as it was trained."""
    if any(folder.glob("*.safetensors")):
        return None
    found = (engine for engine, names in _EXPORTED.items() if (folder / names[0]).is_file())
    return next(found, None)


def _is_whole_file(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
        ends = (t["data_offsets"][1] for name, t in header.items() if name != "__metadata__")
        return bool(path.stat().st_size == 8 + length + max(ends, default=0))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _is_whole(folder: Path) -> bool:
    try:
        read_refiner(folder)
    except RefinerError:
        return False
    return True


def _needed_by_tagger(card: RefinerCard) -> list[str]:
    from burnish.refiners.document_head import WEIGHTS_FILE
    from burnish.refiners.line_ends import FILE as ENDS_FILE
    from burnish.refiners.tagger import LINES_FILE

    names = [LINES_FILE]
    if "document" in card.stages:
        names.append(WEIGHTS_FILE)
    if "chunk" in card.stages and card.stages["chunk"].dialect != "line-labels":
        names.append(ENDS_FILE)  # it does more than removing lines
    return names


def _needed(card: RefinerCard, folder: Path) -> list[str]:
    """The names of the files that a refiner can not do without."""
    if card.kind == "tagger":
        return _needed_by_tagger(card)
    if card.kind != "causal":
        raise RefinerError(f"{folder / CARD_FILE}: no refiner is of the kind {card.kind!r}")
    if card.model is None:
        raise RefinerError(f"{folder / CARD_FILE}: a causal refiner needs the setting model")
    inside = _weights_inside(card.model, folder)
    names = ["config.json", "tokenizer.json", *model_files(folder / inside)]
    system = card.model.system or ""
    prompts = [system.removeprefix(_SYSTEM_FILE)] if system.startswith(_SYSTEM_FILE) else []
    return [*((inside / name).as_posix() for name in names), *prompts]


def _weights_inside(model: ModelSpec, folder: Path) -> Path:
    """Where the weights are, from the folder. Raises RefinerError if they are not in it."""
    place = (folder / model.weights).resolve()
    if model.weights.startswith(HUB) or not place.is_relative_to(folder.resolve()):
        raise RefinerError(
            f"{folder} holds no weights: its card says that they are at {model.weights}; copy them "
            'into the folder and set "model.weights": "."'
        )
    return place.relative_to(folder.resolve())
