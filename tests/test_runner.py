"""Whole runs: what is written, what is refused, what survives."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import runner_jobs
import zstandard

from burnish.errors import (
    InputError,
    MissingExtra,
    OutputError,
    RefinerError,
    SettingsChanged,
    UsageError,
    WorkerDied,
)
from burnish.io import jsonl, output
from burnish.io.output import read_part, read_rejected, read_run
from burnish.runner.base import Job, Progress, Summary
from burnish.runner.local import run
from burnish.runner.manifest import Manifest
from burnish.schema import Edit, revert_edits, text_hash
from burnish.workflows.restore import restore, write_restored

FORMATS = ("jsonl.zst", "parquet")
WORDS = ("keep", "edit\n\n", "drop", "fail", "")
ROWS = [
    {
        "url": f"u{n}",
        "text": f"{WORDS[n % 5]} {n} " + "word " * (n % 11),
        "n": n,
        "tags": ["a", "b"],
    }
    for n in range(120)
]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines(ROWS))
    return path


def job(source: Path, **changes: Any) -> Job:
    settings: dict[str, Any] = {
        "inputs": (source,),
        "output": source.parent / "out",
        "factory": runner_jobs.deciding,
        "shard_bytes": 1000,
    }
    return Job(**{**settings, **changes})


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("timing") and path.parent.name != ".locks"
    }


def rows_in(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [row for path in output.parts_of(folder, kind) for row in read_part(path)]


@pytest.mark.parametrize("form", FORMATS)
def test_every_row_is_in_one_folder_and_comes_back(source: Path, form: str):
    out = source.parent / "out"
    summary = run(job(source, format=form))
    assert (summary.documents, summary.kept, summary.edited) == (120, 48, 24)
    assert (summary.dropped, summary.failed, summary.rejected) == (24, 24, 0)
    assert summary.removed_lines == 48
    assert summary.text_bytes == sum(len(row["text"].encode()) for row in ROWS)
    assert summary.reasons == {"s": {"low score": 24, "no program": 24}}
    assert summary.stages == {"s": {"kept": 48, "edited": 24, "dropped": 24, "failed": 24}}
    assert summary.finished
    assert len(rows_in(out, "documents")) == 96
    pairs = list(read_run(out))
    restored = [
        {
            **row,
            "text": revert_edits(row["text"], [Edit(*edit) for edit in p["stages"][0]["edits"]]),
        }
        for row, p in pairs
    ]
    assert restored == ROWS
    assert [list(row) for row, _ in pairs] == [list(row) for row in ROWS]
    assert all(
        p["text_hash"] == text_hash(row["text"]) for row, (_, p) in zip(ROWS, pairs, strict=True)
    )
    assert pairs[2][1]["stages"][0]["scores"] == {"keep": 0.25}
    assert pairs[0][1]["id"] == "x.jsonl:0"


def test_dropped_rows_tell_why(source: Path):
    source.write_bytes(b'{"text":"drop","burnish":1,"z":2}\n')
    run(job(source))
    (row,) = rows_in(source.parent / "out", "dropped")
    note = {"reason": "low score", "scores": {"keep": 0.25}}
    assert row == {"text": "drop", "burnish": 1, "z": 2, "burnish_1": note}
    assert list(row)[-1] == "burnish_1"
    ((restored, _),) = read_run(source.parent / "out")
    assert restored == {"text": "drop", "burnish": 1, "z": 2}


@pytest.mark.parametrize("form", FORMATS)
def test_the_output_does_not_depend_on_workers_or_batches(source: Path, form: str):
    source.write_bytes(lines(ROWS[:50]) + b"{bad\n" + lines(ROWS[50:]))
    for number, workers in enumerate((1, 3)):
        run(job(source, output=source.parent / f"o{number}", format=form), workers)
    run(job(source, output=source.parent / "o2", format=form, factory=runner_jobs.batching))
    trees = [tree(source.parent / f"o{number}") for number in range(3)]
    assert trees[0] == trees[1] == trees[2]
    assert trees[0].keys() >= {
        "summary.json",
        "manifest/settings.json",
        "rejected/00000-00003." + form,
    }


def test_plain_and_compressed_files_give_the_same_rows(tmp_path: Path):
    data = lines(ROWS)
    for suffix, pack in (("", bytes), (".gz", gzip.compress), (".zst", zstandard.compress)):
        folder = tmp_path / f"in{suffix}"
        folder.mkdir()
        (folder / f"x.jsonl{suffix}").write_bytes(pack(data))
        run(job(folder, output=tmp_path / f"out{suffix}"), workers=2 if suffix else 1)
    plain = tree(tmp_path / "out")
    for suffix in (".gz", ".zst"):
        other = tree(tmp_path / f"out{suffix}")
        for name, content in plain.items():
            if name.startswith(("documents", "dropped")):
                assert other[name] == content
        assert other["summary.json"] == plain["summary.json"]


def test_a_line_larger_than_many_shards(source: Path):
    big = {"text": "edit " + "x" * 50_000}
    for name, pack in (("x.jsonl", bytes), ("y.jsonl.zst", zstandard.compress)):
        path = source.parent / name
        path.write_bytes(pack(lines([*ROWS[:3], big, *ROWS[3:5]])))
        summary = run(job(path, output=source.parent / f"{name}-out"))
        assert summary.documents == 6
        assert summary.shards == 51
        assert len(rows_in(source.parent / f"{name}-out", "documents")) == 5


def test_odd_values_are_written_as_they_came(source: Path):
    line = b'{"text":"\\ud800 caf\\u00e9","n":123456789012345678901234567890,"m":NaN}\n'
    source.write_bytes(line + b'{"text":"edit surrogate"}\n')
    run(job(source))
    (part,) = output.parts_of(source.parent / "out", "documents")
    written = b"".join(jsonl.decompress(str(part), "zst"))
    assert written == line + b'{"text":"\\udc00surrogate"}\n'
    assert len(list(read_run(source.parent / "out"))) == 2


def test_rejected_rows_are_told(source: Path):
    source.write_bytes(lines(ROWS[:1]) + b"{bad\xff\n\n" + lines(ROWS[1:2]))
    summary = run(job(source))
    assert (summary.documents, summary.rejected, summary.errors) == (2, 1, 0)
    (row,) = read_rejected(source.parent / "out")
    assert (row.file, row.position) == ("x.jsonl", len(lines(ROWS[:1])))
    assert row.raw == "{bad\\xff\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_archive_is_never_a_silent_success(tmp_path: Path, workers: int):
    packed = gzip.compress(lines(ROWS))
    (tmp_path / "x.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "y.jsonl").write_bytes(lines(ROWS))
    summary = run(job(tmp_path, output=tmp_path / "out"), workers)
    assert (summary.rejected, summary.errors) == (1, 1)
    assert 150 < summary.documents < 240
    again = run(job(tmp_path, output=tmp_path / "out"))
    assert again.already_done
    assert again.errors == 1


def test_damaged_parquet_is_told_too(tmp_path: Path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    summary = run(job(tmp_path / "x.parquet"))
    assert (summary.documents, summary.rejected, summary.errors) == (0, 1, 1)


@pytest.mark.parametrize("limit", [1, 37, 120, 500])
def test_a_limit_takes_the_first_rows(tmp_path: Path, limit: int):
    inputs = tmp_path / "in"
    inputs.mkdir()
    (inputs / "a.jsonl").write_bytes(lines(ROWS[:30]))
    (inputs / "b.jsonl.zst").write_bytes(zstandard.compress(lines(ROWS[30:60])))
    pq.write_table(pa.Table.from_pylist(ROWS[60:90]), inputs / "c.parquet")
    (inputs / "d.jsonl").write_bytes(lines(ROWS[90:]))
    run(job(inputs, limit=limit, output=tmp_path / "out"))
    assert [row["n"] for row, _ in read_run(tmp_path / "out")] == list(range(min(limit, 120)))


# ------------------------------------------------------------------------------------- Parquet


def typed_table() -> pa.Table:
    n = len(ROWS)
    return pa.table(
        {
            "text": pa.array([row["text"] for row in ROWS], pa.large_string()),
            "time": pa.array([datetime(2026, 1, 1)] * n, pa.timestamp("ns", "UTC")),
            "kind": pa.array(["a", None] * (n // 2)).dictionary_encode(),
            "nest": pa.array([{"a": [1.5, float("nan")], "b": b"\xff"}] * n),
            "small": pa.array([row["n"] for row in ROWS], pa.int8()),
        }
    ).replace_schema_metadata({"maker": "test"})


def test_parquet_keeps_its_types(tmp_path: Path):
    table = typed_table()
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=50)
    run(job(tmp_path / "x.parquet", format="parquet"), workers=2)
    kept = [pq.read_table(path) for path in output.parts_of(tmp_path / "out", "documents")]
    assert len(kept) > 1
    table = pq.read_table(tmp_path / "x.parquet")
    assert all(part.schema.equals(table.schema, check_metadata=True) for part in kept)
    whole = pa.concat_tables(kept)
    keep = [n for n in range(len(ROWS)) if not ROWS[n]["text"].startswith("drop")]
    assert whole.drop(["text", "nest"]).equals(table.take(keep).drop(["text", "nest"]))
    (dropped, *_) = output.parts_of(tmp_path / "out", "dropped")
    assert pq.read_schema(dropped).names == [*table.schema.names, "burnish"]


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_the_text_column_keeps_its_type(tmp_path: Path, kind: pa.DataType):
    texts = pa.array(["edit a", "keep", "drop"]).cast(kind)
    pq.write_table(pa.table({"text": texts}), tmp_path / "x.parquet")
    run(job(tmp_path / "x.parquet", format="parquet"))
    (part,) = output.parts_of(tmp_path / "out", "documents")
    table = pq.read_table(part)
    assert table.schema.field("text").type == kind
    assert table.column("text").to_pylist() == ["éa", "keep"]


def test_parquet_to_json(tmp_path: Path):
    table = typed_table()
    pq.write_table(table.drop(["nest"]), tmp_path / "x.parquet")
    run(job(tmp_path / "x.parquet"))
    assert [row["small"] for row, _ in read_run(tmp_path / "out")] == list(range(120))
    odd = pa.table({"text": ["keep"], "time": [datetime(2026, 1, 1)], "score": [float("inf")]})
    pq.write_table(odd, tmp_path / "z.parquet")
    run(job(tmp_path / "z.parquet", output=tmp_path / "odd"))
    ((row, _),) = read_run(tmp_path / "odd")
    assert row == {"text": "keep", "time": "2026-01-01T00:00:00", "score": float("inf")}
    pq.write_table(table, tmp_path / "y.parquet")
    with pytest.raises(OutputError, match=r"'nest' can not be stored as JSON.*format parquet"):
        run(job(tmp_path / "y.parquet", output=tmp_path / "other"))


@pytest.mark.parametrize("distance", [1, 100])
def test_columns_of_two_types_do_not_fit_parquet(source: Path, distance: int):
    rows = [{"text": "keep", "v": 1}, *[{"text": "keep"}] * distance, {"text": "keep", "v": "one"}]
    source.write_bytes(lines(rows))
    with pytest.raises(OutputError, match=r"column 'v'.*jsonl\.zst"):
        run(job(source, format="parquet"))
    with pytest.raises(OutputError, match="column 'v'"):
        run(job(source, format="parquet"))
    assert not list((source.parent / "out").rglob("*.tmp-*"))


def test_columns_that_come_and_go_fit_parquet(source: Path):
    rows = [{"text": "keep"}, {"text": "keep", "v": 1}, {"v": 1.5, "text": "keep", "w": None}]
    source.write_bytes(lines(rows))
    run(job(source, format="parquet"))
    assert rows_in(source.parent / "out", "documents") == [
        {"text": "keep", "v": None, "w": None},
        {"text": "keep", "v": 1.0, "w": None},
        {"text": "keep", "v": 1.5, "w": None},
    ]


# ------------------------------------------------------------------------- again, and side by side


def test_each_worker_has_its_own_gpu(source: Path):
    places = ({"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"})
    run(job(source, factory=runner_jobs.naming, environments=places), workers=2)
    rows = read_run(source.parent / "out")
    assert {program["stages"][0]["refiner"] for _, program in rows} == {"3", "5"}
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_finished_run_is_not_done_again(source: Path):
    first = run(job(source, settings={"refiner": {"name": "a"}}))
    before = tree(source.parent / "out")
    second = run(job(source, settings={"refiner": {"name": "a"}}, factory=runner_jobs.unloadable))
    assert second.already_done
    assert not first.already_done
    assert Summary(**{**vars(second), "already_done": False}) == first
    assert tree(source.parent / "out") == before


def test_other_settings_are_refused_with_their_names(source: Path):
    run(job(source, settings={"refiner": {"name": "a"}}))
    with pytest.raises(SettingsChanged, match=r"refiner\.name: 'a' -> 'b'") as caught:
        run(job(source, settings={"refiner": {"name": "b"}}, text_column="text"))
    assert caught.value.differences == {"refiner.name": ("a", "b")}
    source.write_bytes(lines(ROWS[1:]))
    with pytest.raises(SettingsChanged, match=r"inputs\.x\.jsonl\.size"):
        run(job(source, settings={"refiner": {"name": "a"}}))


def test_foreign_files_are_refused(source: Path):
    out = source.parent / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("")
    with pytest.raises(OutputError, match=r"holds other files \(thesis\.tex\)"):
        run(job(source))
    (out / "thesis.tex").unlink()
    run(job(source))
    (out / "documents" / "more.jsonl").write_text("")
    with pytest.raises(OutputError, match=r"more\.jsonl is no part"):
        run(job(source))
    with pytest.raises(OutputError, match="not a folder"):
        run(job(source, output=source))


def test_the_output_may_lie_in_an_input_folder(source: Path):
    out = source.parent / "out"
    assert run(job(source.parent, output=out)).documents == 120
    assert run(job(source.parent, output=out)).already_done


def test_wrong_requests(source: Path):
    with pytest.raises(UsageError, match="known formats are"):
        run(job(source, format="csv"))
    with pytest.raises(UsageError, match="numbered from 0 to 1"):
        run(job(source, task=(2, 2)))
    with pytest.raises(UsageError, match="lies in the output folder"):
        run(job(source, output=source.parent))
    with pytest.raises(InputError, match="there is no file"):
        run(job(source.parent / "none.jsonl"))
    with pytest.raises(UsageError, match="can not be sent"):
        run(job(source, factory=lambda: runner_jobs.in_batches), workers=2)


def test_two_tasks_share_a_folder(tmp_path: Path):
    inputs = tmp_path / "in"
    inputs.mkdir()
    (inputs / "a.jsonl").write_bytes(lines(ROWS))
    (inputs / "b.jsonl.zst").write_bytes(zstandard.compress(lines(ROWS)))
    whole = run(job(inputs, output=tmp_path / "whole"))
    first = run(job(inputs, output=tmp_path / "out", task=(0, 2)))
    assert not first.finished
    assert 0 < first.documents < whole.documents
    again = run(job(inputs, output=tmp_path / "out", task=(0, 2), factory=runner_jobs.unloadable))
    assert again.documents == first.documents
    second = run(job(inputs, output=tmp_path / "out", task=(1, 2)))
    assert second == whole
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_leftovers_of_any_dead_task_are_removed(source: Path):
    with pytest.raises(WorkerDied):
        run(job(source, factory=runner_jobs.forgetting, task=(1, 3)))
    left = source.parent / "out" / "documents" / ".tmp-1of3-77-00000-00001.jsonl.zst"
    left.write_bytes(b"half")
    run(job(source))
    assert not left.exists()


def start(source: Path, factory: str, workers: int) -> subprocess.Popen[str]:
    """A run in a process of its own that tells when it works."""
    script = (
        "import sys, runner_jobs\n"
        "from pathlib import Path\n"
        "from burnish.runner.base import Job\n"
        "from burnish.runner.local import run\n"
        "if __name__ == '__main__':\n"
        f"    run(Job(inputs=({str(source)!r},), output=Path({str(source.parent / 'out')!r}),\n"
        f"        factory=runner_jobs.{factory}, shard_bytes=1000), {workers},\n"
        "        lambda p: p.counts.documents and print(p.counts.documents, flush=True))\n"
    )
    path = [str(Path(__file__).parent), *sys.path]
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(process: subprocess.Popen[str]) -> list[Path]:
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [Path(f"/proc/{pid}") for pid in pids]


def gone(processes: list[Path]) -> bool:
    for _ in range(100):
        if not any(process.exists() for process in processes):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("number", "workers"),
    [(signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGTERM, 2), (signal.SIGKILL, 2)],
)
def test_signals_end_the_workers_and_keep_the_work(
    source: Path, number: signal.Signals, workers: int
):
    process = start(source, "slowing", workers)
    assert process.stdout
    process.stdout.readline()
    with pytest.raises(OutputError, match="another process works on"):
        run(job(source))
    below = children(process)
    assert workers == 1 or len(below) >= 2
    if number == signal.SIGINT:  # as from a terminal: to the whole group
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert number == signal.SIGKILL or "KeyboardInterrupt" in errors
    assert errors.count("Traceback") <= 1
    assert gone(below)
    if number != signal.SIGKILL:
        assert not list((source.parent / "out").rglob(".tmp-*"))
    assert 0 < len(list((source.parent / "out" / "manifest").glob("0*"))) < 10
    resumed: list[Progress] = []
    run(job(source), 1, resumed.append)
    assert resumed[0].counts.documents > 0
    run(job(source, output=source.parent / "whole"))
    assert tree(source.parent / "out") == tree(source.parent / "whole")


# -------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_process_names_file_and_shard(source: Path, workers: int):
    source.write_bytes(lines(ROWS) + b'{"text":"break"}\n')
    with pytest.raises(WorkerDied, match=r"x\.jsonl, bytes \d+ to \d+: ZeroDivisionError"):
        run(job(source, factory=runner_jobs.breaking), workers)
    out = source.parent / "out"
    assert not list(out.rglob(".tmp-*"))
    assert list((out / "manifest").glob("0*"))


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_ours_keep_their_kind(source: Path, workers: int):
    source.write_bytes(b'{"text":"break"}\n')
    with pytest.raises(MissingExtra, match=r"burnish\[vllm\]") as caught:
        run(job(source, factory=runner_jobs.refusing), workers)
    assert caught.value.extra == "vllm"
    with pytest.raises(RefinerError, match="no such refiner"):
        run(job(source, factory=runner_jobs.unloadable), workers)


def test_a_killed_worker_is_told(source: Path):
    source.write_bytes(lines(ROWS) + b'{"text":"die"}\n')
    with pytest.raises(WorkerDied, match=r"killed by SIGKILL .* while working on .*x\.jsonl"):
        run(job(source, factory=runner_jobs.dying), 2)
    assert run(job(source)).documents == 121


def test_records_must_match_documents(source: Path):
    with pytest.raises(WorkerDied, match="out of order"):
        run(job(source, factory=runner_jobs.forgetting))


class FullDisk(io.FileIO):
    """A file on a disk with room for 300 bytes."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > 300:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_keeps_finished_shards_whole(
    source: Path, form: str, monkeypatch: pytest.MonkeyPatch
):
    noise = {"text": "keep", "noise": os.urandom(3000).hex()}
    source.write_bytes(lines([{"text": "keep"}, *ROWS[:20], noise]))
    real = open
    with monkeypatch.context() as patch:

        def limited(path: Any, mode: str = "r", **options: Any) -> Any:
            if "documents" in str(path) and mode == "wb" and "-00001" in str(path):
                return FullDisk(path, "w")
            return real(path, mode, **options)

        patch.setattr(output, "open", limited, raising=False)
        with pytest.raises(OutputError, match=r"documents.*No space left.*Free some space"):
            run(job(source, format=form))
    out = source.parent / "out"
    assert not list(out.rglob(".tmp-*"))
    assert len(list((out / "manifest").glob("0*"))) == 1
    run(job(source, format=form))
    run(job(source, format=form, output=source.parent / "whole"))
    assert tree(out) == tree(source.parent / "whole")


