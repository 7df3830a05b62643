"""Refine a corpus: the step of the loop that everything else serves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

from burnish.errors import UsageError
from burnish.io.rows import Columns
from burnish.io.sample import draw
from burnish.refiners import EngineChoice, identity, is_language_model, load_refiner, stages_of
from burnish.runner import local
from burnish.runner.base import Job, OnProgress, Summary
from burnish.runner.manifest import read_settings
from burnish.schema import Document, Record
from burnish.spec import STAGES
from burnish.stages import Pipeline, Stage
from burnish.workflows.retention import (
    SAMPLE,
    SAMPLE_OF_MODEL,
    Choice,
    check_share,
    choose,
    drawn_records,
    settled,
)

# What a language model should have at hand to be busy, and what is lost when a run is killed:
# (documents, characters) of a batch and bytes of a shard.
_ON_CPU = (32, 1 << 18), 1 << 20
_ON_GPU = (2_048, 1 << 24), 1 << 24


def load_pipeline(
    refiner: str | Sequence[str],
    stages: Sequence[str] | None = None,
    keep_threshold: float | None = None,
    engine: EngineChoice | None = None,
    noise_threshold: float | None = None,
) -> Pipeline:
    """The pipeline of the refiners' stages, loaded once a process.

    Of several refiners, a stage is done by the first that has it. `stages` None means all that they
    have. `keep_threshold` replaces the refiner's own at the document stage, `noise_threshold` that
    of lines at the chunk stage; `engine` runs those that are language models.

    Raises UsageError for stages that are unknown, none or named twice, and for a threshold outside
    0 to 1 or without its stage; RefinerError for a refiner that can not be loaded.
    """
    names = (refiner,) if isinstance(refiner, str) else tuple(refiner)
    if not names:
        raise UsageError("no refiner is named")
    stages = stages_to_do(names, stages)
    if not stages:
        raise UsageError("no stage is named; use one or both of: document, chunk")
    for name in stages:
        if name not in STAGES:
            raise UsageError(f"unknown stage {name!r}; known: {', '.join(STAGES)}")
        if list(stages).count(name) > 1:
            raise UsageError(f"the stage {name!r} is named twice")
    _check_threshold("keep", keep_threshold)
    _check_threshold("noise", noise_threshold)
    if keep_threshold is not None and "document" not in stages:
        raise UsageError("a keep threshold has no effect without the stage 'document'")
    if noise_threshold is not None and "chunk" not in stages:
        raise UsageError("a noise threshold has no effect without the stage 'chunk'")
    found = owners(names, stages)
    engine = engine or EngineChoice()
    models = sum(map(is_language_model, set(found.values())))
    if not models and engine != EngineChoice():
        raise UsageError(f"an engine is set, and no language model is among {', '.join(names)}")
    engine = replace(engine, models=max(models, 1))
    return _load(tuple(found.items()), keep_threshold, noise_threshold, engine)


def stages_to_do(names: Sequence[str], stages: Sequence[str] | None) -> Sequence[str]:
    """The stages as they were asked for, or all that the refiners have."""
    if stages is not None:
        return stages
    return [stage for stage in STAGES if any(stage in stages_of(name) for name in names)]


def _check_threshold(name: str, value: float | None) -> None:
    if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
        raise UsageError(f"the {name} threshold is a probability, 0 to 1, not {value!r}")


def owners(names: Sequence[str], stages: Sequence[str]) -> dict[str, str]:
    """Which refiner does each stage: the first that has it. Raises UsageError for one without a
    stage to do."""
    found = {
        stage: next((name for name in names if stage in stages_of(name)), names[0])
        for stage in stages
    }
    for number, name in enumerate(names):
        if name not in found.values() or name in names[:number]:
            done = ", ".join(f"{stage} by {owner}" for stage, owner in found.items())
            raise UsageError(f"the refiner {name} has nothing to do: {done}")
    return found


@lru_cache(maxsize=8)
def _load(
    owners: tuple[tuple[str, str], ...],
    keep_threshold: float | None,
    noise_threshold: float | None,
    engine: EngineChoice,
) -> Pipeline:
    loaded = []
    for stage, owner in owners:
        writer, spec = load_refiner(
            owner, stage, engine, keep_threshold=keep_threshold, noise_threshold=noise_threshold
        )
        loaded.append(Stage(spec, writer))
    if not any(is_language_model(owner) for _, owner in owners):
        return Pipeline(loaded)
    documents, characters = _room(engine)[0]
    return Pipeline(loaded, batch_documents=documents, batch_characters=characters, overlap=True)


def _room(engine: EngineChoice) -> tuple[tuple[int, int], int]:
    return _ON_GPU if engine.is_server or engine.gpus else _ON_CPU


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to refine, with what, and where the result goes.

    `refiner` is a name or a folder, or several; `stages` None means all that they have;
    `keep_threshold` replaces the refiner's own (0 to 1); so does `keep_tokens`, the share of the
    input's bytes that shall stay after all stages, for which a threshold is chosen on a sample.
    `noise_threshold` replaces the refiner's own for lines (0 to 1). `engine` runs a language model.
    `workers` None means one for each core, or for each GPU where a language model is among the
    refiners. The other fields are those of `burnish.runner.base.Job`.
    """

    inputs: tuple[Path, ...]
    output: Path
    refiner: str | tuple[str, ...] = "default"
    stages: tuple[str, ...] | None = None
    keep_threshold: float | None = None
    keep_tokens: float | None = None
    noise_threshold: float | None = None
    engine: EngineChoice = field(default_factory=EngineChoice)
    text_column: str = "text"
    id_column: str | None = None
    format: str = "jsonl.zst"
    limit: int | None = None
    task: tuple[int, int] = (0, 1)
    workers: int | None = None

    @property
    def refiners(self) -> tuple[str, ...]:
        return (self.refiner,) if isinstance(self.refiner, str) else self.refiner

    def load(self) -> Pipeline:
        """The pipeline that is described here; raises as `load_pipeline` does."""
        return load_pipeline(
            self.refiner, self.stages, self.keep_threshold, self.engine, self.noise_threshold
        )


