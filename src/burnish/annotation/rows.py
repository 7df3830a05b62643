"""The rows of labelled data: a document, a window, an answer that is no label.

`docs/annotating.md` describes the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median_low
from typing import Any

from burnish.annotation.reading import Problem
from burnish.annotation.votes import (
    Annotator,
    DocumentVoice,
    WindowVoice,
    changed_by,
    removed_by,
)
from burnish.annotation.windows import Window
from burnish.dialects import Dialect
from burnish.program.executor import Outcome
from burnish.program.lines import Chunk
from burnish.program.operations import Program, RemoveLines, removal, to_json
from burnish.schema import Document

CARRIED = ("url", "domain", "lang", "source", "file", "license")
"""Columns of a document that its labels repeat."""

Row = dict[str, Any]


def document_row(
    document: Document,
    voices: Sequence[DocumentVoice],
    prompts: Mapping[str, str],
    keeps: Callable[[int, int], bool],
) -> Row:
    """The median of the scores, of two the lower one, and what follows from it.

    `prompts` are the hashes of what was asked, by name; `keeps` decides by educational and format
    score.
    """
    edu = median_low(voice.edu.score for voice in voices)
    form = median_low(voice.format.score for voice in voices)
    return {
        "id": document.id,
        **_carried(document),
        "edu": edu,
        "format": form,
        "keep": int(keeps(edu, form)),
        "reason": next(voice.edu.critique for voice in voices if voice.edu.score == edu),
        "annotators": [
            {
                **voice.annotator.to_json(),
                "prompts": prompts,
                "edu": voice.edu.score,
                "format": voice.format.score,
                "keep": int(keeps(voice.edu.score, voice.format.score)),
                "critiques": {"educational": voice.edu.critique, "format": voice.format.critique},
            }
            for voice in voices
        ],
        "text": document.text,
    }


def window_row(
    document: Document,
    window: Window,
    route: str,
    variant: str,
    program: Program,
    outcome: Outcome,
    voices: Sequence[WindowVoice],
    prompts: Mapping[str, str],
    dialect: Dialect,
) -> Row:
    """The merged program of the voices for a window, what it does there, and what each said."""
    chunk = window.chunk
    lines = _lines(program, voices, chunk)
    return {
        "id": document.id,
        **_carried(document),
        "route": route,
        "variant": variant,
        "window": window.place,
        "first_line": window.first_line,
        "of_lines": window.of_lines,
        "status": str(outcome.status),
        "dialect": dialect.name,
        "program": calls(program, chunk, dialect),
        "operations": to_json(program),
        "edits": [[edit.start, edit.old, edit.new] for edit in outcome.edits],
        "kinds": sorted({kind for line in lines for kind in line.get("kinds", ())}),
        "lines": lines,
        "annotators": [
            {
                **voice.annotator.to_json(),
                "prompts": prompts,
                "program": calls(voice.program, chunk, dialect),
                "removed_lines": [
                    [op.first, op.last] for op in removal(voice.gone) if isinstance(op, RemoveLines)
                ],
                "kinds": voice.kinds,
            }
            for voice in voices
        ],
    }


def rejected_row(
    place: Mapping[str, Any], task: str, annotator: Annotator, problem: Problem, answer: str
) -> Row:
    """An answer that is no label, and why; `place` says of which document and lines."""
    return {
        **place,
        "task": task,
        **annotator.to_json(),
        "reason": problem.reason,
        "detail": problem.detail,
        "answer": answer,
    }


def calls(program: Program, chunk: Chunk, dialect: Dialect) -> list[str] | None:
    """The program's calls in the dialect; None for one that it can not say."""
    try:
        return dialect.format(program, chunk).split("\n")
    except ValueError:
        return None


def _lines(program: Program, voices: Sequence[WindowVoice], chunk: Chunk) -> list[Row]:
    """Each line with its label, with its kinds where something happens to it, and with its votes
    where several were cast."""
    removed = removed_by(program, chunk)
    touched = removed | changed_by(program, chunk)
    lines: list[Row] = []
    for number, text in enumerate(chunk.lines):
        line: Row = {"text": text, "label": int(number in removed)}
        if number in touched:
            kinds = dict.fromkeys(kind for voice in voices for kind in voice.kinds_of(number))
            line |= {"kinds": list(kinds)} if kinds else {}
        if len(voices) > 1:
            line["votes"] = sum(number in voice.gone for voice in voices)
        lines.append(line)
    return lines


def _carried(document: Document) -> Row:
    columns = document.columns
    return {name: columns[name] for name in CARRIED if columns.get(name) is not None}
