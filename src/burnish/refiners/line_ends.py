"""What a site hangs on lines of text: links to edit or to read on, credits of pictures, counters.

A network that judges lines can not take a part of one away, and gold for parts is too scarce to
learn from. So these are phrases and forms, listed in a file beside the weights; a line that stays
loses what stands of them at its end or its beginning, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from burnish.errors import RefinerError

FILE = "line_ends.json"

REACH = 140
"""Characters at the end of a line that are looked at."""
MOST = 4
"""Phrases that are taken off one end of a line, one behind the other."""
LETTERS_LEFT = 3
"""Fewest letters that must be left of a line."""

Span = tuple[int, int]
"""Characters of a line: first, and the one after the last."""

# Behind a finished sentence or a closed bracket, or behind a blank a mark that parts columns.
_AFTER = r"(?:(?<=[.!?…»”\"’)\]。！？؟।])\s*|\s[|»·•–—-]\s*)"  # noqa: RUF001
_ARROWS = r"\s*(?:[.…»›→>⟶▶►]\s*)*"  # noqa: RUF001
_STRONG_ARROWS = r"\s*(?:…|\.\.\.|[»›→>⟶▶►])[\s.…»›→>⟶▶►]*"  # noqa: RUF001
_SAYS_SO = re.compile(
    r"\b(?:click|press|select|choose|hit|tap|link|button|tab|the|on|an?|says?|word)\s*$", re.I
)
_COUNTED = (
    *("comment", "comments", "reply", "replies", "view", "views", "share", "shares"),
    *("like", "likes", "kommentar", "kommentare", "commentaire", "commentaires"),
    *("comentario", "comentarios", "min read", "mins read", "minute read", "minutes read"),
)
_COUNTER = (
    rf"(?:\d[\d.,]* (?:{'|'.join(_COUNTED)})|no comments?|add (?:a )?comment|leave a comment"
    r"|(?:visits|views|hits|comments): ?\d[\d.,]*)"
)
_MARKS = " \t.…»›→>⟶▶►|"  # noqa: RUF001
_CLOSING = (")", "]")
_ARROW_ENDS = ("→", "»", "›")  # noqa: RUF001
_UNSPACED = "\u0e00"  # letters from here on are of scripts that put no blanks between words


class LineEnds:
    """Finds what can be taken off a line.

    >>> ends = LineEnds.load(Path(__file__).parent / "weights")
    >>> ends.spans("The lamp was lit at dusk. Read more »")
    [(25, 37)]
    """

    def __init__(
        self,
        *,
        edit: Sequence[str],
        more: Sequence[str],
        more_alone: Sequence[str],
        credit: Sequence[str],
        sources: Sequence[str],
        sources_alone: Sequence[str],
        beginnings: Sequence[str],
    ) -> None:
        phrase, alone = f"(?i:{_any(more)})", _any(more_alone)
        label = rf"(?:{_any(credit)})"
        source = rf"(?<!\w)(?:{_any(sources)})(?!\w)"
        labelled = rf"(?:{label} ?:|(?:{_any(_without_colon(credit))}) )"
        name = r"[^\W\d_][^.!?()\[\]]{1,70}(?:\.[^.!?()\[\]]{1,40}){0,2}"
        self._edit = re.compile(rf"\s*\[ ?(?:{_any(edit)}) ?\]\s*$")
        self._more = re.compile(
            rf"(?:{_AFTER}(?:{phrase}){_ARROWS}|{_AFTER}(?i:{alone}){_STRONG_ARROWS}"
            rf"|(?:(?<=[.!?…])\s*|\s\|\s*)(?:{alone})"
            rf"|\s*[\[(]\s*(?:{phrase}){_ARROWS}[\])][\s.]*)$"
        )
        self._on = re.compile(
            r"(?:(?<=[.!?…»”\"’)\]])\s*)(?:Continue reading|Read more)\b[^.!?]{1,90}\s[→»›]\s*$"  # noqa: RUF001
        )
        self._credit = re.compile(rf"{_AFTER}{labelled}\s*{name}\s*$")
        self._bracket = re.compile(
            rf"\s*[(\[]\s*(?:{labelled}[^()\[\]]{{1,80}}"
            rf"|[^()\[\]]{{0,60}}{source}\s*/[^()\[\]]{{1,60}}"
            rf"|[^()\[\]]{{1,60}}(?:/|via|for)\s*{source}[^()\[\]]{{0,50}}"
            rf"|(?:{_any(sources_alone)}))\s*[)\]][\s.]*$"
        )
        self._agency = re.compile(
            rf"(?<=[.!?”)])\s+(?:[^\W\d_a-z][\w.’'-]+ ){{1,3}}?[^\W\d_a-z][\w’'-]+ ?"  # noqa: RUF001
            rf"(?:/|via )[^.!?()]{{0,40}}{source}(?: hide caption)?\s*$"
        )
        self._counter = re.compile(rf"\s[|•·-] ?{_COUNTER}\s*\|?\s*$", re.I)
        self._follow = re.compile(
            r"(?<=[.!?…»”\"’)\]])\s+Follow (?:(?:him|her|them|me|us) )?(?:on Twitter )?(?:at )?:? ?"  # noqa: RUF001
            r"@\w+[\s.!]*$"
        )
        self._begin = re.compile(
            rf"(?:(?:{_any(beginnings)})|Image copyright [^.!?]{{1,40}} Image caption)"
            rf"\s+(?=[^\W_a-z]|[\"'“‘])"  # noqa: RUF001
        )
        self._tried = {
            **dict.fromkeys(_last_words(_COUNTED), self._counter),
            **dict.fromkeys(_last_words((*more, *more_alone)), self._more),
        }
        self._unspaced = tuple(text for text in more if text > _UNSPACED and " " not in text)
        self._capitals = frozenset(text[0] for text in (*beginnings, "Image"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads the phrases of a refiner's folder. Raises RefinerError for a file without them."""
        path = folder / FILE
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RefinerError(f"can not load {path}: {error}") from None

    def spans(self, line: str) -> list[Span]:
        """What can be taken off the line, ascending: at most one span at each end, blanks beside it
        included, so that something is left between them that has `LETTERS_LEFT` letters.

        Each span's text stands once in the line.
        """
        start, stop = 0, len(line) - line.endswith("\r")
        end = stop
        for _ in range(MOST):
            shorter = self._cut(line, end)
            if shorter == end:
                break
            end = shorter
        if line[:1] in self._capitals and (found := self._begin.match(line, 0, end)):
            start = found.end()
        if start == 0 and end == stop:
            return []
        if sum(map(str.isalpha, line[start:end])) < LETTERS_LEFT:
            return []
        spans = ((0, start), (end, stop))
        return [(a, b) for a, b in spans if a < b and line.count(line[a:b]) == 1]

    def _cut(self, line: str, end: int) -> int:
        """Where the line ends without the last phrase; `end` where there is none."""
        tail = line[end - REACH if end > REACH else 0 : end]
        for pattern in self._worth_trying(tail):
            found = pattern.search(tail)
            if found and not (pattern is self._edit and _SAYS_SO.search(tail, 0, found.start())):
                return end - len(tail) + found.start()
        return end

    def _worth_trying(self, tail: str) -> list[re.Pattern[str]]:
        """The patterns that could match at the end of the tail: nearly always none.

        This is asked of every line that stays, so it looks for single words and letters only.
        """
        tried = []
        bare = tail.rstrip(_MARKS)
        last = bare[-1:]
        if last in _CLOSING:
            tried += [self._edit, self._bracket]
            bare = bare[:-1].rstrip(_MARKS)
            last = bare[-1:]
        word = bare[bare.rfind(" ") + 1 :].lower()
        pattern = self._tried.get(word) or self._tried.get(word.lstrip("[(.…|»"))
        if pattern is not None:
            tried.append(pattern)
        elif last.isdigit():
            tried.append(self._counter)
        elif last > _UNSPACED and bare.endswith(self._unspaced):
            tried.append(self._more)
        if tail[-1:] in _ARROW_ENDS:
            tried.append(self._on)
        if "oto" in tail or "mage" in tail or "Pic" in tail or ":" in tail:
            tried.append(self._credit)
        if "/" in tail or " via " in tail:
            tried.append(self._agency)
        if "@" in tail:
            tried.append(self._follow)
        return tried


def _any(texts: Iterable[str]) -> str:
    """A pattern for any of the texts, longer ones first."""
    return "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))


def _last_words(texts: Iterable[str]) -> set[str]:
    return {text.split(" ")[-1].lower() for text in texts}


def _without_colon(labels: Iterable[str]) -> list[str]:
    """Those that name what follows without a colon."""
    return [label for label in labels if label.endswith((" by", " of", " courtesy", " via", "©"))]
