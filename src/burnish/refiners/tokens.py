"""Text -> token ids, fast: encoding word by word from memory wherever that is exact.

A tokenizer works on pieces that never reach over certain places: a blank between two words, a line
feed before a word, the end of a line number. The text between two such places gives the same ids
wherever it stands, so they are remembered: most words of a web page have been seen before. Whether
a tokenizer keeps to these places is found out when it is loaded, from its vocabulary (no token
reaches over one) and by trial; for one that does not, every text is encoded as a whole.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from burnish.errors import MissingExtra, RefinerError

try:
    from tokenizers import Tokenizer
except ImportError:  # pragma: no cover
    raise MissingExtra("a language model as refiner", "tokenizers", "transformers") from None

_LINE = re.compile(r"\n(?=\S)")
_WORD = re.compile(r"(?<=\S) (?=\S)")
_MARK = re.compile(r"(?:\[|<lid:)\d+(?=[]>])")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a token for one byte
_REMEMBERED = 400_000  # words; about 100 MB
_ANCHOR = "\n"


class _Memory(dict[str, tuple[int, ...]]):
    """Ids of the pieces that stand after `before`, remembered."""

    def __init__(self, tokens: Tokens, before: str) -> None:
        self._tokens = tokens
        self._before = before

    def __missing__(self, piece: str) -> tuple[int, ...]:
        if len(self) >= _REMEMBERED:
            self.clear()
        ids = self[piece] = self._tokens.after_anchor(self._before + piece)
        return ids


class Tokens:
    """The tokenizer of one model.

    Strings in a text that look like special tokens are text, never special tokens.
    """

    def __init__(self, path: Path) -> None:
        """Reads a `tokenizer.json`. Raises RefinerError if it is missing or broken."""
        if not path.is_file():
            raise RefinerError(
                f"there is no {path}; a fast tokenizer is needed "
                "(transformers writes one: AutoTokenizer.from_pretrained(...).save_pretrained(...))"
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise RefinerError(f"{path} is not a tokenizer: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._anchor = self.exactly(_ANCHOR)
        self._starts = _Memory(self, "")
        self._words = _Memory(self, " ")
        self.remembers = self._is_exact()

    @property
    def size(self) -> int:
        """The number of entries of the vocabulary, added tokens included."""
        return int(self._tokenizer.get_vocab_size())

    def special(self, token: str) -> int:
        """The id of a token by its name. Raises RefinerError if there is no such token."""
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise RefinerError(f"the tokenizer has no token {token!r}")
        return int(found)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def exactly(self, text: str) -> list[int]:
        """The ids of a text as the tokenizer alone gives them, no special tokens added."""
        ids: list[int] = self._tokenizer.encode(_valid(text), add_special_tokens=False).ids
        return ids

    def after_anchor(self, text: str) -> tuple[int, ...]:
        """The ids of a text that stands at the beginning of a line, but not of the prompt."""
        return tuple(self.exactly(_ANCHOR + text)[len(self._anchor) :])

    def encode(self, text: str) -> list[int]:
        """The ids of a whole text, no special tokens added; equal to `exactly(text)`."""
        if not self.remembers:
            return self.exactly(text)
        first, *lines = _LINE.split(text)
        if not lines:
            return self.exactly(text)
        ids = self.exactly(first + "\n")
        for line in lines[:-1]:
            ids += self._line(line, "\n")
        ids += self._line(lines[-1], "")
        return ids

    def first(self, text: str, most: int) -> str:
        """The longest beginning of the text that its first `most` ids stand for."""
        size = most * 8  # characters; enough for nearly every text
        while True:
            head = text[:size]
            found = self._tokenizer.encode(_valid(head), add_special_tokens=False)
            if len(found.ids) > most:
                return head[: found.offsets[most][0]]
            if len(head) == len(text):
                return text
            size *= 2

    def count(self, line: str) -> int:
        """How many ids a line (its LF included) adds to a text."""
        if not self.remembers or line[:1].isspace():
            return len(self.after_anchor(line))
        body = line[:-1] if line.endswith("\n") else line
        return len(self._line(body, line[len(body) :]))

    def _line(self, line: str, end: str) -> list[int]:
        """The ids of a text that begins after a LF, and begins with a word; it may hold further LFs
        where no word follows."""
        clean = line.isprintable() and "  " not in line and not line.endswith(" ")
        words = line.split(" ") if clean else _WORD.split(line)
        words[-1] += end
        first = words[0]
        mark = _MARK.match(first)
        if mark:
            ids = [*self._starts[mark[0]], *self._starts[first[mark.end() :]]]
        else:
            ids = list(self._starts[first])
        ids.extend(chain.from_iterable(map(self._words.__getitem__, words[1:])))
        return ids

    # ------------------------------------------------------------------------------ is it exact?

    def _is_exact(self) -> bool:
        """Whether encoding by pieces gives what encoding as a whole gives."""
        if self._joins_over_a_cut():
            return False
        self.remembers = True
        return all(self.encode(text) == self.exactly(text) for text in self._trials())

    def _joins_over_a_cut(self) -> bool:
        """Whether some token of the vocabulary reaches over a place where texts are cut."""
        cut = re.compile(r"\S \S|\n\S|\d[]>]")
        tokens = self._tokenizer.get_vocab(False)
        return any(cut.search(self._surface(t)) for t in tokens if not _BYTE.fullmatch(t))

    def _surface(self, token: str) -> str:
        """About what a token stands for: blanks and line feeds in their own characters."""
        return token.replace("\u2581", " ").replace("\u0120", " ").replace("\u010a", "\n")

    def _trials(self) -> Iterable[str]:
        """Texts of the kind that prompts are: words of the vocabulary and awkward characters."""
        chance = random.Random(0)
        vocabulary = sorted(self._tokenizer.get_vocab(False))
        pieces = [self._surface(t).strip() for t in chance.choices(vocabulary, k=2_000)]
        pieces = [p for p in pieces if p and not p.isspace()] + _AWKWARD * 20
        for number in range(120):
            lines = []
            for n in range(6):
                words = " ".join(chance.choices(pieces, k=chance.randint(1, 9)))
                lines.append(
                    chance.choice(_MARKS).format(n=chance.choice((n, 10 + n, 123))) + words
                )
            text = "\n".join(lines)
            yield text if number % 2 else text.replace(". ", ".\n\n").replace(") ", ")\n  ")


_MARKS = ("[{n:03d}]", "<lid:{n}>", "<lid:{n}> ", "[{n}]", "")
_AWKWARD = [
    "don't",
    "it's",
    "I'LL",
    "(see",
    "p.m.).",
    "...",
    "\u2014",
    "\u201cquoted\u201d",
    "$3.50",
    "1,234",
    "100%",
    "50px",
    "caf\xe9",
    "cafe\u0301",
    "\u4e2d\u6587\u6587\u672c",
    "\u65e5\u672c\u8a9e\u3067\u3059",
    "\u0e44\u0e17\u0e22",
    "\u0627\u0644\u0639",
    "\u0939\u093f\u0928\u094d",
    "\U0001f600",
    "\U0001f469\u200d\U0001f467",
    "\u200b",
    "\xa0",
    "a\xa0b",
    "\t",
    "x\ty",
    "http://a.b/c?d=e&f=g",
    "[1]",
    "]",
    "]]",
    ")",
    ">",
    "><",
    "|",
    "||",
    "-",
    "--",
    "#",
    "_",
    "__init__",
    "\\n",
    '"',
    "'",
    "''",
    "<s>",
    "</s>",
    "[INST]",
    "<|im_end|>",
    "ALLCAPS",
    "CamelCase",
    "x2",
    "\xb2",
    "\xbd",
    "\x0c",
    "\x85",
    "\u2028",
    "\r",
    ".\r",
    "!!!",
    "a.b",
    "\ufeff",
    "\u3000",
]


def _valid(text: str) -> str:
    """The text without lone surrogates, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
