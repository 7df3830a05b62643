"""Whether `burnish estimate` tells what `burnish refine` will keep, on ten corpora.

    python benchmarks/estimate_retention.py DATA [--sample 500] [--form zst|jsonl|parquet]
                                            [--keep-tokens 0.25]

DATA holds the seven files of `corpus/`; two of them are split by language, which makes ten. Each
corpus is estimated from a sample and then refined whole, and the share of bytes that stays is
printed as foretold, with its 95 % interval, and as it came to be. `--form zst` reads whole files;
with `jsonl` and `parquet` nothing is read but the places of the sample, as of an input of any size.
With `--keep-tokens` the threshold is chosen for that share on the same sample, instead of the
refiner's own; what is foretold is then near the share by design, and the interval is the test.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from burnish.io.sample import READ_WHOLE_BYTES
from burnish.workflows import estimate, refine

Row = dict[str, Any]
ALL: Callable[[Row], bool] = lambda row: True  # noqa: E731
CORPORA: dict[str, tuple[str, Callable[[Row], bool]]] = {
    "webpages_full, en": ("webpages_full", lambda row: row["lang"] == "en"),
    "webpages_full, de": ("webpages_full", lambda row: row["lang"] == "de"),
    "webpages_full, others": ("webpages_full", lambda row: row["lang"] not in ("en", "de")),
    "webpages_main": ("webpages_main", ALL),
    "openwebtext_1k": ("openwebtext_1k", ALL),
    "web_registers, sv": ("web_registers_multilingual", lambda row: row["lang"] == "sv"),
    "web_registers, others": ("web_registers_multilingual", lambda row: row["lang"] != "sv"),
    "news_pt": ("news_pt", ALL),
    "news_de": ("news_de", ALL),
    "c4_dolma_redpajama": ("c4_dolma_redpajama_rows", ALL),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--form", choices=("zst", "jsonl", "parquet"), default="zst")
    parser.add_argument("--keep-tokens", type=float)
    options = parser.parse_args()
    within = 0
    print(f"{'corpus':<24} {'documents':>9} {'sample':>6} {'foretold':>8} {'interval':>16} "
          f"{'came to be':>10} {'':>3} {'s':>5} {'s':>5}")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        for number, (title, (file, chosen)) in enumerate(CORPORA.items()):
            rows = [
                row for row in read(options.data / "corpus" / f"{file}.jsonl.zst") if chosen(row)
            ]
            path = write(rows, Path(name, f"{number}.{SUFFIXES[options.form]}"))
            began = time.perf_counter()
            found = estimate.run(
                estimate.Config(
                    inputs=(path,),
                    keep_tokens=options.keep_tokens,
                    sample=options.sample,
                    read_whole_bytes=READ_WHOLE_BYTES if options.form == "zst" else 0,
                )
            )
            estimated = time.perf_counter() - began
            threshold = None if found.choice is None else found.choice.threshold
            summary = refine.run(
                refine.Config(
                    inputs=(path,),
                    output=Path(name, f"out-{number}"),
                    keep_threshold=threshold,
                    workers=1,
                )
            )
            refined = time.perf_counter() - began - estimated
            share = summary.kept_bytes / summary.text_bytes
            kept = found.kept_bytes
            within += share in kept
            print(
                f"{title:<24} {len(rows):>9,} {found.sampled:>6,} {kept.value:>8.2%} "
                f"{f'{kept.low:.2%} - {kept.high:.2%}':>16} {share:>10.2%} "
                f"{'in' if share in kept else 'OUT':>3} {estimated:>5.1f} {refined:>5.1f}",
                flush=True,
            )
    print(f"{within} of {len(CORPORA)} within the interval")


SUFFIXES = {"zst": "jsonl.zst", "jsonl": "jsonl", "parquet": "parquet"}


def read(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        for line in io.TextIOWrapper(stream, encoding="utf-8", newline="\n"):
            row = json.loads(line)
            yield {key: row.get(key) for key in ("id", "lang", "text")}


def write(rows: list[Row], path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1000)
        return path
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(zstandard.compress(data) if path.suffix == ".zst" else data)
    return path


if __name__ == "__main__":
    main()