def test_progress_and_timing(source: Path):
    seen: list[Progress] = []
    run(job(source), 1, seen.append)
    assert seen[0].counts.documents == 0
    assert seen[-1].counts.documents == 120
    assert seen[-1].total_bytes == source.stat().st_size
    assert 0.9 * seen[-1].total_bytes < seen[-1].read_bytes <= seen[-1].total_bytes
    (session,) = json.loads((source.parent / "out" / "timing.json").read_bytes())["sessions"]
    assert session["documents"] == 120


def test_an_empty_input_is_a_finished_run(source: Path):
    source.write_bytes(b"\n\n")
    assert run(job(source)).finished
    source.write_bytes(b"")
    assert run(job(source, output=source.parent / "other")).documents == 0


# ---------------------------------------------------------------------------------- back as it came


def test_parquet_comes_back_with_types_that_python_has_not(tmp_path: Path):
    texts = [f"{WORDS[n % 5]} {n}" for n in range(120)]
    table = pa.table(
        {
            "time": pa.array([1600000000123456789 + n for n in range(120)], pa.timestamp("ns")),
            "text": texts,
            "span": pa.array(range(120), pa.duration("ns")),
            "price": pa.array([Decimal("1.50")] * 120, pa.decimal128(9, 2)),
            "raw": [b"\xff"] * 120,
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    run(job(tmp_path / "x.parquet", format="parquet"))
    target, count = write_restored(tmp_path / "out")
    assert count == 120
    assert pq.read_table(target).equals(table)
    assert [found.text for found in restore(tmp_path / "out")] == texts
    with pytest.raises(InputError, match="the column 'time' is no plain value"):
        _ = next(restore(tmp_path / "out")).row
    with pytest.raises(UsageError, match=r"column 'time' can not be stored as JSON; choose \."):
        write_restored(tmp_path / "out", tmp_path / "r.jsonl")
    with pytest.raises(OutputError, match="column 'time' can not be stored as JSON"):
        run(job(tmp_path / "x.parquet", output=tmp_path / "json"))


@pytest.mark.parametrize("column", ["span", "price", "raw"])
def test_what_json_can_not_hold_is_named(tmp_path: Path, column: str):
    values = {"span": pa.array([1], pa.duration("s")), "price": [Decimal("1.5")], "raw": [b"a"]}
    pq.write_table(pa.table({"text": ["keep"], column: values[column]}), tmp_path / "x.parquet")
    run(job(tmp_path / "x.parquet", format="parquet"))
    with pytest.raises(UsageError, match=f"column '{column}'.*choose .parquet"):
        write_restored(tmp_path / "out", tmp_path / "r.jsonl")


def test_a_parquet_run_of_json_comes_back_in_order(source: Path):
    rows = [{"v": 1, "text": "drop"}, {"text": "keep"}, {"text": "edit a", "w": 0.5}] * 20
    source.write_bytes(lines(rows))
    run(job(source, format="parquet", shard_bytes=100))
    target, _ = write_restored(source.parent / "out")
    found = pq.read_table(target, columns=["text", "v", "w"]).to_pylist()
    assert found == [{"text": r["text"], "v": r.get("v"), "w": r.get("w")} for r in rows]


def test_a_parquet_run_without_documents_comes_back_empty(source: Path):
    source.write_bytes(b"")
    run(job(source, format="parquet"))
    target, count = write_restored(source.parent / "out")
    assert (count, pq.read_table(target).num_rows) == (0, 0)


def test_an_unfinished_run_comes_back_only_on_request(source: Path):
    run(job(source, task=(0, 2)))
    with pytest.raises(InputError, match="not finished: run burnish refine again, or use --part"):
        list(restore(source.parent / "out"))
    assert 0 < len(list(restore(source.parent / "out", partial=True))) < 120


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("programs", "more documents than programs"),
        ("documents", "more programs than documents"),
        ("dropped", "more programs than documents"),
    ],
)
def test_a_missing_part_is_noticed(source: Path, form: str, kind: str, message: str):
    run(job(source, format=form))
    output.parts_of(source.parent / "out", kind)[1].unlink()
    with pytest.raises(InputError, match=message + ".*Delete summary.json and manifest/0"):
        list(restore(source.parent / "out"))
    with pytest.raises(InputError, match=message):
        list(read_run(source.parent / "out"))


