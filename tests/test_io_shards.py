"""Finding inputs and cutting them."""

from __future__ import annotations

import gzip
import os
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from burnish.errors import InputError, UsageError
from burnish.io import parquet
from burnish.io.rows import Columns, Damage
from burnish.io.shards import MIB, plan
from burnish.schema import Document, Rejected

LINE = b'{"text":"t"}\n'


def test_folders_are_searched_by_suffix_in_sorted_order(tmp_path: Path):
    for name in ("b/x.jsonl", "a.ndjson", "c.json.gz", "README.md", ".hidden.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(LINE)
    found = plan([tmp_path, tmp_path / "a.ndjson"])
    assert [f.name for f in found.files] == ["a.ndjson", "b/x.jsonl", "c.json.gz"]
    assert [f.compression for f in found.files] == ["", "", "gz"]


def test_names_are_relative_to_the_common_folder(tmp_path: Path):
    for name in ("one/x.jsonl", "two/x.jsonl"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(LINE)
    names = [f.name for f in plan([tmp_path / "two" / "x.jsonl", tmp_path / "one"]).files]
    assert names == ["two/x.jsonl", "one/x.jsonl"]


def test_inputs_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "x.txt").write_bytes(b"")
    with pytest.raises(InputError, match=r"known suffixes are .*\.parquet"):
        plan([tmp_path / "x.txt"])
    with pytest.raises(InputError, match="no input in the folder"):
        plan([tmp_path])
    with pytest.raises(InputError, match="there is no file"):
        plan([tmp_path / "y.jsonl"])
    with pytest.raises(UsageError):
        plan([])
    path = tmp_path / "z.jsonl"
    path.write_bytes(LINE)
    path.chmod(0)
    if os.geteuid():  # root reads everything
        with pytest.raises(InputError, match="can not read"):
            plan([path])


def test_the_default_shard_size_depends_on_the_input_alone(tmp_path: Path):
    path = tmp_path / "x.jsonl"
    for size, expected in ((10, MIB), (1100 * MIB, 2 * MIB), (90_000 * MIB, 64 * MIB)):
        with path.open("wb") as file:
            file.truncate(size)
        assert plan([path]).shard_bytes == expected
    path.unlink()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_limit_ends_after_that_many_rows(tmp_path: Path, pack):
    suffix = "" if pack is bytes else ".gz"
    first, second = tmp_path / f"a.jsonl{suffix}", tmp_path / f"b.jsonl{suffix}"
    first.write_bytes(pack(b"\n" + LINE + b"{bad\n"))
    second.write_bytes(pack(LINE * 5))
    assert [f.stop for f in plan([tmp_path], limit=1).files] == [1 + len(LINE)]
    assert [f.stop for f in plan([tmp_path], limit=4).files] == [None, 2 * len(LINE)]
    assert [f.stop for f in plan([tmp_path], limit=99).files] == [None, None]


def write_parquet(path: Path, texts: list[str | None], group: int = 10) -> None:
    table = pa.table({"text": texts, "n": list(range(len(texts)))})
    pq.write_table(table, path, row_group_size=group)


def test_parquet_ranges_join_small_groups_and_divide_large_ones(tmp_path: Path):
    path = tmp_path / "x.parquet"
    write_parquet(path, [f"{n} " * 50 for n in range(100)])
    for size in (1, 700, 10**6):
        ranges = parquet.row_ranges(str(path), "x", Columns(), size)
        assert ranges[0][0] == 0
        assert ranges[-1][1] == 100
        assert all(a[1] == b[0] for a, b in pairwise(ranges))
        rows = [
            row.columns["n"]
            for start, end in ranges
            for row in parquet.read(str(path), "x", start, end, Columns())
            if isinstance(row, Document)
        ]
        assert rows == list(range(100))
    assert len(parquet.row_ranges(str(path), "x", Columns(), 1)) == 100
    assert len(parquet.row_ranges(str(path), "x", Columns(), 10**6)) == 1


def test_a_parquet_limit_counts_rows(tmp_path: Path):
    write_parquet(tmp_path / "a.parquet", ["a"] * 25)
    write_parquet(tmp_path / "b.parquet", ["b"] * 25)
    found = plan([tmp_path], limit=33, shard_bytes=1)
    assert found.rows[0][-1][1] == 25
    assert found.rows[1][-1][1] == 8


def test_parquet_rows_and_rejected_rows(tmp_path: Path):
    path = tmp_path / "x.parquet"
    write_parquet(path, ["a", None, ""])
    first, second, third = parquet.read(str(path), "x", 0, 3, Columns())
    assert isinstance(first, Document)
    assert (first.id, dict(first.columns)) == ("x:0", {"text": "a", "n": 0})
    assert isinstance(second, Rejected)
    assert (second.position, second.raw) == (1, '{"text": null, "n": 1}')
    assert isinstance(third, Document)


def test_invalid_utf8_in_parquet_is_rejected_alone(tmp_path: Path):
    raw = pa.array([b"good", b"bad \xff", b"fine"])
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"text": text}), tmp_path / "x.parquet")
    rows = list(parquet.read(str(tmp_path / "x.parquet"), "x", 0, 3, Columns()))
    assert [type(row) for row in rows] == [Document, Rejected, Document]


