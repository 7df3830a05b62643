"""Text -> token ids, fast: encoding word by word from memory wherever that is exact.

A tokenizer works on pieces that never reach over certain places: a blank between two words, a line
feed before a word, the end of a line number. The text between two such places gives the same ids
wherever it stands, so they are remembered: most words of a web page have been seen before. Whether
a tokenizer keeps to these places is found out before the first text, from its vocabulary (no token
reaches over one) and by trial; for one that does not, every text is encoded as a whole.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate, chain, pairwise
from pathlib import Path

from burnish.errors import MissingExtra, RefinerError

try:
    from tokenizers import Tokenizer
except ImportError:  # pragma: no cover
    raise MissingExtra("a language model as refiner", "tokenizers", "transformers") from None

# Where texts are cut: before a word behind a single blank, before a word that begins a line, behind
# the number in a line's marker.
_LINE = re.compile(r"\n(?=\S)")
_NUMBER = re.compile(r"(?:\[|<lid:)\d+(?=[]>])")
_MARKED = re.compile(rf"\n({_NUMBER.pattern})")
_BEGIN = "\x00"  # before a piece that begins a line, or stands behind a line's number
_CUT = re.compile(r"(?<=\S) (?=\S)|(?<=\n) (?=\x00)")
# What a text must not hold to be cut at every blank.
_ODD = re.compile(r"[^\S \n]|  | (?:\n|$)|\n (?!\x00)")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a token for one byte
_REMEMBERED = 1_000_000  # pieces; about 150 MB
_ANCHOR = "\n"


class _Memory(dict[str, tuple[int, ...]]):
    """The ids of pieces, remembered. A piece that begins with `_BEGIN` stands at the beginning of a
    line, another one behind a blank."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def __missing__(self, piece: str) -> tuple[int, ...]:
        if len(self) >= _REMEMBERED:
            self.clear()
        text = piece[1:] if piece.startswith(_BEGIN) else " " + piece
        ids = self[piece] = self._tokens.after_anchor(text)
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
            source = path.read_text("utf-8")
            self._tokenizer = Tokenizer.from_str(_all_special(source))
            self._decoder = Tokenizer.from_str(source)
        except Exception as error:  # the library raises bare Exception
            raise RefinerError(f"{path} is not a tokenizer: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._anchor = self.exactly(_ANCHOR)
        self._memory = _Memory(self)

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

    def name(self, token: int) -> str | None:
        """The name of an id in the vocabulary."""
        found: str | None = self._tokenizer.id_to_token(token)
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids, special tokens left out."""
        return str(self._decoder.decode(list(ids), skip_special_tokens=True))

    def exactly(self, text: str) -> list[int]:
        """The ids of a text as the tokenizer alone gives them, no special tokens added."""
        ids: list[int] = self._tokenizer.encode(_valid(text), add_special_tokens=False).ids
        return ids

    def after_anchor(self, text: str) -> tuple[int, ...]:
        """The ids of a text that stands at the beginning of a line, but not of the prompt."""
        return tuple(self.exactly(_ANCHOR + text)[len(self._anchor) :])

    def encode(self, text: str) -> list[int]:
        """The ids of a whole text, no special tokens added; equal to `exactly(text)`."""
        return self._from_memory(text) if self.remembers else self.exactly(text)

    def _from_memory(self, text: str) -> list[int]:
        line = None if _BEGIN in text else _LINE.search(text)
        if line is None:
            return self.exactly(text)
        ids = self.exactly(text[: line.end()])
        rest = _MARKED.sub(f"\n {_BEGIN}\\1 {_BEGIN}", text[line.start() :])
        rest = _LINE.sub(f"\n {_BEGIN}", rest)
        ids.extend(chain.from_iterable(map(self._memory.__getitem__, _pieces(rest[2:]))))
        return ids

    def counts(self, lines: Sequence[str], marker: str = "") -> list[int]:
        """How many ids each line (with its LF, and a marker such as `[012]` before it) adds to a
        prompt."""
        number = _NUMBER.match(marker)
        rest = marker[number.end() :] if number else marker
        extra = len(self.after_anchor(number[0])) if number else 0
        text = f"{_BEGIN}{rest}" + f"\n {_BEGIN}{rest}".join(lines) + "\n"
        if not self.remembers or text.count(_BEGIN) != len(lines):
            return [extra + len(self.after_anchor(f"{rest}{line}\n")) for line in lines]
        pieces = _pieces(text)
        begins = [place for place, piece in enumerate(pieces) if piece[0] == _BEGIN]
        begins.append(len(pieces))
        ends = list(accumulate(map(len, map(self._memory.__getitem__, pieces)), initial=0))
        return [extra + ends[stop] - ends[start] for start, stop in pairwise(begins)]

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

    # ------------------------------------------------------------------------------ is it exact?

    @cached_property
    def remembers(self) -> bool:
        """Whether encoding by pieces gives what encoding as a whole gives."""
        return not self._joins_over_a_cut() and all(
            self._from_memory(text) == self.exactly(text) for text in self._trials()
        )

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
        for sign in map(chr, range(33, 127)):  # what a pattern may join over a line's end
            for end in ("a", ".", ")", "1", sign):
                yield f"x\nRead more{end}\n{sign}a b\n{sign} c {sign}d{end} {sign}"


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


def _all_special(source: str) -> str:
    """The tokenizer with all added tokens special, so that none of them is found in a text."""
    data = json.loads(source)
    for token in data.get("added_tokens", []):
        token["special"] = True
    return json.dumps(data)


def _pieces(text: str) -> list[str]:
    """A text, its beginnings marked, cut where the tokenizer's pieces never reach over."""
    return _CUT.split(text) if _ODD.search(text) else text.split(" ")


def _valid(text: str) -> str:
    """The text without lone surrogates, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
