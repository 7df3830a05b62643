"""Kill runs at random instants, go on, and compare the folders byte for byte.

    python benchmarks/kill_test.py --kills 200

Each kill is a SIGKILL of the parent, of one worker, or of the whole group, at a random instant of a
small job with plain, compressed, damaged and Parquet input. The job is run again, with another
number of workers, until it ends; its folder must then equal that of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from burnish.errors import BurnishError
from burnish.runner.base import Job, Process
from burnish.runner.local import run
from burnish.schema import Document, Edit, Record, StageTrace, Status, text_hash

SHARD_BYTES = 8 * 1024
COMPARED = ("documents", "dropped", "programs", "rejected", "manifest", "summary.json")
SECONDS_PER_DOCUMENT = 0.001


def decide(documents: Iterable[Document]) -> Iterator[Record]:
    """Keep, edit or drop by the hash of the text, slowly."""
    for document in documents:
        time.sleep(SECONDS_PER_DOCUMENT)
        text = document.text
        status = (Status.KEPT, Status.EDITED, Status.DROPPED)[int(text_hash(text)[:4], 16) % 3]
        if status is Status.EDITED and not text:
            status = Status.KEPT
        edits = (Edit(0, text[:5]),) if status is Status.EDITED else ()
        reason = "threshold" if status is Status.DROPPED else ""
        trace = StageTrace("cut", "slow", status, [], edits, scores={"keep": 0.5}, reason=reason)
        yield Record(document, status, text[5:] if edits else text, (trace,))


def factory() -> Process:
    return decide


def make_input(folder: Path, documents: int = 300) -> None:
    """Write four files of different kinds, a few bad lines and a damaged archive among them."""
    folder.mkdir(parents=True)
    generator = random.Random(0)
    rows = [
        {
            "text": "\n".join(
                "word " * generator.randrange(20) for _ in range(generator.randrange(12))
            ),
            "n": number,
        }
        for number in range(documents)
    ]
    lines = [orjson.dumps(row) + b"\n" for row in rows]
    lines[5:5] = [b"{broken\n", b'{"text": null}\n', b"\n"]
    data = b"".join(lines)
    (folder / "a.jsonl").write_bytes(data)
    (folder / "b.jsonl.zst").write_bytes(zstandard.compress(data))
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(data, mtime=0)[:-400])
    pq.write_table(pa.Table.from_pylist(rows), folder / "d.parquet", row_group_size=100)


def job_of(inputs: Path, output: Path) -> Job:
    return Job(inputs=(inputs,), output=output, factory=factory, shard_bytes=SHARD_BYTES)


def tree(output: Path) -> dict[str, bytes]:
    """Everything in a run's folder that must not depend on how the run went."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for name in COMPARED
        for path in sorted([output / name, *(output / name).rglob("*")])
        if path.is_file()
    }


def workers_of(parent: int) -> list[int]:
    """The worker processes of a run (Linux)."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [
            int(child)
            for child in children
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
    except OSError:
        return []


def kill(process: subprocess.Popen[bytes], whom: str) -> None:
    targets = workers_of(process.pid) if whom == "worker" else []
    if targets:
        os.kill(targets[0], signal.SIGKILL)
    elif whom == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def survive(kills: int, seed: int, folder: Path) -> tuple[int, int]:
    """Kill until `kills` kills hit a running job; return kills, and finished folders compared.

    Raises AssertionError if a folder differs from that of the undisturbed run.
    """
    generator = random.Random(seed)
    inputs = folder / "input"
    make_input(inputs)
    run(job_of(inputs, folder / "undisturbed"))
    expected = tree(folder / "undisturbed")
    hits = compared = 0
    while hits < kills or compared == 0:
        output = folder / f"run-{compared}"
        while True:
            workers = generator.choice((1, 2, 3))
            command = [sys.executable, __file__, "--job", str(inputs), str(output), str(workers)]
            process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
            try:
                code = process.wait(generator.uniform(0.1, 1.6) if hits < kills else None)
            except subprocess.TimeoutExpired:
                kill(process, generator.choice(("parent", "worker", "group")))
                code = process.wait()
                hits += code != 0
            if code == 0:
                break
        assert tree(output) == expected, f"{output} differs from the undisturbed run"
        compared += 1
        shutil.rmtree(output)
    return hits, compared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", nargs=3, metavar=("INPUT", "OUTPUT", "WORKERS"))
    arguments = parser.parse_args()
    if arguments.job:
        inputs, output, workers = arguments.job
        try:
            run(job_of(Path(inputs), Path(output)), int(workers))
        except BurnishError:
            sys.exit(1)
        return
    with tempfile.TemporaryDirectory() as folder:
        hits, compared = survive(arguments.kills, arguments.seed, Path(folder))
    print(f"{hits} kills survived; {compared} folders equal to that of the undisturbed run")


if __name__ == "__main__":
    main()
