"""Labelled documents, as `burnish annotate` writes them: read, checked and chosen.

`burnish.io.labels` lists the files. Fields of a row may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from burnish.errors import InputError
from burnish.io.jsonl import loads, numbered_lines
from burnish.io.labels import CHUNK, REJECTED, LabelledFile, labelled_files
from burnish.schema import Edit, apply_edits

Row = Mapping[str, Any]

SCORES = ("edu", "format")
_FAR = 2  # annotators whose scores differ by this much disagree


# ---------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Found:
    """One row with its place: `number` is its line in the file, counted from 1."""

    file: LabelledFile
    number: int
    row: Row


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows to show; a row must meet everything that is set.

    Attributes:
        stage: DOCUMENT or CHUNK.
        kind: what some removed or changed line is, or the task of a rejected row.
        disagreement: only where the annotators differ (see `disagree`).
        status: of windows, "kept" or "edited".
        rejected: rejected rows, in place of the labelled ones.
    """

    stage: str | None = None
    split: str | None = None
    kind: str | None = None
    disagreement: bool = False
    status: str | None = None
    rejected: bool = False
    id: str | None = None

    def allows_file(self, file: LabelledFile) -> bool:
        """Whether the file can hold such rows."""
        if self.rejected or file.kind == REJECTED:
            return self.rejected and file.kind == REJECTED
        return self.stage in (None, file.kind) and self.split in (None, file.split)

    def allows(self, found: Found) -> bool:
        """Whether the row, of a file that is allowed, is such a row."""
        row = found.row
        return (
            (self.id is None or str(row.get("id")) == self.id)
            and (self.status is None or status_of(row) == self.status)
            and (self.kind is None or self.kind in kinds_of(row))
            and (not self.rejected or self._allows_rejected(row))
            and (not self.disagreement or disagree(row))
        )

    def _allows_rejected(self, row: Row) -> bool:
        # To rewrite a window is the other way to label it.
        stage = CHUNK if row.get("stage") == "rewrite" else row.get("stage")
        return self.stage in (None, stage) and self.split in (None, row.get("split"))


def find(folder: Path, wanted: Wanted) -> Iterator[Found | None]:
    """The rows that are wanted, documents first, file by file; nothing is read ahead.

    None stands for a row that is not wanted, so that a long search can be left. Raises InputError
    if the folder holds no labels, and at a row that can not be read.
    """
    for file in labelled_files(folder, wanted.split):
        if wanted.allows_file(file):
            for found in rows_of(file):
                yield found if wanted.allows(found) else None


def rows_of(file: LabelledFile) -> Iterator[Found]:
    """The rows of a file. Raises InputError, with file and row, for what is none."""
    for number, line in numbered_lines(file.path):
        try:
            row = loads(line)
            if file.kind == REJECTED:  # may hold anything under the names of labels
                row = {name: value for name, value in row.items() if name not in _TYPES}
            _check(row)
        except ValueError as error:
            raise InputError(f"{file.path}, row {number}: {error}") from None
        yield Found(file, number, row)


def status_of(row: Row) -> str | None:
    """ "kept" or "edited" of a window, by its lines and edits where it does not say it itself."""
    if "status" in row or not row.get("lines"):
        return row.get("status")
    gone = any(isinstance(line, dict) and line.get("label") == 1 for line in row["lines"])
    return "edited" if gone or row.get("edits") else "kept"


_TYPES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "lines": (list,),
    "edits": (list,),
    "kinds": (list,),
    "annotators": (list,),
    "critiques": (dict,),
    "first_line": (int,),
    "votes": (int,),
    "edu": (int, float),
    "format": (int, float),
}


def _check(row: Row) -> None:
    """Raises ValueError where a field is not what it must be; fields may be missing or null."""
    _check_types("", row)
    for name in ("lines", "annotators"):
        for number, part in enumerate(row.get(name) or ()):
            if not isinstance(part, dict):
                raise ValueError(f"{name}[{number}] must be an object, not {type(part).__name__}")
            _check_types(f"{name}[{number}].", part)
    for number, line in enumerate(row.get("lines") or ()):
        if "\n" in (line.get("text") or ""):
            raise ValueError(f"lines[{number}].text holds a line feed")
    apply_edits("\n".join(texts_of(row)), edits_of(row))


def _check_types(place: str, part: Row) -> None:
    for name, types in _TYPES.items():
        value = part.get(name)
        if value is not None and not isinstance(value, types):
            names = " or ".join(each.__name__ for each in types)
            raise ValueError(f"{place}{name} must be {names}, not {type(value).__name__}")


def texts_of(row: Row) -> list[str]:
    """The lines of a window."""
    return [line.get("text") or "" for line in row.get("lines") or ()]


def edits_of(row: Row) -> list[Edit]:
    """The edits of a window; raises ValueError for what is none."""
    edits = []
    for number, edit in enumerate(row.get("edits") or ()):
        match edit:
            case [int(start), str(old), str(new)]:
                edits.append(Edit(start, old, new))
            case _:
                raise ValueError(f"edits[{number}] must be [start, old, new]")
    return edits


# ----------------------------------------------------------------------------------- disagreement


def disagree(row: Row) -> bool:
    """Whether the annotators of a row differ.

    Of a document: in keep, or by 2 or more in a score. Of a window: some but not all removed a
    line, or their programs are not the same.
    """
    annotators = row.get("annotators") or ()
    return (
        any(differ(name, annotators) for name in ("keep", *SCORES))
        or any(split_vote(line, len(annotators)) for line in row.get("lines") or ())
        or any(a != b for a, b in pairwise(programs_of(annotators)))
    )


def differ(name: str, annotators: Sequence[Row]) -> bool:
    """Whether annotators differ in keep, or by 2 or more in a score."""
    values = [a[name] for a in annotators if isinstance(a.get(name), int | float)]
    return bool(values) and max(values) - min(values) >= (1 if name == "keep" else _FAR)


def split_vote(line: Row, annotators: int) -> bool:
    """Whether some of so many annotators removed the line, but not all."""
    return 0 < (line.get("votes") or 0) < annotators


def programs_of(annotators: Sequence[Row]) -> list[list[str]]:
    """The calls of each annotator that wrote a program."""
    return [calls_of(a["program"]) for a in annotators if a.get("program") is not None]


def calls_of(program: Any) -> list[str]:
    """The calls of a program, stored as a list or as text."""
    return list(map(str, program)) if isinstance(program, list) else str(program).split("\n")


def kinds_of(row: Row) -> list[str]:
    """The kinds of a window, each once; of a rejected row its task."""
    parts = (row, *(row.get("lines") or ()))
    kinds = [str(kind) for part in parts for kind in part.get("kinds") or ()]
    return list(dict.fromkeys([*kinds, *filter(None, [row.get("task")])]))
