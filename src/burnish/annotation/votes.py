"""What several annotators say about a window, made one program and one row of gold."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.dialects import Dialect
from burnish.program.executor import Outcome, execute
from burnish.program.limits import Limits
from burnish.program.lines import Chunk, line_starts
from burnish.program.operations import Operation, Program, RemoveLines, removal, to_json

FREELY = Limits(max_removed=2, min_words=0)


@dataclass(frozen=True, slots=True)
class Annotator:
    """One voice: a teacher (by its number among the run's, from 0), and which of its passes."""

    name: str
    teacher: int
    number: int

    def to_json(self) -> dict[str, Any]:
        return {"teacher": self.name, "pass": self.number}


@dataclass(frozen=True, slots=True)
class Voice:
    """What one annotator says about a window.

    `removed` and `changed` tell for each kind of noise which lines (from 0) go whole, and which are
    changed inside.
    """

    annotator: Annotator
    program: Program
    removed: Mapping[str, frozenset[int]]
    changed: Mapping[str, frozenset[int]]

    @classmethod
    def of(cls, annotator: Annotator, by_kind: Mapping[str, Program], chunk: Chunk) -> Voice:
        removed: dict[str, frozenset[int]] = {}
        changed: dict[str, frozenset[int]] = {}
        for kind, program in by_kind.items():
            removed[kind] = _removed_by(program, chunk)
            changed[kind] = _changed_by(program, chunk) - removed[kind]
        operations = [op for program in by_kind.values() for op in program]
        return cls(annotator, tuple(dict.fromkeys(operations)), removed, changed)

    @property
    def gone(self) -> frozenset[int]:
        """The lines that go whole, whatever for."""
        return frozenset().union(*self.removed.values())

    @property
    def conflicts(self) -> int:
        """Lines that one kind changes inside and another removes."""
        return sum(
            len(lines & self.removed[other])
            for kind, lines in self.changed.items()
            for other in self.removed
            if other != kind
        )

    def kinds_of(self, line: int) -> list[str]:
        """The kinds of noise for which a line goes or is changed."""
        return [
            kind
            for kind in filter(None, self.removed)
            if line in self.removed[kind] or line in self.changed[kind]
        ]

    def to_json(self, chunk: Chunk, dialect: Dialect) -> dict[str, Any]:
        return {
            "program": said(self.program, chunk, dialect),
            "removed_lines": _ranges(self.gone),
            "kinds": [k for k in filter(None, self.removed) if self.removed[k] or self.changed[k]],
        }


def merge(voices: Sequence[Voice], chunk: Chunk) -> Program:
    """The program of the majority: a line goes, and another operation is made, where more than half
    say so. What has no effect is left out."""
    votes = Counter(line for voice in voices for line in voice.gone)
    removed = removal(line for line, count in votes.items() if 2 * count > len(voices))
    wanted = Counter(
        op for voice in voices for op in voice.program if not isinstance(op, RemoveLines)
    )
    others = tuple(op for op, count in wanted.items() if 2 * count > len(voices))
    return (*removed, *_with_effect(removed, others, chunk))


def _with_effect(removed: Program, others: Iterable[Operation], chunk: Chunk) -> Program:
    """Those of the operations that change something beside the removed lines."""

    def after(program: Program) -> str:
        return execute(chunk.text, program, limits=FREELY, lines=chunk.lines).text

    without = after(removed)
    return tuple(op for op in others if after((*removed, op)) != without)


def row(
    program: Program,
    outcome: Outcome,
    voices: Sequence[Voice],
    chunk: Chunk,
    dialect: Dialect,
) -> dict[str, Any]:
    """What a row tells about the window's lines, and the program for them."""
    removed = _removed_by(program, chunk)
    touched = removed | _changed_by(program, chunk)
    lines: list[dict[str, Any]] = []
    all_kinds: set[str] = set()
    for number, text in enumerate(chunk.lines):
        line: dict[str, Any] = {"text": text, "label": int(number in removed)}
        if number in touched:
            kinds = list(dict.fromkeys(k for voice in voices for k in voice.kinds_of(number)))
            all_kinds.update(kinds)
            line |= {"kinds": kinds} if kinds else {}
        if len(voices) > 1:
            line["votes"] = sum(number in voice.gone for voice in voices)
        lines.append(line)
    return {
        "status": str(outcome.status),
        "dialect": dialect.name,
        "program": said(program, chunk, dialect),
        "operations": to_json(program),
        "edits": [[edit.start, edit.old, edit.new] for edit in outcome.edits],
        "kinds": sorted(all_kinds),
        "lines": lines,
    }


def said(program: Program, chunk: Chunk, dialect: Dialect) -> list[str] | None:
    """The program's calls in the dialect; None for one that it can not say."""
    try:
        return dialect.format(program, chunk).split("\n")
    except ValueError:
        return None


def _ranges(lines: Iterable[int]) -> list[list[int]]:
    return [[op.first, op.last] for op in removal(lines) if isinstance(op, RemoveLines)]


def _removed_by(program: Program, chunk: Chunk) -> frozenset[int]:
    """The lines that a program removes whole."""
    outcome = execute(chunk.text, program, limits=FREELY, lines=chunk.lines)
    return frozenset(n for first, last in outcome.removed_lines for n in range(first, last + 1))


def _changed_by(program: Program, chunk: Chunk) -> frozenset[int]:
    """The lines that the program changes inside, whatever it removes; an inserted line counts for
    the one that it stands before."""
    others = tuple(op for op in program if not isinstance(op, RemoveLines))
    starts = line_starts(chunk.lines)
    found: set[int] = set()
    for edit in execute(chunk.text, others, limits=FREELY, lines=chunk.lines).edits:
        first = min(bisect_right(starts, edit.start), len(chunk.lines)) - 1
        last = min(bisect_left(starts, edit.end), len(chunk.lines)) - 1
        found.update(range(first, max(first, last) + 1))
    return frozenset(found)
