"""burnish: per-document programs that turn raw web text into pre-training text.

    >>> import burnish
    >>> burnish.execute("Home\\nA sentence.", "remove_lines(0, 0)").text
    'A sentence.'

The names below are the public interface. They are loaded on use, so that importing the package
costs nothing and needs no optional dependency.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What runs a refiner here tells its makers nothing, unless you set these yourself. ONNX Runtime
# (from 1.29) reads its variable when it is imported, so this has to come before.
for _name in ("ORT_DISABLE_TELEMETRY", "VLLM_NO_USAGE_STATS", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_name, "1")

_HOMES = {
    "BurnishError": "errors",
    "Derivation": "program.derive",
    "Document": "schema",
    "Edit": "schema",
    "Issue": "schema",
    "Limits": "program.limits",
    "Outcome": "program.executor",
    "Parsed": "dialects",
    "Record": "schema",
    "Status": "schema",
    "derive": "api",
    "execute": "api",
    "parse": "api",
    "refine": "api",
}

__all__ = [
    "BurnishError",
    "Derivation",
    "Document",
    "Edit",
    "Issue",
    "Limits",
    "Outcome",
    "Parsed",
    "Record",
    "Status",
    "__version__",
    "derive",
    "execute",
    "parse",
    "refine",
]

if TYPE_CHECKING:
    from burnish.api import derive, execute, parse, refine
    from burnish.dialects import Parsed
    from burnish.errors import BurnishError
    from burnish.program.derive import Derivation
    from burnish.program.executor import Outcome
    from burnish.program.limits import Limits
    from burnish.schema import Document, Edit, Issue, Record, Status


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'burnish' has no attribute {name!r}")
    value = getattr(import_module(f"burnish.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
