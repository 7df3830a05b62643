"""The lines of a labelled window in pieces: what stayed, what went, what came in its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from burnish.report.labelled import Row, edits_of
from burnish.schema import Edit

Piece = tuple[str, str]
"""A part of a line: "kept", "old" (removed) or "new" (written in its place), and the text."""


def line_pieces(row: Row) -> list[list[Piece]]:
    """The lines of a window in pieces, as its labels and edits say.

    A line with label 1 is one "old" piece. A line feed that goes between two lines that stay is
    shown as "\\n" at the end of the first. Text that replaces several lines stands in the last.
    """
    lines, edits = row.get("lines") or (), edits_of(row)
    result: list[list[Piece]] = []
    start = first = 0  # of the line; of the edits that end in it or later
    for number, line in enumerate(lines):
        text = line.get("text") or ""
        while first < len(edits) and _last(edits[first]) < start:
            first += 1
        touching = []
        for edit in edits[first:]:
            if edit.start > start + len(text):
                break
            touching.append(edit)
        if line.get("label") == 1:
            touching = [Edit(start, text), *(_behind(edit, start + len(text)) for edit in touching)]
            joined = False
        else:
            joined = number + 1 < len(lines) and lines[number + 1].get("label") != 1
        result.append(list(_cut_line(text, start, touching, joined)))
        start += len(text) + 1
    return result


def _last(edit: Edit) -> int:
    """The last character of a span; of an empty one the character that it stands before."""
    return max(edit.start, edit.end - 1)


def _behind(edit: Edit, end: int) -> Edit:
    """What an edit writes, behind a line that ends at `end`, if its span ends in that line."""
    return Edit(end, "", edit.new if _last(edit) <= end else "")


def _cut_line(text: str, start: int, edits: Iterable[Edit], joined: bool) -> Iterator[Piece]:
    """The pieces of the line that begins at `start` of its window; `edits` are those that touch it.

    `joined` says that the line feed behind it is shown where it goes.
    """
    position = 0
    for edit in edits:
        begin = max(edit.start - start, 0)
        end = min(edit.end - start, len(text))
        if begin > position:
            yield "kept", text[position:begin]
        gone = text[begin:end]
        if joined and edit.end > start + len(text):
            gone += "\n"
        if gone:
            yield "old", gone
        if edit.new and _last(edit) <= start + len(text):
            yield "new", edit.new
        position = max(position, end)
    if position < len(text):
        yield "kept", text[position:]
