"""Texts that are decided by, and so must not be learnt from: whole, as a part, or as a larger page.

A window of dev may come again inside its whole page, where a refiner's programs on the same corpus
are labels; and a window of train may stand in a whole page of dev.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

_LONG = 100  # characters; a shorter part ("Home") says nothing of where it comes from


class HeldOut:
    """Tells of a text whether it shares a whole page or window with the texts that are held out.

    One text is a part of another if its lines follow each other there, and it has 100 characters;
    shorter ones must be equal. Memory: the held-out texts and an entry for each of their lines.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._holding: dict[str, set[str]] = defaultdict(set)  # line -> texts that have it
        self._known_by: dict[str, set[str]] = defaultdict(set)  # longest line -> texts
        self._equal = set(texts)
        for text in self._equal:
            lines = text.split("\n")
            self._known_by[max(lines, key=len)].add(text)
            for line in lines:
                self._holding[line].add(text)

    def __contains__(self, text: object) -> bool:
        if not isinstance(text, str):
            return False
        if text in self._equal:
            return True
        lines = text.split("\n")
        around = self._holding.get(max(lines, key=len), ())
        within = (self._known_by.get(line, ()) for line in set(lines))
        return any(_is_part(text, other) for other in around) or any(
            _is_part(other, text) for found in within for other in found
        )


def _is_part(part: str, whole: str) -> bool:
    return len(part) >= _LONG and f"\n{part}\n" in f"\n{whole}\n"
