"""What changed inside of lines: by words, and where a word changed by characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from burnish.program.alignment import Pair, align, embed, gaps, shared_ends
from burnish.program.words import LETTERS

_PIECE = re.compile(rf"{LETTERS}|[\s\S]")

_FEW_CHARACTERS = 1 << 20  # cells up to which a change is looked at by its characters


class Change(NamedTuple):
    """Characters `start` to `end` (excluded) of a text that became `new`."""

    start: int
    end: int
    new: str


def changed(old: str, new: str) -> list[Change]:
    """The changed words, and of a word that changed little the changed characters."""
    x, y = _PIECE.findall(old), _PIECE.findall(new)
    found: list[Change] = []
    for start, end, text in _replaced(x, y, align(x, y)):
        found += _by_character(old, start, end, text)
    return found


def _replaced(x: Sequence[str], y: Sequence[str], pairs: Iterable[Pair]) -> Iterator[Change]:
    """What stands between the pairs, in characters."""
    starts = list(accumulate(map(len, x), initial=0))
    for i, i_end, j, j_end in gaps(pairs, len(x), len(y)):
        if i < i_end or j < j_end:
            yield Change(starts[i], starts[i_end], "".join(y[j:j_end]))


def _by_character(old: str, start: int, end: int, new: str) -> list[Change]:
    head, tail = shared_ends(old[start:end], new)
    start, end, new = start + head, end - tail, new[head : len(new) - tail]
    size = end - start
    if not size or not new or size * len(new) > _FEW_CHARACTERS:
        return [Change(start, end, new)]
    pairs = align(old[start:end], new)
    if 2 * len(pairs) < max(size, len(new)) and len(pairs) < len(new):
        return [Change(start, end, new)]
    inside = _replaced(old[start:end], new, pairs)
    return [Change(start + change.start, start + change.end, change.new) for change in inside]


def deleted(old: str, new: str) -> list[Change]:
    """The fewest deletions, of whole words where that is enough; `new` must be contained."""
    x, y = _PIECE.findall(old), _PIECE.findall(new)
    places = embed(x, y)
    if places is None:
        x, y = list(old), list(new)
        places = embed(x, y)
        assert places is not None
    return list(_replaced(x, y, zip(places, range(len(y)), strict=True)))
