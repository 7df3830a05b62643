"""Text to arrays: what the line tagger sees, by numpy alone.

Lines end at ``"\\n"`` and nowhere else. A text of *n* line feeds has *n* + 1 lines.

Every step runs over code points or tokens at once; no loop visits a word, and none visits a line.
Tokens are maximal runs of letters and digits, single characters of scripts that write no spaces
(Han, kana, Thai, Lao, Khmer, Myanmar), and runs of one punctuation mark. Letters are case-folded
and digits all become ``0``, so ``12 May 2024`` and ``07 may 1999`` hash alike.

A token ``c_0 c_1 ... c_k`` hashes to ``sum(c_j * P**j) mod 2**64``. With ``H`` the running sum of
``c_i * P**i`` over a block, that is ``(H[end] - H[start]) * P**-start``: P is odd, so it has an
inverse modulo ``2**64``. Prefixes, suffixes and whole lines come from the same sums.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FEATURE_VERSION = 1
"""Raised whenever the same text would give other arrays; weights name the version they need."""

HEAD_TOKENS = 24
TAIL_TOKENS = 12
"""Tokens of a line that are looked up: all of a short line, both ends of a long one."""

TOKEN_COLUMNS = 4
"""Per token: word, word with its left neighbour, first three characters, last three."""

LINE_COLUMNS = 5
"""Per line: whole line, first token, last token, first two tokens, last two tokens."""

BLOCK_CHARS = 1 << 17
"""Characters handled at once (a longer line makes a longer block): bounds memory."""

LONG_LINE_CHARS = 1 << 16
"""Of a longer line only the first and the last half of this many characters are read."""

_MASK = (1 << 64) - 1
_PRIME = 0x9E3779B97F4A7C15
_PRIME_INVERSE = pow(_PRIME, -1, 1 << 64)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_SALTS = tuple(
    np.uint64((0xA0761D6478BD642F * (2 * k + 1)) & _MASK)
    for k in range(TOKEN_COLUMNS + LINE_COLUMNS)
)
_LEFT = np.uint64(0xE7037ED1A0B428DB)
_START = np.uint64(0x8EBC6AF09C88C6E3)
_LINE_FEED = 10

SPACE, WORD, SINGLE, PUNCT = 0, 1, 2, 3
_TABLE_SIZE = 0x20000
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0x2FFF),
    (0x3005, 0x3007),
    (0x3021, 0x30FA),
    (0x30FC, 0x312F),
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9D),
)

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Tables:
    """Properties by code point; code points past the tables' end are read as U+4E00 or U+00B7."""

    kind: NDArray[np.uint8]
    fold: Hashes
    letters_digits: Hashes
    upper_punct: Hashes
    unspaced_ends: Hashes
    final: NDArray[np.uint8]


@lru_cache(maxsize=1)
def tables() -> Tables:
    """Builds the lookup tables once a process (a tenth of a second)."""
    kind = np.zeros(_TABLE_SIZE, np.uint8)
    fold = np.arange(_TABLE_SIZE, dtype=np.uint64)
    upper = np.zeros(_TABLE_SIZE, np.uint64)
    digit = np.zeros(_TABLE_SIZE, np.uint64)
    category = unicodedata.category
    for code in range(_TABLE_SIZE):
        if 0xD800 <= code < 0xF900 or 0x17000 <= code < 0x1B000:
            kind[code] = SINGLE if 0x17000 <= code < 0x1B000 else PUNCT
            continue
        character = chr(code)
        group = category(character)
        if group[0] in "LM":
            kind[code] = WORD
            lower = character.lower()
            if len(lower) == 1 and lower != character:
                fold[code] = ord(lower)
                upper[code] = 1
        elif group[0] == "N":
            kind[code] = WORD
            fold[code] = ord("0")
            digit[code] = 1
        elif group[0] in "PS":
            kind[code] = PUNCT
    for first, last in _UNSPACED:
        span = kind[first : last + 1]
        span[span == WORD] = SINGLE
    fold = (fold + np.uint64(1)) * _MIX
    single = (kind == SINGLE).astype(np.uint64)
    letter = (kind == WORD).astype(np.uint64) - digit
    punct = (kind == PUNCT).astype(np.uint64)
    ends = np.zeros(_TABLE_SIZE, np.uint64)
    final = np.zeros(_TABLE_SIZE, np.uint8)
    for index, marks in enumerate(_FINALS, 1):
        for mark in marks:
            final[ord(mark)] = index
    for mark in ".!?。！？।؟…":
        ends[ord(mark)] = 1
    shift = np.uint64(32)
    return Tables(
        kind,
        fold,
        letter | digit << shift,
        upper | punct << shift,
        single | ends << shift,
        final,
    )


