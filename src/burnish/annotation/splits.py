"""Train, dev and the like: no site and no near copy of a document stands in two of them.

Documents are joined that share a site, an id or much of their text; what is joined goes to one
split, by a hash of its smallest name. So the result depends on the documents and the seed, and not
on the order that the documents come in.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate

from burnish.annotation.near_copies import Hashes, Sketcher, near_copies
from burnish.annotation.sites import site_of
from burnish.errors import UsageError
from burnish.io.labels import is_split_name
from burnish.schema import Document, text_hash

LARGEST_SHARE, LARGEST_LEAST = 0.05, 200
"""A component with more of the documents, and with more documents, is cut into its sites again:
among newspapers one copied report joins two sites, and soon all. Instead each site is hashed, and
what has a near copy in a split with a larger share is in no split."""


# ------------------------------------------------------------------------------------- components


@dataclass(frozen=True, slots=True)
class Component:
    """Documents that stay together: their ids, sorted, and the smallest site or id among them.

    `key` is "site:" or "id:" and the name.
    """

    key: str
    ids: tuple[str, ...]


def components(documents: Iterable[Document]) -> list[Component]:
    """What `split` keeps together, by key.

    Memory: sketches, their index and the words seen, 12 KB a document of Portuguese news; no texts.
    """
    return sorted(_Joined(documents).components(), key=lambda component: component.key)


@dataclass(frozen=True, slots=True)
class _Row:
    """What is left of a document."""

    id: str
    text_hash: str
    site: str | None
    sketch: Hashes

    @property
    def key(self) -> str:
        return f"site:{self.site}" if self.site else f"id:{self.id}"


class _Joined:
    """Documents, numbered in an order of their own, and what holds them together."""

    def __init__(self, documents: Iterable[Document]) -> None:
        sketch = Sketcher()
        self.rows = [
            _Row(d.id, text_hash(d.text), site_of(d.columns), sketch(d.text)) for d in documents
        ]
        self.rows.sort(key=lambda row: (row.id, row.text_hash, row.site or ""))
        count = len(self.rows)
        self.sites = _Forest(count)
        self.copies = _Forest(count)
        self.sites.join_equal(f"id:{row.id}" for row in self.rows)
        self.sites.join_equal(row.key for row in self.rows)
        self.copies.join_equal(row.text_hash for row in self.rows)
        for one, two in near_copies([row.sketch for row in self.rows]):
            self.copies.join(one, two)
        whole = _Forest(count)
        for forest in (self.sites, self.copies):
            whole.join_equal(forest.root(n) for n in range(count))
        self.units: list[list[int]] = []
        self.too_large: set[int] = set()
        largest = max(LARGEST_SHARE * count, LARGEST_LEAST)
        for members in whole.sets(range(count)):
            parts = [members]
            if len(members) > largest:
                parts = self.sites.sets(members)
                self.too_large.update(members)
            self.units += parts

    def components(self) -> Iterator[Component]:
        for members in self.units:
            rows = [self.rows[n] for n in members]
            ids = tuple(sorted({row.id for row in rows}))
            yield Component(min(row.key for row in rows), ids)


class _Forest:
    """Sets of numbers that grow together (union-find)."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, number: int) -> int:
        parent = self._parent
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    def join(self, one: int, two: int) -> None:
        one, two = self.root(one), self.root(two)
        self._parent[max(one, two)] = min(one, two)

    def join_equal(self, names: Iterable[Hashable]) -> None:
        """Join the numbers, counted from 0, whose names are equal."""
        first: dict[Hashable, int] = {}
        for number, name in enumerate(names):
            self.join(first.setdefault(name, number), number)

    def sets(self, numbers: Iterable[int]) -> list[list[int]]:
        """The sets that some of the numbers fall in, in order."""
        found: dict[int, list[int]] = {}
        for number in numbers:
            found.setdefault(self.root(number), []).append(number)
        return list(found.values())


# ----------------------------------------------------------------------------------------- splits


def split(documents: Iterable[Document], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The split of each document by id, such that no site and no near copy is in two splits.

    `shares` are of components, which are hashed to a number in [0, 1) and fall to the splits in
    the order of `shares`. So shares of documents come out as asked only where no site is large.
    Documents with one id go together. An id that is missing from the result is in no split: it
    belongs to a component that was too large (see `LARGEST_SHARE`), and its text has a near copy
    in a split with a larger share. Raises UsageError as `check_shares` does.
    """
    check_shares(shares)
    joined = _Joined(documents)
    assigned: dict[str, str] = {}
    for component in joined.components():
        name = _split_of(component.key, shares, seed)
        assigned.update(dict.fromkeys(component.ids, name))
    for identity in _left_out(joined, assigned, shares):
        del assigned[identity]
    return dict(sorted(assigned.items()))


def _split_of(key: str, shares: Mapping[str, float], seed: int) -> str:
    digest = blake2b(f"{seed} {key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    place = (int.from_bytes(digest) >> 11) / 2**53  # in [0, 1), as many bits as a float holds
    bounds = zip(shares, accumulate(shares.values()), strict=True)
    return next((name for name, bound in bounds if place < bound), list(shares)[-1])


def _left_out(
    joined: _Joined, assigned: Mapping[str, str], shares: Mapping[str, float]
) -> set[str]:
    """The ids whose near copies stand in a split with a larger share."""
    ids: set[str] = set()
    for members in joined.copies.sets(sorted(joined.too_large)):
        found = {joined.rows[n].id for n in members}
        names = {assigned[identity] for identity in found}
        stays = max(names, key=lambda name: (shares[name], name))
        ids.update(identity for identity in found if assigned[identity] != stays)
    return ids


def check_shares(shares: Mapping[str, float]) -> None:
    """Raises UsageError if shares are not positive with sum 1, or a name is no name of a file of
    labels (see `burnish.io.labels`)."""
    for name in shares:
        if not is_split_name(name):
            raise UsageError(
                f"{name!r} can not be the name of a split; call it train, dev or alike"
            )
    total = sum(shares.values())
    if not all(share > 0 for share in shares.values()) or abs(total - 1) > 1e-6:
        told = ", ".join(f"{name} {share}" for name, share in shares.items()) or "none"
        raise UsageError(f"the shares of splits are positive numbers with sum 1, got {told}")
