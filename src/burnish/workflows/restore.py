"""Bring the documents of a run back as they came, from its output alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from burnish.errors import InputError, OutputError
from burnish.io.jsonl import dumps
from burnish.io.output import read_run
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
    text_column = _text_column(folder)
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


def write_restored(folder: Path, target: Path) -> int:
    """Writes the original documents to a file, JSONL or zstd-compressed JSONL by its suffix, whole
    or not at all; returns how many.

    Raises InputError as `restore` does, OutputError if the file can not be written.
    """
    temporary = target.with_name(f".{target.name}.part")
    count = 0
    try:
        with temporary.open("wb") as file, _compressed(file, target) as stream:
            for count, found in enumerate(restore(folder), 1):
                stream.write(dumps(found.row))
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"can not write {target}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _compressed(file: BinaryIO, target: Path) -> AbstractContextManager[Any]:
    if target.suffix != ".zst":
        return nullcontext(file)
    return zstandard.ZstdCompressor().stream_writer(file)


def _text_column(folder: Path) -> str:
    """The name of the text column that the run was given."""
    path = folder / MANIFEST / SETTINGS
    try:
        name: str = json.loads(path.read_bytes())["text_column"]
    except FileNotFoundError:
        raise InputError(f"{folder} holds no run of burnish refine: no {path}") from None
    return name


def _changed(folder: Path, document_id: str) -> InputError:
    return InputError(
        f"{folder}: document {document_id} does not come back as it was; its text or its program "
        "was changed after the run"
    )
