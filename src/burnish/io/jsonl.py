"""JSON lines: plain, .gz and .zst; read by byte range or by block, written row by row.

A line ends at LF. CRLF, a byte order mark at the start of a file, a missing last LF and blank lines
are tolerated. Positions are 0-based byte offsets after decompression.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import orjson
import zstandard

from burnish.errors import InputError
from burnish.io.rows import (
    BadRow,
    Columns,
    Damage,
    DamagedFile,
    LooseRow,
    choose_id,
    choose_text,
    excerpt,
    has_odd_float,
)
from burnish.schema import Document, Rejected

PIECE_BYTES = 256 * 1024
"""How much of a file is read at a time, in bytes before decompression."""
PACKED_PIECE_BYTES = 32 * 1024
"""The same of a compressed file: what comes out may be many times larger."""
HEAD_BYTES = 256 * 1024
"""How much of a file is looked at before a run, in bytes after decompression."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def loads(line: bytes) -> dict[str, Any]:
    """The object on a line; raises BadRow.

    What orjson refuses or would round (integers over 64 bits) is read by the standard library, and
    marked as a `LooseRow`, so that `dumps` writes it back as it came.
    """
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _loads_loosely(line)
    if type(row) is not dict:
        raise BadRow(f"not a JSON object but {type(row).__name__}")
    return _loads_loosely(line) if has_odd_float(row.values()) else row


def _loads_loosely(line: bytes) -> LooseRow:
    try:
        row = json.loads(line.decode("utf-8"), parse_float=_finite)
    except UnicodeDecodeError as error:
        raise BadRow(
            f"not UTF-8: byte {error.start} of the line is 0x{line[error.start]:02x}"
        ) from None
    except json.JSONDecodeError as error:
        raise BadRow(f"not JSON: {error.msg} at character {error.pos} of the line") from None
    except BadRow:
        raise
    except (ValueError, RecursionError) as error:  # digits without end, nesting without end
        raise BadRow(f"not usable JSON: {error}") from None
    if not isinstance(row, dict):
        raise BadRow(f"not a JSON object but {type(row).__name__}")
    return LooseRow(row)


def _finite(digits: str) -> float:
    """The number; raises BadRow where it would become Infinity and could not be written back."""
    number = float(digits)
    if math.isinf(number):
        raise BadRow(f"the number {digits[:40]} is too large")
    return number


def dumps(row: Mapping[str, Any]) -> bytes:
    """The row as one line, LF included; raises TypeError for what JSON can not hold."""
    if type(row) is not LooseRow:
        try:
            return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            pass  # a lone surrogate, an integer over 64 bits, deep nesting: json can, or says why
    return json.dumps(row, separators=(",", ":"), default=_as_orjson).encode() + b"\n"


def _as_orjson(value: Any) -> Any:
    """What orjson makes of a date or a time, so that a row's other values do not decide that."""
    return orjson.loads(orjson.dumps(value))


def read(
    lines: Iterable[tuple[int, bytes]], name: str, columns: Columns, arrow: bool = False
) -> Iterator[Document | Rejected]:
    """Turn lines with their positions into documents, or rejected rows.

    With `arrow`, rows with values that Parquet can not hold are rejected too.
    """
    for position, line in lines:
        if position == 0:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line or line.isspace():
            continue
        origin = f"{name}:{position}"
        try:
            row = loads(line)
            text = choose_text(row, columns)
            identity = choose_id(row, columns, origin)
            if arrow and type(row) is LooseRow:
                _check_fits_arrow(row)
        except BadRow as bad:
            yield Rejected(name, position, str(bad), excerpt(line))
        else:
            yield Document(identity, text, row, origin)


def _check_fits_arrow(value: Any) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadRow("a lone surrogate, which Parquet can not hold") from None
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadRow("an integer over 64 bits, which Parquet can not hold")
    elif isinstance(value, dict):
        for pair in value.items():
            _check_fits_arrow(pair)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_fits_arrow(item)


