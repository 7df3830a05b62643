"""Near copies: texts that have much in common.

Texts are compared by shingles: hashes of 5 words in a row, of which each document keeps a sample,
the same hashes in every document. What many documents share (a cookie banner, a licence) does not
bring them together; a text that itself stands in many places still is found, since its copies are
neighbours when they are sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from burnish.program.words import split_words

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

_PAIRS_AT_ONCE = 1 << 22
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_NONE: Numbers = np.zeros(0, np.int64)


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
        words = split_words(text)
        if len(known) > self._remembered:
            known.clear()
        for word in set(words).difference(known):
            encoded = word.encode("utf-8", "surrogatepass")
            known[word] = int.from_bytes(blake2b(encoded, digest_size=8).digest())
        return np.fromiter(map(known.__getitem__, words), np.uint64, len(words))


def _mix(values: Hashes) -> Hashes:
    """Hashes that are spread evenly, whatever the sums are like (the last steps of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def near_copies(sketches: Sequence[Hashes]) -> Iterator[tuple[int, int]]:
    """Pairs of documents, by number, that are near copies, smaller number first; see `SIMILAR`.

    Two are compared that share a hash which few documents have, and, of those that share one that
    many have, each with the next in the order given. So the cost is near linear.
    """
    if not sketches:
        return
    index = _Index.of(sketches)
    rare = index.without(index.frequency > COMMON_DOCUMENTS)
    yield from _similar(rare, *rare.shared_pairs(), contained=True)
    a, b = index.without(index.frequency <= COMMON_DOCUMENTS).neighbours()
    yield from _similar(index, a, b, index.common(a, b), contained=False)


class _Index:
    """Sketches as one array, `[entries]`: document and hash, sorted by document and then hash.

    Hashes stand as their ranks among all hashes: 0, 1, …
    """

    def __init__(self, document: Numbers, rank: Numbers, bound: Numbers) -> None:
        """`bound` is by document: nothing is known about hashes above it."""
        self.document, self.rank, self.bound = document, rank, bound
        self.frequency: Numbers = np.bincount(rank)[rank]
        self._code = (document << 32) + rank
        self._start = np.searchsorted(document, np.arange(len(bound)))

    @classmethod
    def of(cls, sketches: Sequence[Hashes]) -> _Index:
        sizes = np.array([len(sketch) for sketch in sketches], np.int64)
        document = np.repeat(np.arange(len(sketches)), sizes)
        _, found = np.unique(np.concatenate(sketches), return_inverse=True)
        rank = found.astype(np.int64)
        # Of a sketch that is not the whole text, nothing is known above its largest hash.
        whole = sizes < SKETCH_LEAST
        bound = np.where(whole, np.iinfo(np.int32).max, rank[np.cumsum(sizes) - 1])
        return cls(document, rank, bound)

    def without(self, left_out: NDArray[np.bool_]) -> _Index:
        """The same without some of the entries."""
        return _Index(self.document[~left_out], self.rank[~left_out], self.bound)

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
            step = max(_PAIRS_AT_ONCE // len(left), 1)
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

    def neighbours(self) -> tuple[Numbers, Numbers]:
        """Of the documents that share a hash, each with the next."""
        if not len(self.rank):
            return _NONE, _NONE
        documents, starts = self._groups()
        inner = np.ones(len(documents), np.bool_)
        inner[starts[1:] - 1] = False
        first = np.flatnonzero(inner)
        codes = np.unique((documents[first] << 32) + documents[first + 1])
        return codes >> 32, codes & 0xFFFFFFFF


def _similar(
    index: _Index, a: Numbers, b: Numbers, common: Numbers, *, contained: bool
) -> Iterator[tuple[int, int]]:
    """The pairs that are near copies by their hashes below the bounds of both; `common` is how
    many hashes they share."""
    bound = np.minimum(index.bound[a], index.bound[b])
    size_a, size_b = index.below(a, bound), index.below(b, bound)
    near = common >= SIMILAR * np.maximum(size_a + size_b - common, 1)
    if contained:
        smaller = np.minimum(size_a, size_b)
        near |= (common >= SIMILAR * smaller) & (common >= CONTAINED_LEAST)
    yield from zip(a[near].tolist(), b[near].tolist(), strict=True)
