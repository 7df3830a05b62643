"""Reading and writing JSON lines: positions, odd rows, cuts, damage."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.io import jsonl
from burnish.io.rows import RAW_BYTES, Columns, Damage, DamagedFile, LooseRow
from burnish.schema import Document, Rejected


def read(data: bytes, columns: Columns | None = None) -> list[Document | Rejected]:
    lines = jsonl.lines_of_block(data, 0)
    return list(jsonl.read(lines, "x.jsonl", columns or Columns()))


def documents(data: bytes) -> list[Document]:
    rows = read(data)
    assert all(isinstance(row, Document) for row in rows)
    return rows  # type: ignore[return-value]


def reason(line: bytes) -> str:
    (row,) = read(line)
    assert isinstance(row, Rejected)
    return row.reason


def test_lines_end_at_lf_and_tolerate_the_rest():
    data = b'\xef\xbb\xbf{"text":"a"}\r\n\n  \r\n{"text":"b\\u2028\\f"}\n{"text":"c"}'
    assert [(d.text, d.id) for d in documents(data)] == [
        ("a", "x.jsonl:0"),
        ("b\u2028\f", "x.jsonl:22"),
        ("c", "x.jsonl:43"),
    ]


def test_a_raw_line_separator_does_not_end_a_line():
    assert len(documents('{"text":"a\u2028b\x85c"}\n'.encode())) == 1


def test_columns_are_kept_in_their_order():
    (document,) = documents(b'{"z":1,"text":"t","a":{"y":[1,null],"x":2.5}}\n')
    assert list(document.columns) == ["z", "text", "a"]
    assert jsonl.dumps(document.columns) == b'{"z":1,"text":"t","a":{"y":[1,null],"x":2.5}}\n'


@pytest.mark.parametrize(
    "line",
    [
        b'{"text":"\\ud800 alone"}\n',
        b'{"text":"t","n":123456789012345678901234567890}\n',
        b'{"text":"t","n":[{"m":-9223372036854775809}]}\n',
        b'{"text":"t","n":NaN,"m":-Infinity}\n',
        b'{"text":"t","n":18446744073709551615}\n',
    ],
)
def test_values_beyond_orjson_come_back(line: bytes):
    (document,) = documents(line)
    assert jsonl.dumps(document.columns) == line


def test_a_text_that_gains_a_surrogate_is_written():
    assert jsonl.dumps({"text": "\udc00"}) == b'{"text":"\\udc00"}\n'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{broken\n", "not JSON"),
        (b'{"text":"a"}{"text":"b"}\n', "not JSON"),
        (b"[1]\n", "not a JSON object but list"),
        (b'"text"\n', "not a JSON object but str"),
        (b"NaN\n", "not a JSON object but float"),
        (b'{"body":"a"}\n', "no column 'text'"),
        (b'{"text":null}\n', "the column 'text' is null, not a string"),
        (b'{"text":7}\n', "the column 'text' is int, not a string"),
        (b'{"text":"a\xff"}\n', "not UTF-8: byte 10 of the line is 0xff"),
        (b'{"text":"\xed\xa0\x80"}\n', "not UTF-8"),
        (b'{"text":' + b"[" * 100_000 + b"\n", "not usable JSON"),
        (b'{"text":"t","n":' + b"9" * 5000 + b"}\n", "not usable JSON"),
        (b'\xff\xfe{\x00"\x00', "not UTF-8"),
    ],
)
def test_bad_lines_are_rejected_with_a_reason(line: bytes, expected: str):
    assert expected in reason(line)


def test_a_bad_line_costs_no_other():
    rows = read(b'{"text":"a"}\n{bad \xff\n{"text":"b"}\n')
    assert [type(row) for row in rows] == [Document, Rejected, Document]
    assert rows[1] == Rejected("x.jsonl", 13, rows[1].reason, "{bad \\xff\n")  # type: ignore[union-attr]


def test_the_stored_part_of_a_bad_line_is_bounded():
    (row,) = read(b"x" * (RAW_BYTES + 10))
    assert isinstance(row, Rejected)
    assert row.raw == "x" * RAW_BYTES + " [10 more bytes]"


@pytest.mark.parametrize(
    ("line", "column", "expected"),
    [
        (b'{"text":"t","id":"a"}', None, "a"),
        (b'{"text":"t","id":17}', None, "17"),
        (b'{"text":"t","id":null}', None, "x.jsonl:0"),
        (b'{"text":"t","id":{"a":1}}', None, "x.jsonl:0"),
        (b'{"text":"t","url":"u"}', "url", "u"),
    ],
)
def test_ids(line: bytes, column: str | None, expected: str):
    (row,) = read(line, Columns(id=column))
    assert isinstance(row, Document)
    assert row.id == expected


def test_a_named_id_column_must_be_there():
    (row,) = read(b'{"text":"t"}', Columns(id="url"))
    assert isinstance(row, Rejected)
    assert "'url'" in row.reason


def test_rows_that_parquet_can_not_hold_are_rejected_for_it():
    data = b'{"text":"\\ud800"}\n{"text":"t","n":99999999999999999999}\n{"text":"t","n":NaN}\n'
    rows = list(jsonl.read(jsonl.lines_of_block(data, 0), "x", Columns(), arrow=True))
    assert [type(row) for row in rows] == [Rejected, Rejected, Document]
    assert type(rows[2].columns) is LooseRow  # type: ignore[union-attr]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS | st.just("\ud800"), lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=8
)


@given(st.dictionaries(st.text(), VALUES))
def test_any_object_comes_back(row: dict[str, object]):
    line = json.dumps({**row, "text": "t"}).encode()
    (document,) = documents(line)
    assert json.loads(jsonl.dumps(document.columns)) == json.loads(line)
    assert list(document.columns) == list(json.loads(line))


LINES = st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"") + b"\n"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(LINES, st.binary(max_size=5).map(lambda b: b.replace(b"\n", b"")), st.integers(1, 9))
def test_ranges_and_blocks_are_the_same_shards(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], tail: bytes, size: int
):
    data = b"".join(lines) + tail
    folder = tmp_path_factory.mktemp("cuts")
    plain, packed = folder / "x.jsonl", folder / "x.jsonl.zst"
    plain.write_bytes(data)
    packed.write_bytes(zstandard.compress(data))
    count = -(-len(data) // size)
    by_range = [
        list(jsonl.lines_of_range(str(plain), n * size, (n + 1) * size)) for n in range(count)
    ]
    found = list(jsonl.blocks(str(packed), "x", "zst", size))
    by_block = [list(jsonl.lines_of_block(b.data, b.position)) for b in found]
    assert [b.number for b in found] == list(range(count))
    assert by_range == by_block
    assert b"".join(line for shard in by_range for _, line in shard) == data
    assert list(jsonl.lines_of_pieces([data[i : i + 3] for i in range(0, len(data), 3)])) == [
        line for shard in by_range for line in shard
    ]


def rows_until_damage(path: Path, shard_bytes: int = 1000) -> tuple[bytes, Damage | None]:
    compression = path.suffix[1:]
    found = list(jsonl.blocks(str(path), path.name, compression, shard_bytes))
    damages = [block.damage for block in found if block.damage]
    assert len(damages) <= 1
    return b"".join(block.data for block in found), damages[0] if damages else None


DATA = b"".join(
    json.dumps({"text": f"row {n}", "n": n * 7919}).encode() + b"\n" for n in range(500)
)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_whole_archives_of_several_members(tmp_path: Path, suffix: str):
    pack = gzip.compress if suffix == "gz" else zstandard.compress
    path = tmp_path / f"x.{suffix}"
    padding = b"\0" * 512 if suffix == "gz" else b""
    path.write_bytes(pack(DATA[:777]) + pack(b"") + pack(DATA[777:]) + padding)
    assert rows_until_damage(path) == (DATA, None)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_cut_archive_gives_every_whole_row_before_the_cut(tmp_path: Path, suffix: str):
    packed = gzip.compress(DATA) if suffix == "gz" else zstandard.compress(DATA[:4000]) * 2
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(packed[:-20])
    rows, damage = rows_until_damage(path)
    assert damage is not None
    assert "cut short" in damage.reason
    assert rows.endswith(b"\n")
    assert damage.position == len(rows)
    assert len(rows) > 3000


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_corrupt_archive_gives_what_stands_before(tmp_path: Path, suffix: str):
    pack = gzip.compress if suffix == "gz" else zstandard.compress
    first, second = pack(DATA), bytearray(pack(DATA * 3))
    second[40:60] = b"\xff" * 20
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(first + second)
    rows, damage = rows_until_damage(path)
    assert damage is not None
    assert rows.startswith(DATA)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
@pytest.mark.parametrize("content", [b"", b"this is no archive"])
def test_no_archive_at_all(tmp_path: Path, suffix: str, content: bytes):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    rows, damage = rows_until_damage(path)
    assert rows == b""
    assert damage is not None
    with pytest.raises(DamagedFile):
        list(jsonl.decompress(str(path), suffix))


def test_a_number_beyond_floats_does_not_become_infinity():
    assert "1e400 is too large" in reason(b'{"text":"t","n":[1e400]}\n')
    (document,) = documents(b'{"text":"t","n":NaN}\n')
    assert b"NaN" in jsonl.dumps(document.columns)
