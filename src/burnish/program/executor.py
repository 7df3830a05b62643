"""Executes a program on a text, all operations at once, and leaves edits that undo it.

The text is thought of with one LF more at its end, so that every line owns the LF behind it and
removing or inserting lines never needs to look at a neighbour. `_at_end` takes that LF away again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TypeVar

from burnish.program.limits import Limits
from burnish.program.lines import line_starts, split_lines
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    Program,
    RemoveLines,
    ReplaceText,
    RewriteLines,
)
from burnish.schema import Edit, Issue, Status, apply_edits, revert_edits

Range = tuple[int, int]
Span = tuple[int, int, str]  # first character, character after the last, new text
T = TypeVar("T", Range, Span)

_DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program did to a text.

    Attributes:
        status: kept, edited, dropped, refused or failed. A refused or failed program leaves the
            text as it was; a dropped document's text is empty.
        text: the text after the program.
        edits: the changes, from which `original` makes the input again.
        issues: operations that could not be executed, or not as written.
        removed_lines: ranges of the lines that went whole (0-based, inclusive, ascending).
        reason: why the program was refused, failed, or dropped the document, in words that can be
            counted over many documents (the issues hold the details); else empty.
    """

    status: Status
    text: str
    edits: tuple[Edit, ...] = ()
    issues: tuple[Issue, ...] = ()
    removed_lines: tuple[Range, ...] = ()
    reason: str = ""

    @property
    def original(self) -> str:
        """The input, character for character."""
        return revert_edits(self.text, self.edits)


def execute(
    text: str,
    program: Program,
    *,
    limits: Limits = _DEFAULT_LIMITS,
    lines: Sequence[str] | None = None,
) -> Outcome:
    """Executes `program` on `text`.

    The result does not depend on the order of the operations: removal wins over replacement, and of
    two overlapping replacements the one that begins first (then the longer, then the one whose new
    text sorts first) is made and the other is an issue. Ranges are clamped to the document, which
    is an issue too. `lines` saves the splitting where the caller has the text's lines already.
    """
    if not program:
        return Outcome(Status.KEPT, text)
    if lines is None:
        lines = split_lines(text)
    if DropDocument() in program:
        return dropped(text, len(lines), "program")
    starts = line_starts(lines)
    issues: list[Issue] = []
    removals = [operation for operation in program if isinstance(operation, RemoveLines)]
    removed = _removed_ranges(removals, len(lines), issues)
    spans = [(starts[first], starts[last + 1], "") for first, last in removed]
    if len(removals) < len(program):
        # Saying a thing twice means nothing.
        program = tuple(dict.fromkeys(op for op in program if not isinstance(op, RemoveLines)))
        try:
            changes = _changed_spans(text, program, starts, removed, limits.max_edits, issues)
        except _TooManyEdits:
            return _refused(text, (), "edit limit", f"more than {limits.max_edits} changes")
        spans = _with_insertions(spans, changes, program, starts, issues)
    edits = _edits(text, spans)
    return _limited(text, len(lines), edits, removed, issues, limits)


def dropped(text: str, line_count: int, reason: str, issues: Sequence[Issue] = ()) -> Outcome:
    """The outcome of dropping the whole document."""
    everything = (Edit(0, text),) if text else ()
    whole = ((0, line_count - 1),)
    return Outcome(Status.DROPPED, "", everything, tuple(issues), whole, reason)


def failed(text: str, issues: Sequence[Issue]) -> Outcome:
    """The outcome where there was no usable program."""
    return Outcome(Status.FAILED, text, issues=tuple(issues), reason="no usable program")


def execute_parsed(
    text: str,
    program: Program | None,
    issues: Sequence[Issue],
    *,
    limits: Limits = _DEFAULT_LIMITS,
    lines: Sequence[str] | None = None,
) -> Outcome:
    """Executes what was read of a program text, with the issues of the reading.

    No program is a failure. As many unusable calls as `limits.max_issues` refuse the whole.
    """
    if program is None:
        return failed(text, issues)
    if limits.too_many_issues(issues):
        return _refused(
            text, issues, "issue limit", f"{limits.max_issues} calls or more can not be used"
        )
    outcome = execute(text, program, limits=limits, lines=lines)
    return replace(outcome, issues=(*issues, *outcome.issues)) if issues else outcome


