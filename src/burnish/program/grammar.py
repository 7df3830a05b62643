"""Pieces of grammar for constrained decoding, shared by the dialects.

The notation is the EBNF that llama.cpp made common (GBNF: `root ::= ...`), in the part of it that
xgrammar and llguidance read alike: rules on one line, literals, classes, `|`, `?`, `*`, `+`,
`{least,most}`. Strings are bounded, so that every call comes to an end, and hold no raw LF.
"""

from __future__ import annotations

LONGEST = 200  # characters of a string; UltraX trains on less than 150, its new lines on 200

# Within a string; LF and the string's own mark are written as escapes.
PYTHON_STRINGS = r"""
in-double ::= [^"\\\n] | escape
in-single ::= [^'\\\n] | escape
escape ::= "\\" ([ntr'"\\] | "x" hex hex | "u" hex hex hex hex | "U00" plane hex hex hex hex)
plane ::= "0" hex | "10"
hex ::= [0-9a-fA-F]
"""
JSON_STRINGS = r"""
in-json ::= [^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u00" [01] [0-9a-f])
"""


def numbers(first: int, last: int) -> str:
    """The whole numbers from `first` to `last` (inclusive, not negative), without leading zeros.

    It has at most some two alternatives for each digit, however many numbers there are.

    >>> numbers(8, 309)
    '[8-9] | [1-9] [0-9] | [1-2] [0-9] [0-9] | "30" [0-9]'
    """
    parts: list[str] = []
    while first <= last:
        size = 1  # numbers that share all but their last digits
        while first and first % (10 * size) == 0 and first + 10 * size - 1 <= last:
            size *= 10
        lead, digit = divmod(first // size, 10)
        top = min(9, digit + (last - first + 1) // size - 1)
        shown = f'"{lead or ""}{digit}"' if top == digit else f"[{digit}-{top}]"
        if lead and top > digit:
            shown = f'"{lead}" {shown}'
        parts.append(shown + " [0-9]" * (len(str(size)) - 1))
        first += (top - digit + 1) * size
    return " | ".join(parts)


def python_string(least: int, most: int = LONGEST) -> str:
    """A string in single or double marks; needs the rules `PYTHON_STRINGS`."""
    size = f"{{{least},{most}}}"
    return rf"""("'" in-single{size} "'" | "\"" in-double{size} "\"")"""


def calls(keep: str, call: str) -> str:
    """The rule `root`: the call that keeps all, or one or more calls, each on its line."""
    return f'root ::= "{keep}" | {call} ("\\n" {call})*\n'
