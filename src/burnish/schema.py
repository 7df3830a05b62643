"""Everything that is ever stored: documents in, records out.

Standard library only, no behaviour beyond reading and writing these values as plain data. A record
that leaves the pipeline holds one trace for each stage; a trace holds the edits from which the
stage's input comes back character for character.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from typing import Any

SCHEMA_VERSION = 1


class Status(StrEnum):
    """What became of a document, at one stage or over all of them.

    An empty text never stands for a decision: only the status does.
    """

    KEPT = "kept"
    """The program ran and changed nothing."""
    EDITED = "edited"
    """The program ran and changed the text."""
    DROPPED = "dropped"
    """The program, a threshold or a limit removed the whole document."""
    REFUSED = "refused"
    """The program broke a limit; the text is as it was."""
    FAILED = "failed"
    """There was no usable program; the text is as it was."""


@dataclass(frozen=True, slots=True)
class Issue:
    """Something in a program that could not be used as written.

    `line` and `column` say where in the program text the call begins: 1-based line, 1-based column
    in characters; 0 where the issue has no place there. `source` quotes the offending text.
    """

    code: str
    message: str
    line: int = 0
    column: int = 0
    source: str = ""

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        quote = f"\n    {self.source}" if self.source else ""
        return f"{place}{self.message}{quote}"

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "line": self.line,
            "column": self.column,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Issue:
        return cls(data["code"], data["message"], data["line"], data["column"], data["source"])


@dataclass(frozen=True, slots=True)
class Edit:
    """One replaced span: `old`, which began at character `start` of the input, became `new`.

    `start` is 0-based and counts code points of the stage's input. Edits of one outcome are sorted
    by `start` and do not overlap; the spans between them are the same in input and output.
    """

    start: int
    old: str
    new: str = ""

    @property
    def end(self) -> int:
        """The first character after the span (exclusive)."""
        return self.start + len(self.old)


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus.

    `columns` is the whole input row in its own order, text column included, so that it can be
    written again as it came. `origin` names file and position for people. `first_line` is the
    number of its first line (0-based) where the text was cut out of a longer one: a model is shown
    the numbers of the longer one, everything else counts from 0.
    """

    id: str
    text: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""
    first_line: int = 0


