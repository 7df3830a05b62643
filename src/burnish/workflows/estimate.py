"""What a run would come to, told from a small sample: what stays, how much, how long it takes.

The sample is refined as `burnish refine` does it, into a temporary folder. Shares are ratios of
totals over the sample, with 95 % intervals (see `burnish.workflows.retention`).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from pathlib import Path
from threading import Lock
from typing import Any

from burnish.errors import InputError
from burnish.io import jsonl
from burnish.io.rows import Columns
from burnish.io.sample import READ_WHOLE_BYTES, Sample, draw
from burnish.program.lines import Chunk
from burnish.refiners import EngineChoice, is_language_model, parameters_of
from burnish.refiners.base import Draft, Refiner
from burnish.runner import local
from burnish.runner.base import Job, utf8_length
from burnish.schema import Document, Record, Status
from burnish.stages import Pipeline
from burnish.workflows import refine
from burnish.workflows.retention import (
    SAMPLE,
    SAMPLE_OF_MODEL,
    Bootstrap,
    Choice,
    Estimate,
    check_share,
    choose,
    drawn_records,
)

START_SECONDS = 1.5
"""From the command to the first document: imports, loading, looking at the inputs."""
SHARE_OF_SECOND_WORKER = 0.9
"""Several workers together, of as many times one: measured for two (benchmarks/throughput.py)."""
A100_FLOPS = 1.6e14
"""FLOP/s of one A100 as ProX used it: 60B tokens in two stages, about 0.3 of them in both, by 0.7B
parameters in 192 A100-hours: 2 · 0.7e9 · 78e9 / (192 · 3600), half of the card's peak."""
FOLDERS = ("documents", "dropped", "programs")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What would be refined, and how; the fields are those of `burnish.workflows.refine.Config`.

    `sample` is the number of documents; None takes 2,000, with a language model 500. An input with
    more text than `read_whole_bytes` is read in parts (see `burnish.io.sample`).
    """

    inputs: tuple[Path, ...]
    refiner: str | tuple[str, ...] = "default"
    stages: tuple[str, ...] | None = None
    keep_threshold: float | None = None
    keep_tokens: float | None = None
    noise_threshold: float | None = None
    engine: EngineChoice = field(default_factory=EngineChoice)
    text_column: str = "text"
    id_column: str | None = None
    format: str = "jsonl.zst"
    workers: int | None = None
    sample: int | None = None
    read_whole_bytes: int = READ_WHOLE_BYTES


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What a language model's stage reads and writes, a byte of the input's text.

    `flops` is 2 · parameters · (prefill + decode) (ProX, E.3), of the whole input; None where the
    parameters, embeddings left out, are not known.
    """

    stage: str
    parameters: int | None
    prefill_tokens: Estimate
    decode_tokens: Estimate
    flops: Estimate | None

    @property
    def a100_hours(self) -> Estimate | None:
        return None if self.flops is None else self.flops.times(1 / A100_FLOPS / 3600)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is said of a run.

    Attributes:
        sampled: documents that were refined.
        places: what of the input was read, in words.
        whole: the whole input was read, so that `documents` and `text_bytes` are exact.
        documents, text_bytes: of the input; UTF-8 bytes.
        choice: the threshold chosen for a share of tokens, if one was asked for.
        kept_documents: share of the documents that stays.
        kept_bytes: share of the bytes that stays, edits taken off.
        dropped: stage -> share of all documents that it drops.
        removed_lines: lines that go whole from documents that stay, over all lines.
        output_bytes: folder -> bytes on disk.
        workers, seconds: the clock on this machine with so many workers; the sample took
            `sample_seconds` with one.
        models: what language models read and write.
        rejected: rows that are no documents, among those that were read.
        damaged: files of which a part can not be read.
    """

    sampled: int
    places: tuple[str, ...]
    whole: bool
    documents: float
    text_bytes: float
    choice: Choice | None
    kept_documents: Estimate
    kept_bytes: Estimate
    dropped: Mapping[str, Estimate]
    removed_lines: Estimate
    output_bytes: Mapping[str, Estimate]
    workers: int
    seconds: Estimate
    sample_seconds: float
    models: tuple[ModelCost, ...]
    rejected: int
    damaged: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        hours = {f"a100_hours.{cost.stage}": cost.a100_hours for cost in self.models}
        told = {name: found.to_json() for name, found in hours.items() if found is not None}
        return {**asdict(self), **told}


def run(config: Config) -> Prediction:
    """Refines a sample and says what the whole would come to. Nothing is left behind.

    Raises as `burnish.workflows.refine.run` does before it writes, and InputError where the sample
    holds no document.
    """
    names = refine.Config(inputs=config.inputs, output=Path(), refiner=config.refiner).refiners
    model = any(map(is_language_model, names))
    workers = config.workers or refine.default_workers(model, config.engine)
    threshold = config.keep_threshold
    if config.keep_tokens is not None:
        check_share(config.keep_tokens, threshold, refine.stages_to_do(names, config.stages))
    # Loading here finds mistakes before anything is read.
    pipeline = _pipeline(config, threshold)
    columns = Columns(config.text_column, config.id_column)
    size = config.sample or (SAMPLE_OF_MODEL if model else SAMPLE)
    sample = draw(config.inputs, size, columns, read_whole_bytes=config.read_whole_bytes)
    if not sample.drawn:
        raise InputError("no row that was looked at is a document")
    choice = None
    if config.keep_tokens is not None:
        every = _pipeline(config, 0.0)
        choice = choose(sample, drawn_records(sample, every.run), config.keep_tokens)
        pipeline = _pipeline(config, choice.threshold)
    counting = [_Counting(stage.refiner) for stage in pipeline.stages]
    list(pipeline.run([sample.drawn[0].document]))  # what starts once takes no time of the sample's
    trial = _try(sample, pipeline.with_refiners(counting), config)
    return _predict(config, sample, trial, choice, counting, workers)


def _pipeline(config: Config, keep_threshold: float | None) -> Pipeline:
    return refine.load_pipeline(
        config.refiner, config.stages, keep_threshold, config.engine, config.noise_threshold
    )


@dataclass(frozen=True, slots=True)
class _Trial:
    """A run over the sample: its records in order, seconds, and bytes on disk by folder."""

    records: Sequence[Record]
    seconds: float
    sizes: Mapping[str, int]


def _try(sample: Sample, pipeline: Pipeline, config: Config) -> _Trial:
    records: list[Record] = []

    seconds = 0.0

    def process(documents: Iterable[Document]) -> Iterator[Record]:
        nonlocal seconds
        began = time.perf_counter()
        for record in pipeline.run(documents):
            records.append(record)
            yield record
        seconds += time.perf_counter() - began

    with tempfile.TemporaryDirectory(prefix="burnish-") as name:
        source, output = Path(name, "sample.jsonl"), Path(name, "out")
        with source.open("wb") as file:
            file.writelines(_line(each.document, config) for each in sample.drawn)
        job = Job(
            inputs=(source,),
            output=output,
            factory=lambda: process,  # one worker is this process: nothing is pickled
            text_column=config.text_column,
            id_column=config.id_column,
            format=config.format,
        )
        local.run(job)
        sizes = {folder: _size(output / folder) for folder in FOLDERS}
    return _Trial(records, seconds, sizes)


def _line(document: Document, config: Config) -> bytes:
    """The document as a row; of one with columns that JSON has not, its id and text."""
    own = {config.id_column or "id": document.id, config.text_column: document.text}
    try:
        return jsonl.dumps({**own, **document.columns})
    except (TypeError, ValueError):
        return jsonl.dumps(own)


def _size(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def _predict(
    config: Config,
    sample: Sample,
    trial: _Trial,
    choice: Choice | None,
    counting: Sequence[_Counting],
    workers: int,
) -> Prediction:
    records = trial.records
    ratio = Bootstrap(sample).ratio
    ones = [1.0] * len(records)
    before = [float(utf8_length(record.document.text)) for record in records]
    stays = [float(record.status is not Status.DROPPED) for record in records]
    after = [s * utf8_length(r.text) for s, r in zip(stays, records, strict=True)]
    lines = [float(record.document.text.count("\n") + 1) for record in records]
    removed = [
        s * sum(last - first + 1 for trace in r.traces for first, last in trace.removed_lines)
        for s, r in zip(stays, records, strict=True)
    ]
    dropped = {
        stage: ratio([float(_dropped_by(r, stage)) for r in records], ones)
        for stage in dict.fromkeys(trace.stage for r in records for trace in r.traces)
    }
    kept = ratio(after, before)
    output = {}
    for folder, share in (
        ("documents", after),
        ("dropped", [(1 - s) * b for s, b in zip(stays, before, strict=True)]),
        ("programs", ones),
    ):
        # what the sample took on disk, in proportion to what goes there of the whole
        whole = ratio(share, before).times(sample.text_bytes)
        output[folder] = whole.times(trial.sizes[folder] / max(sum(share), 1))
    return Prediction(
        sampled=len(records),
        places=sample.places,
        whole=sample.whole,
        documents=sample.documents,
        text_bytes=sample.text_bytes,
        choice=choice,
        kept_documents=ratio(stays, ones),
        kept_bytes=kept,
        dropped=dropped,
        removed_lines=ratio(removed, lines),
        output_bytes=output,
        workers=workers,
        seconds=_seconds(sample, trial, before, workers),
        sample_seconds=trial.seconds,
        models=tuple(_costs(config, sample, counting, records, before)),
        rejected=sample.rejected,
        damaged=sample.damaged,
    )


def _dropped_by(record: Record, stage: str) -> bool:
    return any(t.stage == stage and t.status is Status.DROPPED for t in record.traces)


def _seconds(sample: Sample, trial: _Trial, before: Sequence[float], workers: int) -> Estimate:
    """The clock for the whole; a shard is 1 MiB at least, so a small input keeps few workers busy.

    Its interval is a fifth to either side, as far as runs of one machine lie apart, and more for
    small samples.
    """
    busy = min(workers, max(1, round(sample.text_bytes / 2**20)))
    share = 1.0 if busy == 1 else SHARE_OF_SECOND_WORKER
    rate = trial.seconds / max(sum(before), 1)
    seconds = START_SECONDS + sample.text_bytes * rate / (busy * share)
    off = min(0.2 + 1 / sqrt(len(before)), 1.0)
    return Estimate(seconds, (1 - off) * seconds, (1 + off) * seconds)


# ---------------------------------------------------------------------------------- models


class _Counting:
    """A refiner that counts what a language model reads and writes; others it leaves alone."""

    def __init__(self, refiner: Refiner) -> None:
        self.name = refiner.name
        self.prefill = self.decode = 0
        self.is_model = hasattr(refiner, "asked")
        self._refiner: Any = refiner
        self._lock = Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._refiner, name)

    def measure(self, lines: Sequence[str], first: int = 0) -> list[int]:
        found: list[int] = self._refiner.measure(lines, first)
        return found

    def write(self, chunks: Sequence[Chunk]) -> list[Draft]:
        drafts: list[Draft] = self._refiner.write(chunks)
        if self.is_model:
            prefill = sum(
                len(request.prompt)
                for chunk in chunks
                for _, request in self._refiner.asked(chunk)
                if self._refiner.fits(request)
            )
            decode = sum(map(self._length, drafts, chunks))
            with self._lock:
                self.prefill += prefill
                self.decode += decode
        return drafts

    def _length(self, draft: Draft, chunk: Chunk) -> int:
        """Tokens of an answer, its end included."""
        try:
            return 1 + len(self._refiner.answer(draft.program or (), chunk))
        except ValueError:
            return 1


def _costs(
    config: Config,
    sample: Sample,
    counting: Sequence[_Counting],
    records: Sequence[Record],
    before: Sequence[float],
) -> Iterator[ModelCost]:
    """For each stage of a language model. Tokens grow with the bytes that the stage is shown, so
    the interval is that of these."""
    ratio = Bootstrap(sample).ratio
    names = (config.refiner,) if isinstance(config.refiner, str) else config.refiner
    stages = list(dict.fromkeys(trace.stage for r in records for trace in r.traces))
    owners = refine.owners(names, stages)
    for stage, counts in zip(stages, counting, strict=False):
        if not counts.is_model:
            continue
        shown = [
            b * any(trace.stage == stage for trace in r.traces)
            for r, b in zip(records, before, strict=True)
        ]
        bytes_shown = ratio(shown, before).times(sample.text_bytes)
        prefill = bytes_shown.times(counts.prefill / max(sum(shown), 1))
        decode = bytes_shown.times(counts.decode / max(sum(shown), 1))
        parameters = parameters_of(owners[stage], config.engine)
        flops = None
        if parameters is not None:
            both = (counts.prefill + counts.decode) / max(sum(shown), 1)
            flops = bytes_shown.times(2.0 * parameters * both)
        yield ModelCost(stage, parameters, prefill, decode, flops)
