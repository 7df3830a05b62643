"""Refine a corpus: the step of the loop that everything else serves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from burnish.errors import UsageError
from burnish.refiners import identity, load_refiner
from burnish.runner import local
from burnish.runner.base import Job, OnProgress, Summary
from burnish.schema import Document, Record
from burnish.spec import STAGES as STAGES
from burnish.stages import Pipeline, Stage


def load_pipeline(
    refiner: str, stages: tuple[str, ...] = STAGES, keep_threshold: float | None = None
) -> Pipeline:
    """The pipeline of a refiner's stages, loaded once a process.

    `keep_threshold` replaces the refiner's own at the document stage. Raises UsageError for stages
    that are unknown, none or named twice, and for a threshold outside 0 to 1 or without a document
    stage; RefinerError for a refiner that can not be loaded.
    """
    if not stages:
        raise UsageError("no stage is named; use one or both of: document, chunk")
    for name in stages:
        if name not in STAGES:
            raise UsageError(f"unknown stage {name!r}; known: {', '.join(STAGES)}")
        if stages.count(name) > 1:
            raise UsageError(f"the stage {name!r} is named twice")
    if keep_threshold is not None:
        if not (isinstance(keep_threshold, int | float) and 0 <= keep_threshold <= 1):
            raise UsageError(f"the keep threshold is a probability, 0 to 1, not {keep_threshold!r}")
        if "document" not in stages:
            raise UsageError("a keep threshold has no effect without the stage 'document'")
    return _load(refiner, stages, keep_threshold)


@lru_cache(maxsize=8)
def _load(refiner: str, stages: tuple[str, ...], keep_threshold: float | None) -> Pipeline:
    loaded = []
    for name in stages:
        writer, spec = load_refiner(refiner, name)
        if name == "document":
            spec = spec.with_threshold(keep_threshold)
        loaded.append(Stage(spec, writer))
    return Pipeline(loaded)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to refine, with what, and where the result goes.

    `refiner` is a name or a folder; `keep_threshold` replaces the refiner's own (0 to 1). The other
    fields are those of `burnish.runner.base.Job`.
    """

    inputs: tuple[Path, ...]
    output: Path
    refiner: str = "default"
    stages: tuple[str, ...] = STAGES
    keep_threshold: float | None = None
    text_column: str = "text"
    id_column: str | None = None
    format: str = "jsonl.zst"
    limit: int | None = None
    task: tuple[int, int] = (0, 1)
    workers: int = 1


def run(config: Config, on_progress: OnProgress | None = None) -> Summary:
    """Refines the inputs into the output folder; goes on where an earlier run stopped.

    Raises UsageError, RefinerError, InputError before anything is written; OutputError or
    SettingsChanged where the folder can not be used; KeyboardInterrupt with all finished work kept.
    """
    # Loading here finds mistakes before workers start.
    pipeline = load_pipeline(config.refiner, config.stages, config.keep_threshold)
    settings = {
        "refiner": identity(config.refiner),
        "stages": [stage.spec.to_json() for stage in pipeline.stages],
    }
    job = Job(
        inputs=config.inputs,
        output=config.output,
        factory=partial(_worker, config.refiner, config.stages, config.keep_threshold),
        settings=settings,
        text_column=config.text_column,
        id_column=config.id_column,
        format=config.format,
        limit=config.limit,
        task=config.task,
    )
    return local.run(job, workers=config.workers, on_progress=on_progress)


def _worker(
    refiner: str, stages: tuple[str, ...], keep_threshold: float | None
) -> Callable[[Iterable[Document]], Iterator[Record]]:
    """Called once in each worker process."""
    return load_pipeline(refiner, stages, keep_threshold).run
