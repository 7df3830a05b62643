"""Bring the documents of a run back as they came, from its output alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from burnish.errors import InputError, OutputError, UsageError
from burnish.io.jsonl import dumps
from burnish.io.output import input_schema, read_run, write_parquet
from burnish.runner.manifest import MANIFEST, SETTINGS
from burnish.schema import StageTrace, Status, revert_edits, text_hash


@dataclass(frozen=True, slots=True)
class Restored:
    """One document as it came, and what the run did to it.

    `row` has the input's columns in their order, the original text among them.
    """

    id: str
    status: Status
    row: Mapping[str, Any]
    text: str
    refined: str
    traces: tuple[StageTrace, ...]


def restore(folder: Path) -> Iterator[Restored]:
    """Every document of a run in the order of the input, checked against the hash of its text.

    Raises InputError if the folder holds no run, or if a document does not come back as it was.
    """
    text_column = _settings(folder)["text_column"]
    for row, program in read_run(folder):
        status = Status(program["status"])
        refined = row[text_column]
        traces = tuple(StageTrace.from_json(stage) for stage in program["stages"])
        text = refined
        try:
            # A dropped document was stored as it came.
            for trace in reversed(traces) if status is not Status.DROPPED else ():
                text = revert_edits(text, trace.edits)
        except ValueError as error:
            raise _changed(folder, program["id"]) from error
        if text_hash(text) != program["text_hash"]:
            raise _changed(folder, program["id"])
        if status is Status.DROPPED:
            refined = ""
        row[text_column] = text
        yield Restored(program["id"], status, row, text, refined, traces)


def write_restored(folder: Path, target: Path | None = None) -> tuple[Path, int]:
    """Writes the original documents to a file, whole or not at all; returns it and their number.

    The suffix says the format: `.jsonl`, `.jsonl.zst` or `.parquet` (for a run in that format, all
    column types as they were). Without a target, a file beside the folder, in the run's format.

    Raises InputError as `restore` does, UsageError for another suffix, OutputError if the file can
    not be written.
    """
    form = _settings(folder)["format"]
    if target is None:
        target = folder.resolve().with_name(f"{folder.resolve().name}-restored.{form}")
    if not target.name.endswith((".jsonl", ".jsonl.zst", ".parquet")):
        raise UsageError(f"{target}: the name must end with .jsonl, .jsonl.zst or .parquet")
    if target.suffix == ".parquet" and form != "parquet":
        raise UsageError(f"{target}: the run is in JSONL; choose .jsonl or .jsonl.zst")
    temporary = target.with_name(f".{target.name}.part")
    rows = (found.row for found in restore(folder))
    try:
        with temporary.open("wb") as file:
            count = _write(folder, target, rows, file)
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"can not write {target}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target, count


def _write(folder: Path, target: Path, rows: Iterator[Mapping[str, Any]], file: BinaryIO) -> int:
    if target.suffix == ".parquet":
        return write_parquet(file, rows, input_schema(folder))
    if target.suffix == ".zst":
        with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as stream:
            return sum(1 for row in rows if stream.write(dumps(row)) is not None)
    return sum(1 for row in rows if file.write(dumps(row)))


def _settings(folder: Path) -> dict[str, Any]:
    """What the run was given."""
    path = folder / MANIFEST / SETTINGS
    try:
        settings: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{folder} holds no run of burnish refine: no {path}") from None
    return settings


def _changed(folder: Path, document_id: str) -> InputError:
    return InputError(
        f"{folder}: document {document_id} does not come back as it was; its text or its program "
        "was changed after the run"
    )