def test_a_parquet_file_without_the_text_column_is_refused_at_once(tmp_path: Path):
    write_parquet(tmp_path / "x.parquet", ["a"])
    with pytest.raises(InputError, match="no column 'body'; its columns are text, n"):
        plan([tmp_path], columns=Columns("body"))


@pytest.mark.parametrize("how", ["cut", "corrupt"])
def test_damaged_parquet_gives_a_damage_row(tmp_path: Path, how: str):
    path = tmp_path / "x.parquet"
    write_parquet(path, [f"{n} words" * 20 for n in range(100)])
    data = bytearray(path.read_bytes())
    if how == "cut":
        del data[-30:]
    else:
        offset = pq.read_metadata(path).row_group(5).column(0).dictionary_page_offset
        data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    rows = [
        row
        for start, end in parquet.row_ranges(str(path), "x", Columns(), 10**6)
        for row in parquet.read(str(path), "x", start, end, Columns())
    ]
    (damage,) = (row for row in rows if isinstance(row, Damage))
    assert "damaged" in damage.reason
    if how == "corrupt":  # the other row groups are all there
        assert "rows 50 to 59 are lost" in damage.reason
        assert len(rows) == 91


def test_two_columns_of_one_name_are_refused(tmp_path: Path):
    table = pa.table([["a"], ["b"], [1]], names=["text", "text", "n"])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"x\.parquet has several columns 'text'"):
        plan([tmp_path])


def test_the_output_of_a_run_is_no_input(tmp_path: Path):
    (tmp_path / "out" / "manifest").mkdir(parents=True)
    (tmp_path / "out" / "manifest" / "settings.json").write_text("{}")
    (tmp_path / "out" / "a.jsonl").write_bytes(LINE)
    (tmp_path / "b.jsonl").write_bytes(LINE)
    assert [file.name for file in plan([tmp_path]).files] == ["b.jsonl"]
    with pytest.raises(InputError, match=r"is the output of a run; give .*/documents"):
        plan([tmp_path / "out"])


@pytest.mark.parametrize(
    ("data", "columns", "message"),
    [
        (b'{bad\n{"body":"a","n":1}\n', Columns(), "no column 'text'; its columns are body, n"),
        (b'{"text":"a"}\n', Columns(id="url"), "no column 'url'; its columns are text"),
        (b'[{"text":"a"}]', Columns(), "JSON array"),
        (b'[\n{"text":"a"},\n{"text":"b"}\n]\n', Columns(), "JSON array"),
    ],
)
def test_a_look_at_the_first_rows(tmp_path: Path, data: bytes, columns: Columns, message: str):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(InputError, match=message):
        plan([tmp_path], columns=columns)


@pytest.mark.parametrize("data", [b'[1]\n{"text":"a"}\n', b'{"n":1}\n{"text":"a"}\n', b"{bad\n"])
def test_a_look_lets_odd_rows_pass(tmp_path: Path, data: bytes):
    (tmp_path / "x.jsonl").write_bytes(data)
    assert plan([tmp_path]).files
