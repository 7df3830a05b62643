"""The system prompt of a model whose dialect has none of its own.

A card gives it as text, as "file:NAME" beside the card, or as the address of the file in which its
authors publish it ("https://...", for a constant of a Python file with "#NAME"). Such a file is
fetched once and kept.
"""

from __future__ import annotations

import ast
import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from burnish.errors import RefinerError

_FILE, _WEB = "file:", "https://"
_SECONDS = 30.0


def system_prompt(source: str, beside: Path) -> str:
    """The text of the system prompt, without blanks around it.

    Raises RefinerError if it can not be had.
    """
    if source.startswith(_FILE):
        path = beside / source.removeprefix(_FILE)
        try:
            return path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RefinerError(f"the system prompt {path} can not be read: {error}") from None
    if not source.startswith(_WEB):
        return source.strip()
    kept = _cache() / f"{hashlib.sha256(source.encode()).hexdigest()[:32]}.txt"
    if kept.is_file():
        return kept.read_text("utf-8")
    text = _fetched(source)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}")
    partial.write_text(text, "utf-8")
    partial.replace(kept)
    return text


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "burnish" / "prompts"


def _fetched(source: str) -> str:
    address, _, constant = source.partition("#")
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            text: str = answer.read().decode("utf-8")
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise RefinerError(
            f"the model's system prompt can not be fetched from {address}: {error}. Save it as a "
            'file beside a copy of the card and set "system": "file:NAME" there'
        ) from None
    return (_constant(text, constant, address) if constant else text).strip()


def _constant(source: str, name: str, address: str) -> str:
    """The string that a Python file assigns to the name; nothing is executed."""
    try:
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == name for target in statement.targets
            ):
                value = ast.literal_eval(statement.value)
                if isinstance(value, str):
                    return value
    except (SyntaxError, ValueError):
        pass
    raise RefinerError(f"{address} holds no string {name}")
