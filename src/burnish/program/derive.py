"""Derives the smallest program that turns a text into its refined form, and executes it as proof.

Lines first: those that stayed as they were, then those that were edited, which are found by the
words that they share; what is left went whole, or is new. Then each edited line, by words, and
where a word changed by characters. Lines end at LF alone, and every other character (a blank, a CR,
a zero width space, a lone surrogate) is one as any other.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

from burnish.program.alignment import (
    Edge,
    Pair,
    align,
    contains,
    embed,
    gaps,
    heaviest_chain,
    shared_ends,
    unique_pairs,
)
from burnish.program.executor import Outcome, execute
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
    removal,
)

Mode = Literal["delete", "edit", "insert"]

_NO_LIMITS = Limits(max_removed=2, min_words=0, growth_floor=10**12, max_edits=10**12)
_NEW_SHARE = 10  # a tenth of a refined text may be new characters,
_NEW_FLOOR = 20  # and so many in any case: RefineX's bound for what a rewrite may insert

# Scripts without spaces between words are taken character by character.
_LETTERS = r"[^\W\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff]+"
_PIECE = re.compile(rf"{_LETTERS}|[\s\S]")
_MARK = re.compile(rf"{_LETTERS}|\S")
_FINISHED = re.compile(r"""[.!?\u3002\uff01\uff1f]["')\]\u201d\u2019]*\s*\Z""")
_STOPPED = re.compile(r"\s*(?:\[?(?:\.{3,}|\u2026)\]?)?\s*\Z")  # what a model leaves where it stops
_TAIL_WORDS = 4  # a tail so short behind a finished sentence is a "read more", and no cut

_LONG = 24  # characters of a line that no edit of another line makes by chance
_COMMON = 32  # a word that stands in more lines of a gap does not tell which one is meant
_CANDIDATES = 16  # source lines that are compared with one refined line
_FEW_CHARACTERS = 1 << 20  # cells up to which lines are compared by their characters
_CLOSE = 3  # characters between two replacements that are not worth an operation of their own
_SHIFTS = 64  # places to which a deletion is moved in search of one that can be named
_REPAIRS = 50  # times that all lines may be looked at again
_MANY = 200  # changes of one line, above which the line is replaced as a whole
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
    outcome = execute(source, program, limits=_NO_LIMITS)
    if outcome.text == refined and not outcome.issues:
        return Derivation(program, outcome=outcome)
    detail = str(outcome.issues[0]) if outcome.issues else "the program leaves another text"
    return Derivation(None, "not reproduced", detail)


def _executed(source: str, refined: str, plan: _Plan, mode: Mode) -> Derivation:
    found = _proved(source, refined, _program(source, plan, by_lines=False))
    if found.program is None and mode != "delete":
        found = _proved(source, refined, _program(source, plan, by_lines=True))
    return found


# ------------------------------------------------------------------------------------ the plan


class Block(NamedTuple):
    """Source lines `i` to `i_end` that became refined lines `j` to `j_end` (0-based, ends
    excluded)."""

    i: int
    i_end: int
    j: int
    j_end: int


class Change(NamedTuple):
    """Characters `start` to `end` (excluded) of a text that became `new`."""

    start: int
    end: int
    new: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """What became of the source's lines `a`: the refined lines `b`.

    Lines in no block went, or are new. `changes` are those of each block, in characters of its
    source lines with their line ends.
    """

    a: list[str]
    b: list[str]
    blocks: list[Block]
    changes: list[list[Change]]

    @property
    def new_lines(self) -> list[int]:
        gaps = _between(self.blocks, len(self.a), len(self.b))
        return [j for gap in gaps for j in range(gap.j, gap.j_end)]


def _deleting(a: list[str], b: list[str]) -> _Plan:
    """Raises _Rejected where more than deletions is needed."""
    blocks = _shortened(a, b)
    plan = _with_changes(a, b, blocks or _edited(a, b, "edit"), _deletions if blocks else _changes)
    _check_end(plan)
    if blocks is None:
        raise _not_deleted(plan)
    return plan


