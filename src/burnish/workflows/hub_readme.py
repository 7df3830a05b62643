"""The page that the hub shows of a refiner or of labels: README.md with its header in YAML.

JSON is YAML, so the header's values are written as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from burnish.io.labels import CHUNK, LabelledFile
from burnish.spec import HUB, RefinerCard, leaves

OURS = (
    "# Made by burnish push, and made anew by the next one; remove this line to keep your changes."
)
"""A line of the header of a page that nobody has written by hand."""

_LICENCES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0",
    "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "gpl-3.0", "odc-by", "odbl", "openrail", "unlicense",
)  # fmt: skip
"""What the hub knows of them by name; it refuses a header with a name that it does not know."""

_KINDS = {
    "tagger": "a small network that labels each line and scores documents, on a CPU",
    "causal": "a language model that writes programs",
}


def refiner_page(card: RefinerCard, name: str) -> str:
    """The page of the refiner organisation/name."""
    base = str(card.notes.get("base", ""))
    header = {
        **_licence(card.notes.get("license", card.notes.get("licence"))),
        "library_name": "burnish",
        "tags": ["burnish", "data-refinement", card.kind],
        **({"base_model": base.removeprefix(HUB)} if base.startswith(HUB) else {}),
    }
    extra = "hub" if card.kind == "tagger" else "transformers,hub"
    stages = [
        (stage, spec.dialect, _told(spec.window), _told(spec.keep_threshold))
        for stage, spec in card.stages.items()
    ]
    measures = [(".".join(path), _told(value)) for path, value in leaves(card.metrics) if path]
    made_of = [("/".join(PurePosixPath(n).parts[-2:]), str(d)[:12]) for n, d in card.data.items()]
    notes = [
        f"{key.replace('_', ' ').capitalize()}: {value}"
        for key, value in card.notes.items()
        if isinstance(value, str) and not (key == "base" and not value.startswith(HUB))
    ]
    return _page(
        header,
        f"# {card.name}",
        f"{card.name} {card.version} is a refiner for burnish: {_KINDS.get(card.kind, card.kind)}. "
        "burnish turns raw web text into pre-training text: for each document a refiner writes a "
        "small program, which an executor runs, so that every change is recorded, limited, and can "
        "be undone.",
        "## How to use it",
        f"```text\npip install 'burnish[{extra}]'\n"
        f"burnish refine pages.jsonl --output out --refiner {HUB}{name}\n```",
        "## Stages",
        _table(("stage", "dialect", "window", "keep threshold"), stages),
        *(("## Measures", _table(("measure", "value"), measures)) if measures else ()),
        *(("## Made from", _table(("file", "SHA-256"), made_of)) if made_of else ()),
        *(("## Notes", *notes) if notes else ()),
    )


def labels_page(text: str, card: Mapping[str, Any], files: Iterable[LabelledFile]) -> str:
    """The page of labels: what `burnish annotate` wrote, under a header that keeps documents and
    windows apart."""
    configurations: dict[str, list[dict[str, str]]] = {}
    for file in files:
        if file.split:
            split = file.split.replace("-", "_")  # as the hub's viewer wants it
            configurations.setdefault("windows" if file.kind == CHUNK else "documents", []).append(
                {"split": split, "path": file.path.name}
            )
    header = {
        **_licence(card["licence"]["labels"]),
        "tags": ["burnish", "data-refinement"],
        "configs": [
            {"config_name": name, "data_files": found} for name, found in configurations.items()
        ],
    }
    return _page(header, text.strip())


def _licence(stated: Any) -> dict[str, str]:
    """The licence as the hub wants it; nothing where none is known."""
    if not isinstance(stated, str) or not stated or stated == "not stated":
        return {}
    name = re.sub(r"[^a-z0-9.]+", "-", stated.lower()).strip("-")
    return {"license": name} if name in _LICENCES else {"license": "other", "license_name": name}


def _page(header: Mapping[str, Any], *parts: str) -> str:
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()]
    return "\n".join(["---", OURS, *lines, "---", ""]) + "\n" + "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value))
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
