"""Executes a program on a text, all operations at once, and leaves edits that undo it.

The text is thought of with one LF more at its end, so that every line owns the LF behind it and
removing or inserting lines never needs to look at a neighbour. `_at_end` takes that LF away again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from burnish.program.limits import Limits
from burnish.program.lines import line_starts, split_lines
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    Operation,
    Program,
    RemoveLines,
    ReplaceText,
    RewriteLines,
)
from burnish.schema import Edit, Issue, Status, apply_edits, revert_edits

Range = tuple[int, int]
Span = tuple[int, int, str]  # first character, character after the last, new text

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
        reason: why the program was refused, failed, or dropped the document; else empty.
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
    text sorts first) is made and the other is an issue. Ranges are clamped to the document.
    `lines` saves the splitting where the caller has the text's lines already.
    """
    if not program:
        return Outcome(Status.KEPT, text)
    if lines is None:
        lines = split_lines(text)
    issues: list[Issue] = []
    if any(isinstance(operation, DropDocument) for operation in program):
        return dropped(text, len(lines), "program")
    starts = line_starts(lines)
    removed = _removed_ranges(program, len(lines), issues)
    spans = [(starts[first], starts[last + 1], "") for first, last in removed]
    if any(not isinstance(operation, RemoveLines) for operation in program):
        try:
            changes = _changed_spans(text, program, starts, removed, limits.max_edits, issues)
        except _TooManyEdits:
            return _refused(text, issues, f"more than {limits.max_edits} replacements")
        spans = _with_insertions(spans, changes, program, starts, issues)
    edits = _edits(text, spans)
    return _limited(text, len(lines), edits, removed, issues, limits)


def dropped(
    text: str, line_count: int, reason: str, issues: Sequence[Issue] = ()
) -> Outcome:
    """The outcome of dropping the whole document."""
    everything = (Edit(0, text),) if text else ()
    whole = ((0, line_count - 1),)
    return Outcome(Status.DROPPED, "", everything, tuple(issues), whole, reason)


def failed(text: str, issues: Sequence[Issue]) -> Outcome:
    """The outcome where there was no usable program."""
    reason = issues[0].message if issues else "no program"
    return Outcome(Status.FAILED, text, issues=tuple(issues), reason=reason)


def execute_parsed(
    text: str,
    program: Program | None,
    issues: Sequence[Issue],
    *,
    limits: Limits = _DEFAULT_LIMITS,
    lines: Sequence[str] | None = None,
) -> Outcome:
    """Executes what was read of a program text, with the issues of the reading.

    No program is a failure. More unusable calls than the limits allow refuse the whole program.
    """
    if program is None:
        return failed(text, issues)
    if limits.max_issues is not None and len(issues) >= limits.max_issues:
        return _refused(text, issues, f"{len(issues)} calls can not be used as written")
    outcome = execute(text, program, limits=limits, lines=lines)
    return replace(outcome, issues=(*issues, *outcome.issues)) if issues else outcome


def _refused(text: str, issues: Sequence[Issue], reason: str) -> Outcome:
    return Outcome(
        Status.REFUSED, text, issues=(*issues, Issue("limit", reason)), reason=reason
    )


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
        return _refused(text, issues, f"the text would grow by {growth} characters")
    refined = apply_edits(text, edits)
    if growth < 0 and (broken := limits.removal_broken(text, refined)):
        if limits.on_removal == "drop":
            return dropped(text, line_count, broken, issues)
        return _refused(text, issues, broken)
    status = Status.EDITED if edits else Status.KEPT
    return Outcome(status, refined, tuple(edits), tuple(issues), tuple(removed))


# ------------------------------------------------------------------------------------ whole lines