_FINALS = (".。।", "!！", "?？؟", ":：", ",，、;；", "…", ")]}）】", "\"'”’»「」", "|•·›>→/\\-–—*")

SURFACE_NAMES = (
    "characters",
    "tokens",
    "words",
    "word_length",
    "share_upper",
    "share_capitalised",
    "share_digits",
    "share_punct",
    "share_unspaced",
    "sentence_ends",
    "marks_per_word",
    "blank",
    "one_word",
    "starts_upper",
    "starts_digit",
    "starts_punct",
    "starts_lower",
    *(f"final_{k}" for k in range(1, len(_FINALS) + 1)),
    "final_digit",
    "copies",
    "copies_shape",
    "repeats_earlier",
    "same_as_previous",
    "from_start",
    "from_end",
    "from_start_near",
    "from_end_near",
    "relative",
    "relative_characters",
    "lines",
    "document_characters",
    "document_line_length",
    "document_short",
    "document_long",
    "document_ends",
    "document_copies",
    "document_blank",
    "document_unspaced",
)
SURFACE = len(SURFACE_NAMES)


@dataclass(frozen=True, slots=True)
class Features:
    """One document as arrays.

    Attributes:
        tokens: token hashes `[tokens, TOKEN_COLUMNS]`, uint32, lines one after the other.
        counts: tokens of each line `[lines]`, int64.
        lines: line hashes `[lines, LINE_COLUMNS]`, uint32.
        surface: `[lines, SURFACE]`, float32, about -2 to 4.
        weights: letters, digits and such of each line `[lines]`, float32: how much text it holds.
    """

    tokens: NDArray[np.uint32]
    counts: Ints
    lines: NDArray[np.uint32]
    surface: Floats
    weights: Floats

    def __len__(self) -> int:
        return len(self.counts)


@lru_cache(maxsize=1)
def _powers() -> tuple[Hashes, Hashes]:
    size = BLOCK_CHARS + LONG_LINE_CHARS + 2
    power = np.full(size, _PRIME, np.uint64)
    inverse = np.full(size, _PRIME_INVERSE, np.uint64)
    power[0] = inverse[0] = 1
    return np.multiply.accumulate(power), np.multiply.accumulate(inverse)


def code_points(text: str) -> NDArray[np.uint32]:
    """The code points of the text and a closing line feed; lone surrogates stay what they are."""
    return np.frombuffer((text + "\n").encode("utf-32-le", "surrogatepass"), np.uint32)


def bucket(hashes: Hashes) -> NDArray[np.uint32]:
    """Spreads 64-bit hashes over 32 bits; take the top bits for a smaller table."""
    mixed = (hashes ^ (hashes >> np.uint64(32))) * _MIX
    return (mixed >> np.uint64(32)).astype(np.uint32)


def features(text: str) -> Features:
    """Reads a document; one row for every line, blank ones too (an empty text has one line)."""
    codes = code_points(text)
    ends = np.flatnonzero(codes == _LINE_FEED) + 1
    blocks = [_block(part) for part in _blocks(codes, ends)]
    if len(blocks) == 1:
        tokens, counts, lines, raw = blocks[0]
    else:
        tokens, counts, lines, raw = (
            np.concatenate(column) for column in zip(*blocks, strict=True)
        )
    surface, weights = _surface(raw, lines, counts, np.diff(ends, prepend=0) - 1)
    return Features(tokens, counts, bucket(lines ^ _line_salts()), surface, weights)


@lru_cache(maxsize=1)
def _line_salts() -> Hashes:
    return np.array(_SALTS[TOKEN_COLUMNS:], np.uint64)


def _blocks(codes: NDArray[np.uint32], ends: Ints) -> Iterator[NDArray[np.uint32]]:
    """Cuts at line ends into blocks; takes the middle out of very long lines."""
    total = len(codes)
    if total <= BLOCK_CHARS:
        yield codes
        return
    half = LONG_LINE_CHARS // 2
    cuts = np.unique(ends[np.searchsorted(ends, np.arange(BLOCK_CHARS, total, BLOCK_CHARS))])
    starts = np.concatenate(([0], ends[:-1]))
    long = np.flatnonzero(ends - starts > LONG_LINE_CHARS)
    cuts = np.unique(np.concatenate(([0], cuts, starts[long], ends[long], [total])))
    for start, end in pairwise(cuts.tolist()):
        part = codes[start:end]
        if end - start > LONG_LINE_CHARS and not (part[:-1] == _LINE_FEED).any():
            part = np.concatenate((part[:half], part[-half:]))
        yield part