def run(
    config: Config,
    on_progress: OnProgress | None = None,
    on_choice: Callable[[Choice], None] = lambda choice: None,
) -> Summary:
    """Refines the inputs into the output folder; goes on where an earlier run stopped.

    With `keep_tokens`, `on_choice` is told the threshold before the run begins.

    Raises UsageError, RefinerError, InputError before anything is written; OutputError or
    SettingsChanged where the folder can not be used; KeyboardInterrupt with all finished work kept.
    """
    asked = {}
    if config.keep_tokens is not None:
        stages = stages_to_do(config.refiners, config.stages)
        check_share(config.keep_tokens, config.keep_threshold, stages)
        # A share is settled once: a run that goes on must not cut elsewhere, on whatever machine.
        earlier = settled(read_settings(config.output), config.keep_tokens)
        choice = earlier or choose_threshold(config, config.keep_tokens)
        on_choice(choice)
        asked = {"keep_tokens": config.keep_tokens}
        config = replace(config, keep_threshold=choice.threshold, keep_tokens=None)
    # Loading here finds mistakes before workers start.
    pipeline = config.load()
    model = any(map(is_language_model, config.refiners))
    known = [identity(name, config.engine) for name in config.refiners]
    settings = {
        "refiner": known[0] if len(known) == 1 else known,
        "stages": [stage.spec.to_json() for stage in pipeline.stages],
        **asked,
    }
    job = Job(
        inputs=config.inputs,
        output=config.output,
        factory=partial(_worker, config),
        settings=settings,
        text_column=config.text_column,
        id_column=config.id_column,
        format=config.format,
        limit=config.limit,
        task=config.task,
        shard_bytes=_room(config.engine)[1] if model else None,
        environments=_environments(config.engine) if model else (),
    )
    workers = config.workers or default_workers(model, config.engine)
    return local.run(job, workers=workers, on_progress=on_progress)


def choose_threshold(config: Config, wanted: float) -> Choice:
    """The threshold with which the share `wanted` of the input's bytes stays, by a sample of the
    inputs that depends on them alone.

    Raises UsageError without a document stage that gives probabilities, and for a share that can
    not be had.
    """
    every = replace(config, keep_threshold=0.0).load()
    model = any(map(is_language_model, config.refiners))
    sample = draw(
        config.inputs,
        SAMPLE_OF_MODEL if model else SAMPLE,
        Columns(config.text_column, config.id_column),
        config.limit,
        config.output,
    )
    return choose(sample, drawn_records(sample, every.run), wanted)


def default_workers(model: bool, engine: EngineChoice) -> int:
    """One for each core, or for each GPU where a language model is among the refiners."""
    if not model:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, len(engine.gpus))


def _environments(engine: EngineChoice) -> tuple[Mapping[str, str], ...]:
    """One GPU for each worker."""
    return tuple({"CUDA_VISIBLE_DEVICES": gpu} for gpu in engine.gpus)


def _worker(config: Config) -> Callable[[Iterable[Document]], Iterator[Record]]:
    """Called once in each worker process."""
    return config.load().run
