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
from functools import cache
from typing import NoReturn

from burnish.schema import Issue

Value = int | str
Argument = tuple[str | None, Value]  # keyword, value


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function: its name, other spellings of the name, its type, and the value
    that a call means which leaves it out (None: every call must give it)."""

    name: str
    kind: type[int] | type[str]
    aliases: tuple[str, ...] = ()
    default: Value | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a dialect and its parameters."""

    name: str
    parameters: tuple[Parameter, ...] = ()

    def place_of(self, keyword: str) -> int:
        """The 0-based place of the parameter with this name. Raises ValueError if none has it."""
        for place, parameter in enumerate(self.parameters):
            if keyword == parameter.name or keyword in parameter.aliases:
                return place
        raise ValueError(f"{self.name} has no argument {keyword[:40]}")


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


# Within a line; LF alone ends one.
_BLANK = r" \t\r\f\v\x85\xa0\u2000-\u200b\u2028\u2029\u202f\u3000\ufeff"
# What may stand before a call: bullets, quotation marks of mail, numbering, code and list marks.
# Two dashes begin a comment.
_LEAD = re.compile(
    rf"[{_BLANK}]*+(?:(?!--)[>`*\[•·+-][{_BLANK}>`*\[•·+-]*+)?"
    rf"(?:\(?\d{{1,4}}[.):][{_BLANK}`*]*+|\([a-z]\)[{_BLANK}]*+)?"
)
_CALL = re.compile(rf"([^\W\d]\w*+)[{_BLANK}]*+\(")
_BETWEEN = re.compile(rf"[{_BLANK};,`*\]]*+")
# What may follow the calls of a line: a comment or a model's end mark. Anything else (words, a
# dash, a colon) makes it a sentence, such as an instruction that the model repeats.
_COMMENT = rf"\.?[{_BLANK}]*+(?:$|\#|//|</?[a-zA-Z|]|\[/)"
_REST = re.compile(_COMMENT)

# An argument as nearly all are written, with the comma or parenthesis behind it.
_ARGUMENT = re.compile(
    r"""\s*+(?:([^\W\d]\w*+)\s*+=\s*+)?
    (?:\[?([+-]?\d++)\]?|"([^"\\\n]*+(?:\\.[^"\\\n]*+)*+)"|'([^'\\\n]*+(?:\\.[^'\\\n]*+)*+)')
    \s*+([,)])""",
    re.VERBOSE,
)
_NO_ARGUMENT = re.compile(r"\s*+\)")
_STRING_ARGUMENT = re.compile(
    r"\s*+(?:([^\W\d]\w*+)\s*+=\s*+)?([rRbBuUfF]{0,2})([\"'“‘])"  # noqa: RUF001
)
_SPACE = re.compile(r"\s*+")
_AFTER_ARGUMENT = re.compile(r"\s*+([,)])")
_INTEGER = re.compile(r"\s*\[?([+-]?\d+)\]?\s*")
_CLOSERS = {'"': '"', "'": "'", "“": "”", "‘": "’"}  # noqa: RUF001
_PLAIN = {q: re.compile(rf"[^{q}\\\n]*+(?:\\.[^{q}\\\n]*+)*+") for q in _CLOSERS.values()}
# A string that holds its own quotes is closed only before what looks like the next argument, or
# like the end of the call.
_SURELY_AFTER_STRING = re.compile(
    rf"[{_BLANK}]*+(?:,\s*+(?:[^\W\d]\w*+\s*+=|[rRbBuUfF]{{0,2}}[\"'“‘]|[+-]?\d|\))"  # noqa: RUF001
    rf"|\)[{_BLANK};,`*\]]*+(?:{_COMMENT}|[^\W\d]\w*+[{_BLANK}]*+\())",
    re.MULTILINE,
)
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|\r?\n|.)",
    re.DOTALL,
)
_SIMPLE_ESCAPES = {
    "n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "\n": "", "\r\n": "",
}  # fmt: skip
CUT_OFF_THOUGHT = "the answer ends inside its thinking block"
_LARGEST = 10**18  # a line number beyond this is clamped while it is read
_QUOTE_LIMIT = 120  # characters of a call that an issue quotes

