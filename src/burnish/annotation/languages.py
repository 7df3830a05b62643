"""The language of a document: by its column, or recognised."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from burnish.errors import MissingExtra
from burnish.schema import Document

try:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier
except ImportError:  # `recognise` tells; what has a column `lang` does without
    LanguageIdentifier = None

LANGUAGE_COLUMN = "lang"
LANGUAGE_CHARS = 2_000
"""How much of a text the recogniser sees: about 0.4 ms, 2,300 documents a second on one core."""
UNKNOWN = "und"
NO_LANGUAGE = "zxx"
"""What the recogniser calls numbers, markup and the like."""
CONFIDENCE = 0.2
"""Below this probability a language counts as unknown, as py3langid's documentation proposes."""


def recognise(text: str) -> str:
    """The ISO 639 code of the text's language by its beginning, "und" if unsure.

    "zxx" stands for what is no language. The same text gives the same code everywhere. Raises
    MissingExtra without py3langid.
    """
    return str(_identifier().classify(text[:LANGUAGE_CHARS])[0])


@cache
def _identifier() -> Any:
    """The recogniser; its model comes with the package and takes half a second to load."""
    if LanguageIdentifier is None:
        raise MissingExtra("recognising languages", "py3langid", "annotate")
    return LanguageIdentifier.from_model_file(
        MODEL_FILE, norm_probs=True, min_confidence=CONFIDENCE
    )


def language_of(document: Document) -> str:
    """The language by the column `lang` (of "en-GB" the "en"), else recognised.

    Raises MissingExtra as `recognise` does.
    """
    given = document.columns.get(LANGUAGE_COLUMN)
    if isinstance(given, str) and given.strip():
        return re.split("[-_]", given.strip().lower())[0]
    return recognise(document.text)
