"""Reads call syntax: the text a model wrote -> bound calls and located issues.

Nothing is ever evaluated. Models write programs in many ways: bullets, numbers, fences, comments,
several calls on a line, any quotes, arguments by place or by name. What can be read is read; every
call that can not is an issue with its place, and the others stand. A call inside a sentence is not
a call: "I would not use drop_doc() here" drops nothing. Reading takes time linear in the text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from burnish.schema import Issue

Value = int | str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function: its name, other spellings of the name, its type."""

    name: str
    kind: type[int] | type[str]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a dialect and the parameters that each call must give."""

    name: str
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A call with all its arguments, in the order of the function's parameters.

    `line` and `column` (1-based) say where it stands in the program text; `source` is its text.
    """

    name: str
    arguments: tuple[Value, ...]
    line: int
    column: int
    source: str


def functions(*signatures: Function) -> dict[str, Function]:
    return {signature.name: signature for signature in signatures}


def read_calls(text: str, known: Mapping[str, Function]) -> tuple[list[Call], list[Issue]]:
    """All usable calls of the program text in their order, and an issue for every other one."""
    reader = _Reader(text, known)
    reader.read()
    return reader.calls, reader.issues


# What may stand before a call: bullets, quotation marks of mail, numbering, code and list marks.
_LEAD = re.compile(r"[ \t>`*\[•·+-]*(?:\(?\d{1,4}[.):][ \t`*]*|\([a-z]\)[ \t]*)?")
_NAME = re.compile(r"[^\W\d]\w*(?=[ \t]*\()")
_OPEN = re.compile(r"[ \t]*\(")
_BETWEEN = re.compile(r"[ \t;,`*\]]*")
# What may follow a call on its line; anything else (words, a dash, a colon) makes it a sentence,
# such as an instruction that the model repeats.
_REST = re.compile(r"\.?[ \t]*(?:\r?$|#|//|<)")
_SPACE = re.compile(r"\s*")
_INTEGER = re.compile(r"\[?([+-]?\d+)\]?(?![\w.])")
_KEYWORD = re.compile(r"([^\W\d]\w*)\s*=(?!=)")
_PREFIX = re.compile(r"[rRbBuUfF]{0,2}(?=[\"'“‘])")  # noqa: RUF001
_CLOSERS = {'"': '"', "'": "'", "“": "”", "‘": "’"}  # noqa: RUF001
_PLAIN = {q: re.compile(rf"(?:[^{q}\\\n]|\\.)*") for q in _CLOSERS.values()}
_AFTER_STRING = re.compile(r"\s*[,)]")
# After a string that holds its own quotes, only what looks like the next argument or the end of the
# call closes it.
_SURELY_AFTER_STRING = re.compile(
    r"[ \t]*(?:,\s*(?:[^\W\d]\w*\s*=|[rRbBuUfF]{0,2}[\"'“‘]|[+-]?\d|\))"  # noqa: RUF001
    r"|\)[ \t`;,*\].]*(?:\r?$|#|//|--|[^\W\d]\w*[ \t]*\())",
    re.MULTILINE,
)
_ESCAPE = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|\r?\n|.)", re.DOTALL
)
_SIMPLE_ESCAPES = {
    "n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "\n": "", "\r\n": "",
}  # fmt: skip
_LARGEST = 10**18  # a line number beyond this is clamped while it is read
_QUOTE_LIMIT = 120  # characters of a call that an issue quotes
_THINKING = re.compile(r"\s*<think(?:ing)?>", re.IGNORECASE)
_THOUGHT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_THOUGHT_LINE = re.compile(r"^[ \t]*</think(?:ing)?>", re.IGNORECASE | re.MULTILINE)


