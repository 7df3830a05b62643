"""The files of a folder of labels, as `burnish annotate` writes it, and how they are called.

JSON Lines, plain or compressed, with one row a line:

    train, dev, …           documents: text, scores, keep or drop, critiques of each annotator
    chunks_train, …         windows of documents: lines with labels and kinds, edits, programs
    rejected                answers of the teacher that are no labels
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from burnish.errors import InputError

DOCUMENT, CHUNK, REJECTED = "document", "chunk", "rejected"

_KINDS = (DOCUMENT, CHUNK, REJECTED)
_SPLITS = ("train", "dev", "test")
_CHUNKS = "chunks_"
_SUFFIXES = (".jsonl.zst", ".jsonl.gz", ".jsonl")


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One file of labels; `kind` is DOCUMENT, CHUNK or REJECTED, `split` empty for the last."""

    path: Path
    kind: str
    split: str = ""


def is_split_name(name: str) -> bool:
    """Whether a split may be called so: a plain name, and that of no other file of the folder."""
    return re.fullmatch(rf"(?!{_CHUNKS}|(?:{REJECTED}|sample)$)\w[\w-]*", name) is not None


def label_file(folder: Path, kind: str, split: str = "") -> LabelledFile:
    """The file that labels of a kind are written to, compressed."""
    name = {DOCUMENT: split, CHUNK: f"{_CHUNKS}{split}", REJECTED: REJECTED}[kind]
    return LabelledFile(folder / f"{name}{_SUFFIXES[0]}", kind, split)


def labelled_files(folder: Path, split: str | None = None) -> list[LabelledFile]:
    """The files of labels in a folder, documents first and rejected rows last.

    A file of documents is known by the name of a split: train, dev, test, `split`, or one that has
    windows. Raises InputError if there is no file of labels.
    """
    named = {path: _stem(path) for path in sorted(folder.glob("*.jsonl*")) if _stem(path)}
    splits = [*_SPLITS, *filter(None, [split])]
    splits += [name.removeprefix(_CHUNKS) for name in named.values() if name.startswith(_CHUNKS)]
    files = []
    for path, name in named.items():
        if name == REJECTED:
            files.append(LabelledFile(path, REJECTED))
        elif name.startswith(_CHUNKS):
            files.append(LabelledFile(path, CHUNK, name.removeprefix(_CHUNKS)))
        elif name in splits:
            files.append(LabelledFile(path, DOCUMENT, name))
    if not files:
        what = "holds no labelled documents" if folder.is_dir() else "is not a folder"
        raise InputError(
            f"{folder} {what}: expected a folder with train.jsonl.zst, chunks_train.jsonl.zst or "
            "rejected.jsonl.zst, as burnish annotate writes it (see burnish annotate --help)"
        )
    return sorted(
        files, key=lambda file: (_KINDS.index(file.kind), splits.index(file.split or "train"))
    )


def _stem(path: Path) -> str:
    """The name of a JSONL file without its endings; empty for another file."""
    suffix = next((s for s in _SUFFIXES if path.name.endswith(s)), None)
    return path.name.removesuffix(suffix) if suffix else ""
