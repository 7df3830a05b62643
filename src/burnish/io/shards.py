"""Cut inputs into shards: parts of files, the same whatever the number of workers.

A shard of JSONL is the set of lines that start in a byte range of the decompressed stream, so
`x.jsonl` and `x.jsonl.zst` have the same shards; a shard of Parquet is a range of rows. The plan
depends on the inputs, the limit and the shard size alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from burnish.errors import InputError, UsageError
from burnish.io import jsonl, parquet
from burnish.io.rows import Columns, DamagedFile

MIB = 1024 * 1024
MIN_SHARD_BYTES, MAX_SHARD_BYTES = MIB, 64 * MIB
"""Bounds of the default shard size. A worker holds a whole shard only of compressed JSONL."""
SHARDS_OF_RUN = 512
"""About how many shards an input makes between these bounds."""

SUFFIXES = {
    f".{word}{suffix}": ("jsonl", suffix[1:])
    for word in ("jsonl", "ndjson", "json")
    for suffix in ("", ".gz", ".zst")
} | {".parquet": ("parquet", "")}
"""Suffix -> (format, compression)."""

COMPRESSION_RATIO = 3
"""Bytes of text per byte of a compressed file or Parquet file, for the default shard size only."""

MARK_OF_RUN = os.path.join("manifest", "settings.json")
"""A folder with this file is the output of a run."""

FINGERPRINT_BYTES = 64 * 1024
"""How much of the head and of the tail of a file its fingerprint covers."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One input file.

    `name` is the path relative to the inputs' common folder; `size` counts bytes on disk; `stop`,
    if not None, is where a limited run ends in it: a byte offset or a row, exclusive.
    """

    index: int
    path: str
    name: str
    format: str
    compression: str
    size: int
    fingerprint: str
    stop: int | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` of file `file`, both 0-based: bytes or rows `start` to `end` (exclusive)."""

    file: int
    number: int
    start: int
    end: int

    @property
    def name(self) -> str:
        return shard_name(self.file, self.number)