def _removed_ranges(program: Program, count: int, issues: list[Issue]) -> list[Range]:
    """The removed lines as ascending ranges that do not touch each other."""
    clamped: list[Range] = []
    for operation in program:
        if isinstance(operation, RemoveLines):
            found = _clamp(operation, operation.first, operation.last, count, issues)
            if found:
                clamped.append(found)
    clamped.sort()
    merged: list[Range] = []
    for first, last in clamped:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _clamp(
    operation: Operation, first: int, last: int, count: int, issues: list[Issue]
) -> Range | None:
    if first > last or last < 0 or first >= count:
        issues.append(
            Issue("range", f"{operation}: no such lines; the text has lines 0 to {count - 1}")
        )
        return None
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
    wanted: set[Span] = set()
    for operation in program:
        if isinstance(operation, ReplaceText):
            found = _occurrences(text, operation, starts, issues)
        elif isinstance(operation, RewriteLines):
            found = _rewritten(operation, starts, issues)
        else:
            continue
        for span in found:
            wanted.add(span)
            if len(wanted) > max_edits:
                raise _TooManyEdits
    if not wanted:
        return []
    chosen: list[Span] = []
    for span in sorted(wanted, key=lambda s: (s[0], -s[1], s[2])):
        start, end, _ = span
        first, last = _lines_touched(text, span, starts)
        gone = _count_removed(first, last, removed)
        if gone == last - first + 1:
            continue  # removal wins
        if gone:
            issues.append(_overlap(text, span, "lines that are removed"))
        elif chosen and (start < chosen[-1][1] or (start, end) == chosen[-1][:2]):
            issues.append(_overlap(text, span, "another replacement"))
        else:
            chosen.append(span)
    return chosen


def _occurrences(
    text: str, operation: ReplaceText, starts: Sequence[int], issues: list[Issue]
) -> Iterable[Span]:
    """Where the replaced string stands, from left to right."""
    old, new = operation.old, operation.new
    if not old:
        issues.append(Issue("empty-source", "the string to replace is empty"))
        return
    found = _clamp(operation, operation.first, operation.last, len(starts) - 1, issues)
    if found is None:
        return
    place, end = starts[found[0]], starts[found[1] + 1] - 1
    if operation.offset is not None:
        place += operation.offset
        if operation.offset < 0 or not text.startswith(old, place) or place + len(old) > end:
            issues.append(Issue("not-found", f"{_quote(old)} does not stand at that offset"))
            return
        if new != old:
            yield place, place + len(old), new
        return
    left = operation.count
    at = text.find(old, place, end)
    if at < 0:
        issues.append(Issue("not-found", f"{_quote(old)} does not stand in these lines"))
    while at >= 0 and left != 0:
        if new != old:
            yield at, at + len(old), new
        left = None if left is None else left - 1
        at = text.find(old, at + len(old), end)


def _rewritten(
    operation: RewriteLines, starts: Sequence[int], issues: list[Issue]
) -> Iterable[Span]:
    found = _clamp(operation, operation.first, operation.last, len(starts) - 1, issues)
    if found:
        yield starts[found[0]], starts[found[1] + 1] - 1, operation.text


def _lines_touched(text: str, span: Span, starts: Sequence[int]) -> Range:
    """First and last line that a span concerns; one that takes a LF away concerns both sides."""
    start, end, _ = span
    last = end if end == start or text[end - 1] == "\n" else end - 1
    return bisect_right(starts, start) - 1, bisect_right(starts, last) - 1


def _count_removed(first: int, last: int, removed: Sequence[Range]) -> int:
    """How many of the lines `first` to `last` are removed."""
    at = max(bisect_right(removed, (first, -1)) - 1, 0)
    count = 0
    while at < len(removed) and removed[at][0] <= last:
        count += max(0, min(last, removed[at][1]) - max(first, removed[at][0]) + 1)
        at += 1
    return count


def _overlap(text: str, span: Span, other: str) -> Issue:
    return Issue("overlap", f"the change of {_quote(text[span[0] : span[1]])} overlaps {other}")


def _quote(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


# ------------------------------------------------------------------------------------ new lines


def _with_insertions(
    removals: list[Span],
    changes: list[Span],
    program: Program,
    starts: Sequence[int],
    issues: list[Issue],
) -> list[Span]:
    """All spans, ascending; an inserted line at the edge of removed lines joins their span."""
    inserted = sorted(
        {operation for operation in program if isinstance(operation, InsertLines)},
        key=lambda operation: (operation.before, operation.order, operation.text),
    )
    added: dict[Range, str] = {}
    for operation in inserted:
        if not 0 <= operation.before < len(starts):
            issues.append(Issue("range", f"{operation}: no such line"))
            continue
        place = starts[operation.before]
        if any(start < place < end for start, end, _ in changes):
            issues.append(Issue("overlap", "an inserted line stands inside a replaced span"))
            continue
        around = next(((s, e) for s, e, _ in removals if s <= place <= e), (place, place))
        added[around] = added.get(around, "") + operation.text + "\n"
    removals = [(start, end, added.pop((start, end), "")) for start, end, _ in removals]
    # The sort is stable: at the same place, an inserted line stands before the line that was there.
    between = [(place, place, new) for (place, _), new in added.items()]
    return sorted([*between, *removals, *changes], key=lambda span: span[:2])


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