def _editing(a: list[str], b: list[str], mode: Mode, max_new: int | None) -> _Plan:
    """Raises _Rejected where too much is new, and in mode "edit" for any new line."""
    plan = _with_changes(a, b, _edited(a, b, mode), _changes)
    _check_end(plan)
    size = sum(map(len, b))
    allowed = max(_NEW_FLOOR, size // _NEW_SHARE) if max_new is None else max_new
    if mode == "edit" and plan.new_lines:
        rejection: _Rejected | None = _not_inserted(plan, allowed)
    else:
        rejection = _paraphrased(plan, size, allowed)
    if rejection is None:
        return plan
    blocks = _shortened(a, b)  # what looks like that may still be no more than deletions
    if blocks is None:
        raise rejection
    plan = _with_changes(a, b, blocks, _deletions)
    _check_end(plan)
    return plan


def _with_changes(
    a: list[str], b: list[str], blocks: list[Block], compare: Callable[[str, str], list[Change]]
) -> _Plan:
    changes: list[list[Change]] = []
    for i, i_end, j, j_end in blocks:
        old, new = "\n".join(a[i:i_end]), "\n".join(b[j:j_end])
        changes.append([] if old == new else compare(old, new))
    return _Plan(a, b, blocks, changes)


def _check_end(plan: _Plan) -> None:
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


def _paraphrased(plan: _Plan, size: int, allowed: int) -> _Rejected | None:
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


def _not_inserted(plan: _Plan, allowed: int) -> _Rejected:
    """Why lines that are not in the source are no edit of it."""
    lines = [plan.b[j] for j in plan.new_lines]
    known, source = set(plan.a), "\n".join(plan.a)
    moved = [
        line for n, line in enumerate(lines) if line in known or (n < _MANY and line in source)
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


def _not_deleted(plan: _Plan) -> _Rejected:
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


# ------------------------------------------------------------------------------------ lines


def _between(blocks: Iterable[Block], size: int, other: int) -> Iterator[Block]:
    """The lines in no block: before, between and behind them."""
    i = j = 0
    for block in blocks:
        yield Block(i, block.i, j, block.j)
        i, j = block.i_end, block.j_end
    yield Block(i, size, j, other)


def _filled(
    a: list[str],
    b: list[str],
    blocks: list[Block],
    find: Callable[[list[str], list[str]], list[Block]],
) -> list[Block]:
    """The blocks, and those that `find` finds in the lines between them."""
    found = list(blocks)
    for i, i_end, j, j_end in _between(blocks, len(a), len(b)):
        if i < i_end and j < j_end:
            inner = find(a[i:i_end], b[j:j_end])
            found += (Block(i + w, i + x, j + y, j + z) for w, x, y, z in inner)
    return sorted(found)


def _edited(a: list[str], b: list[str], mode: Mode) -> list[Block]:
    """Lines that stayed or were edited, joined or split. Blank lines in no block are left to the
    line before them where the mode adds no lines."""
    blocks = _unchanged(a, b)
    for find in (_alike, _equal, _by_words, _by_characters, _in_place, _blank):
        blocks = _filled(a, b, blocks, find)
    if mode == "insert":
        return _without_lone_fillings(a, b, blocks)
    blocks = _filled(a, b, blocks, _emptied)
    return _with_blank_lines(b, blocks, len(a))


def _shortened(a: list[str], b: list[str]) -> list[Block] | None:
    """For each refined line the source line that it is, whole or without some characters.

    None if there is none for one of them.
    """
    blocks = _unchanged(a, b)
    for find in (_shorter, _equal, _first_shorter):
        blocks = _filled(a, b, blocks, find)
    return _completed(a, b, blocks) if contains("\n".join(a), "\n".join(b)) else None


def _completed(a: list[str], b: list[str], blocks: list[Block]) -> list[Block] | None:
    """The blocks with one for each refined line; those around a line without one are given up,
    ever more of them, until it finds a place."""
    n = work = 0
    while n <= len(blocks):
        reach = 0
        while True:
            first, end = max(0, n - reach), min(len(blocks), n + reach)
            i, j = (blocks[first - 1].i_end, blocks[first - 1].j_end) if first else (0, 0)
            i_end, j_end = (blocks[end].i, blocks[end].j) if end < len(blocks) else (len(a), len(b))
            inner = _first_shorter(a[i:i_end], b[j:j_end])
            if len(inner) == j_end - j:
                break
            if first == 0 and end == len(blocks):
                return None
            work += i_end - i
            reach = len(blocks) if work > _REPAIRS * len(a) else 2 * reach or 1
        blocks[first:end] = (Block(i + w, i + x, j + y, j + z) for w, x, y, z in inner)
        n = first + len(inner) + 1
    return blocks


def _unchanged(a: list[str], b: list[str]) -> list[Block]:
    """Equal lines at both ends, and long equal lines between them that are like no other."""
    head, tail = shared_ends(a, b)
    numbers = [n for n in range(head, len(a) - tail) if len(a[n]) >= _LONG]
    others = [n for n in range(head, len(b) - tail) if len(b[n]) >= _LONG]
    anchors = unique_pairs([a[n] for n in numbers], [b[n] for n in others])
    pairs = [(n, n) for n in range(head)]
    pairs += ((numbers[i], others[j]) for i, j in anchors)
    pairs += ((len(a) - n, len(b) - n) for n in range(tail, 0, -1))
    return [Block(i, i + 1, j, j + 1) for i, j in pairs]


def _equal(a: list[str], b: list[str]) -> list[Block]:
    return [Block(i, i + 1, j, j + 1) for i, j in align(a, b)]


def _alike(a: list[str], b: list[str]) -> list[Block]:
    """Lines that share at least half of the shorter one's words."""
    edges = _similar(a, b)
    pairs = heaviest_chain(edges)
    blocks: list[Block] = []
    for i, i_end, j, j_end in _blocks(sorted({*pairs, *_parts(a, b, pairs, edges)})):
        if i_end - i == j_end - j == 1:
            blocks.append(Block(i, i_end, j, j_end))
        else:  # a short line may only look like a part of its neighbour
            inner = _by_words(a[i:i_end], b[j:j_end])
            blocks += (Block(i + w, i + x, j + y, j + z) for w, x, y, z in inner)
    return blocks


def _parts(a: list[str], b: list[str], pairs: list[Pair], edges: Iterable[Edge]) -> Iterator[Pair]:
    """Lines between the pairs that may be a part of one line of a pair: joined or split."""
    lines, others = [i for i, _ in pairs], [j for _, j in pairs]
    for i, j, _ in edges:
        n, m = bisect_left(lines, i), bisect_left(others, j)
        joined = m < len(pairs) and others[m] == j and n in (m, m + 1)
        split = n < len(pairs) and lines[n] == i and m in (n, n + 1)
        if joined != split and a[pairs[m if joined else n][0]] != b[pairs[m if joined else n][1]]:
            yield i, j


def _shorter(a: list[str], b: list[str]) -> list[Block]:
    edges = [edge for edge in _similar(a, b) if contains(a[edge[0]], b[edge[1]])]
    return [Block(i, i + 1, j, j + 1) for i, j in heaviest_chain(edges)]


def _first_shorter(a: list[str], b: list[str]) -> list[Block]:
    """Each refined line at the first source line that it can be; all are found if all can be."""
    blocks: list[Block] = []
    for i, line in enumerate(a):
        j = len(blocks)
        if j < len(b) and contains(line, b[j]):
            blocks.append(Block(i, i + 1, j, j + 1))
    return blocks


def _similar(a: list[str], b: list[str]) -> list[Edge]:
    """Pairs of lines that share at least half of the shorter one's different words, with the
    characters of these words."""
    words = [set(_MARK.findall(line)) for line in a]
    sizes = [sum(map(len, line)) for line in words]
    where: dict[str, list[int]] = {}
    for i, line in enumerate(words):
        for word in line | {a[i]}:
            where.setdefault(word, []).append(i)
    edges: list[Edge] = []
    for j, text in enumerate(b):
        line = set(_MARK.findall(text))
        size = sum(map(len, line))
        votes: Counter[int] = Counter()
        for word in line | {text}:
            places = where.get(word, ())
            if len(places) <= _COMMON:
                for i in places:
                    votes[i] += len(word)
        for i in sorted(votes, key=lambda i: (-votes[i], i))[:_CANDIDATES]:
            weight = sum(len(word) for word in line & words[i])
            if 2 * weight >= min(size, sizes[i]):
                edges.append((i, j, 2 * weight + (1 + weight if a[i] == text else 0)))
    return edges


def _blocks(pairs: Iterable[tuple[int, int]]) -> list[Block]:
    """Pairs that share a line are one block."""
    blocks: list[Block] = []
    for i, j in pairs:
        if blocks and (i < blocks[-1].i_end or j < blocks[-1].j_end):
            blocks[-1] = blocks[-1]._replace(i_end=i + 1, j_end=j + 1)
        else:
            blocks.append(Block(i, i + 1, j, j + 1))
    return blocks


def _by_words(a: list[str], b: list[str]) -> list[Block]:
    """Lines in which at least half of the shorter one stands at the same place."""
    return _blocks(_connected(a, b, _MARK.findall, min))


def _by_characters(a: list[str], b: list[str]) -> list[Block]:
    """Lines without a word in common, in which half of the longer one stayed."""
    if sum(map(len, a)) * sum(map(len, b)) > _FEW_CHARACTERS:
        return []
    return _blocks(_connected(a, b, lambda line: list("".join(line.split())), max))


def _in_place(a: list[str], b: list[str]) -> list[Block]:
    """The only line that there was, and the only one that there is, if they share a word."""
    numbers = [n for n, line in enumerate(a) if line.strip()]
    others = [n for n, line in enumerate(b) if line.strip()]
    if len(numbers) != 1 or len(others) != 1:
        return []
    words = set(_MARK.findall(a[numbers[0]])).intersection(_MARK.findall(b[others[0]]))
    if not any(map(str.isalnum, words)):
        return []
    return [Block(numbers[0], numbers[0] + 1, others[0], others[0] + 1)]


def _connected(
    a: list[str],
    b: list[str],
    cut: Callable[[str], list[str]],
    least: Callable[[int, int], int],
) -> list[tuple[int, int]]:
    pieces = [(piece, i) for i, line in enumerate(a) for piece in cut(line)]
    others = [(piece, j) for j, line in enumerate(b) for piece in cut(line)]
    sizes: Counter[int] = Counter()
    other_sizes: Counter[int] = Counter()
    for piece, i in pieces:
        sizes[i] += len(piece)
    for piece, j in others:
        other_sizes[j] += len(piece)
    shared: Counter[tuple[int, int]] = Counter()
    for x, y in align([piece for piece, _ in pieces], [piece for piece, _ in others]):
        shared[pieces[x][1], others[y][1]] += len(pieces[x][0])
    return sorted(
        (i, j) for (i, j), size in shared.items() if 2 * size >= least(sizes[i], other_sizes[j])
    )


def _blank(a: list[str], b: list[str]) -> list[Block]:
    """Blank lines that differ in their blanks."""
    numbers = [n for n, line in enumerate(a) if not line.strip()]
    others = [n for n, line in enumerate(b) if not line.strip()]
    return [Block(i, i + 1, j, j + 1) for i, j in zip(numbers, others, strict=False)]


def _emptied(a: list[str], b: list[str]) -> list[Block]:
    """Lines that lost all that they held but stayed as blank lines."""
    others = [n for n, line in enumerate(b) if not line.strip()]
    return [Block(i, i + 1, j, j + 1) for i, j in zip(range(len(a)), others, strict=False)]


def _without_lone_fillings(a: list[str], b: list[str], blocks: list[Block]) -> list[Block]:
    """An empty line to be filled, of whose neighbours none stays, is rather removed, and the text
    inserted: there is no string to replace."""
    kept = {n for block in blocks for n in range(block.i, block.i_end)}
    return [
        block
        for block in blocks
        if a[block.i] or not b[block.j] or not kept.isdisjoint((block.i - 1, block.i + 1))
    ]


def _with_blank_lines(b: list[str], blocks: list[Block], size: int) -> list[Block]:
    """New blank lines as a part of the block before them, or else behind them."""
    found: list[Block] = []
    waiting = 0  # first refined line of the blank ones that no block stands before
    for block, gap in zip(blocks, _between(blocks, size, len(b)), strict=False):
        if any(b[j].strip() for j in range(gap.j, gap.j_end)):
            waiting = gap.j_end
        elif found and gap.j < gap.j_end and found[-1].j_end == gap.j:
            found[-1] = found[-1]._replace(j_end=gap.j_end)
            waiting = gap.j_end
        found.append(block if found else block._replace(j=min(waiting, block.j)))
    if found and not any(b[j].strip() for j in range(found[-1].j_end, len(b))):
        found[-1] = found[-1]._replace(j_end=len(b))
    return found


# ------------------------------------------------------------------------------------ inside lines


def _changes(old: str, new: str) -> list[Change]:
    """The changed words, and of a word that changed little the changed characters."""
    x, y = _PIECE.findall(old), _PIECE.findall(new)
    found: list[Change] = []
    for start, end, text in _replaced(x, y, align(x, y)):
        found += _by_character(old, start, end, text)
    return found


def _replaced(x: Sequence[str], y: Sequence[str], pairs: Iterable[Pair]) -> Iterator[Change]:
    """What stands between the pairs, in characters."""
    starts = list(accumulate(map(len, x), initial=0))
    for i, i_end, j, j_end in gaps(pairs, len(x), len(y)):
        if i < i_end or j < j_end:
            yield Change(starts[i], starts[i_end], "".join(y[j:j_end]))


def _by_character(old: str, start: int, end: int, new: str) -> list[Change]:
    head, tail = shared_ends(old[start:end], new)
    start, end, new = start + head, end - tail, new[head : len(new) - tail]
    size = end - start
    if not size or not new or size * len(new) > _FEW_CHARACTERS:
        return [Change(start, end, new)]
    pairs = align(old[start:end], new)
    if 2 * len(pairs) < max(size, len(new)) and len(pairs) < len(new):
        return [Change(start, end, new)]
    inside = _replaced(old[start:end], new, pairs)
    return [Change(start + change.start, start + change.end, change.new) for change in inside]


def _deletions(old: str, new: str) -> list[Change]:
    """The fewest deletions, of whole words where that is enough; `new` must be contained."""
    x, y = _PIECE.findall(old), _PIECE.findall(new)
    places = embed(x, y)
    if places is None:
        x, y = list(old), list(new)
        places = embed(x, y)
        assert places is not None
    return list(_replaced(x, y, zip(places, range(len(y)), strict=True)))


# ------------------------------------------------------------------------------------ the program


def _program(source: str, plan: _Plan, *, by_lines: bool) -> Program:
    """The plan's operations by line; `by_lines` rewrites the lines of each changed block."""
    kept = {n for block in plan.blocks for n in range(block.i, block.i_end)}
    operations: list[Operation] = list(removal(set(range(len(plan.a))) - kept))
    starts = line_starts(plan.a)
    changes: list[Change] = []
    for block, found in zip(plan.blocks, plan.changes, strict=True):
        if found and by_lines:
            text = "\n".join(plan.b[block.j : block.j_end])
            operations.append(RewriteLines(block.i, block.i_end - 1, text))
        elif found:
            start = starts[block.i]
            changes += (Change(start + s, start + e, new) for s, e, new in found)
    pieces: dict[int, list[Change]] = {}
    for change in _joined(source, changes):
        for piece in _cut_at_lines(source, change):
            pieces.setdefault(bisect_right(starts, piece.start) - 1, []).append(piece)
    for number, inside in pieces.items():
        operations += _replacements(number, plan.a, starts[number], inside, kept)
    operations += _insertions(plan)
    return tuple(sorted(operations, key=_place))


def _place(operation: Operation) -> int:
    assert not isinstance(operation, DropDocument)
    return operation.before if isinstance(operation, InsertLines) else operation.first


def _insertions(plan: _Plan) -> Iterator[InsertLines]:
    for i, _, j, j_end in _between(plan.blocks, len(plan.a), len(plan.b)):
        for order, text in enumerate(plan.b[j:j_end], 1):
            yield InsertLines(i, order, text)


def _joined(source: str, changes: Iterable[Change]) -> list[Change]:
    """Replacements that nearly touch are one; deletions stay what they are."""
    found: list[Change] = []
    for change in changes:
        if found and (change.new or found[-1].new):
            start, end, new = found[-1]
            between = source[end : change.start]
            if len(between) < _CLOSE and "\n" not in between:
                found[-1] = Change(start, change.end, new + between + change.new)
                continue
        found.append(change)
    return found


def _cut_at_lines(source: str, change: Change) -> Iterator[Change]:
    """The change in pieces of which each lies in one line; the first has all the new text."""
    start, end, new = change
    while (line_end := source.find("\n", start, end) + 1) and line_end < end:
        yield Change(start, line_end, new)
        start, new = line_end, ""
    yield Change(start, end, new)


def _replacements(
    number: int, lines: Sequence[str], at: int, changes: list[Change], kept: set[int]
) -> Iterator[Operation]:
    """The changes of one line, which begins at character `at`, as strings that stand once in it."""
    line = lines[number]
    inside = [Change(start - at, end - at, new) for start, end, new in changes]
    if not line and inside[0].start == inside[0].end:
        yield _filled_line(number, lines, inside[0].new, kept)
        return
    if len(inside) > _MANY and inside[-1].end <= len(line):
        inside = [Change(0, len(line), _applied(line, inside, 0, len(line)))]
    groups: list[tuple[int, int, list[Change]]] = []
    low = 0
    for n, change in enumerate(inside):
        high = inside[n + 1].start if n + 1 < len(inside) else len(line)
        change = _shifted(line, change, low, high)
        low = change.end
        start, end = _grown(line, change.start, change.end)
        members = [change]
        while groups and start < groups[-1][1]:
            first, last, before = groups.pop()
            start, end, members = min(start, first), max(end, last), before + members
        groups.append((start, end, members))
    whole = line + "\n"
    for start, end, members in groups:
        old, new = whole[start:end], _applied(whole, members, start, end)
        yield ReplaceText(number, number + old.endswith("\n"), old, new)


def _filled_line(number: int, lines: Sequence[str], new: str, kept: set[int]) -> Operation:
    """New text in an empty line: its LF, or the one before, is what can be replaced."""
    if number + 1 in kept:
        return ReplaceText(number, number + 1, "\n", new + "\n")
    if number - 1 in kept and lines[number - 1]:  # else its LF may be replaced for its own sake
        return ReplaceText(number - 1, number, "\n", "\n" + new)
    return RewriteLines(number, number, new)


def _applied(line: str, changes: Iterable[Change], start: int, end: int) -> str:
    """Characters `start` to `end` of the line after the changes."""
    parts: list[str] = []
    for change in changes:
        parts += line[start : change.start], change.new
        start = change.end
    return "".join([*parts, line[start:end]])


def _stands_once(line: str, start: int, end: int) -> bool:
    old = line[start:end]
    return bool(old) and line.find(old) == start and line.find(old, start + 1) < 0


def _shifted(line: str, change: Change, low: int, high: int) -> Change:
    """A deletion moved to where it leaves the same text and what is deleted stands once."""
    start, end, new = change
    if new or start == end or end > len(line) or _stands_once(line, start, end):
        return change
    size = end - start
    for step in (-1, 1):
        place = start
        for _ in range(_SHIFTS):
            moved = place + step
            if (
                moved < low
                or moved + size > high
                or line[min(place, moved)] != line[min(place, moved) + size]
            ):
                break
            place = moved
            if _stands_once(line, place, place + size):
                return Change(place, place + size, "")
    return change


def _grown(line: str, start: int, end: int) -> tuple[int, int]:
    """The span with as few characters more as make it stand once in the line."""
    if end > len(line) or _stands_once(line, start, end):
        return start, end  # what holds the LF stands once

    def once(left: int, right: int) -> bool:
        return _stands_once(line, max(0, start - left), min(len(line), end + right))

    more = 1
    while not once(more, more):
        more *= 2
    right = bisect_left(range(more), True, key=lambda right: once(more, right))
    left = bisect_left(range(more), True, key=lambda left: once(left, right))
    return max(0, start - left), min(len(line), end + right)
