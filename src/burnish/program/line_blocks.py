"""Which lines of a text became which lines of its refined form.

Lines that stayed as they were come first, then those that were edited, which are found by the words
that they share. What is in no block went whole, or is new.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from burnish.program.alignment import (
    Edge,
    Pair,
    align,
    contains,
    heaviest_chain,
    shared_ends,
    unique_pairs,
)
from burnish.program.words import LETTERS

_WORD = re.compile(rf"{LETTERS}|\S")

_LONG = 24  # characters of a line that no edit of another line makes by chance
_COMMON = 32  # a word that stands in more lines of a gap does not tell which one is meant
_CANDIDATES = 16  # source lines that are compared with one refined line
_FEW_CHARACTERS = 1 << 20  # cells up to which lines are compared by their characters
_REPAIRS = 50  # times that all lines may be looked at again


class Block(NamedTuple):
    """Source lines `i` to `i_end` that became refined lines `j` to `j_end` (0-based, ends
    excluded)."""

    i: int
    i_end: int
    j: int
    j_end: int


def between(blocks: Iterable[Block], size: int, other: int) -> Iterator[Block]:
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
    for i, i_end, j, j_end in between(blocks, len(a), len(b)):
        if i < i_end and j < j_end:
            inner = find(a[i:i_end], b[j:j_end])
            found += (Block(i + w, i + x, j + y, j + z) for w, x, y, z in inner)
    return sorted(found)


def edited(a: list[str], b: list[str], *, insert: bool) -> list[Block]:
    """Lines that stayed or were edited, joined or split.

    `insert` says that lines may be added; else new blank lines are a part of the block before them.
    """
    blocks = _unchanged(a, b)
    for find in (_alike, _equal, _by_words, _by_characters, _in_place, _blank):
        blocks = _filled(a, b, blocks, find)
    if insert:
        return _without_lone_fillings(a, b, blocks)
    blocks = _filled(a, b, blocks, _emptied)
    return _with_blank_lines(b, blocks, len(a))


def shortened(a: list[str], b: list[str]) -> list[Block] | None:
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
    words = [set(_WORD.findall(line)) for line in a]
    sizes = [sum(map(len, line)) for line in words]
    where: dict[str, list[int]] = {}
    for i, line in enumerate(words):
        for word in line | {a[i]}:
            where.setdefault(word, []).append(i)
    edges: list[Edge] = []
    for j, text in enumerate(b):
        line = set(_WORD.findall(text))
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
    return _blocks(_connected(a, b, _WORD.findall, min))


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
    words = set(_WORD.findall(a[numbers[0]])).intersection(_WORD.findall(b[others[0]]))
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
    for block, gap in zip(blocks, between(blocks, size, len(b)), strict=False):
        if any(b[j].strip() for j in range(gap.j, gap.j_end)):
            waiting = gap.j_end
        elif found and gap.j < gap.j_end and found[-1].j_end == gap.j:
            found[-1] = found[-1]._replace(j_end=gap.j_end)
            waiting = gap.j_end
        found.append(block if found else block._replace(j=min(waiting, block.j)))
    if found and not any(b[j].strip() for j in range(found[-1].j_end, len(b))):
        found[-1] = found[-1]._replace(j_end=len(b))
    return found
