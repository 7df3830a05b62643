"""Aligns two sequences: of lines, of words, of characters.

`embed` answers for a sequence that only lost items, with the fewest places where it lost some;
`align` for any two. Both trim what the sequences begin and end with alike, which never costs
anything. Time is linear but for what is left between unique items, where rows of the longest common
subsequence are single large integers (Crochemore et al. 2001): some 50 million cells take 10 ms.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import accumulate, compress, pairwise

Pair = tuple[int, int]  # 0-based places in the first and the second sequence
Edge = tuple[int, int, int]  # two places and what it is worth to put them together

_CANDIDATES = 1_000_000  # places that `embed` weighs before it takes the nearest ones
_SMALL = 1 << 22  # cells of a problem that needs no unique items to be cut into smaller ones
_STORED = 1 << 26  # cells that are stored at once (8 MB)
_MOST = 1 << 34  # cells of the largest problem that is solved at all (seconds)


def shared_ends(a: Sequence[Hashable], b: Sequence[Hashable]) -> tuple[int, int]:
    """How many items both begin with, and how many of the others both end with."""
    most = min(len(a), len(b))
    head = next((n for n in range(most) if a[n] != b[n]), most)
    most -= head
    tail = next((n for n in range(most) if a[-1 - n] != b[-1 - n]), most)
    return head, tail


def contains(a: str, b: str) -> bool:
    """Whether `b` is `a` without some of its characters."""
    place = -1
    for item in b:
        place = a.find(item, place + 1)
        if place < 0:
            return False
    return True


def embed(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[int] | None:
    """For each item of `b` its place in `a`, such that the fewest runs of `a` are left out.

    None if `b` is not `a` without some items. Where there are very many ways, the runs may be more.
    """
    head, tail = shared_ends(a, b)
    core = a[head : len(a) - tail]
    inner = _embed(core, b[head : len(b) - tail])
    if inner is None:
        return None
    behind = range(len(a) - tail, len(a))
    return [*range(head), *(place + head for place in inner), *behind]


def _embed(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[int] | None:
    places: dict[Hashable, list[int]] = {item: [] for item in b}
    for place, item in enumerate(a):
        if item in places:
            places[item].append(place)
    earliest = _earliest(places, b)
    if earliest is None:
        return None
    latest = _latest(places, b, len(a))
    windows = [
        (bisect_left(places[item], first), bisect_right(places[item], last))
        for item, first, last in zip(b, earliest, latest, strict=True)
    ]
    if sum(end - start for start, end in windows) > _CANDIDATES:
        return _nearest(a, b, places)
    rows = [places[item][slice(*window)] for item, window in zip(b, windows, strict=True)]
    return _fewest_runs(rows, len(a))


def _earliest(places: dict[Hashable, list[int]], b: Sequence[Hashable]) -> list[int] | None:
    found: list[int] = []
    place = -1
    for item in b:
        known = places[item]
        at = bisect_right(known, place)
        if at == len(known):
            return None
        place = known[at]
        found.append(place)
    return found


def _latest(places: dict[Hashable, list[int]], b: Sequence[Hashable], place: int) -> list[int]:
    found: list[int] = []
    for item in reversed(b):
        known = places[item]
        place = known[bisect_left(known, place) - 1]
        found.append(place)
    return found[::-1]


def _nearest(
    a: Sequence[Hashable], b: Sequence[Hashable], places: dict[Hashable, list[int]]
) -> list[int]:
    """The next place for each item; always behind the one before, as the earliest are there."""
    found: list[int] = []
    place = -1
    for item in b:
        known = places[item]
        place = known[bisect_right(known, place)]
        found.append(place)
    return found


def _fewest_runs(rows: Sequence[Sequence[int]], size: int) -> list[int]:
    """One ascending place of each row, such that the fewest runs of `size` places are left out."""
    if not rows:
        return []
    costs = [int(place > 0) for place in rows[0]]
    came_from: list[list[int]] = [[]]
    for before, row in pairwise(rows):
        cheapest, seen = -1, 0  # of the places before this one
        new_costs: list[int] = []
        origins: list[int] = []
        for place in row:
            while seen < len(before) and before[seen] < place:
                if cheapest < 0 or costs[seen] < costs[cheapest]:
                    cheapest = seen
                seen += 1
            cost, origin = costs[cheapest] + 1, cheapest
            if before[seen - 1] == place - 1 and costs[seen - 1] < cost:
                cost, origin = costs[seen - 1], seen - 1
            new_costs.append(cost)
            origins.append(origin)
        costs = new_costs
        came_from.append(origins)
    ends = [cost + (place < size - 1) for cost, place in zip(costs, rows[-1], strict=True)]
    at = ends.index(min(ends))
    found: list[int] = []
    for row, origins in zip(reversed(rows), reversed(came_from), strict=True):
        found.append(row[at])
        at = origins[at] if origins else 0
    return found[::-1]


def align(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Pair]:
    """Places of equal items, ascending in both sequences; as many as there can be, or nearly.

    A sequence that is the other without some items is embedded with the fewest runs.
    """
    head, tail = shared_ends(a, b)
    inner = _align(a[head : len(a) - tail], b[head : len(b) - tail])
    found = [(n, n) for n in range(head)]
    found += ((i + head, j + head) for i, j in inner)
    found += ((len(a) - n, len(b) - n) for n in range(tail, 0, -1))
    return found


def _align(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Pair]:
    if not a or not b:
        return []
    if len(a) >= len(b):
        if (places := embed(a, b)) is not None:
            return list(zip(places, range(len(b)), strict=True))
    elif (places := embed(b, a)) is not None:
        return list(zip(range(len(a)), places, strict=True))
    if len(a) * len(b) <= _SMALL:
        return _common(a, b)
    found: list[Pair] = []
    for i, i_end, j, j_end in gaps(unique_pairs(a, b), len(a), len(b)):
        found += ((i + x, j + y) for x, y in _common(a[i:i_end], b[j:j_end]))
        if i_end < len(a) and j_end < len(b):
            found.append((i_end, j_end))
    return found


def gaps(pairs: Iterable[Pair], size: int, other: int) -> Iterator[tuple[int, int, int, int]]:
    """What lies before, between and behind the pairs: half-open ranges of either sequence."""
    i = j = 0
    for x, y in pairs:
        yield i, x, j, y
        i, j = x + 1, y + 1
    yield i, size, j, other


def unique_pairs(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Pair]:
    """Items that stand once in either sequence, as many as stand in the same order."""
    once = {item for item, count in Counter(a).items() if count == 1}
    where = {item: place for place, item in enumerate(a) if item in once}
    counts = Counter(b)
    pairs = [(where[item], j) for j, item in enumerate(b) if item in where and counts[item] == 1]
    tops: list[int] = []  # the smallest last place of an ascending row of each length
    ends: list[int] = []  # the pair that it belongs to
    before: list[int] = []
    for n, (i, _) in enumerate(pairs):
        length = bisect_left(tops, i)
        before.append(ends[length - 1] if length else -1)
        tops[length : length + 1] = [i]
        ends[length : length + 1] = [n]
    found: list[Pair] = []
    n = ends[-1] if ends else -1
    while n >= 0:
        found.append(pairs[n])
        n = before[n]
    return found[::-1]


# ------------------------------------------------------------ the longest common subsequence


def _common(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Pair]:
    cells = len(a) * len(b)
    if not cells or cells > _MOST:
        return []
    if cells <= _STORED or len(b) == 1:
        return _trace(a, b)
    middle = len(b) // 2
    ahead = _lengths(a, b[:middle])
    behind = _lengths(a[::-1], b[middle:][::-1])[::-1]
    sums = [x + y for x, y in zip(ahead, behind, strict=True)]
    cut = sums.index(max(sums))
    left = _common(a[:cut], b[:middle])
    right = _common(a[cut:], b[middle:])
    return left + [(i + cut, j + middle) for i, j in right]


def _rows(a: Sequence[Hashable], b: Sequence[Hashable]) -> Iterator[int]:
    """For each beginning of `b` (the empty one left out) an integer: bit i is 0 where item i of `a`
    makes the common subsequence longer."""
    masks: dict[Hashable, int] = {item: 0 for item in b}
    places: dict[Hashable, list[int]] = {item: [] for item in masks}
    for place, item in enumerate(a):
        if item in places:
            places[item].append(place)
    for item, known in places.items():
        bits = bytearray(len(a) // 8 + 1)
        for place in known:
            bits[place >> 3] |= 1 << (place & 7)
        masks[item] = int.from_bytes(bits, "little")
    full = (1 << len(a)) - 1
    row = full
    for item in b:
        taken = row & masks[item]
        row = ((row + taken) | (row - taken)) & full
        yield row


def _lengths(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[int]:
    """For each beginning of `a`, the empty one too, how much of it is common with `b`."""
    row = (1 << len(a)) - 1
    for row in _rows(a, b):  # noqa: B007 - the last one
        pass
    digits = format(row, f"0{len(a)}b")[::-1]
    return list(accumulate((digit == "0" for digit in digits), initial=0))


def _trace(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Pair]:
    """The common subsequence, going back from the ends; a run is continued where it can be."""
    rows = [row.to_bytes(len(a) // 8 + 1, "little") for row in _rows(a, b)]
    found: list[Pair] = []
    i, j = len(a), len(b)
    running = False
    while i and j:
        if running and a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            found.append((i, j))
        elif rows[j - 1][(i - 1) >> 3] >> ((i - 1) & 7) & 1:
            i, running = i - 1, False
        elif j > 1 and not rows[j - 2][(i - 1) >> 3] >> ((i - 1) & 7) & 1:
            j, running = j - 1, False
        else:
            i, j, running = i - 1, j - 1, True
            found.append((i, j))
    return found[::-1]


# ------------------------------------------------------------ the best of many pairs


def heaviest_chain(edges: Iterable[Edge]) -> list[Pair]:
    """Of weighted pairs those that together weigh most and ascend in both places.

    A pair that goes on where another ends counts one more.
    """
    ordered = sorted(edges)
    size = max((j for _, j, _ in ordered), default=-1) + 2
    tree = [(0, -1)] * (size + 1)  # of maxima (weight, edge) over beginnings of the second places
    waiting: list[Edge] = []  # of the first place at hand, with their numbers; not yet in `tree`
    total: dict[Pair, tuple[int, int]] = {}
    before: list[int] = []
    place = -1
    for n, (i, j, weight) in enumerate(ordered):
        if i > place:
            for entry in waiting:
                _raise(tree, *entry)
            waiting.clear()
        place = i
        best = _highest(tree, j)
        if follows := total.get((i - 1, j - 1)):
            best = max(best, (follows[0] + 1, follows[1]))
        total[i, j] = best[0] + weight, n
        before.append(best[1])
        waiting.append((j, best[0] + weight, n))
    at = max(total.values(), default=(0, -1))[1]
    chosen: list[int] = []
    while at >= 0:
        chosen.append(at)
        at = before[at]
    kept = bytearray(len(ordered))
    for n in chosen:
        kept[n] = 1
    return [(i, j) for i, j, _ in compress(ordered, kept)]


def _raise(tree: list[tuple[int, int]], j: int, weight: int, edge: int) -> None:
    j += 1
    while j < len(tree):
        tree[j] = max(tree[j], (weight, edge))
        j += j & -j


def _highest(tree: Sequence[tuple[int, int]], end: int) -> tuple[int, int]:
    """The maximum over the places before `end`."""
    best = (0, -1)
    while end:
        best = max(best, tree[end])
        end -= end & -end
    return best