class _Unusable(Exception):
    """A call that can not be used; `resume` is where reading goes on (None: the next line)."""

    def __init__(self, code: str, message: str, resume: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.resume = resume


class _Reader:
    """One pass over the program text."""

    def __init__(self, text: str, known: Mapping[str, Function]) -> None:
        self.text = text
        self.known = known
        self.calls: list[Call] = []
        self.issues: list[Issue] = []
        self.line_number = 1
        self.line_start = 0
        self.seen = 0
        self.unclosed: set[str] = set()  # triple quotes that do not occur again
        # A call of a known function anywhere, for sentences that mention one.
        names = "|".join(map(re.escape, known))
        self.mention = re.compile(rf"\b(?:{names})\s*\(")

    def read(self) -> None:
        position = self._after_thinking()
        while position <= len(self.text):
            position = self._read_line(position)

    def _after_thinking(self) -> int:
        """Where the answer begins: calls in a thinking block are not part of it."""
        opened = _THINKING.match(self.text)
        closed = (_THOUGHT if opened else _THOUGHT_LINE).search(self.text)
        if closed:
            return closed.end()
        if opened:
            self._issue("cut-off", "the answer ends inside its thinking block", opened.start())
            return len(self.text) + 1
        return 0

    def _read_line(self, position: int) -> int:
        """Reads the calls that begin on this line; returns where the next line begins."""
        pending: list[Call] = []
        place = _LEAD.match(self.text, position).end()  # type: ignore[union-attr]
        while name := _NAME.match(self.text, place):
            if name.group() not in self.known and self.text[name.end()] != "(":
                break  # a word and a parenthesis: a sentence
            try:
                call, place = self._read_call(name)
            except _Unusable as fault:
                if name.group() not in self.known and fault.resume is None:
                    break
                self._issue(fault.code, str(fault), name.start())
                if fault.resume is None:
                    self.calls += pending
                    return self._next_line(name.end())
                place = fault.resume
            else:
                self.calls += pending
                pending = [call]
            place = _BETWEEN.match(self.text, place).end()  # type: ignore[union-attr]
        end = self._line_end(place)
        if _REST.match(self.text[place:end]):
            self.calls += pending
            return end + 1
        message = "a call inside a sentence is not executed"
        for call in pending:
            self.issues.append(Issue("prose", message, call.line, call.column, call.source))
        for mention in self.mention.finditer(self.text, place, end):
            self._issue("prose", message, mention.start())
        return end + 1

    # -------------------------------------------------------------------------------- one call

    def _read_call(self, name: re.Match[str]) -> tuple[Call, int]:
        function = self.known.get(name.group())
        place = _OPEN.match(self.text, name.end()).end()  # type: ignore[union-attr]
        positional, keywords, end = self._read_arguments(place, name.group())
        if function is None:
            raise _Unusable("unknown", _unknown(name.group(), self.known), end)
        try:
            arguments = _bind(function, positional, keywords)
        except ValueError as error:
            raise _Unusable("arguments", str(error), end) from None
        line, column = self._place(name.start())
        source = self.text[name.start() : end]
        return Call(function.name, arguments, line, column, source), end

    def _read_arguments(
        self, place: int, name: str
    ) -> tuple[list[Value], dict[str, Value], int]:
        """The arguments up to the closing parenthesis, and the place behind it."""
        positional: list[Value] = []
        keywords: dict[str, Value] = {}
        while True:
            place = self._skip_space(place)
            if self.text.startswith(")", place):
                return positional, keywords, place + 1
            keyword = _KEYWORD.match(self.text, place)
            if keyword:
                if keyword[1] in keywords:
                    raise _Unusable("arguments", f"{name}: {keyword[1]} is given twice")
                place = self._skip_space(keyword.end())
            value, place = self._read_value(place, name)
            if keyword:
                keywords[keyword[1]] = value
            else:
                positional.append(value)
            place = self._skip_space(place)
            if self.text.startswith(",", place):
                place += 1
            elif not self.text.startswith(")", place):
                self._fault(place, name)

    def _read_value(self, place: int, name: str) -> tuple[Value, int]:
        integer = _INTEGER.match(self.text, place)
        if integer:
            return _to_integer(integer[1]), integer.end()
        prefix = _PREFIX.match(self.text, place)
        if prefix:
            return self._read_string(prefix.end(), "r" in prefix.group().lower(), name)
        self._fault(place, name)

    def _read_string(self, place: int, raw: bool, name: str) -> tuple[str, int]:
        text = self.text
        quote = text[place]
        triple = quote * 3
        if triple not in self.unclosed and text.startswith(triple, place):
            close = text.find(triple, place + 3)
            if close < 0:
                self.unclosed.add(triple)
            else:
                return _unescape(text[place + 3 : close], raw), close + 3
        quote = _CLOSERS[quote]
        body = _PLAIN[quote].match(text, place + 1).end()  # type: ignore[union-attr]
        if text.startswith(quote, body) and _AFTER_STRING.match(text, body + 1):
            return _unescape(text[place + 1 : body], raw), body + 1
        close = text.find(quote, body)
        end = self._line_end(place)
        while 0 <= close < end:
            if text[close - 1] != "\\" and _SURELY_AFTER_STRING.match(text, close + 1):
                return _unescape(text[place + 1 : close], raw), close + 1
            close = text.find(quote, close + 1)
        if end == len(text):
            raise _Unusable("cut-off", f"{name} is cut off inside a string")
        raise _Unusable("syntax", f"{name}: a string is not closed on its line")

    def _fault(self, place: int, name: str) -> NoReturn:
        if place >= len(self.text):
            raise _Unusable("cut-off", f"{name} is cut off")
        raise _Unusable("syntax", f"{name}: can not read {self.text[place : place + 20]!r}")

    # -------------------------------------------------------------------------------- places

    def _skip_space(self, place: int) -> int:
        return _SPACE.match(self.text, place).end()  # type: ignore[union-attr]

    def _line_end(self, place: int) -> int:
        end = self.text.find("\n", place)
        return len(self.text) if end < 0 else end

    def _next_line(self, place: int) -> int:
        return self._line_end(place) + 1

    def _place(self, position: int) -> tuple[int, int]:
        """1-based line and column of a character; asked for ascending positions only."""
        passed = self.text.count("\n", self.seen, position)
        if passed:
            self.line_number += passed
            self.line_start = self.text.rindex("\n", self.seen, position) + 1
        self.seen = position
        return self.line_number, position - self.line_start + 1

    def _issue(self, code: str, message: str, position: int, source: str = "") -> None:
        line, column = self._place(position)
        if not source:
            source = self.text[position : min(self._line_end(position), position + _QUOTE_LIMIT)]
        self.issues.append(Issue(code, message, line, column, source[:_QUOTE_LIMIT]))


def _to_integer(digits: str) -> int:
    return _LARGEST if len(digits) > 18 and digits[0] != "-" else int(digits[:19])


def _unescape(body: str, raw: bool) -> str:
    return body if raw or "\\" not in body else _ESCAPE.sub(_unescape_one, body)


def _unescape_one(match: re.Match[str]) -> str:
    escape = match.group()[1:]
    if escape in _SIMPLE_ESCAPES:
        return _SIMPLE_ESCAPES[escape]
    if escape[0] in "xuU" and len(escape) > 1:
        code = int(escape[1:], 16)
        return chr(code) if code < 0x110000 else match.group()
    if escape[0] in "01234567":
        return chr(int(escape, 8))
    return match.group()  # an unknown escape stands for itself, as in Python


def _unknown(name: str, known: Mapping[str, Function]) -> str:
    close = difflib.get_close_matches(name[:80], known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
    return f"unknown function {name[:80]}{hint}"


def _bind(
    function: Function, positional: Sequence[Value], keywords: Mapping[str, Value]
) -> tuple[Value, ...]:
    """The values in the order of the parameters. Raises ValueError where they do not fit."""
    wanted = function.parameters
    given = len(positional) + len(keywords)
    if given != len(wanted):
        raise ValueError(f"{function.name} takes {_describe(wanted)}, got {_number(given)}")
    names = {alias: p.name for p in wanted for alias in (p.name, *p.aliases)}
    bound = {p.name: value for p, value in zip(wanted, positional, strict=False)}
    for keyword, value in keywords.items():
        name = names.get(keyword)
        if name is None:
            raise ValueError(f"{function.name} has no argument {keyword}")
        if name in bound:
            raise ValueError(f"{function.name}: {name} is given twice")
        bound[name] = value
    return tuple(_convert(function.name, p, bound[p.name]) for p in wanted)


def _convert(function: str, parameter: Parameter, value: Value) -> Value:
    if parameter.kind is int and isinstance(value, str):
        digits = _INTEGER.fullmatch(value.strip())
        if digits is None:
            raise ValueError(f"{function}: {parameter.name} must be a line number, got {value!r}")
        return _to_integer(digits[1])
    if parameter.kind is str and not isinstance(value, str):
        raise ValueError(f"{function}: {parameter.name} must be a string, got {value}")
    return value


def _describe(parameters: Sequence[Parameter]) -> str:
    if not parameters:
        return "no arguments"
    kind = "line number" if all(p.kind is int for p in parameters) else "argument"
    return f"{_number(len(parameters))} {kind}{'s' if len(parameters) > 1 else ''}"


def _number(count: int) -> str:
    return ["none", "one", "two", "three"][count] if count < 4 else str(count)


def quote(text: str) -> str:
    """A string as the dialects write it: double quotes, and escapes that `read_calls` reads back.

    >>> quote('a "b"')
    '"a \\\\"b\\\\""'
    """
    return '"' + _QUOTED.sub(_escape_one, text) + '"'


_QUOTED = re.compile(r'["\\\x00-\x1f\x7f-\xa0\xad\u2028\u2029\ud800-\udfff\ufeff]')
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def _escape_one(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
