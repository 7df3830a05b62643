"""Train, dev and the like: no site and no near copy of a document stands in two of them.

Documents are joined that share a site, an id or much of their text; what is joined goes to one
split, by a hash of its smallest name. So the result depends on the documents and the seed, and not
on the order that the documents come in.

Texts are compared by shingles: hashes of 5 words in a row, of which each document keeps a sample,
the same hashes in every document. What many documents share (a cookie banner, a licence) does not
bring them together; a text that itself stands in many places still is found, since its copies are
neighbours when they are sorted.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from burnish.errors import UsageError
from burnish.program.limits import _WORD
from burnish.schema import Document, text_hash

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]

SHINGLE_WORDS = 5
SKETCH_SHARE = 16
"""One hash in so many is kept, so that a short text is found within a long one."""
SKETCH_LEAST = 64
"""A document keeps at least so many hashes, its smallest, or all that it has."""
COMMON_DOCUMENTS = 50
"""A hash in more documents than this says nothing about any two of them."""
SIMILAR = 0.5
"""Share of the hashes of both texts (Jaccard), or of the smaller text's (containment), from which
two are near copies."""
CONTAINED_LEAST = 16
"""Fewest hashes in common that prove containment: a few sentences are quoted everywhere."""

LARGEST_SHARE, LARGEST_LEAST = 0.05, 200
"""A component with more of the documents, and with more documents, is cut into its sites again:
among newspapers one copied report joins two sites, and soon all. Instead each site is hashed, and
what has a near copy in a split with a larger share is in no split."""

PAIRS_AT_ONCE = 1 << 22
REGISTRIES = frozenset(("ac", "co", "com", "edu", "gob", "gouv", "gov", "net", "or", "org"))
"""Second levels under which two-letter countries register names. A name that is missing here joins
sites that are strangers, which does no harm."""


# ------------------------------------------------------------------------------------------ sites


def site_of(row: Mapping[str, Any]) -> str | None:
    """The registered domain by the column `domain` or else `url`; None without a usable one.

    >>> site_of({"url": "https://news.bbc.co.uk/1.html"}), site_of({"domain": "a.github.io"})
    ('bbc.co.uk', 'github.io')
    """
    for column in ("domain", "url"):
        value = row.get(column)
        host = _host(value) if isinstance(value, str) else None
        if host is not None:
            return _registered(host)
    return None


_HOST = re.compile(r"(?!-)[\w-]+(?:\.[\w-]+)+")
_ADDRESS = re.compile(r"\d+(?:\.\d+){3}")


def _host(value: str) -> str | None:
    """The host of a URL, or of one without its scheme; None if it is no name with a dot."""
    value = value.strip()
    try:
        host = urlsplit(value if "://" in value else f"//{value}").hostname or ""
    except ValueError:
        return None
    host = host.rstrip(".")
    return host if _HOST.fullmatch(host) else None


def _registered(host: str) -> str:
    labels = host.split(".")
    if _ADDRESS.fullmatch(host):
        return host
    second = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in REGISTRIES
    return ".".join(labels[-3 if second else -2 :])


# --------------------------------------------------------------------------------------- shingles


class Sketcher:
    """Turns texts into sketches: sorted hashes of shingles, those below a bound of the text's own.

    A hash depends on its words alone. Words are remembered, since most have been seen before.
    """

    def __init__(self, remembered: int = 1_000_000) -> None:
        self._remembered = remembered
        self._words: dict[str, int] = {}

    def __call__(self, text: str) -> Hashes:
        words = self._hashed(text.casefold())
        count = max(len(words) - SHINGLE_WORDS + 1, 1)
        shingles = np.zeros(count, np.uint64)
        for offset in range(min(SHINGLE_WORDS, len(words))):
            shingles *= _FACTOR  # modulo 2^64
            shingles += words[offset : offset + count]
        found = np.unique(_mix(shingles))
        share = np.searchsorted(found, np.uint64(2**64 // SKETCH_SHARE))
        return found[: max(int(share), SKETCH_LEAST)].copy()  # a view would hold all of it

    def _hashed(self, text: str) -> Hashes:
        known = self._words
        words = _WORD.findall(text)
        if len(known) > self._remembered:
            known.clear()
        for word in set(words).difference(known):
            encoded = word.encode("utf-8", "surrogatepass")
            known[word] = int.from_bytes(blake2b(encoded, digest_size=8).digest())
        return np.fromiter(map(known.__getitem__, words), np.uint64, len(words))


_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def _mix(values: Hashes) -> Hashes:
    """Hashes that are spread evenly, whatever the sums are like (the last steps of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def near_copies(sketches: list[Hashes]) -> Iterator[tuple[int, int]]:
    """Pairs of documents, by number, that are near copies, smaller number first; see `SIMILAR`.

    Two are compared that share a hash which few documents have, and, of those that share one that
    many have, each with the next in the order given. So the cost is near linear.
    """
    if not sketches:
        return
    index = _Index(sketches)
    rare = index.without(index.frequency > COMMON_DOCUMENTS)
    yield from _similar(rare, rare.shared_pairs(), contained=True)
    common = index.without(index.frequency <= COMMON_DOCUMENTS)
    yield from _similar(index, common.neighbours(), contained=False)


class _Index:
    """Sketches as one array, `[entries]`: document and hash, sorted by document and then hash.

    Hashes stand as their ranks among all hashes: 0, 1, …
    """

    def __init__(self, sketches: list[Hashes]) -> None:
        sizes = np.array([len(sketch) for sketch in sketches], np.int64)
        document = np.repeat(np.arange(len(sketches)), sizes)
        _, rank = np.unique(np.concatenate(sketches), return_inverse=True)
        self._set(document, rank.astype(np.int64), len(sketches))
        # Of a sketch that is not the whole text, nothing is known above its largest hash.
        whole = sizes < SKETCH_LEAST
        self.bound = np.where(whole, np.iinfo(np.int32).max, self.rank[np.cumsum(sizes) - 1])

    def _set(self, document: Numbers, rank: Numbers, count: int) -> None:
        self.document = document
        self.rank = rank
        self.frequency: Numbers = np.bincount(rank)[rank]
        self._code = (document << 32) + rank
        self._start = np.searchsorted(document, np.arange(count))
        self._count = count

    def without(self, left_out: NDArray[np.bool_]) -> _Index:
        """The same without some of the entries."""
        other = object.__new__(_Index)
        other._set(self.document[~left_out], self.rank[~left_out], self._count)
        other.bound = self.bound
        return other

    def below(self, document: Numbers, bound: Numbers) -> Numbers:
        """How many hashes of each document are not above a bound."""
        end = np.searchsorted(self._code, (document << 32) + bound, side="right")
        return end - self._start[document]

    def common(self, a: Numbers, b: Numbers) -> Numbers:
        """How many hashes two documents have in common, for each pair."""
        sizes = np.append(self._start[1:], len(self.document)) - self._start
        counts = np.zeros(len(a), np.int64)
        for n, (one, two) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
            first = self.rank[self._start[one] :][: sizes[one]]
            second = self.rank[self._start[two] :][: sizes[two]]
            counts[n] = len(np.intersect1d(first, second, assume_unique=True))
        return counts

    def _groups(self) -> tuple[Numbers, Numbers]:
        """Documents by hash, and where the next hash begins, for each hash and at the end."""
        order = np.argsort(self.rank, kind="stable")
        ranks = self.rank[order]
        starts = np.flatnonzero(np.append(True, ranks[1:] != ranks[:-1]))
        return self.document[order], np.append(starts, len(ranks))

    def shared_pairs(self) -> tuple[Numbers, Numbers, Numbers]:
        """Pairs of documents with a hash in common, and how many they have."""
        if not len(self.rank):
            return _NONE, _NONE, _NONE
        documents, starts = self._groups()
        sizes = np.diff(starts)
        kept: list[tuple[Numbers, Numbers]] = []
        for size in np.unique(sizes[sizes > 1]).tolist():
            left, right = np.triu_indices(size, 1)
            firsts = starts[:-1][sizes == size]
            step = max(PAIRS_AT_ONCE // len(left), 1)
            for part in range(0, len(firsts), step):
                members = documents[firsts[part : part + step, None] + np.arange(size)]
                code = (members[:, left] << 32) + members[:, right]
                kept.append(np.unique(code.ravel(), return_counts=True))
        if not kept:
            return _NONE, _NONE, _NONE
        codes, where = np.unique(np.concatenate([code for code, _ in kept]), return_inverse=True)
        counts = np.zeros(len(codes), np.int64)
        np.add.at(counts, where, np.concatenate([count for _, count in kept]))
        return codes >> 32, codes & 0xFFFFFFFF, counts

    def neighbours(self) -> tuple[Numbers, Numbers, None]:
        """Of the documents that share a hash, each with the next."""
        if not len(self.rank):
            return _NONE, _NONE, None
        documents, starts = self._groups()
        inner = np.ones(len(documents), np.bool_)
        inner[starts[1:] - 1] = False
        first = np.flatnonzero(inner)
        codes = np.unique((documents[first] << 32) + documents[first + 1])
        return codes >> 32, codes & 0xFFFFFFFF, None


_NONE: Numbers = np.zeros(0, np.int64)


def _similar(
    index: _Index, pairs: tuple[Numbers, Numbers, Numbers | None], *, contained: bool
) -> Iterator[tuple[int, int]]:
    """The pairs that are near copies by their hashes below the bounds of both."""
    a, b, common = pairs
    if common is None:
        common = index.common(a, b)
    bound = np.minimum(index.bound[a], index.bound[b])
    size_a, size_b = index.below(a, bound), index.below(b, bound)
    near = common >= SIMILAR * np.maximum(size_a + size_b - common, 1)
    if contained:
        smaller = np.minimum(size_a, size_b)
        near |= (common >= SIMILAR * smaller) & (common >= CONTAINED_LEAST)
    yield from zip(a[near].tolist(), b[near].tolist(), strict=True)


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
    in a split with a larger share. Raises UsageError if shares are not positive with sum 1.
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
    """Raises UsageError if shares are not positive with sum 1."""
    total = sum(shares.values())
    if not all(share > 0 for share in shares.values()) or abs(total - 1) > 1e-6:
        told = ", ".join(f"{name} {share}" for name, share in shares.items()) or "none"
        raise UsageError(f"the shares of splits are positive numbers with sum 1, got {told}")


def shares_reached(assigned: Mapping[str, str], shares: Mapping[str, float]) -> dict[str, float]:
    """The share that each split came to have of the documents that are in one, by id."""
    counts = dict.fromkeys(shares, 0)
    for name in assigned.values():
        counts[name] += 1
    return {name: count / max(len(assigned), 1) for name, count in counts.items()}
