"""Words: what limits, scores and near copies are counted in.

A word is a run of characters without whitespace; in scripts that are written without spaces (Han,
Kana, Thai, Lao, Khmer, Myanmar) every character is one, so that a short Chinese document is not
taken for an empty one.
"""

from __future__ import annotations

import re

_UNSPACED = (
    "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff"
    "\\uf900-\\ufaff\\U00020000-\\U0003ffff"
)
LETTERS = rf"[^\W{_UNSPACED}]+"
"""A pattern of letters and digits that belong together; those of unspaced scripts do not."""

_WORD = re.compile(f"[{_UNSPACED}]|[^\\s{_UNSPACED}]+")


def split_words(text: str) -> list[str]:
    """The words of a text, in order.

    >>> split_words("two words, 两个词")
    ['two', 'words,', '两', '个', '词']
    """
    return _WORD.findall(text)


def count_words(text: str) -> int:
    """The number of words; a character of an unspaced script is one.

    >>> count_words("two words"), count_words("两个词")
    (2, 3)
    """
    if text.isascii():
        return len(text.split())
    return len(split_words(text))
