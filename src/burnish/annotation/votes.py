"""What each annotator says about a document and a window, and the program of the majority."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.annotation.reading import NO_KIND, Scored
from burnish.program.executor import execute
from burnish.program.limits import NO_REMOVAL_LIMIT
from burnish.program.lines import Chunk, line_starts
from burnish.program.operations import Operation, Program, RemoveLines, removal


@dataclass(frozen=True, slots=True)
class Annotator:
    """One voice: a teacher (by its number among the run's, from 0), and which of its passes."""

    name: str
    teacher: int
    number: int

    def to_json(self) -> dict[str, Any]:
        return {"teacher": self.name, "pass": self.number}


@dataclass(frozen=True, slots=True)
class DocumentVoice:
    """What one annotator says about a document: its educational score, and its format score."""

    annotator: Annotator
    edu: Scored
    format: Scored


@dataclass(frozen=True, slots=True)
class WindowVoice:
    """What one annotator says about a window.

    `removed` and `changed` tell for each kind of noise which lines (from 0) go whole, and which are
    changed inside.
    """

    annotator: Annotator
    program: Program
    removed: Mapping[str, frozenset[int]]
    changed: Mapping[str, frozenset[int]]

    @classmethod
    def of(cls, annotator: Annotator, by_kind: Mapping[str, Program], chunk: Chunk) -> WindowVoice:
        removed: dict[str, frozenset[int]] = {}
        changed: dict[str, frozenset[int]] = {}
        for kind, program in by_kind.items():
            removed[kind] = removed_by(program, chunk)
            changed[kind] = changed_by(program, chunk) - removed[kind]
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

    @property
    def kinds(self) -> list[str]:
        """The kinds of noise that were found."""
        return [
            kind
            for kind in self.removed
            if kind != NO_KIND and (self.removed[kind] or self.changed[kind])
        ]

    def kinds_of(self, line: int) -> list[str]:
        """The kinds of noise for which a line goes or is changed."""
        return [kind for kind in self.kinds if line in self.removed[kind] | self.changed[kind]]


def merge(voices: Sequence[WindowVoice], chunk: Chunk) -> Program:
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
        return execute(chunk.text, program, limits=NO_REMOVAL_LIMIT, lines=chunk.lines).text

    without = after(removed)
    return tuple(op for op in others if after((*removed, op)) != without)


def removed_by(program: Program, chunk: Chunk) -> frozenset[int]:
    """The lines that a program removes whole."""
    outcome = execute(chunk.text, program, limits=NO_REMOVAL_LIMIT, lines=chunk.lines)
    return frozenset(n for first, last in outcome.removed_lines for n in range(first, last + 1))


def changed_by(program: Program, chunk: Chunk) -> frozenset[int]:
    """The lines that the program changes inside, whatever it removes; an inserted line counts for
    the one that it stands before."""
    others = tuple(op for op in program if not isinstance(op, RemoveLines))
    starts = line_starts(chunk.lines)
    found: set[int] = set()
    for edit in execute(chunk.text, others, limits=NO_REMOVAL_LIMIT, lines=chunk.lines).edits:
        first = min(bisect_right(starts, edit.start), len(chunk.lines)) - 1
        last = min(bisect_left(starts, edit.end), len(chunk.lines)) - 1
        found.update(range(first, max(first, last) + 1))
    return frozenset(found)
