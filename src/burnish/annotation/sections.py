"""The text of an answer without its thoughts, and its sections, one for each thing asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from burnish.program.parser import answer_start, thought_end

_DECORATION = " \t\r#*_`>~+-[]("
_BEHIND = " \t\r#*_`:\uff1a-\u2013])"
_CALL = re.compile(r"[a-z_]{1,40} ?\(")
_REMARK = re.compile(r"\([^()]{0,200}\)[\s*_:\uff1a]*")


def answer_lines(text: str) -> Iterator[str]:
    """The lines of the answer without its thinking blocks, found as the parser of programs does."""
    place = answer_start(text)
    while place <= len(text):
        end = thought_end(text, place)
        if end is None:
            end = text.find("\n", place)
            end = len(text) if end < 0 else end
            yield text[place:end]
            end += 1
        place = end


def sections(text: str, parts: Sequence[str]) -> dict[str, str]:
    """The answer of a joint task, cut by its headings: what stands below each part's name.

    A heading is a line with the name alone, however it is marked up, or with the name, a colon and
    a call. A part without heading is missing; of one that has two the last counts, because a
    teacher that begins again has thought better of it. Thinking blocks do not count.
    """
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in answer_lines(text):
        heading = _heading(line, parts)
        if heading is not None:
            name, rest = heading
            current = found[name] = [rest] if rest else []
        elif current is not None:
            current.append(line)
    return {name: "\n".join(lines).strip("\n") for name, lines in found.items()}


def _heading(line: str, parts: Sequence[str]) -> tuple[str, str] | None:
    """The part that the line is a heading of, and the call behind it."""
    plain = re.sub(r"^\(?\d{1,3}[.)] *", "", line.lstrip(_DECORATION)).lstrip(_DECORATION)
    for name in parts:
        if plain[: len(name)].casefold() != name.casefold():
            continue
        behind = plain[len(name) :]
        rest = behind.lstrip(_BEHIND).rstrip()
        if not rest or _REMARK.fullmatch(rest):
            return name, ""
        if behind != rest and _CALL.match(rest):
            return name, rest
    return None
