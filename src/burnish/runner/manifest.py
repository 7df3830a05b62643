"""The truth about what is done: settings, one note for each finished shard, locks.

    manifest/settings.json      everything that changes the output
    manifest/00002-00017.json   shard 17 of file 2 is done, and what it came to
    manifest/file-00002.json    how many shards compressed file 2 has, once it was read to its end
    summary.json                written last, when every shard has its note
    timing.json                 seconds and rates of each session; nothing else tells time
    .locks/task-0-of-1          held by flock while a process works as that task
    .locks/gate                 held by flock for the moment in which a task takes its lock

A note is written only after the part files of its shard are durable under their own names. So a
process may be killed at any instant: what has a note is whole, what has none is done again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from burnish.errors import OutputError, SettingsChanged
from burnish.io.lock import Lock, LockState, take_lock
from burnish.io.output import (
    PART_FOLDERS,
    TEMPORARY,
    cannot_write,
    sync,
    write_file,
)
from burnish.io.shards import Plan
from burnish.runner.base import Job, Summary

MANIFEST, SETTINGS, SUMMARY, TIMING, LOCKS = (
    "manifest",
    "settings.json",
    "summary.json",
    "timing.json",
    ".locks",
)
_PART_NAME = re.compile(r"\d{5,}-\d{5,}\.(jsonl\.zst|parquet)")
_T = TypeVar("_T")
_OURS = {*PART_FOLDERS, MANIFEST, LOCKS}


def settings_of(job: Job, plan: Plan) -> dict[str, Any]:
    """Everything that changes the output of a job, as plain data."""
    inputs = {f.name: {"size": f.size, "fingerprint": f.fingerprint} for f in plan.files}
    if len(inputs) != len(plan.files):  # pragma: no cover - names are relative to one folder
        raise OutputError("two input files have the same name")
    own = {
        "inputs": inputs,
        "text_column": job.text_column,
        "id_column": job.id_column,
        "format": job.format,
        "limit": job.limit,
        "shard_bytes": plan.shard_bytes,
    }
    return {**json.loads(json.dumps(dict(job.settings))), **own}


def read_settings(folder: Path) -> dict[str, Any] | None:
    """The settings of the run in a folder; None if there is none. Raises OutputError if they are
    damaged."""
    path = folder / MANIFEST / SETTINGS
    return load(path, dict) if path.is_file() else None


def note_path(folder: Path, name: str) -> Path:
    return folder / MANIFEST / f"{name}.json"


def write_note(folder: Path, name: str, note: Mapping[str, Any], tag: str) -> None:
    """Note that a shard is done. A note lost in a power cut only means that it is done again."""
    write_file(note_path(folder, name), _dump(note), tag)


@dataclass(frozen=True, slots=True)
class Note:
    """What a finished shard came to: its input file, counts, and kinds of inferred columns."""

    file: str
    counts: Summary
    kinds: dict[str, str]


def read_note(folder: Path, name: str) -> Note:
    """The note of a shard; raises OutputError if it is damaged."""
    return load(
        note_path(folder, name),
        lambda data: Note(data["file"], Summary.from_json(data["counts"]), dict(data["kinds"])),
    )


def notes_of(folder: Path) -> list[str]:
    """The names of the shards that are done, in the order of the input."""
    return sorted(path.stem for path in (folder / MANIFEST).glob("[0-9]*.json"))


def load(path: Path, parse: Callable[[Any], _T]) -> _T:
    """What a file of a run holds; raises OutputError if it is damaged."""
    try:
        return parse(json.loads(path.read_bytes()))
    except (ValueError, TypeError, LookupError) as error:
        mend = "delete it and run burnish refine again"
        if path.name == SETTINGS:
            mend = "bring it back from a copy, or choose another output folder"
        raise OutputError(f"{path} is damaged; {mend}") from error


def _dump(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


class Manifest:
    """The output folder of a run, opened and locked for one task; a context manager.

    Raises OutputError if the folder holds other things or another process works on it,
    SettingsChanged if it holds a run with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], task: tuple[int, int]) -> None:
        self.folder = folder
        self.tag = f"{task[0]}of{task[1]}-{os.getpid()}"
        """Begins the names of this process's temporary files, after `TEMPORARY`."""
        self.done: set[str] = set()
        """The names of the shards that were done when the notes were last listed."""
        self.shards_of_file: dict[int, int] = {}
        """File index -> number of shards, for the compressed files that were read to their end."""
        self._settings = settings
        self._task = task
        self._lock: Lock | None = None

    def __enter__(self) -> Self:
        try:
            self._check_ours()
            for kind in _OURS:
                (self.folder / kind).mkdir(parents=True, exist_ok=True)
            self._take_lock()
            try:
                self._check_parts()
                self._check_settings()
                self.refresh()
            except BaseException:
                self._release()
                raise
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove_temporary(self.tag)
        self._release()

    def summary(self) -> Summary | None:
        """The summary of a finished run, None while there is work left."""
        path = self.folder / SUMMARY
        if not path.exists():
            return None
        return load(path, Summary.from_json)

    def write_summary(self, summary: Summary) -> None:
        sync([self.folder / MANIFEST])
        write_file(self.folder / SUMMARY, _dump(summary.to_json()), self.tag)
        sync([self.folder])

    def write_shards_of_file(self, file: int, count: int) -> None:
        if self.shards_of_file.get(file) != count:
            write_note(self.folder, f"file-{file:05d}", {"shards": count}, self.tag)
            self.shards_of_file[file] = count

    def write_timing(self, session: Mapping[str, Any]) -> None:
        """Append a session to `timing.json`, or to the file of the task where there are several."""
        index, count = self._task
        path = self.folder / (TIMING if count == 1 else f"timing-{index}of{count}.json")
        sessions = []
        if path.exists():
            with suppress(OutputError):  # what can not be read is not worth a run
                sessions = load(path, lambda data: list(data["sessions"]))
        write_file(path, _dump({"sessions": [*sessions, session]}), self.tag)

    def refresh(self) -> None:
        """List the notes again, with those that workers and other tasks wrote meanwhile."""
        for path in (self.folder / MANIFEST).glob("file-*.json"):
            self.shards_of_file[int(path.stem[5:])] = load(path, lambda data: int(data["shards"]))
        self.done.update(notes_of(self.folder))

    def note(self, name: str) -> Note:
        """The note of a shard that is done."""
        return read_note(self.folder, name)

    def _check_ours(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"the output {self.folder} is a file, not a folder")
        if not self.folder.exists() or (self.folder / MANIFEST / SETTINGS).exists():
            return
        foreign = sorted({path.name for path in self.folder.iterdir()} - _OURS)
        if foreign:
            raise OutputError(
                f"the output folder {self.folder} holds other files ({', '.join(foreign[:5])}); "
                "choose a new or empty folder"
            )

    def _check_parts(self) -> None:
        for kind in PART_FOLDERS:
            for name in os.listdir(self.folder / kind):
                if not (_PART_NAME.fullmatch(name) or name.startswith(".")):
                    raise OutputError(
                        f"{self.folder / kind / name} is no part of this run; move it "
                        f"elsewhere, for everything in {kind}/ is taken for output"
                    )

    def _check_settings(self) -> None:
        path = self.folder / MANIFEST / SETTINGS
        if not path.exists():
            write_file(path, _dump(self._settings), self.tag)
            sync([path.parent, self.folder])
            return
        old, new = _flat(load(path, dict)), _flat(self._settings)
        differences = {
            key: (old.get(key), new.get(key))
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        }
        if differences:
            lines = [f"  {key}: {a!r} -> {b!r}" for key, (a, b) in list(differences.items())[:20]]
            if len(differences) > 20:
                lines.append(f"  and {len(differences) - 20} more")
            raise SettingsChanged(
                f"{self.folder} holds a run with other settings:\n"
                + "\n".join(lines)
                + "\nChoose another output folder, or delete this one to start again.",
                differences,
            )

    def _take_lock(self) -> None:
        """Hold this task's lock, refuse to run beside another split, sweep up after the dead.

        One process at a time: else two that look at each other's locks refuse each other.
        """
        gate = take_lock(self.folder / LOCKS / "gate", wait=True)
        try:
            self._take_lock_within_gate()
        finally:
            gate.release()

    def _take_lock_within_gate(self) -> None:
        index, count = self._task
        locks = self.folder / LOCKS
        self._lock = take_lock(locks / f"task-{index}-of-{count}")
        if self._lock.state is LockState.BUSY:
            self._release()
            raise OutputError(
                f"another process works on {self.folder} as task {index} of {count}; wait for it "
                "or stop it"
            )
        for path in sorted(locks.iterdir()):
            match = re.fullmatch(r"task-(\d+)-of-(\d+)", path.name)
            if not match:
                continue
            mine = (int(match[1]), int(match[2])) == self._task
            lock = self._lock if mine else take_lock(path)
            if lock.state is LockState.HELD:
                self._remove_temporary(f"{match[1]}of{match[2]}")
            if not mine:
                lock.release()
            if lock.state is LockState.BUSY and int(match[2]) != count:
                self._release()
                raise OutputError(
                    f"another process works on {self.folder} as task {match[1]} of {match[2]}; all "
                    f"tasks of a folder need the same count, not {count}"
                )

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _remove_temporary(self, tag: str) -> None:
        for folder in (self.folder, *(self.folder / name for name in (*PART_FOLDERS, MANIFEST))):
            for path in folder.glob(f"{TEMPORARY}{tag}-*"):
                path.unlink(missing_ok=True)


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted path -> value; a list of objects with names counts as an object of objects."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, list) and all(isinstance(v, dict) and "name" in v for v in value):
            value = {v["name"]: v for v in value}
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
