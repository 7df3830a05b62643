"""Text of the web for a terminal: no escape sequence and no invisible character goes through."""

from __future__ import annotations

from rich.text import Text

_NAMED = {
    "\t": "→   ",
    "\n": "↵",
    "\x7f": "␡",
    "\xa0": "⍽",
    "\xad": "<SHY>",
    "\u200b": "<ZWSP>",
    "\u200c": "<ZWNJ>",
    "\u200d": "<ZWJ>",
    "\u200e": "<LRM>",
    "\u200f": "<RLM>",
    "\ufeff": "<BOM>",
}
# Letters and marks by their category, and yet nothing to see: fillers, a joiner, an empty pattern.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_PLAIN = frozenset("\u3000")  # the space of Chinese and Japanese: as wide as a sign, and common


def visible(text: str, style: str = "", *, spaces: bool = False) -> Text:
    """The text in a style, with a dim sign for each character that can not be seen.

    Control characters become their pictures (ESC is ␛), a no-break space ⍽, others a name or a code
    point such as <202e>. With `spaces`, blanks get a sign too: ␣.
    """
    if text.isprintable() and not spaces and _BLANK.isdisjoint(text):
        return Text(text, style)
    shown = Text(style=style)
    start = 0
    for position, character in enumerate(text):
        if sign := _sign(character, spaces):
            shown.append(text[start:position])
            shown.append(sign, "dim")
            start = position + 1
    return shown.append(text[start:])


def _sign(character: str, spaces: bool) -> str:
    """What stands for a character; empty where it can be seen as it is."""
    if character == " ":
        return "␣" if spaces else ""
    if character in _PLAIN or (character.isprintable() and character not in _BLANK):
        return ""
    if character in _NAMED:
        return _NAMED[character]
    return chr(0x2400 + ord(character)) if character < " " else f"<{ord(character):x}>"


def paragraph(text: str, style: str = "") -> Text:
    """A text of several lines that stay lines."""
    return Text("\n").join(visible(line, style) for line in text.split("\n"))
