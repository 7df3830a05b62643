"""Bring the documents of a run back as they came, from its output alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from burnish.errors import InputError, OutputError, UsageError
from burnish.io.jsonl import dumps
from burnish.io.output import (
    input_schema,
    misfit,
    misfitting,
    parts_of_run,
    read_shard,
    write_parquet,
)
from burnish.io.parquet import ArrowRow
from burnish.runner.base import Summary
from burnish.runner.manifest import MANIFEST, SETTINGS, SUMMARY, load, notes_of, read_note
from burnish.schema import StageTrace, Status, revert_edits, text_hash


@dataclass(frozen=True, slots=True)
class Restored:
    """One document as it came, and what the run did to it.

    `stored` is the row as the run wrote it, `text_column` the column in which its text stands.
    """

    id: str
    status: Status
    stored: dict[str, Any] | ArrowRow
    text_column: str
    text: str
    refined: str
    traces: tuple[StageTrace, ...]

    @property
    def row(self) -> dict[str, Any]:
        """The input's columns in their order, the original text among them.

        Raises InputError where Python has no such value, as for a timestamp with nanoseconds.
        """
        stored = self.stored
        try:
            plain = stored.plain() if isinstance(stored, ArrowRow) else stored
        except ValueError as error:
            raise InputError(f"{self.id}: {misfit(stored)} is no plain value: {error}") from error
        return type(plain)({**plain, self.text_column: self.text})


def restore(folder: Path, partial: bool = False) -> Iterator[Restored]:
    """Every document of a run in the order of the input, checked against the hash of its text.

    Raises InputError if the folder holds no run, or if a document is missing or does not come back
    as it was; also if the run is not finished, unless `partial` asks for its finished shards.
    """
    text_column, form = _settings(folder)
    for shard in _shards(folder, form, partial):
        name = f"{shard}.{form}"
        expected = read_note(folder, shard).counts.documents
        count = 0
        for row, program in read_shard(folder, name):
            count += 1
            yield _restored(folder, text_column, row, program)
        if count != expected:
            raise misfitting(folder, name, f"{count} documents, not {expected} as noted")


def _shards(folder: Path, form: str, partial: bool) -> list[str]:
    """The names of the shards that are done."""
    names = notes_of(folder)
    if partial:
        return names
    summary = folder / SUMMARY
    if not summary.exists() or len(names) != load(summary, Summary.from_json).shards:
        raise InputError(
            f"{folder}: the run is not finished: run burnish refine again, or use --partial"
        )
    for part in parts_of_run(folder):
        if part.removesuffix(f".{form}") not in names:
            raise InputError(f"{folder}: {part} is no part of the run; move it elsewhere")
    return names


def _restored(
    folder: Path, text_column: str, row: dict[str, Any] | ArrowRow, program: Mapping[str, Any]
) -> Restored:
    status = Status(program["status"])
    text = refined = row[text_column]
    traces = tuple(StageTrace.from_json(stage) for stage in program["stages"])
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
    return Restored(program["id"], status, row, text_column, text, refined, traces)


def write_restored(
    folder: Path, target: Path | None = None, partial: bool = False
) -> tuple[Path, int]:
    """Writes the original documents to a file, whole or not at all; returns it and their number.

    The suffix says the format: `.jsonl`, `.jsonl.zst` or `.parquet` (for a run in that format, all
    column types as they were). Without a target, a file beside the folder, in the run's format.

    Raises InputError as `restore` does, UsageError for another suffix or for columns that JSON can
    not hold, OutputError if the file can not be written.
    """
    text_column, form = _settings(folder)
    if target is None:
        target = folder.resolve().with_name(f"{folder.resolve().name}-restored.{form}")
    if not target.name.endswith((".jsonl", ".jsonl.zst", ".parquet")):
        raise UsageError(f"{target}: the name must end with .jsonl, .jsonl.zst or .parquet")
    if target.suffix == ".parquet" and form != "parquet":
        raise UsageError(f"{target}: the run is in JSONL; choose .jsonl or .jsonl.zst")
    temporary = target.with_name(f".{target.name}.part")
    try:
        with temporary.open("wb") as file:
            documents = restore(folder, partial)
            if target.suffix == ".parquet":
                rows = ((d.stored, d.text) for d in documents if isinstance(d.stored, ArrowRow))
                count = write_parquet(file, rows, input_schema(folder, text_column), text_column)
            else:
                count = _write_lines(target, documents, file)
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"can not write {target}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target, count


def _write_lines(target: Path, documents: Iterator[Restored], file: BinaryIO) -> int:
    lines = (_line(target, found) for found in documents)
    if target.suffix == ".zst":
        with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as stream:
            return sum(1 for line in lines if stream.write(line) is not None)
    return sum(1 for line in lines if file.write(line))


def _line(target: Path, found: Restored) -> bytes:
    try:
        return dumps(found.row)
    except (TypeError, InputError) as error:
        raise UsageError(
            f"{target}: {misfit(found.stored)} can not be stored as JSON; choose .parquet"
        ) from error


def _settings(folder: Path) -> tuple[str, str]:
    """The text column and the format of the run."""
    path = folder / MANIFEST / SETTINGS
    try:
        return load(path, lambda data: (data["text_column"], data["format"]))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no run of burnish refine: no {path}") from None


def _changed(folder: Path, document_id: str) -> InputError:
    return InputError(
        f"{folder}: document {document_id} does not come back as it was; its text or its program "
        "was changed after the run"
    )
