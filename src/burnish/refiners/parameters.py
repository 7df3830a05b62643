"""How many parameters a model has without its embeddings: the N of what a token costs."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

_EMBEDDINGS = ("embed", "lm_head", "wte", "wpe")
_LONGEST_HEADER = 100 << 20  # bytes; the format's own bound


def parameters_without_embeddings(folder: Path) -> int | None:
    """The numbers in all tensors of the folder's safetensors files but embeddings and the last
    projection to the vocabulary; None where there are no such files or they can not be read."""
    total = 0
    files = sorted(folder.glob("*.safetensors"))
    try:
        for path in files:
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                if size > _LONGEST_HEADER:
                    return None
                header = json.loads(file.read(size))
            for name, tensor in header.items():
                if name != "__metadata__" and not any(word in name for word in _EMBEDDINGS):
                    total += prod(tensor["shape"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return total if files else None