def check_head(path: str, name: str, compression: str, columns: Columns) -> bool:
    """Look at the first lines of a file; False if none of them is a row.

    Raises InputError if the file is a JSON array, or if no row there has the columns.
    """
    head = bytearray()
    try:
        for piece in decompress(path, compression):
            head += piece
            if len(head) >= HEAD_BYTES:
                del head[head.rfind(b"\n") + 1 or len(head) :]
                break
    except DamagedFile:
        pass  # the run tells
    text = bytes(head).removeprefix(BYTE_ORDER_MARK).lstrip()
    rows = []
    for line in filter(bytes.strip, text.split(b"\n")):
        with suppress(BadRow):
            rows.append(loads(line))
    if text.startswith(b"[") and not (rows and _is_json(text.split(b"\n", 1)[0])):
        raise InputError(f"{name} is a JSON array; write one object a line: jq -c '.[]'")
    for column in filter(None, (columns.text, columns.id)):
        if rows and not any(column in row for row in rows):
            found = list(dict.fromkeys(key for row in rows for key in row))[:20]
            raise InputError(
                f"{name} has no column {column!r}; its columns are {', '.join(found) or 'none'}"
            )
    return bool(rows)


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def lines_of_range(path: str, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a plain file that start in the bytes `start` (inclusive) to `end` (exclusive).

    Reads no more of the file than that range and the rest of its last line.
    """
    try:
        with open(path, "rb", buffering=PIECE_BYTES) as file:
            position = _seek_to_line(file, start, end)
            while position < end:
                line = file.readline()
                if not line:
                    return
                yield position, line
                position += len(line)
    except OSError as error:
        raise InputError(f"can not read {path}: {error.strerror or error}") from error


def _seek_to_line(file: BinaryIO, start: int, end: int) -> int:
    """Place the file at the first line that starts at or after `start`; stop looking at `end`."""
    if start == 0:
        return 0
    position = start - 1
    file.seek(position)
    while position < end:
        part = file.readline(PIECE_BYTES)
        position += len(part)
        if part.endswith(b"\n"):
            return position
        if not part:
            break
    return end


def lines_of_block(data: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a block whose first byte stands at `position` of its stream."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield position + start, data[start:end]
        start = end


def lines_of_pieces(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines of a stream that comes in pieces; an unfinished last line if the stream ends well.

    A DamagedFile passes through after the last whole line.
    """
    position = 0
    open_line: list[bytes] = []
    for piece in pieces:
        start = 0
        while end := piece.find(b"\n", start) + 1:
            line = b"".join((*open_line, piece[start:end]))
            open_line.clear()
            yield position, line
            position += len(line)
            start = end
        if start < len(piece):
            open_line.append(piece[start:])
    if open_line:
        yield position, b"".join(open_line)


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, plain or compressed, that are not blank, numbered from 1.

    Raises InputError, naming the file, where it can not be read to its end.
    """
    compression = path.suffix[1:] if path.suffix in (".gz", ".zst") else ""
    try:
        lines = lines_of_pieces(decompress(str(path), compression))
        for number, (position, line) in enumerate(lines, 1):
            if position == 0:
                line = line.removeprefix(BYTE_ORDER_MARK)
            if line and not line.isspace():
                yield number, line
    except DamagedFile as error:
        raise InputError(f"{path}: {error}") from None


@dataclass(frozen=True, slots=True)
class Block:
    """The lines of a compressed file that start in shard `number`, `position` being their offset.

    `damage` ends the file: it stands for everything after `data`.
    """

    number: int
    position: int
    data: bytes
    damage: Damage | None = None


def blocks(
    path: str, name: str, compression: str, shard_bytes: int, stop: int | None = None
) -> Iterator[Block]:
    """Cut a compressed file, decompressed once, into the blocks of its shards, empty ones included.

    The cuts are those of `lines_of_range` over the plain file. `stop` ends the stream early; it is
    the offset of a line's start.
    """
    buffer = bytearray()
    base = number = 0  # offset of the buffer's first byte; the shard that it belongs to
    searched = 0  # bytes of the buffer known to hold no cut
    damage = None
    pieces = decompress(path, compression)
    try:
        for piece in pieces:
            buffer += piece
            ended = stop is not None and base + len(buffer) >= stop
            if ended:
                del buffer[cast(int, stop) - base :]
            while (last := (number + 1) * shard_bytes - 1 - base) < len(buffer):
                cut = buffer.find(b"\n", max(last, searched)) + 1
                if not cut:
                    searched = len(buffer)
                    break
                yield Block(number, base, bytes(memoryview(buffer)[:cut]))
                del buffer[:cut]
                base, searched = base + cut, 0
                for empty in range(number + 1, base // shard_bytes):
                    yield Block(empty, base, b"")
                number = base // shard_bytes
            if ended:
                break
    except DamagedFile as error:
        whole = buffer.rfind(b"\n") + 1
        damage = Damage(name, base + whole, str(error), excerpt(bytes(buffer[whole:])))
        del buffer[whole:]
    if buffer or damage:
        yield Block(number, base, bytes(buffer), damage)
        number += 1
    for empty in range(number, -(-(base + len(buffer)) // shard_bytes)):
        yield Block(empty, base + len(buffer), b"")


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gz": lambda: zlib.decompressobj(wbits=31),
    "zst": lambda: zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj(),
}


def decompress(path: str, compression: str) -> Iterator[bytes]:
    """The bytes of a file, in pieces; `compression` is "gz", "zst" or "" for none.

    Files of several members or frames are read through. Raises DamagedFile after the last byte that
    can be had, InputError if the file can not be read at all.
    """
    try:
        with open(path, "rb") as file:
            if compression:
                yield from _decompress(file, _DECOMPRESSORS[compression])
            else:
                while piece := file.read(PIECE_BYTES):
                    yield piece
    except OSError as error:
        raise InputError(f"can not read {path}: {error.strerror or error}") from error


def decompress_head(path: str, compression: str, most: int) -> tuple[bytes, int, bool]:
    """The whole lines at the start of a compressed file: `most` bytes after decompression, and what
    the last piece brings more; how many bytes on disk they took, about; and whether they are all
    that there is.

    What is behind a damage does not count. Raises InputError if the file can not be read at all.
    """
    head = bytearray()
    ended = True
    try:
        with open(path, "rb") as file:
            try:
                for piece in _decompress(file, _DECOMPRESSORS[compression]):
                    head += piece
                    if len(head) >= most:
                        ended = False
                        break
            except DamagedFile:
                pass  # the run tells
            packed = file.tell()
    except OSError as error:
        raise InputError(f"can not read {path}: {error.strerror or error}") from error
    if not ended:
        del head[head.rfind(b"\n") + 1 :]
    return bytes(head), packed, ended


def _decompress(file: BinaryIO, new: Callable[[], _Decompressor]) -> Iterator[bytes]:
    decompressor: _Decompressor | None = None
    frame = produced = offset = 0  # the frame's start, its bytes so far, the start of `piece`
    while piece := file.read(PACKED_PIECE_BYTES):
        while piece:
            if decompressor is None:
                if offset and not piece.strip(b"\0"):
                    offset += len(piece)  # zeros after the last member pad a tape or disk block
                    break
                decompressor, frame, produced = new(), offset, 0
            try:
                out = decompressor.decompress(piece)
            except (zlib.error, zstandard.ZstdError) as error:
                yield _salvage(file, new(), frame, offset, produced)
                raise DamagedFile(f"the archive is damaged near byte {offset}: {error}") from None
            if out:
                yield out
            produced += len(out)
            rest = decompressor.unused_data if decompressor.eof else b""
            offset += len(piece) - len(rest)
            piece = rest
            if decompressor.eof:
                decompressor = None
    if decompressor is not None or offset == 0:
        raise DamagedFile(f"the archive is cut short: it ends at byte {offset}")


def _salvage(
    file: BinaryIO, decompressor: _Decompressor, frame: int, offset: int, produced: int
) -> bytes:
    """What a frame holds between its first `produced` bytes and its damage.

    A decompressor that fails keeps the output of its last piece to itself, so the frame is read
    again, the piece at `offset` byte by byte.
    """
    file.seek(frame)
    while frame < offset:
        piece = file.read(min(PACKED_PIECE_BYTES, offset - frame))
        produced -= len(decompressor.decompress(piece))
        frame += len(piece)
    out = bytearray()
    try:
        for byte in file.read(PACKED_PIECE_BYTES):
            out += decompressor.decompress(bytes((byte,)))
    except (zlib.error, zstandard.ZstdError):
        pass
    return bytes(out[max(produced, 0) :])