def test_missing_and_foreign_shards_are_noticed(source: Path):
    out = source.parent / "out"
    run(job(source))
    for kind in output.PART_FOLDERS:
        (out / kind / "00000-00001.jsonl.zst").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"00000-00001\.jsonl\.zst has 0 documents, not"):
        list(restore(out))
    part = out / "documents" / "00000-00000.jsonl.zst"
    part.with_name("00009-00000.jsonl.zst").write_bytes(part.read_bytes())
    with pytest.raises(InputError, match=r"00009-00000\.jsonl\.zst is no part of the run"):
        list(restore(out))


def test_a_part_that_is_mended_as_told_comes_back(source: Path):
    out = source.parent / "out"
    run(job(source))
    before = tree(out)
    (out / "programs" / "00000-00001.jsonl.zst").unlink()
    (out / "summary.json").unlink()
    (out / "manifest" / "00000-00001.json").unlink()
    run(job(source))
    assert tree(out) == before


# ------------------------------------------------------------------------------- notes and locks


def test_damaged_notes_are_told(source: Path):
    out = source.parent / "out"
    run(job(source))
    for name in ("summary.json", "manifest/00000-00001.json", "manifest/settings.json"):
        good = (out / name).read_bytes()
        for bad in (b"{", b"[]"):
            (out / name).write_bytes(bad)
            with pytest.raises(OutputError, match=f"{name} is damaged; (delete it|bring it)"):
                list(restore(out))
        (out / name).write_bytes(good)
    (out / "timing.json").write_bytes(b"{")
    (out / "summary.json").unlink()
    (out / "documents" / ".DS_Store").write_bytes(b"")
    assert run(job(source)).finished


