"""The site that a page is from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_REGISTRIES = frozenset(("ac", "co", "com", "edu", "gob", "gouv", "gov", "net", "or", "org"))
"""Second levels under which two-letter countries register names. A name that is missing here joins
sites that are strangers, which does no harm."""

_HOST = re.compile(r"(?!-)[\w-]+(?:\.[\w-]+)+")
_ADDRESS = re.compile(r"\d+(?:\.\d+){3}")


def site_of(row: Mapping[str, Any]) -> str | None:
    """The registered domain by the column `domain` or else `url`; None without a usable one.

    >>> site_of({"url": "https://news.bbc.co.uk/1.html"}), site_of({"domain": "a.github.io"})
    ('bbc.co.uk', 'github.io')
    """
    for column in ("domain", "url"):
        value = row.get(column)
        host = _host(value) if isinstance(value, str) else None
        if host is not None:
            return _registered(host)
    return None


def _host(value: str) -> str | None:
    """The host of a URL, or of one without its scheme; None if it is no name with a dot."""
    value = value.strip()
    try:
        host = urlsplit(value if "://" in value else f"//{value}").hostname or ""
    except ValueError:
        return None
    host = host.rstrip(".")
    return host if _HOST.fullmatch(host) else None


def _registered(host: str) -> str:
    labels = host.split(".")
    if _ADDRESS.fullmatch(host):
        return host
    second = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _REGISTRIES
    return ".".join(labels[-3 if second else -2 :])
