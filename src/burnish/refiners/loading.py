"""From a refiner's name, folder or place on the hub to the refiner of one stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from burnish.errors import RefinerError, UsageError
from burnish.refiners.base import Refiner
from burnish.refiners.engines.choice import EngineChoice, make_engine
from burnish.spec import CARD_FILE, HUB, STAGES, ModelSpec, RefinerCard, StageSpec

DEFAULT = "default"
_RULES = ("c4-lines",)
_RECIPES = Path(__file__).parent.parent / "recipes" / "refiners"
_WEIGHTS = (".json", ".onnx", ".data", ".npz", ".safetensors", ".bin", ".xml", ".jinja")
_MODEL_FILES = (".safetensors", ".bin", ".xml", ".onnx")
_LARGE = 64 << 20  # bytes; of a larger file `_READ` of each `_STEP` make its fingerprint
_STEP, _READ = 1 << 20, 1 << 16


def refiner_names() -> list[str]:
    """The refiners that are known by name: those of the package and the published ones."""
    return [DEFAULT, *_RULES, *sorted(path.stem for path in _RECIPES.glob("*.json"))]


def refiner_card(name: str) -> RefinerCard | None:
    """The card of a refiner; None for one that needs none. Raises RefinerError if there is none of
    that name."""
    return None if name in _RULES else _find(name)[0]


def load_refiner(
    name: str,
    stage: str,
    engine: EngineChoice | None = None,
    *,
    keep_threshold: float | None = None,
    noise_threshold: float | None = None,
) -> tuple[Refiner, StageSpec]:
    """The refiner of that name for the stage "document" or "chunk", and its settings.

    `name` is a known name, "hf:organisation/name" on the Hugging Face hub, a folder with a card, or
    a card's file. `engine` says what runs it where it is a language model. The thresholds, 0 to 1,
    replace its own: `keep_threshold` at the document stage, `noise_threshold` at the chunk stage.

    Raises RefinerError if it can not be loaded, UsageError if it has no such stage or gives no
    probabilities for a threshold of lines, MissingExtra if it needs what is not installed.
    """
    if noise_threshold is not None and stage == "chunk" and not scores_lines(name):
        raise UsageError(
            f"the refiner {name!r} gives no probabilities of lines, so a noise threshold has no "
            "effect on it; taggers give them"
        )
    if name in _RULES:
        from burnish.refiners.rules import C4Lines

        rules = C4Lines()
        return rules, _stage({"chunk": rules.spec}, name, stage)
    card, beside = _find(name)
    spec = _stage(card.stages, name, stage).with_thresholds(keep_threshold, noise_threshold)
    if card.kind == "tagger":
        from burnish.refiners.tagging import DocumentTagger, LineTagger

        if stage == "document":
            return DocumentTagger(beside, card), spec
        return LineTagger(beside, card, spec), spec
    if card.kind == "causal":
        return _causal(card, spec, beside, engine or EngineChoice()), spec
    raise RefinerError(f"{beside / CARD_FILE}: no refiner is of the kind {card.kind!r}")


def stages_of(name: str) -> list[str]:
    """The stages that a refiner has, in the order in which they run."""
    card = refiner_card(name)
    return ["chunk"] if card is None else [s for s in STAGES if s in card.stages]


def scores_lines(name: str) -> bool:
    """Whether the refiner gives a probability of being noise for each line."""
    card = refiner_card(name)
    return card is not None and card.kind == "tagger"


def is_language_model(name: str) -> bool:
    """Whether the refiner wants the whole machine, or a GPU, for itself."""
    card = refiner_card(name)
    return card is not None and card.kind == "causal"


def parameters_of(name: str, engine: EngineChoice | None = None) -> int | None:
    """How many parameters a language model has without its embeddings; None for another refiner,
    and where no file says it. Raises as `load_refiner` does."""
    card, beside = _find(name) if name not in _RULES else (None, Path())
    if card is None or card.model is None:
        return None
    from burnish.refiners.parameters import parameters_without_embeddings

    folder, _ = _model_files(card.model, beside, (engine or EngineChoice()).settled())
    return parameters_without_embeddings(folder)


def identity(name: str, engine: EngineChoice | None = None) -> str:
    """What a run remembers of its refiner: the name, and for one with weights a fingerprint of its
    files, so that another refiner under the same name is another setting. A language model goes
    with its engine.
    """
    if name in _RULES:
        return name
    card, beside = _find(name)
    digest = hashlib.sha256(json.dumps(card.to_json(), sort_keys=True).encode())
    folder = beside
    suffix = ""
    if card.kind == "causal" and card.model is not None:
        choice = (engine or EngineChoice()).settled()
        folder, system = _model_files(card.model, beside, choice)
        suffix = f" on {choice.identity}"
        digest.update((system or "").encode())
    digest.update(weights_hash(folder).encode())
    return f"{card.name} {digest.hexdigest()[:16]}{suffix}"


def weights_hash(folder: Path) -> str:
    """A fingerprint of the model's files in a folder: of their names and contents, of a large one
    its size and a part of each MiB."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in _WEIGHTS:
            digest.update(path.name.encode() + b"\0" + _sample(path))
    return digest.hexdigest()[:32]


