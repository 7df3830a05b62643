"""How much a program may remove or grow before it is refused, and what happens then.

Sizes are counted in words, as `burnish.program.words` tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from burnish.program.words import count_words
from burnish.schema import Issue

_HARMLESS = ("prose", "clamped", "contradiction", "long-line")  # issues that cost no call


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one stage.

    Attributes:
        max_removed: share of the document's words; a program that removes this much or more breaks
            the limit (ProX's released executor: 0.95).
        min_words: fewer words left than this break the limit. ProX's executor empties what has 10
            or fewer; that deletes short documents, so the default asks for one word.
        max_growth: a program may add at most this share of the document's characters, and never
            needs less room than `growth_floor` characters.
        growth_floor: characters that any program may add.
        max_edits: more replaced places, or more calls that replace or insert, are refused.
        max_issues: this many unusable calls make the whole program refused (ProX: 2); None salvages
            the usable ones whatever their number.
        on_removal: what a broken `max_removed` or `min_words` means: "refuse" leaves the text as it
            was, "drop" drops the document, as ProX does.
    """

    max_removed: float = 0.95
    min_words: int = 1
    max_growth: float = 0.5
    growth_floor: int = 1_000
    max_edits: int = 10_000
    max_issues: int | None = None
    on_removal: Literal["refuse", "drop"] = "refuse"

    def growth_allowed(self, characters: int) -> int:
        """How many characters a program may add to a text of this length."""
        return max(self.growth_floor, int(self.max_growth * characters))

    def too_many_issues(self, issues: Iterable[Issue]) -> bool:
        """Whether so many calls are unusable that the others shall not count.

        Calls that were never meant (in sentences) or that could be executed in part do not matter.
        """
        unusable = sum(issue.code not in _HARMLESS for issue in issues)
        return self.max_issues is not None and unusable >= self.max_issues

    def removal_broken(self, before: str, after: str) -> str:
        """Why the removal is too much, or an empty string.

        A document without any word can not lose too much.
        """
        # A text has at most as many words as characters (half as many where every word needs a
        # blank), and at least as many as `split` finds. So it nearly always suffices to see that
        # the first few words are left.
        most = (len(before) + 1) // 2 if before.isascii() else len(before)
        enough = max(self.min_words, int((1 - self.max_removed) * most) + 1, 1)
        if len(after.split(None, enough)) > enough:
            return ""
        left, total = count_words(after), count_words(before)
        if total == 0:
            return ""
        removed = 1 - left / total
        if removed >= self.max_removed:
            return f"{removed:.0%} of the words would go; the limit is {self.max_removed:.0%}"
        if left < min(self.min_words, total):
            return f"{left} words would be left; the limit is {self.min_words}"
        return ""


NO_REMOVAL_LIMIT = Limits(max_removed=2, min_words=0)
"""A program may remove everything; the other bounds are the usual ones."""

UNLIMITED = Limits(max_removed=2, min_words=0, growth_floor=10**12, max_edits=10**12)
"""For programs of our own, which are executed to see what they do."""
