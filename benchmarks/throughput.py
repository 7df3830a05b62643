"""How fast `burnish refine` is, beside datatrove's filters on the same files and the same core.

    python benchmarks/throughput.py --data FOLDER [--peer-python PYTHON] [--copies 4] [--only ...]

Three measurements, each of a whole run of the command line, start-up and writing included:

    burnish    `burnish refine --workers 1`, all its processes pinned to one core
    datatrove  the filters of `datatrove_filters.py`, pinned to the same core; PYTHON names the
               interpreter of an environment that holds `datatrove[processing]` and `spacy`
    scaling    `burnish refine` with one worker and with two on two cores, on `--copies` copies

Speeds count UTF-8 bytes of the text column, in millions. Time is the clock's, and beside it the CPU
seconds that all processes of the run used: where the machine is busy with something else, the clock
is unfair and CPU seconds are the figure to compare.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

FILES = ("corpus/webpages_full.jsonl.zst", "corpus/openwebtext_1k.jsonl.zst")


@dataclass(frozen=True)
class Run:
    """One run: millions of text bytes, seconds by the clock, CPU seconds of all its processes."""

    name: str
    megabytes: float
    seconds: float
    cpu_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.name:<24} {self.megabytes:7.1f} MB {self.seconds:8.2f} s "
            f"{self.megabytes / self.seconds:7.3f} MB/s "
            f"{self.megabytes / self.cpu_seconds:7.3f} MB per CPU second"
        )


def main() -> None:
    options = _options()
    cores = sorted(os.sched_getaffinity(0))
    files = [options.data / name for name in FILES]
    megabytes = sum(text_bytes(file) for file in files) / 1e6
    print(f"{platform.machine()}, {cpu_name()}, {len(cores)} cores; Python "
          f"{platform.python_version()}; load before the run {os.getloadavg()[0]:.1f}")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = peer = None
        if "burnish" in options.only:
            command = burnish(files, folder / "one", 1, options.refine_options)
            ours = timed("burnish refine", command, megabytes, cores[:1])
        if "datatrove" in options.only and options.peer_python:
            script = str(Path(__file__).with_name("datatrove_filters.py"))
            command = [options.peer_python, script, str(folder / "peer"), *map(str, files)]
            peer = timed("datatrove filters", command, megabytes, cores[:1])
        if ours and peer:
            print(
                f"burnish / datatrove: {peer.seconds / ours.seconds:.2f} by the clock, "
                f"{peer.cpu_seconds / ours.cpu_seconds:.2f} by CPU seconds"
            )
        if "scaling" in options.only:
            scaling(files, options, megabytes, cores, folder)


def scaling(
    files: Sequence[Path],
    options: argparse.Namespace,
    megabytes: float,
    cores: Sequence[int],
    folder: Path,
) -> None:
    """One worker against two, on one file that holds the input several times."""
    if len(cores) < 2:
        print("scaling: left out, it needs two cores")
        return
    copied = folder / "copies.jsonl"
    with copied.open("wb") as sink:
        for _ in range(options.copies):
            for file in files:
                sink.writelines(lines(file))
    runs = []
    for workers in (1, 2):
        command = burnish([copied], folder / f"of-{workers}", workers, options.refine_options)
        runs.append(timed(f"{workers} worker(s)", command, options.copies * megabytes, cores[:2]))
    print(f"two workers / one: {runs[0].seconds / runs[1].seconds:.2f}")


def burnish(files: Sequence[Path], output: Path, workers: int, options: str) -> list[str]:
    command = [sys.executable, "-m", "burnish", "refine", *map(str, files)]
    return [*command, "--output", str(output), "--workers", str(workers), *shlex.split(options)]


def timed(name: str, command: list[str], megabytes: float, cores: Sequence[int]) -> Run:
    """Runs a command on these cores and prints what it took. Exits where the command fails."""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(pinned, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{name} failed with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    run = Run(name, megabytes, seconds, cpu)
    print(run, flush=True)
    return run


def text_bytes(file: Path) -> int:
    """UTF-8 bytes of the text column of a file."""
    return sum(
        len(json.loads(line)["text"].encode("utf-8", "surrogatepass")) for line in lines(file)
    )


def lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        reader = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
        yield from io.BufferedReader(reader)


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds corpus/")
    parser.add_argument("--peer-python", help="interpreter with datatrove; without it no peer")
    parser.add_argument(
        "--refine-options", default="", help="further options of burnish refine, in one string"
    )
    parser.add_argument("--copies", type=int, default=4, help="copies of the input for scaling")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("burnish", "datatrove", "scaling"),
        default=("burnish", "datatrove", "scaling"),
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
