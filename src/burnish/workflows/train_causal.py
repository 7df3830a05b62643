"""Train a language model as refiner: labelled data and a base model in, a refiner's folder out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from burnish import __version__
from burnish.errors import InputError, MissingExtra, OutputError, SettingsChanged, UsageError
from burnish.io.digests import sha256_of
from burnish.io.labels import CHUNK, DOCUMENT, labelled_files
from burnish.io.lock import LockState, take_lock
from burnish.program.limits import Limits
from burnish.refiners.checkpoint import Checkpoint, find_weights
from burnish.refiners.engines.base import Engine
from burnish.refiners.generative import Generative
from burnish.refiners.loading import weights_hash
from burnish.spec import CARD_FILE, ModelSpec, RefinerCard, StageSpec
from burnish.training.examples import Gold, make_examples, read_gold
from burnish.training.held_out import HeldOut
from burnish.training.recipe import STATE, Recipe

_SETTINGS, _LOCK = "settings.json", "lock"  # in the state
_DIGITS = 16  # of a hash, where a card tells runs apart


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to train on, how, and where the refiner goes.

    `data` are folders of labels, as `burnish annotate` writes them; `train` and `dev` single files
    beside them. `limit` bounds the examples, and the rows of dev, to try the way.
    """

    output: Path
    recipe: Recipe
    data: tuple[Path, ...] = ()
    train: tuple[Path, ...] = ()
    dev: tuple[Path, ...] = ()
    name: str = ""
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class _Data:
    """The gold of both parts, and of each its files with their SHA-256, in their order."""

    train: list[Gold]
    dev: list[Gold]
    files: dict[str, list[tuple[Path, str]]]

    def hashes(self, part: str) -> list[str]:
        return [digest[:_DIGITS] for _, digest in self.files[part]]


def run(config: Config, say: Callable[[str], None] = print) -> RefinerCard | None:
    """Trains, and writes model and card; goes on where an earlier run was stopped. Under torchrun,
    only the first process has a result.

    Raises UsageError for settings that can not be, InputError for data that can not be used,
    RefinerError for a base model that can not, SettingsChanged where the folder holds another run,
    MissingExtra without torch, transformers and accelerate.
    """
    recipe = config.recipe
    recipe.check()
    if recipe.fsdp and "WORLD_SIZE" not in os.environ:
        raise UsageError(
            "--fsdp shards over the GPUs of torchrun: torchrun --nproc-per-node N -m burnish train "
            "causal ...; with one GPU, leave --fsdp out"
        )
    first = os.environ.get("RANK", "0") == "0"
    tell = say if first else _nothing
    data = _read(config)
    checkpoint = Checkpoint(find_weights(recipe.base, None, Path()))
    _check_apart(config.output, checkpoint.folder)
    recipe = replace(recipe, template=recipe.template or fitting_template(checkpoint))
    card = _card(config, recipe, checkpoint, data)
    done = _finished(config, card)
    if done is not None:
        if first:
            _remove_state(config.output)  # of a run that was killed at its very end
        tell(f"{config.output} is trained already")
        return done
    spec = card.stages[recipe.stage]
    writer = _writer(card, spec, checkpoint, _no_engine)
    examples = make_examples(
        data.train,
        spec,
        writer,
        checkpoint.end_tokens[0],
        HeldOut(gold.text for gold in data.dev),
        config.limit,
    )
    tell(f"{len(examples.found)} examples of {len(data.train)} rows; {len(data.dev)} rows of dev")
    for reason, count in sorted(examples.left_out.items()):
        tell(f"  left out, {reason}: {count}")
    if not examples.found:
        raise InputError("there is no example to train on; the reasons stand above")
    try:
        from burnish.training import causal
    except ModuleNotFoundError as error:
        raise MissingExtra("burnish train causal", error.name or "torch", "train-causal") from None
    task = causal.Task(
        base=checkpoint.folder,
        end_tokens=checkpoint.end_tokens,
        spec=spec,
        examples=examples.found,
        dev=data.dev,
        make_writer=lambda make: _writer(card, spec, checkpoint, make),
    )
    with _alone(config.output) if first else nullcontext():
        if (done := _finished(config, card)) is not None:  # while this one waited for the imports
            made = None
        else:
            if first:
                _begin(config.output, card)
            made = causal.train(task, recipe, config.output, tell)
        if made is not None:
            done = replace(
                card,
                metrics={
                    "dev": made.score.to_json(),
                    "best_step": made.best_step,
                    "steps": made.steps,
                },
                notes={
                    **card.notes,
                    "examples": len(examples.found),
                    "left_out": dict(sorted(examples.left_out.items())),
                    "packed": made.packed,
                    "parameters": made.parameters,
                    "dtype": made.dtype,
                    "versions": causal.versions(),
                },
            )
            done.write(config.output)
        if done is not None and first:
            _remove_state(config.output)
        return done


