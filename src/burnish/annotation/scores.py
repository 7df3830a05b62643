"""The scores of a document, and how they are read from a teacher's answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from burnish.annotation.sections import answer_lines

SCORES = {"educational": "Educational score", "format": "Extraction quality score"}
"""The name of each score, and what a teacher is told to call it."""
HIGHEST_SCORE = 5
CRITIQUE_WORDS = 100
_CRITIQUE_CHARACTERS = 1_000  # where words are not told apart by blanks

_LABELS = {
    "educational": r"edu(?:cation(?:al)?)?(?:[ -]+value)?",
    "format": r"(?:format(?:ting)?|(?:extraction[ -]+)?quality|extraction)",
}
_NUMBER = (
    r"\[?(?P<number>[-+\u2212]?\d{1,9}(?:[.,]\d{1,9})?(?: ?[-\u2013] ?\d{1,9})?)\]?"
    r"(?: ?(?:/|out of|of) ?(?P<of>\d{1,9}))?(?: points?)?"
)
_AFTER = r"(?: ?\([^()]{0,200}\)| [-\u2013\u2014] \D{1,200})?[\s.\u3002!)]*"
_MARKUP = re.compile(r"[*_`#>$|]")
_TITLE = re.compile(r"\s*(?:#{1,6} .{0,80}|\*\*[^*]{1,80}\*\*:?)\s*")
_CRITIQUE = re.compile(r"critique\b[^:\uff1a.]{0,40}[:\uff1a]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Score:
    """A score that was read, or why there is none.

    Attributes:
        value: 0 to 5; None where there is a problem.
        problem: in words that can be counted over many answers ("no score", "score out of range",
            "contradicting scores", "not a whole score"); else empty.
        critique: what stands before the score line, at most 100 words of it, on one line.
    """

    value: int | None
    problem: str
    critique: str


def read_score(text: str, name: str, *, joint: bool = False) -> Score:
    """The score of that name in an answer; thinking blocks do not count.

    A score line is one that ends with the score's label and a number, in any markup, also as "3/5".
    Where the answer is about this score alone, a line "Score: 3" will do; with `joint` the label
    must say which score it is.
    """
    written = list(answer_lines(text))
    lines = [" ".join(_MARKUP.sub("", line).split()) for line in written]
    places: list[int] = []  # lines that hold any score
    values: list[str | int] = []
    critique = written
    for place, line in enumerate(lines):
        found = _score_line(line, name, joint)
        if found:
            values.append(_value(found))
            begin = places[-1] + 1 if places else 0
            critique = [*written[begin:place], line[: found.start()]]
        if found or any(_score_line(line, other, True) for other in _LABELS):
            places.append(place)
    return _settled(values, _one_paragraph(critique))


def _settled(values: Sequence[str | int], critique: str) -> Score:
    if len(set(values)) > 1:
        return Score(None, "contradicting scores", critique)
    value = values[0] if values else "no score"
    return Score(None, value, critique) if isinstance(value, str) else Score(value, "", critique)


def _score_line(line: str, name: str, joint: bool) -> re.Match[str] | None:
    for pattern in _PATTERNS[name][: 2 if joint else 3]:
        if found := pattern.search(line):
            return found
    return None


def _patterns(label: str) -> tuple[re.Pattern[str], ...]:
    """How a score is written: labelled, labelled without a colon, and by the word alone."""
    colon = r" *(?:\([^()]{0,200}\) *)?[:\uff1a=] *"
    ways = (
        rf"\b{label}[ -]+score{colon}",
        rf"^\W*{label}[ -]+score(?: +is)? +",
        rf"^\W*(?:(?:the|my|final|total|overall) +){{0,3}}score{colon}",
    )
    return tuple(re.compile(f"{way}{_NUMBER}{_AFTER}$", re.IGNORECASE) for way in ways)


_PATTERNS = {name: _patterns(label) for name, label in _LABELS.items()}


def _value(found: re.Match[str]) -> int | str:
    """The score, or the problem with it."""
    number, of = found["number"].replace(",", ".").replace("\u2212", "-"), found["of"]
    try:
        value = float(number)
    except ValueError:  # a range
        return "not a whole score"
    if not 0 <= value <= HIGHEST_SCORE or (of is not None and int(of) != HIGHEST_SCORE):
        return "score out of range"
    return int(value) if value.is_integer() else "not a whole score"


def _one_paragraph(lines: Sequence[str]) -> str:
    """The critique without headings, markup, and the word "Critique:" before it."""
    told = " ".join(_MARKUP.sub("", line) for line in lines if not _TITLE.fullmatch(line))
    words = _CRITIQUE.sub("", told.lstrip()).split()
    return " ".join(words[:CRITIQUE_WORDS])[:_CRITIQUE_CHARACTERS]
