"""Documents a second that one core parses and executes, from program text to refined text.

    python benchmarks/execute_speed.py

The documents have 200 lines of web-like lengths (menus, paragraphs, blank lines); each program has
six removals and two replacements. Processor time, best of several runs, since other work only ever
slows one down.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from burnish.dialects import get_dialect
from burnish.program.executor import execute
from burnish.program.lines import Chunk
from burnish.schema import Status

DOCUMENTS = 100
RUNS = 40
WORDS = "the of and to market garden river system people water light music history paper window"


def document(rng: random.Random) -> str:
    """200 lines: menus of one to three words, blank lines, paragraphs of 8 to 25 words."""
    words = WORDS.split()
    lines = []
    for _ in range(200):
        size = rng.choice([0, 1, 2, 3, rng.randrange(8, 26), rng.randrange(8, 26)])
        lines.append(" ".join(rng.choices(words, k=size)))
    return "\n".join(lines)


def program(rng: random.Random) -> str:
    removals = [
        f"remove_lines(line_start={first}, line_end={first + rng.randrange(6)})"
        for first in sorted(rng.sample(range(200), 6))
    ]
    replacements = [
        'normalize(source_str="river system", target_str="river")',
        'normalize(source_str=" | Share", target_str="")',
    ]
    return "\n".join(removals + replacements)


def best(work: Callable[[], None]) -> float:
    """Documents a second in the fastest run."""
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return DOCUMENTS / min(seconds)


def main() -> None:
    rng = random.Random(0)
    texts = [document(rng) for _ in range(DOCUMENTS)]
    answers = [program(rng) for _ in range(DOCUMENTS)]
    dialect = get_dialect("prox-chunk")
    chunks = [Chunk.whole(text) for text in texts]
    programs = [
        dialect.parse(answer, chunk).program or ()
        for answer, chunk in zip(answers, chunks, strict=True)
    ]
    outcomes = [execute(text, p) for text, p in zip(texts, programs, strict=True)]
    assert all(outcome.status is Status.EDITED for outcome in outcomes)

    def parse() -> None:
        for answer, chunk in zip(answers, chunks, strict=True):
            dialect.parse(answer, chunk)

    def run() -> None:
        for text, chunk, operations in zip(texts, chunks, programs, strict=True):
            execute(text, operations, lines=chunk.lines)

    def both() -> None:
        for text, answer, chunk in zip(texts, answers, chunks, strict=True):
            execute(text, dialect.parse(answer, chunk).program or (), lines=chunk.lines)

    def everything() -> None:
        for text, answer in zip(texts, answers, strict=True):
            chunk = Chunk.whole(text)
            execute(text, dialect.parse(answer, chunk).program or (), lines=chunk.lines)

    size = sum(map(len, texts)) / DOCUMENTS
    print(f"{DOCUMENTS} documents of 200 lines, {size:,.0f} characters each; documents a second:")
    print(f"{best(parse):>10,.0f}  parse")
    print(f"{best(run):>10,.0f}  execute")
    print(f"{best(both):>10,.0f}  parse and execute")
    print(f"{best(everything):>10,.0f}  split, parse and execute")


if __name__ == "__main__":
    main()
