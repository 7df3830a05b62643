"""What the readers share: which columns matter, ids, rejected rows, damaged files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from burnish.schema import Rejected

RAW_BYTES = 64 * 1024
"""How much of a rejected row is stored, in bytes."""


class LooseRow(dict[str, Any]):
    """A row with values beyond what orjson writes: lone surrogates, NaN, integers over 64 bits."""


class Damage(Rejected):
    """A rejected row that stands for an unknown number of rows after it: the file is damaged."""

    __slots__ = ()


class DamagedFile(Exception):
    """The file can not be read further; everything before this point was yielded."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns that hold the text and the id.

    Without an `id` name, a string or integer column "id" is used where a row has one, and otherwise
    "<file>:<position>", the position being that of `Rejected`.
    """

    text: str = "text"
    id: str | None = None


class BadRow(ValueError):
    """The row can not be a document; the message is the reason."""


def choose_text(row: Mapping[str, Any], columns: Columns) -> str:
    """The text of the row; raises BadRow if it has none."""
    text = row.get(columns.text)
    if isinstance(text, str):
        return text
    if columns.text not in row:
        raise BadRow(f"no column {columns.text!r}")
    kind = "null" if text is None else type(text).__name__
    raise BadRow(f"the column {columns.text!r} is {kind}, not a string")


def choose_id(row: Mapping[str, Any], columns: Columns, origin: str) -> str:
    """The id of the row, `origin` where it has none of its own; raises BadRow."""
    value = row.get(columns.id or "id")
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if columns.id is not None:
        raise BadRow(f"no id: the column {columns.id!r} holds no string or integer")
    return origin


def excerpt(raw: bytes) -> str:
    """At most `RAW_BYTES` of a row, as text; bytes that are not UTF-8 appear as `\\xNN`."""
    shown = raw[:RAW_BYTES].decode("utf-8", "backslashreplace")
    if len(raw) > RAW_BYTES:
        shown += f" [{len(raw) - RAW_BYTES} more bytes]"
    return shown


def has_odd_float(values: Iterable[Any]) -> bool:
    """Whether a float is not finite, or so large that it may have been an integer over 64 bits."""
    for value in values:
        kind = type(value)
        if kind is float:
            if not -9e18 < value < 9e18:  # also true for NaN
                return True
        elif (kind is dict and has_odd_float(value.values())) or (
            kind is list and has_odd_float(value)
        ):
            return True
    return False
