"""Sequences of like length, computed together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def padded_groups(sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """The places of the sizes, the largest first, in groups that hold at most `most` together when
    each is as large as the group's largest; one that is larger alone is a group of its own.

    >>> list(padded_groups([2, 5, 1, 4], 8))
    [[1], [3, 0], [2]]
    """
    group: list[int] = []
    for place in sorted(range(len(sizes)), key=lambda n: -sizes[n]):
        if group and sizes[group[0]] * (len(group) + 1) > most:
            yield group
            group = []
        group.append(place)
    if group:
        yield group