def _refused(text: str, issues: Sequence[Issue], reason: str, detail: str) -> Outcome:
    return Outcome(Status.REFUSED, text, issues=(*issues, Issue("limit", detail)), reason=reason)


def _limited(
    text: str,
    line_count: int,
    edits: list[Edit],
    removed: Sequence[Range],
    issues: list[Issue],
    limits: Limits,
) -> Outcome:
    """The outcome of the edits, if the limits allow them."""
    growth = sum(len(edit.new) - len(edit.old) for edit in edits)
    if growth > limits.growth_allowed(len(text)):
        return _refused(text, issues, "growth limit", f"the text would grow by {growth} characters")
    refined = apply_edits(text, edits)
    if refined == text:
        return Outcome(Status.KEPT, text, issues=tuple(issues))
    if broken := limits.removal_broken(text, refined):
        if limits.on_removal == "drop":
            found = (*issues, Issue("limit", broken))
            return dropped(text, line_count, "removal limit", found)
        return _refused(text, issues, "removal limit", broken)
    return Outcome(Status.EDITED, refined, tuple(edits), tuple(issues), tuple(removed))


# ------------------------------------------------------------------------------------ whole lines


def _removed_ranges(
    removals: Sequence[RemoveLines], count: int, issues: list[Issue]
) -> list[Range]:
    """The removed lines as ascending ranges that do not touch each other."""
    merged: list[Range] = []
    for first, last in sorted(filter(None, (_clamp(r, count, issues) for r in removals))):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _clamp(
    operation: RemoveLines | ReplaceText | RewriteLines, count: int, issues: list[Issue]
) -> Range | None:
    """The operation's lines among the `count` lines of the text; None if there are none."""
    first, last = operation.first, operation.last
    if 0 <= first <= last < count:
        return first, last
    there_are = f"the text has lines 0 to {count - 1}"
    if first > last or last < 0 or first >= count:
        issues.append(Issue("range", f"there are no lines {first} to {last}; {there_are}"))
        return None
    issues.append(Issue("clamped", f"lines {first} to {last} are cut; {there_are}"))
    return max(first, 0), min(last, count - 1)


# ------------------------------------------------------------------------------------ inside lines


class _TooManyEdits(Exception):
    pass


def _changed_spans(
    text: str,
    program: Program,
    starts: Sequence[int],
    removed: Sequence[Range],
    max_edits: int,
    issues: list[Issue],
) -> list[Span]:
    """The spans of all replacements and rewrites that can be made, ascending, not overlapping."""
    if len(program) > max_edits:
        raise _TooManyEdits
    wanted: set[Span] = set()
    places = 0
    max_edits -= sum(isinstance(operation, InsertLines) for operation in program)
    for operation in program:
        if isinstance(operation, ReplaceText):
            found = _occurrences(text, operation, starts, issues)
        elif isinstance(operation, RewriteLines):
            found = _rewritten(operation, starts, issues)
        else:
            continue
        for span in found:
            wanted.add(span)
            places += 1  # counted, and not `wanted`, so that many calls at one place come to an end
            if places > max_edits:
                raise _TooManyEdits
    chosen: list[Span] = []
    for span in sorted(wanted, key=lambda s: (s[0], -s[1], s[2])):
        start, end, _ = span
        first, last = _lines_touched(text, span, starts)
        gone = _last_before(removed, last)
        if gone and gone[0] <= first and last <= gone[1]:
            continue  # removal wins
        if gone and first <= gone[1]:
            issues.append(_overlap(text, span, "lines that are removed"))
        elif chosen and (start < chosen[-1][1] or (start, end) == chosen[-1][:2]):
            issues.append(_overlap(text, span, "another replacement"))
        else:
            chosen.append(span)
    return chosen


