"""Which windows of a document are asked about."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from burnish.chunking import windows
from burnish.program.lines import Chunk, split_lines
from burnish.schema import Document, text_hash


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a document, and where it stands in it.

    Attributes:
        chunk: the window as a text of its own, whose lines are numbered from 0.
        first_line: its first line in the document (0-based).
        of_lines: lines of the document.
        place: at its beginning, at its end, between them, or all of it.
    """

    chunk: Chunk
    first_line: int
    of_lines: int
    place: Literal["head", "middle", "tail", "whole"]


def draw_windows(
    document: Document, size: int, count: int, seed: int
) -> tuple[list[Window], list[int]]:
    """At most `count` windows in the order of the document, and the numbers of the lines that are
    in none because they are longer than `size`, in characters with their LF.

    Those with the smallest hashes are drawn, so that it does not matter what else is. Blank windows
    are left out.
    """
    lines = split_lines(document.text)
    found, passed_over = windows(lines, [len(line) + 1 for line in lines], size)
    chunks = [chunk for chunk in found if chunk.text.strip()]
    key = f"{seed} {text_hash(document.text)}"

    def order(chunk: Chunk) -> bytes:
        return hashlib.sha256(f"{key} {chunk.first}".encode()).digest()

    drawn = sorted(chunks, key=order)[:count]
    return [
        Window(Chunk.whole(chunk.text), chunk.first, len(lines), _place(chunk, chunks, len(lines)))
        for chunk in sorted(drawn, key=lambda chunk: chunk.first)
    ], passed_over


def _place(
    chunk: Chunk, chunks: list[Chunk], of_lines: int
) -> Literal["head", "middle", "tail", "whole"]:
    if chunk.first == 0:
        return "whole" if chunk.last == of_lines - 1 else "head"
    return "tail" if chunk is chunks[-1] else "middle"
