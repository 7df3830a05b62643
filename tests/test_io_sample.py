"""A small sample of a large input: the same each time, fair, and without reading everything."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from burnish.errors import InputError
from burnish.io import jsonl, sample
from burnish.io.rows import Columns
from burnish.io.sample import draw

ROWS = 3_000


def made(count: int = ROWS, seed: int = 1) -> list[dict[str, object]]:
    """Rows of very different lengths; one in three is of the kind "a"."""
    chance = random.Random(seed)
    return [
        {"id": f"r{n}", "text": "x" * int(chance.lognormvariate(5, 1)), "kind": "abc"[n % 3]}
        for n in range(count)
    ]


def lines(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write(folder: Path, form: str, rows: list[dict[str, object]]) -> Path:
    path = folder / f"x.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=500)
    else:
        pack = {"jsonl": bytes, "jsonl.gz": gzip.compress, "jsonl.zst": zstandard.compress}[form]
        path.write_bytes(pack(lines(rows)))
    return path


def test_rows_that_are_none_and_damage_are_told(tmp_path: Path) -> None:
    whole, cut = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    whole.write_bytes(b"no json\n" + lines(made(10)))
    cut.write_bytes(gzip.compress(lines(made(900)))[:4_000])
    found = draw((whole, cut), 2_000)
    assert (found.rejected, found.damaged, found.places) == (
        1, ("b.jsonl.gz",), ("all rows that can be read",)
    )  # fmt: skip
    assert 10 < found.documents < 910


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
@pytest.mark.parametrize("whole", [True, False])
def test_it_is_the_same_each_time_and_tells_the_size(
    tmp_path: Path, form: str, whole: bool
) -> None:
    rows = made()
    path = write(tmp_path, form, rows)
    most = sample.READ_WHOLE_BYTES if whole else 0
    found = draw((path,), 400, read_whole_bytes=most)
    again = draw((path,), 400, read_whole_bytes=most)
    assert [each.document.id for each in found.drawn] == [e.document.id for e in again.drawn]
    assert found.whole == whole
    assert len({each.document.id for each in found.drawn}) == len(found.drawn)
    assert 400 <= len(found.drawn) <= 420
    size = sum(len(str(row["text"])) for row in rows)
    assert found.documents == pytest.approx(ROWS, rel=0 if whole else 0.2)
    assert found.text_bytes == pytest.approx(size, rel=0 if whole else 0.2)
    assert sum(each.weight for each in found.drawn) == pytest.approx(found.documents)
    assert found.places
    by_id = {row["id"]: row for row in rows}
    for each in found.drawn:
        assert dict(each.document.columns) == by_id[each.document.id]


def test_windows_draw_long_and_short_rows_alike(tmp_path: Path) -> None:
    """Rows are drawn by where they begin, so that long ones are not preferred."""
    rows = made(20_000)
    found = draw((write(tmp_path, "jsonl", rows),), 4_000, read_whole_bytes=0)
    long = [row for row in rows if len(str(row["text"])) > 400]
    share = sum(len(each.document.text) > 400 for each in found.drawn) / len(found.drawn)
    assert share == pytest.approx(len(long) / len(rows), abs=0.025)
    assert len({each.part for each in found.drawn}) > 400


def test_only_the_places_of_the_sample_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "jsonl", made(40_000))
    read = 0
    whole = jsonl.lines_of_range

    def counting(path: str, start: int, end: int):  # type: ignore[no-untyped-def]
        nonlocal read
        for position, line in whole(path, start, end):
            read += len(line)
            yield position, line

    monkeypatch.setattr(jsonl, "lines_of_range", counting)
    found = draw((path,), 300, read_whole_bytes=0)
    assert len(found.drawn) >= 300
    assert read < path.stat().st_size / 20


def test_a_compressed_file_is_read_from_its_start_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "WINDOW_BYTES", (2 << 10, 64 << 10))
    monkeypatch.setattr(sample, "HEADS_BYTES", 64 << 10)
    chance = random.Random(5)
    rows = [{"id": f"r{n}", "text": chance.randbytes(150).hex()} for n in range(20_000)]
    found = draw((write(tmp_path, "jsonl.gz", rows),), 200, read_whole_bytes=0)
    numbers = [int(each.document.id[1:]) for each in found.drawn]
    assert max(numbers) < 1_000
    assert "from their start" in found.places[0]
    assert found.documents == pytest.approx(len(rows), rel=0.1)


def test_kinds_of_files_are_weighed_by_what_they_hold(tmp_path: Path) -> None:
    write(tmp_path, "jsonl", made(4_000, seed=1))
    (tmp_path / "y").mkdir()
    write(tmp_path / "y", "parquet", made(1_000, seed=2))
    found = draw((tmp_path,), 500, read_whole_bytes=0)
    of_parquet = sum(e.weight for e in found.drawn if "parquet" in e.document.origin)
    assert of_parquet == pytest.approx(1_000, rel=0.1)
    assert found.documents == pytest.approx(5_000, rel=0.2)
    assert len(found.places) == 2


def test_rows_that_are_no_documents_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text":"a"}\nnonsense\n{"text":1}\n\n{"text":"b"}\n')
    for most in (0, sample.READ_WHOLE_BYTES):
        found = draw((path,), 10, read_whole_bytes=most)
        assert [each.document.text for each in found.drawn] == ["a", "b"]
        assert found.rejected == 2


def test_a_limit_and_columns_count(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(b'{"body":"%d"}\n' % n for n in range(50)))
    found = draw((path,), 100, Columns("body"), limit=20)
    assert [each.document.text for each in found.drawn] == [str(n) for n in range(20)]
    with pytest.raises(InputError, match="no column 'text'"):
        draw((path,), 100)


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").touch()
    for most in (0, sample.READ_WHOLE_BYTES):
        assert draw((tmp_path / "x.jsonl",), 5, read_whole_bytes=most).drawn == ()
