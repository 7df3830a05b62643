"""A checkpoint in the form that an engine reads: how it is made, and where it is kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from burnish.errors import RefinerError
from burnish.refiners.checkpoint import TOKENIZER_FILES

SOURCE_FILE = "burnish-source.txt"
"""In an export that an engine made: what the checkpoint was, so that a newer one is exported
again."""

_COPIED = ("config.json", "generation_config.json", *TOKENIZER_FILES)


@contextmanager
def new_export(
    folder: Path, out: Path, model_file: str, note: tuple[str, str] | None
) -> Iterator[Path]:
    """A folder for the export of a checkpoint; afterwards it also holds the checkpoint's
    configuration and tokenizer, and `note`, name and text of one more file.

    It becomes `out` at the end, complete or not at all. `out` is left as it is if another process
    made it, with `model_file`, meanwhile.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{out.name}.", suffix=".part", dir=out.parent))
    try:
        yield part
        for name in _COPIED:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, part / name)
        if note:
            (part / note[0]).write_text(note[1], "utf-8")
        part.chmod(0o755)  # mkdtemp lets nobody else in
        try:
            part.rename(out)
        except OSError:
            if not (out / model_file).is_file():  # else another process was faster
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def kept_export(
    folder: Path, name: str, model_file: str, export: Callable[[Path, tuple[str, str]], None]
) -> Path:
    """The folder itself if it is an export, with `model_file`; else that of the checkpoint in it.

    It is made where there is none, or one of other weights: `export` gets the new folder, and name
    and text of a file to be put into it. Its place is the subfolder `name`, or under
    ~/.cache/burnish if the checkpoint's folder can not be written.

    Raises RefinerError where there is no model, or nothing can be written.
    """
    if (folder / model_file).is_file():
        return folder
    if not (folder / "config.json").is_file():
        raise RefinerError(f"{folder} holds no model: there is no {model_file}, no config.json")
    source = _source(folder)
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    engine = name.partition("-")[0]
    elsewhere = Path.home() / ".cache" / "burnish" / engine / place
    for out in (folder / name, elsewhere / name):
        if _is_export_of(source, out, model_file):
            return out
    out = folder / name
    if not os.access(folder, os.W_OK):
        out = elsewhere / name
    shutil.rmtree(out, ignore_errors=True)  # of an earlier checkpoint
    try:
        export(out, (SOURCE_FILE, source))
    except OSError as error:
        raise RefinerError(f"can not export {folder} to {out}: {error}") from error
    return out


def _source(folder: Path) -> str:
    """What a checkpoint consists of: name, bytes and time of its files, a line each."""
    paths = [*folder.glob("*.safetensors"), folder / "config.json", folder / "tokenizer.json"]
    stats = [(path.name, path.stat()) for path in sorted(paths) if path.is_file()]
    return "".join(f"{name} {stat.st_size} {stat.st_mtime_ns}\n" for name, stat in stats)


def _is_export_of(source: str, out: Path, model_file: str) -> bool:
    try:
        found = (out / SOURCE_FILE).read_text("utf-8")
    except OSError:
        return False
    return found == source and (out / model_file).is_file()
