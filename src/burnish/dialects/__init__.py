"""How each system speaks the language: one file a dialect, found here by name."""

from __future__ import annotations

from importlib import import_module

from burnish.dialects.base import Dialect, Parsed, Prompt
from burnish.errors import UsageError

_MODULES = {
    "prox-document": "prox_document",
    "prox-chunk": "prox_chunk",
    "ultrax": "ultrax",
    "rescraper": "rescraper",
    "refinex": "refinex",
    "rewrite": "rewrite",
    "line-labels": "line_labels",
}

__all__ = ["Dialect", "Parsed", "Prompt", "dialect_names", "get_dialect"]


def dialect_names() -> list[str]:
    return list(_MODULES)


def get_dialect(name: str) -> Dialect:
    """The dialect of that name. Raises UsageError, naming the known ones, if there is none."""
    if name not in _MODULES:
        raise UsageError(f"unknown dialect {name!r}; known: {', '.join(_MODULES)}")
    dialect: Dialect = import_module(f"burnish.dialects.{_MODULES[name]}").DIALECT
    return dialect