def _find(name: str) -> tuple[RefinerCard, Path]:
    """A refiner's card, and the folder that its weights are named from."""
    if name == DEFAULT:
        folder = Path(__file__).parent / "weights"
        return RefinerCard.read(folder), folder
    recipe = _RECIPES / f"{name}.json"
    if name in refiner_names():
        return RefinerCard.read_file(recipe), _RECIPES
    if name.startswith(HUB):
        return _find_on_hub(name)
    path = Path(name)
    if path.suffix == ".json" and path.is_file():
        return RefinerCard.read_file(path), path.parent
    if path.is_dir():
        return RefinerCard.read(path), path
    known = ", ".join(refiner_names())
    raise RefinerError(
        f"there is no refiner {name!r}: not a folder, and the known ones are {known}"
    )


def _find_on_hub(name: str) -> tuple[RefinerCard, Path]:
    """The card that comes with the package for these weights, else the one that comes with them."""
    for path in sorted(_RECIPES.glob("*.json")):
        card = RefinerCard.read_file(path)
        if card.model is not None and card.model.weights == name:
            return card, _RECIPES
    from burnish.refiners.folder import find_refiner

    folder = find_refiner(name)
    return RefinerCard.read(folder), folder


def _causal(card: RefinerCard, spec: StageSpec, beside: Path, engine: EngineChoice) -> Refiner:
    if card.model is None:
        raise RefinerError(f"{beside / CARD_FILE}: a causal refiner needs the setting model")
    choice = engine.settled()
    choice.engine_class()  # finds mistakes before anything is fetched or written
    from burnish.refiners.checkpoint import Checkpoint
    from burnish.refiners.folder import exported_for
    from burnish.refiners.generative import Generative

    folder, system = _model_files(card.model, beside, choice)
    only = exported_for(folder)
    if only and not choice.is_server and choice.name != only:
        raise RefinerError(f"{folder} holds a model for the engine {only} alone: --engine {only}")
    checkpoint = Checkpoint(folder)
    if not choice.is_server and not any(any(folder.glob(f"*{end}")) for end in _MODEL_FILES):
        raise RefinerError(f"{folder} holds no weights (model.safetensors)")
    return Generative(
        card,
        spec,
        checkpoint,
        partial(make_engine, choice, checkpoint.folder, checkpoint.end_tokens),
        system=system,
        constrained=choice.constrained,
    )


def _model_files(model: ModelSpec, beside: Path, choice: EngineChoice) -> tuple[Path, str | None]:
    """The folder of the model's files, and its system prompt where the card has one."""
    from burnish.refiners.checkpoint import find_weights
    from burnish.refiners.system_prompt import system_prompt

    folder = find_weights(model.weights, model.revision, beside, tokenizer_only=choice.is_server)
    return folder, system_prompt(model.system, beside) if model.system else None


def _sample(path: Path) -> bytes:
    """The file's bytes; of a large one its size and a digest of the beginning of each MiB, so that
    no matrix of a model can be another and this the same."""
    size = path.stat().st_size
    if size <= _LARGE:
        return path.read_bytes()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for place in range(0, size, _STEP):
            file.seek(place)
            digest.update(file.read(_READ))
        file.seek(-_READ, 2)
        digest.update(file.read())
    return str(size).encode() + digest.digest()


def _stage(stages: Mapping[str, StageSpec], name: str, stage: str) -> StageSpec:
    spec = stages.get(stage)
    if spec is None:
        known = ", ".join(stages)
        raise UsageError(f"the refiner {name!r} has no stage {stage!r}; it has: {known}")
    return spec