def _occurrences(
    text: str, operation: ReplaceText, starts: Sequence[int], issues: list[Issue]
) -> Iterator[Span]:
    """Where the replaced string stands, from left to right."""
    old, new, left = operation.old, operation.new, operation.count
    if not old:
        issues.append(Issue("empty-source", "the string to replace is empty"))
        return
    lines = _clamp(operation, len(starts) - 1, issues)
    if lines is None:
        return
    place, end = starts[lines[0]], starts[lines[1] + 1] - 1
    if operation.offset is None:
        at = text.find(old, place, end)
    else:
        place += operation.offset
        found = operation.offset >= 0 <= operation.first and text.startswith(old, place, end)
        at, left = (place if found else -1), 0 if left == 0 else 1
    if at < 0:
        issues.append(Issue("not-found", f"{_quote(old)} does not stand there"))
    while at >= 0 and left != 0:
        if new != old:
            yield at, at + len(old), new
        left = None if left is None else left - 1
        at = text.find(old, at + len(old), end)


def _rewritten(
    operation: RewriteLines, starts: Sequence[int], issues: list[Issue]
) -> Iterator[Span]:
    lines = _clamp(operation, len(starts) - 1, issues)
    if lines:
        yield starts[lines[0]], starts[lines[1] + 1] - 1, operation.text


def _lines_touched(text: str, span: Span, starts: Sequence[int]) -> Range:
    """First and last line that a span concerns; one that takes a LF away concerns both sides."""
    start, end, _ = span
    last = end if end == start or text[end - 1] == "\n" else end - 1
    return bisect_right(starts, start) - 1, bisect_right(starts, last) - 1


def _last_before(spans: Sequence[T], place: int) -> T | None:
    """The last of the ascending spans or ranges that begins at or before `place`."""
    at = bisect_right(spans, place, key=itemgetter(0)) - 1
    return spans[at] if at >= 0 else None


def _overlap(text: str, span: Span, other: str) -> Issue:
    return Issue("overlap", f"the change of {_quote(text[span[0] : span[1]])} overlaps {other}")


def _quote(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


# ------------------------------------------------------------------------------------ new lines


def _with_insertions(
    removals: Sequence[Span],
    changes: Sequence[Span],
    program: Program,
    starts: Sequence[int],
    issues: list[Issue],
) -> list[Span]:
    """All spans, ascending; an inserted line at the edge of removed lines joins their span."""
    inserted = {operation for operation in program if isinstance(operation, InsertLines)}
    added: dict[int, list[str]] = {}
    for operation in sorted(inserted, key=lambda o: (o.before, o.order, o.text)):
        if not 0 <= operation.before < len(starts):
            message = f"there is no line {operation.before} to insert before"
            issues.append(Issue("range", message))
            continue
        place = starts[operation.before]
        change = _last_before(changes, place - 1)
        if change and (place < change[1] or (place == change[1] and change[2][-1:] != "\n")):
            issues.append(Issue("overlap", "an inserted line stands inside a replaced span"))
            continue
        removal = _last_before(removals, place)
        if removal and place <= removal[1]:
            place = removal[0]
        added.setdefault(place, []).append(operation.text + "\n")
    spans = [(start, end, "".join(added.pop(start, ()))) for start, end, _ in removals]
    spans += ((place, place, "".join(new)) for place, new in added.items())
    # The sort is stable: at the same place, an inserted line stands before the line that was there.
    return sorted((*spans, *changes), key=lambda span: span[:2])


# ------------------------------------------------------------------------------------ edits


def _edits(text: str, spans: Sequence[Span]) -> list[Edit]:
    """The spans as edits of the real text, which has no LF after its last line."""
    edits = [
        Edit(start, text[start:end], new)
        for start, end, new in (_at_end(text, *span) for span in spans)
    ]
    return [edit for edit in edits if edit.old != edit.new]


def _at_end(text: str, start: int, end: int, new: str) -> Span:
    size = len(text)
    if end <= size:
        return start, end, new
    if start > size:  # lines after the last one
        return size, size, "\n" + new[:-1]
    if new:  # the last lines are replaced by inserted ones
        return start, size, new[:-1]
    return max(start - 1, 0), size, ""
