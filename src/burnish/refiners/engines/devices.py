"""The GPUs that this process may use, found without loading a model library."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NODE = re.compile(r"nvidia(\d+)")


def visible_gpus() -> list[str]:
    """Names of the GPUs as CUDA_VISIBLE_DEVICES takes them; where that is set, its entries."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        entries = [entry.strip() for entry in named.split(",")]
        return [entry for entry in entries if entry and entry != "-1"]
    try:
        found = [_NODE.fullmatch(path.name) for path in Path("/dev").iterdir()]
    except OSError:
        return []
    return [str(n) for n in range(sum(node is not None for node in found))]
