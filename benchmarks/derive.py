"""Derives programs from cleaned texts, on pages with gold labels and on long made-up texts.

    python benchmarks/derive.py FOLDER/boilerplate

Pages: the cleaned text of a page is its lines that are not labelled 1. The program must be found,
leave that text, and remove the lines labelled 1; where a removed line stands twice in the page, the
text does not tell which one went.

Times: texts of web-like lines, a tenth of the words' lines edited and a fifth of the lines removed,
beside `difflib.SequenceMatcher` on the lines alone (no junk heuristic, which would drop common
lines), which finds no program but aligns. Processor time, best of some runs.
"""

from __future__ import annotations

import argparse
import difflib
import io
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import zstandard

from burnish.program.derive import Mode, derive
from burnish.program.operations import RemoveLines

FILES = [f"{split}{kind}" for kind in ("", "_mild", "_snippets") for split in ("train", "dev")]
NOISE = 1
RUNS = 5
COMMON = ["Reply", "Share", "Home", "Read more", "2 days ago", "Advertisement", "|"]


@dataclass
class Tally:
    """Counts over the pages of a file."""

    pages: int = 0
    lines: int = 0
    accepted: int = 0
    reproduced: int = 0
    same: int = 0
    duplicates: int = 0  # removed lines differ from gold, the removed texts do not
    other: int = 0
    seconds: float = 0.0


def pages(file: Path) -> Iterator[tuple[list[str], set[int]]]:
    """Lines, and the numbers of those that go."""
    with file.open("rb") as raw:
        reader = zstandard.ZstdDecompressor().stream_reader(raw)
        for row in io.TextIOWrapper(reader, encoding="utf-8"):
            lines = json.loads(row)["lines"]
            gone = {n for n, line in enumerate(lines) if line["label"] == NOISE}
            yield [line["text"] for line in lines], gone


def tally(file: Path) -> Tally:
    found = Tally()
    for lines, gone in pages(file):
        refined = "\n".join(line for n, line in enumerate(lines) if n not in gone)
        start = time.process_time()
        derivation = derive("\n".join(lines), refined, mode="delete")
        found.seconds += time.process_time() - start
        found.pages += 1
        found.lines += len(lines)
        if derivation.program is None or derivation.outcome is None:
            continue
        found.accepted += 1
        found.reproduced += derivation.outcome.text == refined
        removed = {
            n
            for operation in derivation.program
            if isinstance(operation, RemoveLines)
            for n in range(operation.first, operation.last + 1)
        }
        if removed == gone:
            found.same += 1
        elif sorted(lines[n] for n in removed) == sorted(lines[n] for n in gone):
            found.duplicates += 1
        else:
            found.other += 1
    return found


# ------------------------------------------------------------------------------------ time


def made_up(rng: random.Random, count: int) -> list[str]:
    """Menus of one to three words, lines that stand often, blank lines, paragraphs; the words are
    distributed as in a language."""
    words = ["".join(rng.choices("etaoinshrdlu", k=1 + n % 9)) for n in range(5_000)]
    weights = list(accumulate(1 / (n + 1) for n in range(len(words))))
    lines = []
    for _ in range(count):
        size = rng.choice([0, 1, 2, 3, rng.randrange(8, 26), rng.randrange(8, 26)])
        text = " ".join(rng.choices(words, cum_weights=weights, k=size))
        lines.append(rng.choice(COMMON) if size == 1 else text)
    return lines


def cleaned(rng: random.Random, lines: list[str], mode: Mode) -> list[str]:
    """Runs of one to eight lines are gone, and in every tenth line with words one is gone or, in
    mode "edit", another."""
    kept: list[str] = []
    skip = 0
    for line in lines:
        if skip or rng.random() < 0.05:
            skip = skip - 1 if skip else rng.randrange(8)
            continue
        words = line.split(" ")
        if len(words) > 3 and rng.random() < 0.1:
            place = rng.randrange(len(words))
            words[place : place + 1] = [] if mode == "delete" else [words[place] + "s"]
        kept.append(" ".join(words))
    return kept


def seconds(work: Callable[[], object], runs: int) -> float:
    taken = []
    for _ in range(runs):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def timing(count: int, mode: Mode) -> str:
    rng = random.Random(count)
    lines = made_up(rng, count)
    left = cleaned(rng, lines, mode)
    source, refined = "\n".join(lines), "\n".join(left)
    runs = RUNS if count <= 2_000 else 1
    found = derive(source, refined, mode=mode)
    ours = seconds(lambda: derive(source, refined, mode=mode), runs)

    def peer() -> object:
        return difflib.SequenceMatcher(None, lines, left, autojunk=False).get_opcodes()

    theirs = seconds(peer, runs)
    said = found.reason or f"{len(found.program or ())} operations"
    return f"{count:>7,}  {mode:<7} {ours:>9.4f} {theirs:>9.4f}  {said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="holds train.jsonl.zst, dev.jsonl.zst, ...")
    folder = parser.parse_args().folder
    print("file              pages      lines  accepted  reproduced  same  duplicates  other  s")
    for name in FILES:
        t = tally(folder / f"{name}.jsonl.zst")
        print(
            f"{name:<16} {t.pages:>6,} {t.lines:>10,} {t.accepted / t.pages:>9.2%}"
            f" {t.reproduced / t.pages:>11.2%} {t.same:>5,} {t.duplicates:>11,} {t.other:>6,}"
            f" {t.seconds:>6.2f}"
        )
    print("\n  lines  mode    derive, s difflib, s  program")
    for count in (200, 2_000, 5_000, 10_000, 20_000):
        for mode in ("delete", "edit"):
            print(timing(count, "delete" if mode == "delete" else "edit"))


if __name__ == "__main__":
    main()
