"""Gold: pages with line labels, and documents with scores, read and checked.

pages       {"lines": [{"text", "label"}], "first_line", "source", "lang"}; label 1 noise, 0
            content, -1 not scored; first_line where the lines are a window of a longer page
documents   {"text", "keep", "edu", "format", "source" or "file", "lang"}; keep is 0 or 1, the
            scores 0 to 5; each of the three may be missing
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.errors import InputError
from burnish.io.jsonl import loads, numbered_lines
from burnish.schema import Edit, apply_edits

Row = Mapping[str, Any]

_DOCUMENT_GOLD = ("keep", "edu", "format")


def read_gold(path: Path) -> Iterator[Row]:
    """The rows of a gold file, all of one kind. Raises InputError for anything else."""
    kind = None
    for number, line in numbered_lines(path):
        try:
            row = loads(line)
            here = _kind(row)
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}") from None
        if kind is not None and here != kind:
            raise InputError(f"{path}, row {number}: the file mixes {kind} and {here}")
        kind = here
        yield row
    if kind is None:
        raise InputError(f"{path} is empty")


def _kind(row: Row) -> str:
    """The kind of gold that a row is. Raises ValueError for what is none."""
    lines = row.get("lines")
    if "lines" in row:
        if not isinstance(lines, list):
            raise ValueError(f"lines must be a list, not {type(lines).__name__}")
        for number, line in enumerate(lines):
            check_line(number, line)
        first_line_of(row)
        _check_edits(row, "\n".join(line["text"] for line in lines))
        _check_annotators(row)
        return "lines"
    if not (isinstance(row.get("text"), str) and any(name in row for name in _DOCUMENT_GOLD)):
        raise ValueError("no gold: neither lines with labels nor a text with keep, edu or format")
    _check_scores(row)
    _check_annotators(row)
    return "documents"


def _check_scores(row: Row) -> None:
    """Raises ValueError for a decision or a score that can not be."""
    if row.get("keep") not in (None, 0, 1):
        raise ValueError(f"keep must be 0 or 1, not {row['keep']!r}")
    for name in ("edu", "format"):
        score = row.get(name)
        if score is not None and not (type(score) in (int, float) and 0 <= score <= 5):
            raise ValueError(f"{name} must be a number from 0 to 5, not {score!r}")


def annotators_of(row: Row) -> list[Row]:
    """What each annotator said of a row, as `burnish annotate` writes it; a column of that name
    that holds something else is somebody else's."""
    found = row.get("annotators")
    listed = found if isinstance(found, list) else ()
    return [one for one in listed if isinstance(one, dict) and {"teacher", "pass"} <= one.keys()]


def _check_annotators(row: Row) -> None:
    """Raises ValueError where what an annotator said can not be."""
    for one in annotators_of(row):
        if "lines" not in row:
            _check_scores(one)
        elif not _are_ranges(one.get("removed_lines")):
            raise ValueError("an annotator's removed_lines must be a list of [first, last]")


def _are_ranges(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and [type(n) for n in pair] == [int, int] for pair in value
    )


def _check_edits(row: Row, text: str) -> None:
    """Raises ValueError for edits that do not fit the text, and for a program of another shape."""
    edits = row.get("edits")
    if edits is not None:
        if not (isinstance(edits, list) and all(map(_is_edit, edits))):
            raise ValueError("edits must be a list of [start, old, new]")
        apply_edits(text, [Edit(*edit) for edit in edits])
    calls = row.get("program")
    is_list = isinstance(calls, list) and all(isinstance(call, str) for call in calls)
    if not (calls is None or isinstance(calls, str) or is_list):
        raise ValueError("program must be a text or a list of calls")
    operations = row.get("operations")
    if operations is not None and not (
        isinstance(operations, list) and all(isinstance(op, list) and op for op in operations)
    ):
        raise ValueError("operations must be a list of lists")


def _is_edit(value: Any) -> bool:
    kinds = [type(part) for part in value] if isinstance(value, list) else []
    return kinds == [int, str, str] and value[0] >= 0


def check_line(number: int, line: Any) -> None:
    """Raises ValueError for what is no line with a label; lines are numbered from 0."""
    if not (isinstance(line, dict) and isinstance(line.get("text"), str) and "label" in line):
        raise ValueError(f"line {number} needs a text and a label")
    if "\n" in line["text"]:
        raise ValueError(f"line {number} holds a line feed")
    if type(line["label"]) is not int or line["label"] not in (-1, 0, 1):
        raise ValueError(f"the label of line {number} must be -1, 0 or 1, not {line['label']!r}")


def first_line_of(row: Row) -> int:
    """The number of a row's first line in the page that it was cut from; 0 where it is whole.

    Raises ValueError for what is no line number.
    """
    first = row.get("first_line", 0)
    if type(first) is not int or not 0 <= first < 10**9:
        raise ValueError(f"first_line must be a line number from 0, not {first!r}")
    return first


def text_of(row: Row) -> str:
    """The text that a gold row is about."""
    lines: Sequence[Row] | None = row.get("lines")
    if lines is None:
        return str(row["text"])
    return "\n".join(line["text"] for line in lines)