@dataclass(frozen=True, slots=True)
class StageTrace:
    """What one stage did to one document.

    `program` is the list form of the operations (`burnish.program.operations.to_json`), None where
    the refiner wrote none. `removed_lines` are ranges of line numbers of the stage's input, 0-based
    and inclusive, of the lines that went whole.
    """

    stage: str
    refiner: str
    status: Status
    program: list[list[Any]] | None = None
    edits: tuple[Edit, ...] = ()
    issues: tuple[Issue, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    removed_lines: tuple[tuple[int, int], ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "refiner": self.refiner,
            "status": str(self.status),
            "reason": self.reason,
            "scores": dict(self.scores),
            "program": self.program,
            "removed_lines": [list(r) for r in self.removed_lines],
            "edits": [[e.start, e.old, e.new] for e in self.edits],
            "issues": [i.to_json() for i in self.issues],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StageTrace:
        return cls(
            stage=data["stage"],
            refiner=data["refiner"],
            status=Status(data["status"]),
            reason=data["reason"],
            scores=data["scores"],
            program=data["program"],
            removed_lines=tuple((a, b) for a, b in data["removed_lines"]),
            edits=tuple(Edit(start, old, new) for start, old, new in data["edits"]),
            issues=tuple(Issue.from_json(i) for i in data["issues"]),
        )


@dataclass(frozen=True, slots=True)
class Record:
    """A document after all stages: its fate, its text and how it came to be.

    `text` is the refined text, empty for a dropped document (which is stored whole, as it came).
    `removed_lines` numbers lines of the *input*, 0-based, that went whole: all of them for a
    dropped document.
    """

    document: Document
    status: Status
    text: str
    traces: tuple[StageTrace, ...] = ()

    @property
    def id(self) -> str:
        return self.document.id

    @property
    def scores(self) -> dict[str, float]:
        """All scores that the stages' refiners gave; a later stage's score wins."""
        merged: dict[str, float] = {}
        for trace in self.traces:
            merged.update(trace.scores)
        return merged

    @property
    def program(self) -> list[list[Any]] | None:
        """The operations of all stages, in order; None if some stage had no usable program."""
        operations: list[list[Any]] = []
        for trace in self.traces:
            if trace.program is None:
                return None
            operations.extend(trace.program)
        return operations

    @property
    def issues(self) -> tuple[Issue, ...]:
        return tuple(issue for trace in self.traces for issue in trace.issues)

    @property
    def reason(self) -> str:
        """Why the document was dropped, refused or failed; empty otherwise."""
        return next((t.reason for t in reversed(self.traces) if t.reason), "")

    @property
    def removed_lines(self) -> set[int]:
        count = self.document.text.count("\n") + 1
        if self.status is Status.DROPPED:
            return set(range(count))
        return removed_input_lines(self.document.text, self.traces)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row of input that could not be read as a document.

    `position` is the 0-based byte offset (JSONL, after decompression) or row number (Parquet).
    """

    file: str
    position: int
    reason: str
    raw: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "position": self.position,
            "reason": self.reason,
            "raw": self.raw,
        }


def text_hash(text: str) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of the text's UTF-8 bytes.

    Lone surrogates, which JSON can carry, are hashed as their three-byte form.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """The text after its edits.

    Raises ValueError if the text is not the one that the edits were made for.
    """
    parts: list[str] = []
    position = 0
    for edit in edits:
        if not text.startswith(edit.old, edit.start) or edit.start < position:
            raise ValueError(f"the text has no {edit.old[:40]!r} at character {edit.start}")
        parts += text[position : edit.start], edit.new
        position = edit.end
    parts.append(text[position:])
    return "".join(parts)


def revert_edits(text: str, edits: Sequence[Edit]) -> str:
    """The text before its edits: the inverse of `apply_edits`.

    Raises ValueError if the text is not what the edits left.
    """
    parts: list[str] = []
    position = 0  # in `text`
    shift = 0  # characters of `text` minus characters of the original, so far
    for edit in edits:
        start = edit.start + shift
        if not text.startswith(edit.new, start) or start < position:
            raise ValueError(f"the text has no {edit.new[:40]!r} at character {start}")
        parts += text[position:start], edit.old
        position = start + len(edit.new)
        shift += len(edit.new) - len(edit.old)
    parts.append(text[position:])
    return "".join(parts)


def removed_input_lines(text: str, traces: Sequence[StageTrace]) -> set[int]:
    """Lines of the first stage's input `text` that went whole, over all stages.

    Every stage numbers the lines of its own input. Its lines are carried back through the edits of
    the stages before it: a line that was split has gone when all its parts have, and a line that
    was joined goes with what it was joined to.
    """
    removed: set[int] = set()
    # For each line of the stage's input, the first and last line of `text` that it came from.
    origins = [(n, n) for n in range(text.count("\n") + 1)]
    for position, trace in enumerate(traces):
        gone = {n for first, last in trace.removed_lines for n in range(first, last + 1)}
        left = {o for n, (a, b) in enumerate(origins) if n not in gone for o in range(a, b + 1)}
        for n in gone:
            removed.update(set(range(origins[n][0], origins[n][1] + 1)) - left)
        if trace.edits and any(later.removed_lines for later in traces[position + 1 :]):
            after = apply_edits(text, trace.edits)
            origins = _carry(text, after, trace.edits, origins)
            text = after
    return removed


def _carry(
    before: str, after: str, edits: Sequence[Edit], origins: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """For each line after the edits, the origins of the lines before them that it came from."""
    ends_before, ends_after = _line_ends(before), _line_ends(after)
    bounds = [0, *(bound for end in ends_after for bound in (end, end + 1))]  # of lines, in turn
    carried: list[int] = []  # each bound's line before the edits
    shift, pending = 0, list(reversed(edits))
    for bound in bounds[:-1]:
        while pending and bound + shift >= pending[-1].start + len(pending[-1].new):
            edit = pending.pop()
            shift += len(edit.old) - len(edit.new)
        place = min(bound + shift, pending[-1].start) if pending else bound + shift
        carried.append(bisect_left(ends_before, place))
    pairs = zip(carried[::2], carried[1::2], strict=True)
    return [(origins[first][0], origins[last][1]) for first, last in pairs]


def _line_ends(text: str) -> list[int]:
    """For each line the character behind its last: its LF, or the end of the text."""
    return [end - 1 for end in accumulate(len(line) + 1 for line in text.split("\n"))]
