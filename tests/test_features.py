"""Hashes against a slow reading of each word, and the edges of lines."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.refiners import features as module
from burnish.refiners.features import LINE_COLUMNS, SURFACE, SURFACE_NAMES, TOKEN_COLUMNS, features

MASK = (1 << 64) - 1
MIX = int(module._MIX)
PRIME = module._PRIME


def slow_hash(word: str) -> int:
    """Hash of one token, character by character."""
    total = 0
    for place, character in enumerate(word):
        folded = "0" if character.isdigit() else character.lower()
        total += (ord(folded) + 1) * MIX * pow(PRIME, place, 1 << 64)
    return total & MASK


def slow_bucket(value: int) -> int:
    return (((value ^ (value >> 32)) * MIX) & MASK) >> 32


def expected(words: list[str]) -> list[list[int]]:
    salts = [int(salt) for salt in module._SALTS]
    rows, left = [], int(module._START)
    for word in words:
        value = slow_hash(word)
        columns = (
            value,
            (left * int(module._LEFT) & MASK) ^ value,
            slow_hash(word[:3]),
            slow_hash(word[-3:]),
        )
        rows.append([slow_bucket(c ^ s) for c, s in zip(columns, salts, strict=False)])
        left = value
    return rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat sat", ["the", "cat", "sat"]),
        ("Über 1999, naïve!!", ["über", "0000", ",", "naïve", "!!"]),
        ("a-b", ["a", "-", "b"]),
        ("東京へ go", ["東", "京", "へ", "go"]),
        ("  ", []),
        ("-" * 50, ["---"]),
    ],
)
def test_hashes_equal_the_slow_reference(text: str, words: list[str]) -> None:
    found = features(text)
    assert found.counts.tolist() == [len(words)]
    assert found.tokens.tolist() == expected(words)


def test_a_word_hashes_alike_wherever_it_stands() -> None:
    text = "\n".join(["filler text of some length"] * 9000 + ["lighthouse"])
    assert features(text).tokens[-1].tolist() == features("lighthouse").tokens[0].tolist()


def test_case_and_digits_fold() -> None:
    small, large = features("straße 12 élan"), features("STRAßE 98 ÉLAN")
    assert np.array_equal(small.tokens, large.tokens)
    assert not np.array_equal(small.surface, large.surface)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\n\n\n",
        "a\r\nb\r\n",
        "a\u2028b\nc\x0cd\x85e",
        "\ud800\n\udfff\x00",
        "\U0010ffff\U00020000",
    ],
)
def test_one_row_for_every_line_feed(text: str) -> None:
    found = features(text)
    lines = text.count("\n") + 1
    assert len(found) == lines
    assert found.lines.shape == (lines, LINE_COLUMNS)
    assert found.surface.shape == (lines, SURFACE)
    assert found.tokens.shape == (int(found.counts.sum()), TOKEN_COLUMNS)
    assert np.isfinite(found.surface).all()


def test_long_lines_keep_both_ends() -> None:
    words = [f"w{chr(97 + k % 26)}{chr(97 + k // 26)}" for k in range(100)]
    found = features(" ".join(words))
    assert found.counts.tolist() == [module.HEAD_TOKENS + module.TAIL_TOKENS]
    head = features(" ".join(words[: module.HEAD_TOKENS]))
    assert np.array_equal(found.tokens[: module.HEAD_TOKENS], head.tokens)
    assert found.tokens[-1, 0] == features(words[-1]).tokens[0, 0]


def test_huge_line_is_cut_in_the_middle() -> None:
    found = features("first\n" + "many words " * 60_000 + "\nlast one")
    assert len(found) == 3
    assert found.counts.tolist() == [1, module.HEAD_TOKENS + module.TAIL_TOKENS, 2]


def test_copies_are_counted() -> None:
    found = features("Share\nA tale of a whale\nshare\nShare")
    copies = found.surface[:, SURFACE_NAMES.index("copies")]
    earlier = found.surface[:, SURFACE_NAMES.index("repeats_earlier")]
    assert copies.tolist() == pytest.approx([np.log(3), 0, np.log(3), np.log(3)])
    assert earlier.tolist() == [0, 0, 1, 1]