def fitting_template(checkpoint: Checkpoint) -> str:
    """The template for a base that is not told one: its own, Qwen3's or Llama 2's where it is of
    that family, else none."""
    kind = str(checkpoint.config.get("model_type"))
    if kind == "qwen3":
        return "qwen3"
    if checkpoint.has_template:
        return "own"
    return "llama2" if kind == "llama" and checkpoint.has_bos else "plain"


# ------------------------------------------------------------------------------------------ data


def _read(config: Config) -> _Data:
    """The gold of all files. Raises InputError where a part is empty or says nothing to learn."""
    stage = config.recipe.stage
    files = {
        part: [*_files(config.data, stage, part), *given]
        for part, given in (("train", config.train), ("dev", config.dev))
    }
    for part, paths in files.items():
        if (twice := next((p for n, p in enumerate(paths) if p in paths[:n]), None)) is not None:
            raise UsageError(f"{twice} is named twice for {part}")
    golds: dict[str, list[Gold]] = {}
    used: dict[str, list[tuple[Path, str]]] = {"train": [], "dev": []}
    for part, paths in files.items():
        golds[part] = []
        for path in paths:
            rows = list(read_gold(path, stage))
            golds[part] += rows
            used[part] += [(path, sha256_of(path))] if rows else []
    for part, found in golds.items():
        if not found:
            wanted = "documents with keep" if stage == "document" else "lines with labels"
            where = ", ".join(map(str, files[part])) or ", ".join(map(str, config.data)) or "--data"
            raise InputError(f"no {part} rows with {wanted} for the stage {stage}: {where}")
    dev = golds["dev"] if config.limit is None else golds["dev"][: config.limit]
    cut = "" if config.limit is None else f" (--limit leaves {len(dev)} rows of them)"
    if not any(gold.labels and 1 in gold.labels for gold in dev) and stage == "chunk":
        raise InputError(
            f"no line of the dev files{cut} is to be removed; F1 can not be measured on it"
        )
    if stage == "document" and len({gold.program for gold in dev}) < 2:
        raise InputError(f"the dev files{cut} must have documents to keep and documents to drop")
    return _Data(golds["train"], dev, used)


def _check_apart(output: Path, base: Path) -> None:
    """Raises OutputError where the result would be written over a model."""
    mine, its = output.resolve(), base.resolve()
    if mine == its or mine in its.parents or its in mine.parents:
        raise OutputError(f"the output {output} lies with the base model {base}; choose another")
    ours = (output / CARD_FILE).exists() or (output / STATE).exists()
    if not ours and ((output / "config.json").exists() or any(output.glob("*.safetensors"))):
        raise OutputError(f"the folder {output} holds another model; choose a new or empty one")


def _files(folders: Sequence[Path], stage: str, split: str) -> list[Path]:
    """A split's files in the folders; pages with line labels may be called as documents are."""
    kinds = (DOCUMENT,) if stage == "document" else (CHUNK, DOCUMENT)
    return [
        found.path
        for folder in folders
        for found in labelled_files(folder)
        if found.kind in kinds and found.split == split
    ]


# ------------------------------------------------------------------------------------------ card


