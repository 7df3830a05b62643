"""Peak memory of a run over 50 MB and over 500 MB: it should be the same.

    python benchmarks/memory.py

Counts the resident memory of the parent and of its workers together, sampled every 20 ms (Linux).
The process function keeps every document, so what is measured is reading, writing and the runner.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import orjson
import zstandard

from burnish.runner.base import Job, Process
from burnish.runner.local import run
from burnish.schema import Document, Record, StageTrace, Status

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MEGABYTE = 1_000_000


def keep(documents: Iterable[Document]) -> Iterator[Record]:
    for document in documents:
        trace = StageTrace("keep", "keep", Status.KEPT, [])
        yield Record(document, Status.KEPT, document.text, (trace,))


def factory() -> Process:
    return keep


def make_input(path: Path, megabytes: int) -> None:
    """Write JSON lines of random words; the lines of the first 5 MB come again and again."""
    generator = random.Random(0)
    words = ["".join(generator.choices("aeioubdfglmnprst", k=6)) for _ in range(5000)]
    lines: list[bytes] = []
    while sum(map(len, lines[-100:])) * len(lines) / 100 < 5 * MEGABYTE or len(lines) < 100:
        text = "\n".join(" ".join(generator.choices(words, k=15)) for _ in range(30))
        lines.append(
            orjson.dumps({"text": text, "url": f"https://example.org/{len(lines)}"}) + b"\n"
        )
    block = b"".join(lines)
    opener = zstandard.open if path.suffix == ".zst" else open
    with opener(path, "wb") as file:
        for _ in range(round(megabytes * MEGABYTE / len(block))):
            file.write(block)


def resident_bytes() -> int:
    """The resident memory of this process and its children."""
    total = 0
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for pid in ("self", *children):
        with suppress(OSError):  # it ended meanwhile
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    return total


def peak_of_run(path: Path, output: Path, workers: int, form: str) -> tuple[float, float]:
    """Peak memory in MB and seconds of one run."""
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.02):
            peak = max(peak, resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    try:
        run(Job(inputs=(path,), output=output, factory=factory, format=form), workers)
    finally:
        ended.set()
        watcher.join()
    return peak / MEGABYTE, time.monotonic() - start


def measure(suffix: str, workers: int, form: str, megabytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x.{suffix}")
        make_input(path, megabytes)
        peak, seconds = peak_of_run(path, Path(folder, "out"), workers, form)
        shutil.rmtree(Path(folder, "out"))
    print(
        f"{suffix:10} -> {form:10} {workers} worker(s) {megabytes:5} MB: peak {peak:6.0f} MB, "
        f"{megabytes / seconds:5.0f} MB/s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[50, 500])
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for suffix in ("jsonl", "jsonl.zst"):
        for form in ("jsonl.zst", "parquet"):
            for workers in (1, 2):
                for megabytes in arguments.megabytes:
                    # A process of its own: memory that Python keeps would count for the next run.
                    process = context.Process(
                        target=measure, args=(suffix, workers, form, megabytes)
                    )
                    process.start()
                    process.join()


if __name__ == "__main__":
    main()