_TAG = r"(?:think|thinking|thought|reasoning)[>\]]"
_THOUGHT = re.compile(rf"[<\[]{_TAG}", re.IGNORECASE)
_THOUGHT_LINE = re.compile(rf"[{_BLANK}]*+{_THOUGHT.pattern}", re.IGNORECASE)
_THOUGHT_END = re.compile(rf"[<\[]/{_TAG}", re.IGNORECASE)
# Outside of a call's strings.
_LONE_THOUGHT_END = re.compile(
    rf"^[{_BLANK}]*+[<\[]/{_TAG}|[<\[]/{_TAG}(?=[{_BLANK}]*+$)", re.IGNORECASE | re.MULTILINE
)


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
        self.line_number = 1  # of the character `seen`
        self.line_start = 0
        self.seen = 0
        self.no_line_end = (0, -1)  # there is no LF from the first of these to before the second
        self.unclosed: set[str] = set()  # triple quotes that do not occur again
        self.hints: dict[str, str] = {}

    def read(self) -> None:
        position = answer_start(self.text)
        may_think = _THOUGHT.search(self.text, position) is not None
        while position <= len(self.text):
            end = thought_end(self.text, position) if may_think else None
            if end is not None and end > len(self.text):
                self._issue("cut-off", CUT_OFF_THOUGHT, position)
            position = self._read_line(position) if end is None else end

    def _read_line(self, position: int) -> int:
        """Reads the calls that begin on this line; returns where the next line begins."""
        calls: list[Call] = []
        place = _end(_LEAD, self.text, position)
        while name := _CALL.match(self.text, place):
            try:
                call, place = self._read_call(name)
            except _Unusable as fault:
                if name[1] not in self.known and (fault.resume is None or name[0][-2].isspace()):
                    break  # a word and a parenthesis: a sentence
                self._issue(fault.code, str(fault), name.start())
                if fault.resume is None:
                    self.calls += calls
                    return self._line_end(name.end()) + 1
                place = fault.resume
            else:
                calls.append(call)
            place = _end(_BETWEEN, self.text, place)
        end = self._line_end(place)
        if _REST.match(self.text, place, end):
            self.calls += calls
        elif end == len(self.text) and self._begins_a_name(place):
            self.calls += calls
            self._issue("cut-off", f"{self.text[place:]} is cut off", place)
        else:
            self._refuse_sentence(calls, place, end)
        return end + 1

    def _begins_a_name(self, place: int) -> bool:
        rest = self.text[place : place + _QUOTE_LIMIT]
        return any(name.startswith(rest) for name in self.known)

    def _refuse_sentence(self, calls: Sequence[Call], place: int, end: int) -> None:
        message = "a call inside a sentence is not executed"
        for call in calls:
            self.issues.append(Issue("prose", message, call.line, call.column, call.source))
        if self.text.find("(", place, end) < 0:
            return
        for mention in _mention(tuple(self.known)).finditer(self.text, place, end):
            self._issue("prose", message, mention.start())

    # -------------------------------------------------------------------------------- one call

    def _read_call(self, name: re.Match[str]) -> tuple[Call, int]:
        function = self.known.get(name[1])
        given, end = self._read_arguments(name, function)
        if function is None:
            raise _Unusable("unknown", self._unknown(name[1]), end)
        try:
            arguments = _bind(function, given)
        except ValueError as error:
            raise _Unusable("arguments", str(error), end) from None
        line, column = self._place(name.start())
        source = self.text[name.start() : min(end, name.start() + _QUOTE_LIMIT)]
        return Call(function.name, arguments, line, column, source), end

    def _read_arguments(
        self, name: re.Match[str], function: Function | None
    ) -> tuple[list[Argument], int]:
        """The arguments up to the closing parenthesis, and the place behind it."""
        given: list[Argument] = []
        place = name.end()
        while True:
            if found := _ARGUMENT.match(self.text, place):
                keyword, digits, double, single, after = found.groups()
                if digits is not None:
                    given.append((keyword, to_integer(digits)))
                else:
                    given.append((keyword, unescape(single if double is None else double)))
            elif end := _NO_ARGUMENT.match(self.text, place):
                return given, end.end()
            else:
                opened = _STRING_ARGUMENT.match(self.text, place)
                if opened is None:
                    self._fault(name, place, function)
                value, place = self._read_string(name[1], opened)
                given.append((opened[1], value))
                found = _AFTER_ARGUMENT.match(self.text, place)
                if found is None:
                    self._fault(name, place, function)
                after = found[1]
            place = found.end()
            if after == ")":
                return given, place

    def _read_string(self, name: str, opened: re.Match[str]) -> tuple[str, int]:
        """A string that is no plain one: prefixed, tripled, in curly quotes or with quotes inside.

        Returns its value and the place behind it.
        """
        text, place, quote = self.text, opened.start(3), opened[3]
        raw = "r" in opened[2].lower()
        triple = quote * 3
        tripled = text.startswith(triple, place)
        if tripled and triple not in self.unclosed:
            close = text.find(triple, place + 3)
            if close >= 0:
                return unescape(text[place + 3 : close], raw), close + 3
            self.unclosed.add(triple)
        quote = _CLOSERS[quote]
        close = _end(_PLAIN[quote], text, place + 1)
        if text.startswith(quote, close) and _AFTER_ARGUMENT.match(text, close + 1):
            return unescape(text[place + 1 : close], raw), close + 1
        end = self._line_end(place)
        while (close := text.find(quote, close, end)) >= 0:
            if text[close - 1] != "\\" and _SURELY_AFTER_STRING.match(text, close + 1):
                return unescape(text[place + 1 : close], raw), close + 1
            close += 1
        if tripled:  # all the rest of the text is inside the string
            raise _Unusable("cut-off", f"{name} is cut off inside a string", len(text))
        if end == len(text):
            raise _Unusable("cut-off", f"{name} is cut off inside a string")
        raise _Unusable("syntax", f"{name}: a string is not closed on its line")

    def _fault(self, name: re.Match[str], place: int, function: Function | None) -> NoReturn:
        place = _end(_SPACE, self.text, place)
        rest = self.text[place : place + _QUOTE_LIMIT]
        if place + len(rest) == len(self.text) and ")" not in rest and "\n" not in rest:
            raise _Unusable("cut-off", f"{name[1]} is cut off")
        resume = None
        end = self._line_end(name.end())
        if function and place < end and all(p.kind is int for p in function.parameters):
            # No string can hold the next parenthesis, so the call ends there.
            resume = self.text.find(")", place, end) + 1 or None
        raise _Unusable("syntax", f"{name[1]}: can not read {rest[:20]!r}", resume)

    def _unknown(self, name: str) -> str:
        name = name[:_QUOTE_LIMIT]
        if name not in self.hints:
            close = difflib.get_close_matches(name, self.known, n=1)
            self.hints[name] = (
                f"did you mean {close[0]}?" if close else f"known: {', '.join(self.known)}"
            )
        return f"unknown function {name}; {self.hints[name]}"

    # -------------------------------------------------------------------------------- places

    def _line_end(self, place: int) -> int:
        first, end = self.no_line_end
        if not first <= place <= end:
            end = self.text.find("\n", place)
            end = len(self.text) if end < 0 else end
            self.no_line_end = place, end
        return end

    def _place(self, position: int) -> tuple[int, int]:
        """1-based line and column of a character; asked for ascending positions only."""
        passed = self.text.count("\n", self.seen, position)
        if passed:
            self.line_number += passed
            self.line_start = self.text.rindex("\n", self.seen, position) + 1
        self.seen = position
        return self.line_number, position - self.line_start + 1

    def _issue(self, code: str, message: str, position: int) -> None:
        source = self.text[position : position + _QUOTE_LIMIT].partition("\n")[0]
        self.issues.append(Issue(code, message, *self._place(position), source))