def _block(codes: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], Ints, Hashes, Floats]:
    """Tokens, their number by line, line hashes and raw counts of whole lines."""
    table = tables()
    if codes.max() >= _TABLE_SIZE:
        ideograph = (codes >= 0x20000) & (codes < 0x40000)
        codes = np.where(
            codes < _TABLE_SIZE, codes, np.where(ideograph, 0x4E00 + codes % 0x5000, 0xB7)
        ).astype(np.uint32)
    size = len(codes)
    kind = table.kind[codes]
    power, inverse = _powers()
    sums = np.empty(size + 1, np.uint64)
    sums[0] = 0
    np.cumsum(table.fold[codes] * power[:size], out=sums[1:])

    line_ends = np.flatnonzero(codes == _LINE_FEED)
    line_starts = np.concatenate(([0], line_ends[:-1] + 1))
    edge = np.empty(size, bool)
    edge[0] = True
    now = kind[1:]
    np.not_equal(now, kind[:-1], out=edge[1:])
    edge[1:] |= now == SINGLE
    edge[1:] |= (now == PUNCT) & (codes[1:] != codes[:-1])
    edges = np.flatnonzero(edge)
    kinds = kind[edges]
    solid = np.flatnonzero(kinds)
    starts = edges[solid]
    ends = np.append(edges[1:], size)[solid]
    kinds = kinds[solid]

    bounds = np.searchsorted(starts, line_starts)
    found = np.diff(bounds, append=len(starts))
    raw = _counts(codes, table, line_starts, starts, kinds, bounds, found)

    position = np.arange(len(starts)) - np.repeat(bounds, found)
    kept = np.flatnonzero(
        (position < HEAD_TOKENS) | (np.repeat(found, found) - position <= TAIL_TOKENS)
    )
    counts = np.minimum(found, HEAD_TOKENS + TAIL_TOKENS)
    starts, ends, position = starts[kept], ends[kept], position[kept]
    ends = np.where(kinds[kept] == PUNCT, np.minimum(ends, starts + 3), ends)
    base, scale = sums[starts], inverse[starts]
    words = (sums[ends] - base) * scale
    late = np.maximum(ends - 3, starts)
    hashes = np.empty((len(words), TOKEN_COLUMNS), np.uint64)
    hashes[:, 0] = words
    left = np.empty_like(words)
    left[1:] = words[:-1]
    left[position == 0] = _START
    hashes[:, 1] = (left * _LEFT) ^ words
    hashes[:, 2] = (sums[np.minimum(starts + 3, ends)] - base) * scale
    hashes[:, 3] = (sums[ends] - sums[late]) * inverse[late]
    hashes ^= np.array(_SALTS[:TOKEN_COLUMNS], np.uint64)

    lines = np.zeros((len(line_ends), LINE_COLUMNS), np.uint64)
    lines[:, 0] = (sums[line_ends] - sums[line_starts]) * inverse[line_starts]
    if len(words):
        last = np.cumsum(counts) - 1
        first = np.minimum(last - counts + 1, len(words) - 1)
        second = np.minimum(first + 1, len(words) - 1)
        before = np.maximum(last - 1, 0)  # of blank lines at the top, last is -1
        some, more = counts > 0, counts > 1
        lines[:, 1] = np.where(some, words[first], 0)
        lines[:, 2] = np.where(some, words[last], 0)
        lines[:, 3] = np.where(more, (words[first] * _LEFT) ^ words[second], 0)
        lines[:, 4] = np.where(more, (words[before] * _LEFT) ^ words[last], 0)
    return bucket(hashes), counts, lines, raw


_RAW = 15


def _counts(
    codes: NDArray[np.uint32],
    table: Tables,
    line_starts: Ints,
    starts: Ints,
    kinds: NDArray[np.uint8],
    bounds: Ints,
    found: Ints,
) -> Floats:
    """Counts by line: `[lines, _RAW]`."""
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    raw = np.zeros((len(line_starts), _RAW), np.float32)
    packs = (table.letters_digits, table.upper_punct, table.unspaced_ends)
    for column, pack in enumerate(packs):
        both = np.add.reduceat(pack[codes], line_starts)
        raw[:, 2 * column] = both & low
        raw[:, 2 * column + 1] = both >> shift
    raw[:, 6] = found
    if len(starts):
        heads = codes[starts]
        word = kinds == WORD
        capital = (table.upper_punct[heads] & low) != 0
        flags = np.zeros(len(starts) + 1, np.uint64)
        flags[:-1] = word | capital.astype(np.uint64) << shift
        # reduceat gives an empty segment its first element: such lines are zeroed below
        both = np.add.reduceat(flags, bounds)
        some = found > 0
        raw[:, 7] = np.where(some, both & low, 0)
        raw[:, 8] = np.where(some, both >> shift, 0)
        first = np.minimum(bounds, len(starts) - 1)
        last = np.maximum(bounds + found - 1, 0)
        head = heads[first]
        digit = (table.letters_digits[head] >> shift) != 0
        raw[:, 9] = some & capital[first]
        raw[:, 10] = some & digit
        raw[:, 11] = some & (kinds[first] == PUNCT)
        raw[:, 12] = some & word[first] & ~capital[first] & ~digit
        tail = heads[last]
        raw[:, 13] = np.where(some, table.final[tail], 0)
        raw[:, 14] = some & ((table.letters_digits[tail] >> shift) != 0)
    return raw


