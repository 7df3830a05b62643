"""The operations of the language: what a program may do to a document.

A program is a tuple of operations; the empty program keeps everything. Line numbers count the lines
of the document that the program was written for, 0-based, ranges inclusive at both ends. All
operations address the original text, so their order has no meaning (ProX, section 2.2, gives the
functions; the order-free reading is ours).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class DropDocument:
    """Nothing of the document remains."""


@dataclass(frozen=True, slots=True)
class RemoveLines:
    """Lines `first` to `last` go, with their line ends."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ReplaceText:
    """Within lines `first` to `last`, `old` becomes `new`; `new=""` deletes it.

    `old` may hold line feeds and so reach over lines of the range. Occurrences are found from left
    to right in the original text and do not overlap. `count` limits how many are replaced (None:
    all). `offset`, where given, is the 0-based character in line `first` at which the one
    occurrence meant begins.
    """

    first: int
    last: int
    old: str
    new: str = ""
    count: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class InsertLines:
    """`text` becomes one or more new lines before line `before` (the line count: at the end).

    Insertions before the same line stand in ascending `order`.
    """

    before: int
    order: int
    text: str


@dataclass(frozen=True, slots=True)
class RewriteLines:
    """Lines `first` to `last` become `text`."""

    first: int
    last: int
    text: str


Operation = DropDocument | RemoveLines | ReplaceText | InsertLines | RewriteLines
Program = tuple[Operation, ...]

_NAMES: dict[type[Operation], str] = {
    DropDocument: "drop_document",
    RemoveLines: "remove_lines",
    ReplaceText: "replace_text",
    InsertLines: "insert_lines",
    RewriteLines: "rewrite_lines",
}
_TYPES: dict[str, type[Operation]] = {name: kind for kind, name in _NAMES.items()}


def to_json(program: Program) -> list[list[Any]]:
    """The stored form: each operation as its name followed by its fields.

    >>> to_json((RemoveLines(2, 4),))
    [['remove_lines', 2, 4]]
    """
    return [
        [_NAMES[type(operation)], *(getattr(operation, name) for name in operation.__slots__)]
        for operation in program
    ]


def from_json(data: Sequence[Sequence[Any]]) -> Program:
    """Reads the stored form.

    Raises ValueError for an unknown operation, and for a wrong number or type of fields.
    """
    operations: list[Operation] = []
    for name, *values in data:
        kind = _TYPES.get(name)
        if kind is None:
            raise ValueError(f"unknown operation {name!r}; known: {', '.join(_TYPES)}")
        try:
            operation = kind(*values)
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from None
        for field in fields(operation):
            value = getattr(operation, field.name)
            if type(value).__name__ not in str(field.type).replace("None", "NoneType"):
                raise ValueError(f"{name}: {field.name} must be {field.type}, got {value!r}")
        operations.append(operation)
    return tuple(operations)


def removal(numbers: Iterable[int]) -> Program:
    """The canonical program that removes these lines: ascending maximal ranges.

    >>> removal([5, 3, 4, 9])
    (RemoveLines(first=3, last=5), RemoveLines(first=9, last=9))
    """
    ranges: list[RemoveLines] = []
    first = last = -2
    for number in sorted(set(numbers)):
        if number != last + 1:
            if first >= 0:
                ranges.append(RemoveLines(first, last))
            first = number
        last = number
    if first >= 0:
        ranges.append(RemoveLines(first, last))
    return tuple(ranges)


def shift(program: Program, by: int) -> Program:
    """The program for a text that stands `by` lines further down in its document.

    >>> shift((RemoveLines(2, 4),), 10)
    (RemoveLines(first=12, last=14),)
    """
    shifted: list[Operation] = []
    for operation in program:
        match operation:
            case DropDocument():
                shifted.append(operation)
            case InsertLines(before=before):
                shifted.append(replace(operation, before=before + by))
            case RemoveLines(first=a, last=b) | ReplaceText(first=a, last=b):
                shifted.append(replace(operation, first=a + by, last=b + by))
            case RewriteLines(first=a, last=b):
                shifted.append(replace(operation, first=a + by, last=b + by))
    return tuple(shifted)


def cut(program: Program, first: int, last: int) -> Program:
    """The part of a program that concerns lines `first` to `last`: how a window's program is cut
    to the lines that the window owns.

    Ranges are intersected. A rewrite is kept only whole. An insertion goes with the line it stands
    behind (with line 0, where there is none), and a replacement that is counted or at a known
    offset with the first line of its range. `DropDocument` is kept.
    """
    kept: list[Operation] = []
    for operation in program:
        match operation:
            case DropDocument():
                kept.append(operation)
            case InsertLines(before=before):
                if first <= max(before - 1, 0) <= last:
                    kept.append(operation)
            case RewriteLines(first=a, last=b):
                if first <= a and b <= last:
                    kept.append(operation)
            case ReplaceText(first=a, last=b, count=n, offset=o) if not (n is None and o is None):
                if first <= a <= last:
                    kept.append(replace(operation, last=min(b, last)))
            case RemoveLines(first=a, last=b) | ReplaceText(first=a, last=b):
                if a <= last and b >= first:
                    kept.append(replace(operation, first=max(a, first), last=min(b, last)))
    return tuple(kept)
