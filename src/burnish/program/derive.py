"""Derives the smallest program that turns a text into its refined form, and executes it as proof.

Lines first: those that stayed as they were, then those that were edited, which are found by the
words that they share; what is left went whole, or is new. Then each edited line, by words, and
where a word changed by characters. Lines end at LF alone, and every other character (a blank, a CR,
a zero width space, a lone surrogate) is one as any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from burnish.program.alignment import embed
from burnish.program.executor import Outcome, execute
from burnish.program.limits import UNLIMITED
from burnish.program.line_blocks import Block, edited, shortened
from burnish.program.line_changes import Change, changed, deleted
from burnish.program.line_plan import Plan, program_of
from burnish.program.lines import split_lines
from burnish.program.operations import Program, RemoveLines, removal

Mode = Literal["delete", "edit", "insert"]
MODES: tuple[Mode, ...] = get_args(Mode)

_NEW_SHARE = 10  # a tenth of a refined text may be new characters,
_NEW_FLOOR = 20  # and so many in any case: RefineX's bound for what a rewrite may insert

_FINISHED = re.compile(r"""[.!?\u3002\uff01\uff1f]["')\]\u201d\u2019]*\s*\Z""")
_STOPPED = re.compile(r"\s*(?:\[?(?:\.{3,}|\u2026)\]?)?\s*\Z")  # what a model leaves where it stops
_TAIL_WORDS = 4  # a tail so short behind a finished sentence is a "read more", and no cut

_SEARCHED = 200  # new lines that are searched for inside of the source's lines
_QUOTED = 60


@dataclass(frozen=True, slots=True)
class Derivation:
    """The program that was found, or why there is none.

    Attributes:
        program: turns the source into the refined text, character for character; None where the
            refined text was rejected.
        reason: why it was, in words that can be counted over many texts: "truncated", "reordered",
            "paraphrase", "inserts text", "joins lines", "not reproduced"; else empty.
        detail: the reason with the place, for people.
        outcome: of the execution that proved the program.
    """

    program: Program | None
    reason: str = ""
    detail: str = ""
    outcome: Outcome | None = None


def derive(
    source: str,
    refined: str,
    *,
    mode: Mode = "edit",
    max_new: int | None = None,
    cut_off: bool = False,
) -> Derivation:
    """The smallest program that turns `source` into `refined`, or the reason why there is none.

    `mode` says what it may do: "delete" removes lines and deletes inside of lines; "edit" also
    replaces inside of lines, joins and splits them; "insert" also adds lines. Where a change can be
    said so, a replaced string stands once in its line, as UltraX and RefineX want it.

    A text with more than `max_new` new characters (blanks not counted; None: a tenth of the refined
    text's, at least 20) is a paraphrase. One whose last line stops inside its source line, with
    nothing left behind it, was cut off; `cut_off` says that the caller knows that it was. Never
    raises, whatever the texts.
    """
    if cut_off:
        return Derivation(None, "truncated", "the answer was cut off")
    if source == refined:
        return _proved(source, refined, ())
    a, b = split_lines(source), split_lines(refined)
    if not refined:
        return _proved(source, refined, (RemoveLines(0, len(a) - 1),))
    places = embed(a, b)
    if places is not None:
        return _proved(source, refined, removal(set(range(len(a))).difference(places)))
    try:
        plan = _deleting(a, b) if mode == "delete" else _editing(a, b, mode, max_new)
        return _executed(source, refined, plan, mode)
    except _Rejected as rejection:
        return Derivation(None, *rejection.args)


class _Rejected(Exception):
    """Why no program is derived: reason and detail."""


def _proved(source: str, refined: str, program: Program) -> Derivation:
    """The program, if executing it leaves the refined text and raises no issue."""
    outcome = execute(source, program, limits=UNLIMITED)
    if outcome.text == refined and not outcome.issues:
        return Derivation(program, outcome=outcome)
    detail = str(outcome.issues[0]) if outcome.issues else "the program leaves another text"
    return Derivation(None, "not reproduced", detail)


def _executed(source: str, refined: str, plan: Plan, mode: Mode) -> Derivation:
    """The plan's program; one that rewrites whole lines where strings can not say it."""
    found = _proved(source, refined, program_of(source, plan, by_lines=False))
    if found.program is None and mode != "delete":
        found = _proved(source, refined, program_of(source, plan, by_lines=True))
    return found


# ------------------------------------------------------------------------------------ the plan


def _deleting(a: list[str], b: list[str]) -> Plan:
    """Raises _Rejected where more than deletions is needed."""
    blocks = shortened(a, b)
    plan = _with_changes(a, b, blocks or edited(a, b, insert=False), deleted if blocks else changed)
    _check_end(plan)
    if blocks is None:
        raise _not_deleted(plan)
    return plan


