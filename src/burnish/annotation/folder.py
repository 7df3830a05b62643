"""A folder of labels: the answers and the sample that they rest on, the labels, the data card.

    answers.sqlite                     every answer that came, so that none is paid for twice
    sample.jsonl.zst, sample.json      the documents that were drawn, and what for
    train.jsonl.zst, dev.jsonl.zst     documents with scores and a decision
    chunks_train.jsonl.zst, ...        windows with programs and a label for each line
    rejected.jsonl.zst                 answers, and rows of input, that could not be used
    data_card.json, README.md          what all of this is

Labels are a function of the sample and the answers, and are written anew by every run, each file
at once; the card comes last, so a folder with a card is whole.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from burnish.annotation.labels import Labels
from burnish.annotation.readme import readme
from burnish.annotation.rows import CARRIED
from burnish.annotation.sampling import Sample
from burnish.errors import InputError, OutputError
from burnish.io.labels import CHUNK, DOCUMENT, REJECTED, label_file
from burnish.io.lock import Lock, LockState, take_lock
from burnish.io.output import TEMPORARY, json_part, read_part, sync, write_file
from burnish.schema import Document, Rejected

ANSWERS = "answers.sqlite"
_SAMPLE, _SAMPLE_NOTE = "sample.jsonl.zst", "sample.json"
DATA_CARD, README = "data_card.json", "README.md"
MADE_OF = (ANSWERS, f"{ANSWERS}-wal", _SAMPLE, _SAMPLE_NOTE)
"""What labels are made of, the log that a killed run leaves beside its answers among it."""
_LOCK = ".lock"
_OURS = {ANSWERS, _SAMPLE, _SAMPLE_NOTE, DATA_CARD, _LOCK}
_TAG = "annotate"


@dataclass(frozen=True, slots=True)
class StoredSample:
    """The documents that were drawn, with the columns that matter for labels; what is known about
    the drawing; and rows of input that are no documents."""

    documents: list[Document]
    note: Mapping[str, Any]
    rejected: list[dict[str, Any]]


class LabelFolder:
    """The folder, made and locked; a context manager.

    Raises OutputError if it holds other things, can not be written, or another process works on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Lock | None = None

    def __enter__(self) -> Self:
        try:
            self._check_ours()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = take_lock(self.path / _LOCK)
        except OSError as error:
            raise OutputError(f"can not use {self.path}: {error.strerror or error}") from None
        if self._lock.state is LockState.BUSY:
            self._release()
            raise OutputError(f"another process works on {self.path}; wait for it or stop it")
        for path in self.path.glob(f"{TEMPORARY}*"):
            path.unlink(missing_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _check_ours(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"the output {self.path} is a file, not a folder")
        names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        if names and not names & _OURS:
            raise OutputError(
                f"the output folder {self.path} holds other files ({', '.join(sorted(names)[:5])}"
                "); choose a new or empty folder"
            )

    # ------------------------------------------------------------------------------ sample

    def sample(self, drawn_for: Mapping[str, Any]) -> StoredSample | None:
        """The sample that an earlier run drew for the same; None if there is none."""
        try:
            note = json.loads((self.path / _SAMPLE_NOTE).read_bytes())
            if note["drawn_for"] != json.loads(json.dumps(drawn_for)):
                return None
        except (OSError, ValueError, LookupError, TypeError):
            return None
        documents: list[Document] = []
        rejected: list[dict[str, Any]] = []
        try:
            for row in read_part(self.path / _SAMPLE):
                if "rejected" in row:
                    rejected.append(dict(row["rejected"]))
                else:
                    fields = (row[name] for name in ("id", "text", "columns", "origin"))
                    documents.append(Document(*fields))
        except (InputError, LookupError):  # damaged: it is drawn again
            return None
        return StoredSample(documents, note, rejected) if len(documents) == note["drawn"] else None

    def keep_sample(
        self, found: Sample, rejected: Sequence[Rejected], drawn_for: Mapping[str, Any]
    ) -> None:
        """Writes a sample; its note comes last."""
        (self.path / _SAMPLE_NOTE).unlink(missing_ok=True)
        part = json_part(self.path / _SAMPLE, _TAG)
        for document in found.documents:
            part.write(
                {
                    "id": document.id,
                    "origin": document.origin,
                    "columns": _columns(document),
                    "text": document.text,
                }
            )
        for row in rejected:
            part.write({"rejected": {"stage": "input", **row.to_json()}})
        sync(filter(None, [part.finish()]))
        part.publish()
        note = {**_counted(found), "drawn_for": drawn_for}
        write_file(self.path / _SAMPLE_NOTE, _dump(note), _TAG)
        sync([self.path])

    # ------------------------------------------------------------------------------ labels

    def write_labels(
        self,
        splits: Collection[str],
        rejected: Iterable[Mapping[str, Any]],
        labels: Iterable[tuple[str, Labels]],
    ) -> None:
        """Writes each document's labels, given with its split, in place of earlier ones; those
        that are not complete are left out."""
        files = [label_file(self.path, kind, name) for kind in (DOCUMENT, CHUNK) for name in splits]
        files.append(label_file(self.path, REJECTED))
        parts = {(file.kind, file.split): json_part(file.path, _TAG) for file in files}
        unusable = parts[REJECTED, ""]
        try:
            for row in rejected:
                unusable.write(row)
            for split, found in labels:
                for row in found.rejected:
                    unusable.write({**row, "split": split})
                if found.missing:
                    continue
                for row in found.documents:
                    parts[DOCUMENT, split].write(row)
                for row in found.windows:
                    parts[CHUNK, split].write(row)
            sync(path for part in parts.values() if (path := part.finish()))
        except BaseException:
            for part in parts.values():
                part.abort()
            raise
        for name in self._earlier_splits() - set(splits):
            for kind in (DOCUMENT, CHUNK):
                label_file(self.path, kind, name).path.unlink(missing_ok=True)
        (self.path / DATA_CARD).unlink(missing_ok=True)
        for part in parts.values():
            part.publish()
        sync([self.path])

    def _earlier_splits(self) -> set[str]:
        """The splits that the folder's card names."""
        try:
            return set(json.loads((self.path / DATA_CARD).read_bytes())["settings"]["splits"])
        except (OSError, ValueError, LookupError, TypeError):
            return set()

    def rows(self, splits: Iterable[str]) -> Iterator[Mapping[str, Any]]:
        """All rows of gold."""
        for name in splits:
            for kind in (DOCUMENT, CHUNK):
                yield from read_part(label_file(self.path, kind, name).path)

    def write_card(self, card: Mapping[str, Any]) -> None:
        """Writes the data card, for people and for programs."""
        write_file(self.path / README, readme(card).encode("utf-8", "replace"), _TAG)
        write_file(self.path / DATA_CARD, _dump(card), _TAG)
        sync([self.path])


@contextmanager
def finished(folder: Path) -> Iterator[dict[str, Any]]:
    """The data card of a folder that holds whole labels; while the block runs, no other process
    writes new ones.

    Raises InputError if the labels are not whole, OutputError if a process works on them.
    """
    with ExitStack() as held:
        if (folder / _LOCK).is_file():
            lock = held.enter_context((folder / _LOCK).open("rb"))
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(f"a process writes labels into {folder}; wait for it") from None
            except OSError:
                pass  # a file system without locks
        yield _card_of(folder)


def _card_of(folder: Path) -> dict[str, Any]:
    path = folder / DATA_CARD
    try:
        card: dict[str, Any] = json.loads(path.read_bytes())
        kinds = {"documents": DOCUMENT, "windows": CHUNK}
        files = [
            label_file(folder, kind, split).path.name
            for counted, kind in kinds.items()
            for split, counts in card["splits"].items()
            if counts.get(counted)
        ]
        readme(card)
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds no finished labels: there is no {DATA_CARD}, which burnish annotate "
            "writes last"
        ) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no data card of burnish annotate: {error!r}") from None
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} holds no whole labels: there is no {', '.join(missing)}")
    return card


def _columns(document: Document) -> dict[str, Any]:
    """What prompts, splits and labels need of a row."""
    columns = document.columns
    found = {name: columns[name] for name in (*CARRIED, "math") if name in columns}
    return {n: v for n, v in found.items() if isinstance(v, str | int | float | bool)}


def _counted(found: Sample) -> dict[str, Any]:
    return {
        "drawn": len(found.documents),
        "seen": found.seen,
        "blank": found.blank,
        "duplicates": found.duplicates,
        "rejected": found.rejected,
        "damaged": found.damaged,
        "strata": {name: asdict(stratum) for name, stratum in found.strata.items()},
    }


def _dump(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1) + "\n").encode()