def _surface(raw: Floats, lines: Hashes, counts: Ints, lengths: Ints) -> tuple[Floats, Floats]:
    """Surface features `[lines, SURFACE]` and the amount of text in each line."""
    total = len(raw)
    out = np.zeros((total, SURFACE), np.float32)
    letters, digits, upper, punct, single, ends = raw[:, :6].T
    found, words, capital = raw[:, 6:9].T
    body = letters + digits + single
    solid = np.maximum(body + punct, 1)
    some_words = np.maximum(words, 1)
    out[:, 0] = np.log1p(body) * 0.5
    out[:, 1] = np.log1p(found) * 0.6
    out[:, 2] = np.log1p(words + single * 0.5) * 0.6
    out[:, 3] = np.minimum((letters + digits) / some_words, 20) * 0.15
    out[:, 4] = upper / np.maximum(letters, 1)
    out[:, 5] = capital / some_words
    out[:, 6] = digits / solid
    out[:, 7] = punct / solid
    out[:, 8] = single / solid
    out[:, 9] = np.log1p(ends)
    out[:, 10] = np.minimum(punct / np.maximum(words + single, 1), 2)
    blank = found == 0
    out[:, 11] = blank
    out[:, 12] = found == 1
    out[:, 13:17] = raw[:, 9:13]
    final = raw[:, 13].astype(np.int64)
    marked = np.flatnonzero(final)
    out[marked, 16 + final[marked]] = 1
    at = 17 + len(_FINALS)
    out[:, at] = raw[:, 14]

    keys = lines[:, 0]
    copies, earlier = _copies(keys)
    shapes, _ = _copies(
        lines[:, 1] * _LEFT + counts.astype(np.uint64) + raw[:, 13].astype(np.uint64) * _MIX
    )
    out[:, at + 1] = np.where(blank, 0, np.log(copies))
    out[:, at + 2] = np.where(blank, 0, np.log(shapes) * 0.5)
    out[:, at + 3] = earlier & ~blank
    out[1:, at + 4] = (keys[1:] == keys[:-1]) & ~blank[1:]

    index = np.arange(total, dtype=np.float32)
    back = index[::-1]
    written = np.cumsum(body, dtype=np.float64)
    size = max(float(written[-1]), 1.0)
    out[:, at + 5] = np.log1p(index) * 0.3
    out[:, at + 6] = np.log1p(back) * 0.3
    out[:, at + 7] = np.exp(index * -0.25)
    out[:, at + 8] = np.exp(back * -0.25)
    out[:, at + 9] = index / max(total - 1, 1)
    out[:, at + 10] = (written - body * 0.5) / size
    solid_lines = max(total - int(np.count_nonzero(blank)), 1)
    short = (body < 25) & ~blank
    out[:, at + 11] = np.log1p(total) * 0.3
    out[:, at + 12] = np.log1p(size) * 0.2
    out[:, at + 13] = np.log1p(size / solid_lines) * 0.4
    out[:, at + 14] = np.count_nonzero(short) / solid_lines
    out[:, at + 15] = np.count_nonzero(body > 120) / solid_lines
    out[:, at + 16] = np.count_nonzero(out[:, 17:20].any(axis=1)) / solid_lines
    out[:, at + 17] = np.count_nonzero(earlier & ~blank) / solid_lines
    out[:, at + 18] = np.count_nonzero(blank) / total
    out[:, at + 19] = float(single.sum(dtype=np.float64)) / size
    return out, body.astype(np.float32)


def _copies(keys: Hashes) -> tuple[Floats, NDArray[np.bool_]]:
    """How often each key occurs, and whether it occurred before."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.empty(len(keys), bool)
    new[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    heads = np.flatnonzero(new)
    sizes = np.diff(heads, append=len(keys))
    number = np.empty(len(keys), np.float32)
    number[order] = np.repeat(sizes, sizes)
    earlier = np.empty(len(keys), bool)
    earlier[order] = ~new
    return number, earlier