def _editing(a: list[str], b: list[str], mode: Mode, max_new: int | None) -> Plan:
    """Raises _Rejected where too much is new, and in mode "edit" for any new line."""
    plan = _with_changes(a, b, edited(a, b, insert=mode == "insert"), changed)
    _check_end(plan)
    size = sum(map(len, b))
    allowed = max(_NEW_FLOOR, size // _NEW_SHARE) if max_new is None else max_new
    if mode == "edit" and plan.new_lines:
        rejection: _Rejected | None = _not_inserted(plan, allowed)
    else:
        rejection = _paraphrased(plan, size, allowed)
    if rejection is None:
        return plan
    blocks = shortened(a, b)  # what looks like that may still be no more than deletions
    if blocks is None:
        raise rejection
    plan = _with_changes(a, b, blocks, deleted)
    _check_end(plan)
    return plan


def _with_changes(
    a: list[str], b: list[str], blocks: list[Block], compare: Callable[[str, str], list[Change]]
) -> Plan:
    changes: list[list[Change]] = []
    for i, i_end, j, j_end in blocks:
        old, new = "\n".join(a[i:i_end]), "\n".join(b[j:j_end])
        changes.append([] if old == new else compare(old, new))
    return Plan(a, b, blocks, changes)


def _check_end(plan: Plan) -> None:
    """Raises _Rejected where the last line was cut off and nothing behind it is left."""
    last = max((j for j, line in enumerate(plan.b) if line.strip()), default=-1)
    if last < 0:
        return
    at = max((n for n, block in enumerate(plan.blocks) if block.j <= last), default=-1)
    behind = 0  # the first source line that the last refined line can be from
    if at >= 0:
        block = plan.blocks[at]
        if last < block.j_end:
            old = "\n".join(plan.a[block.i : block.i_end])
            if not plan.changes[at]:
                return
            _check_cut(*_cut_at(old, plan.changes[at]))
            at -= 1
        behind = plan.blocks[at].i_end if at >= 0 else 0
    kept = _STOPPED.sub("", plan.b[last])
    for line in plan.a[behind:]:
        if line.startswith(kept):
            _check_cut(line[: len(kept)], line[len(kept) :])


def _cut_at(old: str, changes: Sequence[Change]) -> tuple[str, str]:
    """The text up to its last character that stayed, and the rest of it."""
    end = len(old)
    for change in reversed(changes):
        if change.end < end or not _STOPPED.match(change.new):
            break
        end = change.start
    return old[:end], old[end:]


def _check_cut(kept: str, gone: str) -> None:
    if not kept.strip() or kept.endswith("\n") or not any(map(str.isalnum, gone)):
        return
    if _FINISHED.search(kept[-20:]) and len(gone.split()) <= _TAIL_WORDS:
        return
    end, rest = repr(kept[-_QUOTED:]), _quote(gone)
    raise _Rejected("truncated", f"the text ends with {end}, where the source goes on: {rest}")


def _paraphrased(plan: Plan, size: int, allowed: int) -> _Rejected | None:
    """Whether more characters than are allowed are not from the source."""
    known = set(plan.a)
    new = [change.new for changes in plan.changes for change in changes]
    new += (plan.b[j] for j in plan.new_lines if plan.b[j] not in known)
    count = sum(len("".join(text.split())) for text in new)
    if count <= allowed:
        return None
    longest = _quote(max(new, key=len))
    detail = f"{count} of {size} characters are new, {allowed} are allowed; such as {longest}"
    return _Rejected("paraphrase", detail)


def _not_inserted(plan: Plan, allowed: int) -> _Rejected:
    """Why lines that are not in the source are no edit of it."""
    lines = [plan.b[j] for j in plan.new_lines]
    known, source = set(plan.a), "\n".join(plan.a)
    moved = [
        line for n, line in enumerate(lines) if line in known or (n < _SEARCHED and line in source)
    ]
    size, moved_size = sum(map(len, lines)), sum(map(len, moved))
    if size and 2 * moved_size >= size:
        longest = _quote(max(moved, key=len))
        return _Rejected("reordered", f"{longest} stands at another place in the source")
    longest = _quote(max(lines, key=len))
    if size > allowed:
        detail = f"{size} characters of lines are new, {allowed} are allowed; such as {longest}"
        return _Rejected("paraphrase", detail)
    return _Rejected("inserts text", f"the line {longest} is not in the source")


def _not_deleted(plan: Plan) -> _Rejected:
    """Why an edit is no deletion."""
    if plan.new_lines:
        reason, detail = _not_inserted(plan, len("".join(plan.b))).args
        return _Rejected("inserts text" if reason == "paraphrase" else reason, detail)
    new = [change.new for changes in plan.changes for change in changes if change.new]
    if new:
        return _Rejected("inserts text", f"{_quote(max(new, key=len))} is added")
    return _Rejected("joins lines", "a line end goes, and both its lines stay")


def _quote(text: str) -> str:
    return repr(text if len(text) <= _QUOTED else text[: _QUOTED - 3] + "...")