def test_a_changed_stage_is_told_in_short(source: Path):
    def stages(threshold: float) -> dict[str, Any]:
        return {"stages": [{"name": "document", "keep_threshold": threshold}, {"name": "chunk"}]}

    run(job(source, settings=stages(0.3)))
    with pytest.raises(SettingsChanged) as caught:
        run(job(source, settings=stages(0.2)))
    assert caught.value.differences == {"stages.document.keep_threshold": (0.3, 0.2)}


def test_columns_of_parallel_tasks_must_fit(source: Path):
    source.write_bytes(lines([{"text": "keep", "v": 1}]))
    other = source.with_name("y.jsonl")
    other.write_bytes(lines([{"text": "keep", "v": "one"}]))
    first = job(source, inputs=(source, other), format="parquet", task=(0, 2))
    second = replace(first, task=(1, 2))
    run(first)  # whose note the second does not see when it begins
    note = first.output / "manifest" / "00000-00000.json"
    hidden = note.with_suffix(".hidden")
    note.rename(hidden)

    def reveal(progress: Progress) -> None:
        if hidden.exists():
            hidden.rename(note)

    with pytest.raises(OutputError, match=r"column 'v'.*jsonl\.zst"):
        run(second, on_progress=reveal)
    assert not (first.output / "summary.json").exists()


def test_an_object_without_fields_does_not_fit_parquet(source: Path):
    source.write_bytes(lines([{"text": "keep", "n": 1, "meta": {}}]))
    with pytest.raises(OutputError, match=r"column 'meta'.*Choose the format jsonl\.zst"):
        run(job(source, format="parquet"))


def test_siblings_do_not_refuse_each_other(tmp_path: Path):
    refused = []

    def enter(task: int) -> None:
        for _ in range(60):
            try:
                with Manifest(tmp_path / "out", {}, (task, 2)):
                    pass
            except OutputError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=enter, args=(task,)) for task in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not refused


def test_without_locks_nothing_of_others_is_swept(source: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    run(job(source, task=(0, 2)))
    left = [source.parent / "out" / "documents" / f".tmp-{n}of2-1-x" for n in (0, 1)]
    for path in left:
        path.write_bytes(b"half")
    (source.parent / "out" / ".locks" / "task-1-of-2").touch()
    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", refuse)
        run(job(source, task=(0, 2)))
    assert all(path.exists() for path in left)
    run(job(source, task=(0, 2)))
    assert not any(path.exists() for path in left)