def shard_name(file: int, number: int) -> str:
    """The name of a shard's part files, without suffix; names sort in input order."""
    return f"{file:05d}-{number:05d}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All files of a run, and how large their shards are, in bytes of text as stored."""

    files: tuple[InputFile, ...]
    shard_bytes: int
    rows: dict[int, tuple[tuple[int, int], ...]]
    """File index -> row ranges, for Parquet."""

    def shard(self, file: InputFile, number: int) -> Shard:
        if file.format == "parquet":
            return Shard(file.index, number, *self.rows[file.index][number])
        start = number * self.shard_bytes
        end = start + self.shard_bytes
        return Shard(file.index, number, start, end if file.stop is None else min(end, file.stop))

    def count(self, file: InputFile) -> int | None:
        """How many shards the file has; None for a compressed file, which must be read to know."""
        if file.format == "parquet":
            return len(self.rows[file.index])
        if file.compression:
            return None
        size = file.size if file.stop is None else min(file.size, file.stop)
        return -(-size // self.shard_bytes)


def plan(
    inputs: Sequence[str | Path],
    shard_bytes: int | None = None,
    limit: int | None = None,
    columns: Columns | None = None,
    exclude: Path | None = None,
) -> Plan:
    """Find the input files and cut them into shards.

    `limit` keeps the first rows, in the order of the inputs; blank lines do not count. The folder
    `exclude`, where the output goes, is left out if it lies within an input folder, and so are the
    folders of other runs. Raises
    InputError for a path that is missing, can not be read or has an unknown suffix, and if no row
    that a look at the first file finds has the columns.
    """
    columns = columns or Columns()
    if shard_bytes is not None and shard_bytes < 1:
        raise UsageError(f"the shard size is at least 1 byte, got {shard_bytes}")
    if limit is not None and limit < 1:
        raise UsageError(f"the limit is at least 1 row, got {limit}")
    files = _find_files(inputs, exclude)
    for file in files:
        if file.format == "jsonl" and jsonl.check_head(
            file.path, file.name, file.compression, columns
        ):
            break
    size = shard_bytes or default_shard_bytes(files)
    rows: dict[int, tuple[tuple[int, int], ...]] = {}
    limited: list[InputFile] = []
    left = limit
    for file in files:
        if left == 0:
            break
        if file.format == "parquet":
            ranges = parquet.row_ranges(file.path, file.name, columns, size)
            if left is not None:
                rows_left = min(left, ranges[-1][1]) if ranges else 0
                ranges = [r for r in ranges if r[0] < rows_left or r == (0, 0)]
                ranges = [(start, min(end, rows_left)) for start, end in ranges]
                left -= rows_left
                file = replace(file, stop=rows_left)
            rows[file.index] = tuple(ranges)
        elif left is not None:
            stop, found = _limit_lines(file, left)
            left -= found
            file = replace(file, stop=stop)
        limited.append(file)
    return Plan(tuple(limited), size, rows)


def default_shard_bytes(files: Sequence[InputFile]) -> int:
    """A 512th of the text, between 1 MiB and 64 MiB, in whole MiB."""
    total = sum(
        file.size * (COMPRESSION_RATIO if file.compression or file.format == "parquet" else 1)
        for file in files
    )
    return min(max(total // SHARDS_OF_RUN // MIB * MIB, MIN_SHARD_BYTES), MAX_SHARD_BYTES)


def _limit_lines(file: InputFile, limit: int) -> tuple[int | None, int]:
    """Where the first `limit` rows of a JSONL file end, None at its end; and how many there are."""
    found = 0
    try:
        for position, line in jsonl.lines_of_pieces(jsonl.decompress(file.path, file.compression)):
            if position == 0:
                line = line.removeprefix(jsonl.BYTE_ORDER_MARK)
            if line and not line.isspace():
                if found == limit:
                    return position, found
                found += 1
    except DamagedFile:
        pass  # the damage is part of the limited run too, and told by it
    return None, found


def _find_files(inputs: Sequence[str | Path], exclude: Path | None) -> list[InputFile]:
    if not inputs:
        raise UsageError("no inputs")
    paths: list[Path] = []
    roots: list[str] = []
    for given in inputs:
        path = Path(os.path.abspath(given))
        if path.is_dir():
            if (path / MARK_OF_RUN).exists():
                raise InputError(f"{given} is the output of a run; give {given}/documents")
            roots.append(str(path))
            found = sorted(_walk(path, exclude), key=lambda p: p.relative_to(path).parts)
            if not found:
                raise InputError(f"no input in the folder {given}; {_known()}")
            paths += found
        elif not path.exists():
            raise InputError(f"there is no file or folder {given}")
        elif suffix_of(path) is None:
            raise InputError(f"unknown kind of file: {given}; {_known()}")
        else:
            roots.append(str(path.parent))
            paths.append(path)
    root = os.path.commonpath(roots)
    return [_describe(index, path, root) for index, path in enumerate(dict.fromkeys(paths))]


def _known() -> str:
    return f"known suffixes are {', '.join(SUFFIXES)}"


def suffix_of(path: Path) -> str | None:
    """The known suffix that the file name ends with, if any."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def _walk(folder: Path, exclude: Path | None) -> Iterator[Path]:
    left_out = exclude and os.path.abspath(exclude)

    def refuse(error: OSError) -> None:
        raise InputError(f"can not read {error.filename}: {error.strerror}") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and os.path.join(parent, name) != left_out
            and not os.path.exists(os.path.join(parent, name, MARK_OF_RUN))
        ]
        for name in names:
            path = Path(parent, name)
            if not name.startswith(".") and suffix_of(path) and path.is_file():
                yield path


def _describe(index: int, path: Path, root: str) -> InputFile:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.blake2b(file.read(FINGERPRINT_BYTES), digest_size=12)
            file.seek(max(0, size - FINGERPRINT_BYTES))
            digest.update(file.read(FINGERPRINT_BYTES))
    except OSError as error:
        raise InputError(f"can not read {path}: {error.strerror or error}") from error
    suffix = suffix_of(path)
    assert suffix is not None
    name = path.relative_to(root).as_posix()
    return InputFile(index, str(path), name, *SUFFIXES[suffix], size, digest.hexdigest())