def answer_start(text: str) -> int:
    """Where the answer begins: behind a thinking block that the prompt's template began."""
    lone = _LONE_THOUGHT_END.search(text) if "/" in text else None
    return lone.end() if lone and not _THOUGHT.search(text, 0, lone.start()) else 0


def thought_end(text: str, place: int) -> int | None:
    """Where the answer goes on behind the thinking block that begins on the line at `place`.

    None if none begins there; beyond the end of the text if the block is not closed. What a model
    writes in such a block is no part of its answer.
    """
    thought = _THOUGHT_LINE.match(text, place)
    if thought is None:
        return None
    end = _THOUGHT_END.search(text, thought.end())
    return end.end() if end else len(text) + 1


@cache
def _mention(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\s*+\(")


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Where the match of a pattern that always matches ends."""
    match = pattern.match(text, place)
    assert match is not None
    return match.end()


def to_integer(digits: str) -> int:
    """The number that the digits write, or a very large one in place of one still larger."""
    return _LARGEST if len(digits) > 18 and digits[0] != "-" else int(digits[:19])


def unescape(body: str, raw: bool = False) -> str:
    """What stands between the marks of a string, its escapes replaced by what they mean."""
    return body if raw or "\\" not in body else _ESCAPE.sub(_unescape_one, body)


def _unescape_one(match: re.Match[str]) -> str:
    escape = match.group()[1:]
    if escape in _SIMPLE_ESCAPES:
        return _SIMPLE_ESCAPES[escape]
    if escape[0] in "xuU" and len(escape) > 1:
        if len(escape) == 11:  # a pair of surrogates, as JSON writes one character
            return bytes.fromhex(escape[1:5] + escape[7:]).decode("utf-16-be")
        code = int(escape[1:], 16)
        return chr(code) if code < 0x110000 else match.group()
    if escape[0] in "01234567":
        return chr(int(escape, 8))
    return match.group()  # an unknown escape stands for itself, as in Python


def _bind(function: Function, given: Sequence[Argument]) -> tuple[Value, ...]:
    """The values in the order of the parameters. Raises ValueError where they do not fit."""
    wanted = function.parameters
    needed = sum(parameter.default is None for parameter in wanted)
    if not needed <= len(given) <= len(wanted):
        raise ValueError(f"{function.name} takes {_describe(wanted)}, got {_number(len(given))}")
    bound: dict[int, Value] = {}
    for position, (keyword, value) in enumerate(given):
        place = position if keyword is None else function.place_of(keyword)
        if place in bound:
            raise ValueError(f"{function.name}: {wanted[place].name} is given twice")
        bound[place] = _convert(function.name, wanted[place], value)
    values: list[Value] = []
    for place, parameter in enumerate(wanted):
        chosen = bound.get(place, parameter.default)
        if chosen is None:
            raise ValueError(f"{function.name} needs {parameter.name}")
        values.append(chosen)
    return tuple(values)


def _convert(function: str, parameter: Parameter, value: Value) -> Value:
    if parameter.kind is int and isinstance(value, str):
        digits = _INTEGER.fullmatch(value)
        if digits is None:
            shown = repr(value[:40])
            raise ValueError(f"{function}: {parameter.name} must be a line number, got {shown}")
        return to_integer(digits[1])
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


def quote(text: str, mark: str = '"') -> str:
    """A string as the dialects write it, with escapes that `read_calls` reads back.

    >>> quote('a "b"')
    '"a \\\\"b\\\\""'
    """
    return mark + _QUOTED.sub(_escape_one, text).replace(mark, "\\" + mark) + mark


_QUOTED = re.compile(r"[\\\x00-\x1f\x7f-\xa0\xad\u2028\u2029\ud800-\udfff\ufeff]")
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}


def _escape_one(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if 0xD800 <= code < 0xE000:
        return f"\\U{code:08x}"  # two in the short form would be read as one character
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
