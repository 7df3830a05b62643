"""Documents -> windows of lines, and the windows' programs -> one program.

A window is cut at line ends and holds at most `max_size` units of the refiner's own measure. Every
line is owned by exactly one window, or passed over because it is longer than a window; a program
may only touch the lines that its window owns, so overlap gives context and never two decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from burnish.program.lines import Chunk
from burnish.program.operations import Operation, Program, cut


def windows(
    lines: Sequence[str],
    sizes: Sequence[int],
    max_size: int,
    overlap: float = 0.0,
    number: int = 0,
) -> tuple[list[Chunk], list[int]]:
    """The windows of a document, and the numbers of the lines that are passed over.

    Args:
        lines: all lines of the document, LF not included.
        sizes: the size of each line in the units of `max_size`, its LF included.
        max_size: largest size of a window (inclusive).
        overlap: share of `max_size`, 0 to under 1, that a window may repeat of its predecessor's
            last lines as context.
        number: of the first line in its document; windows and lines that are passed over count on
            from there.

    Raises ValueError for an overlap outside of that range.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap must be at least 0 and under 1, got {overlap}")
    chunks: list[Chunk] = []
    passed_over = [n for n, size in enumerate(sizes) if size > max_size]
    start = 0
    for stop in (*passed_over, len(lines)):
        chunks += _windows_between(lines, sizes, start, stop, max_size, overlap, number)
        start = stop + 1
    return chunks, [number + n for n in passed_over]


def _windows_between(
    lines: Sequence[str],
    sizes: Sequence[int],
    start: int,
    stop: int,
    max_size: int,
    overlap: float,
    number: int,
) -> Iterable[Chunk]:
    """Windows over the lines `start` to `stop` (exclusive), none of which is too long."""
    owned = start
    while owned < stop:
        first, size = owned, 0
        while first > start and size + sizes[first - 1] <= overlap * max_size:
            first -= 1
            size += sizes[first]
        while size + sizes[owned] > max_size:  # the first owned line comes before the context
            size -= sizes[first]
            first += 1
        end = owned
        while end < stop and size + sizes[end] <= max_size:
            size += sizes[end]
            end += 1
        yield Chunk(lines[first:end], number + first, (number + owned, number + end - 1))
        owned = end


def merge(chunks: Sequence[Chunk], programs: Sequence[Program]) -> Program:
    """One program for the document: each window's program, cut to the lines that it owns."""
    operations: list[Operation] = []
    for chunk, program in zip(chunks, programs, strict=True):
        operations.extend(cut(program, *chunk.owned))
    return tuple(operations)
