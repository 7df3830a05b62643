"""What an answer says: scores, programs, or why it can not be used."""

from __future__ import annotations

import re
from dataclasses import dataclass

from burnish.annotation.answers import Answer
from burnish.annotation.prompts import DIALECT
from burnish.annotation.scores import read_score
from burnish.annotation.sections import sections
from burnish.dialects import get_dialect
from burnish.dialects.rewrite import Rewrite
from burnish.program.derive import Mode
from burnish.program.limits import Limits
from burnish.program.lines import Chunk
from burnish.program.operations import Program
from burnish.schema import Issue

NO_KIND = ""
"""The kind of noise of what a rewriting teacher takes out: it does not say."""

_UNUSABLE = Limits(max_issues=1)
_REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|as an AI|I (?:can ?not|can['’]t|won['’]t"  # noqa: RUF001
    r"|am (?:not able|unable) to))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an answer can not be used: words to be counted, and what happened here."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """A score (0 to 5) and the critique before it."""

    score: int
    critique: str


@dataclass(frozen=True, slots=True)
class Programs:
    """A program for each kind of noise, and how many of them said both to keep and to change."""

    by_kind: dict[str, Program]
    contradictions: int = 0


def scores(answer: Answer, names: tuple[str, ...]) -> dict[str, Scored] | Problem:
    """The scores of these names."""
    if answer.finish == "length":
        return Problem("cut off")
    found: dict[str, Scored] = {}
    for name in names:
        told = read_score(answer.text, name, joint=len(names) > 1)
        if told.value is None:
            return _problem(answer, Problem(told.problem))
        found[name] = Scored(told.value, told.critique)
    return found


def programs(answer: Answer, kinds: tuple[str, ...], chunk: Chunk) -> Programs | Problem:
    """The programs for these kinds of noise, one section of the answer each where there are
    several. An answer with a call that can not be used is not used at all."""
    if answer.finish == "length":
        return Problem("cut off")
    parts = sections(answer.text, kinds) if len(kinds) > 1 else {kinds[0]: answer.text}
    found: dict[str, Program] = {}
    contradictions = 0
    for kind in kinds:
        if kind not in parts:
            return _problem(answer, Problem("missing section", f"there is no section {kind}"))
        parsed = get_dialect(DIALECT).parse(parts[kind], chunk)
        if parsed.program is None:
            return _problem(answer, Problem("no program", _first(parsed.issues)))
        if _UNUSABLE.too_many_issues(parsed.issues):
            return Problem("unusable call", _first(parsed.issues))
        contradictions += any(issue.code == "contradiction" for issue in parsed.issues)
        found[kind] = parsed.program
    return Programs(found, contradictions)


def rewritten(answer: Answer, mode: Mode, chunk: Chunk) -> Programs | Problem:
    """The program that makes of the window what the teacher made of it."""
    if answer.finish == "length":
        return Problem("cut off")
    parsed = Rewrite(mode=mode).parse(answer.text, chunk)
    if parsed.program is None:
        issue = parsed.issues[0]
        detail = issue.message.partition(": ")[2] or issue.message
        return _problem(answer, Problem(issue.code.replace("-", " "), detail))
    return Programs({NO_KIND: parsed.program})


def _problem(answer: Answer, problem: Problem) -> Problem:
    """The problem, or what explains it better: an answer that was cut off, or refused."""
    if answer.finish == "length":
        return Problem("cut off")
    if len(answer.text) < 1_000 and _REFUSAL.search(answer.text):
        return Problem("refusal", " ".join(answer.text.split())[:200])
    return problem


def _first(issues: tuple[Issue, ...]) -> str:
    return str(issues[0]) if issues else ""