def _card(config: Config, recipe: Recipe, checkpoint: Checkpoint, data: _Data) -> RefinerCard:
    """The card of the refiner to be: how it is asked while it is trained, and ever after."""
    document = recipe.stage == "document"
    known = [recipe.max_length, checkpoint.context]
    spec = StageSpec(
        name=recipe.stage,
        dialect=recipe.settled_dialect,
        window=None if document else recipe.settled_window,
        keep_threshold=0.5 if document else None,
        # What is noise to the last line is no text to train on: it is dropped, as ProX does.
        limits=Limits() if document else Limits(on_removal="drop"),
    )
    assert recipe.template is not None
    model = ModelSpec(
        weights=".",
        template=recipe.template,
        max_new_tokens=recipe.settled_new_tokens,
        context=min(length for length in known if length is not None),
        max_text=recipe.settled_window if document else None,
    )
    # What a run must have in common with the one that it goes on from: what files hold, not how
    # they are called.
    settings = {name: value for name, value in recipe.to_json().items() if name != "base"} | {
        "dialect": spec.dialect,
        "window": recipe.settled_window,
        "max_new_tokens": recipe.settled_new_tokens,
        "limit": config.limit,
        "base_files": weights_hash(checkpoint.folder)[:_DIGITS],
        "train_files": data.hashes("train"),
        "dev_files": data.hashes("dev"),
    }
    return RefinerCard(
        name=config.name or config.output.resolve().name,
        kind="causal",
        version=__version__,
        stages={recipe.stage: spec},
        model=model,
        data={str(path): digest for files in data.files.values() for path, digest in files},
        notes={"base": recipe.base, "settings": settings},
    )


def _writer(
    card: RefinerCard, spec: StageSpec, checkpoint: Checkpoint, make: Callable[[], Engine]
) -> Generative:
    """The refiner as inference makes it, on an engine of ours."""
    return Generative(card, spec, checkpoint, lambda _: make())


def _no_engine() -> Engine:
    raise AssertionError("examples need no engine")


# ---------------------------------------------------------------------------------------- output


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Keeps other processes from training into the folder. Raises OutputError where one does."""
    try:
        (output / STATE).mkdir(parents=True, exist_ok=True)
        lock = take_lock(output / STATE / _LOCK)
    except OSError as error:
        raise OutputError(f"{output} can not be written: {error}") from None
    try:
        if lock.state is LockState.BUSY:
            raise OutputError(f"another process trains into {output}; wait for it or stop it")
        yield
    finally:
        lock.release()


def _finished(config: Config, card: RefinerCard) -> RefinerCard | None:
    """The card of a finished run of these settings, if the folder holds one.

    Raises SettingsChanged if it holds another run, OutputError if it can not be read, UsageError
    where it goes by another name than the one asked for.
    """
    output = config.output
    if (output / CARD_FILE).is_file():
        done = RefinerCard.read(output)
        _compare(output, done.notes.get("settings"), card)
        if config.name and config.name != done.name:
            raise UsageError(
                f"{output} is trained already, and is called {done.name!r}: change the name in its "
                f"{CARD_FILE}, or take another folder"
            )
        return done
    path = output / STATE / _SETTINGS
    try:
        if path.is_file() and any(path.parent.glob("checkpoint-*")):  # else nothing would be lost
            _compare(output, json.loads(path.read_text("utf-8")), card)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} can not be read: {error}") from None
    return None


def _begin(output: Path, card: RefinerCard) -> None:
    """Notes the settings of the run. Raises OutputError where that fails."""
    path = output / STATE / _SETTINGS
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(card.notes["settings"], indent=2), "utf-8")
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{output} can not be written: {error}") from None


def _compare(output: Path, before: Any, card: RefinerCard) -> None:
    """Raises SettingsChanged where a run had other settings, other data or another base."""
    old, new = before if isinstance(before, dict) else {}, card.notes["settings"]
    changed = {
        key: (old.get(key), new.get(key)) for key in old | new if old.get(key) != new.get(key)
    }
    if changed:
        told = "; ".join(f"{key}: {was!r}, now {now_!r}" for key, (was, now_) in changed.items())
        raise SettingsChanged(
            f"{output} holds a run with other settings ({told}); take another folder", changed
        )


def _remove_state(output: Path) -> None:
    """Removes what a run goes on from. Raises OutputError where that fails."""
    try:
        shutil.rmtree(output / STATE)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(f"can not remove {output / STATE}: {error}") from None


def _nothing(_: str) -> None:
    pass
