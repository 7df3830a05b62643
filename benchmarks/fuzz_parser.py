"""Throws random and mutated program texts at every dialect: none may raise or hang.

    python benchmarks/fuzz_parser.py 1000000

Half of the inputs are random bytes, decoded; half are programs with random mutations. Prints what
was read, how long the slowest input took, and the time for one and two megabytes of each hostile
pattern. All times are processor time.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

from burnish.dialects import Dialect, dialect_names, get_dialect
from burnish.program.lines import Chunk

CHUNK = Chunk([f"line {n}" for n in range(12)], 0, (0, 11))
CAP_SECONDS = 0.5  # for one input of at most a few hundred characters

PIECES = (
    ["remove_lines(", "normalize(", "keep_chunk()", "drop_doc()", "keep_doc()", "untouch_doc()"]
    + ["line_start=", "line_end=", "start=", "source_str=", "target_str=", "0", "7", "12", "-1"]
    + ['"', "'", '"""', "'''", "“", "”", "\\", "\\n", "\\u00e9", "\\ud83d\\ude00", "\\x", ",", ")"]
    + ["(", "=", ";", "\n", "\r\n", " ", "\t", "\u2028", "\x85", "\x0c", "\xa0", "\ud800", "\0"]
    + ["<think>", "</think>", "```python\n", "```", "# ", "//", "--", "- ", "1. ", "[", "]", "0011"]
    + ["remove_lines(3, 5)\n", "remove_lines(start=0, end=2); ", 'normalize("a, b", "c")\n'] * 3
    + ["word ", "中文", "9" * 25, "r", "f", "."]
)

HOSTILE = {
    "remove_lines(": "remove_lines(",
    "remove_lines( LF": "remove_lines(\n",
    'remove_lines("': 'remove_lines("',
    "double quotes": '"',
    "single quotes": "'",
    'f("""': 'f("""',
    'f(""" LF': 'f("""\n',
    'normalize(""" LF': 'normalize("""\n',
    "f(curly LF": "normalize(“a\n",
    'normalize("a"b"': 'normalize("a"b"',
    'a chain of "a"b",': '"a"b",',
    "f(": "f(",
    "f( LF": "f(\n",
    "f();": "f();",
    "misspelt calls": "removelines()\n",
    "keep_chunk() LF": "keep_chunk()\n",
    "keep_chunk();": "keep_chunk();",
    "a sentence LF": "keep_chunk() x\n",
    "names in a sentence": "x remove_lines(1,2) ",
    "opening parentheses": "(",
    "line feeds": "\n",
    "carriage returns": "\r",
    "spaces": " ",
    "no-break spaces": "\xa0",
    "a name and spaces": "remove_lines ",
    "digits": "1",
    "backslashes": "\\",
    "keywords": "a=",
    "commas": ",",
    "bullets": "- ",
    "numbering": "(1) ",
    "thoughts": "<think>\n",
    "ends of thoughts": "</think>\n",
    "spaces, ends of thoughts": " " * 100_000 + "</think>\n",
    "underscores": "_",
}


def random_bytes(rng: random.Random) -> str:
    errors = rng.choice(["replace", "surrogateescape"])
    return rng.randbytes(rng.randrange(80)).decode("utf-8", errors)


def mutated(rng: random.Random) -> str:
    """A program of random pieces, some of whose characters are dropped, doubled or moved."""
    text = "".join(rng.choices(PIECES, k=rng.randrange(1, 16)))
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(text) + 1)
        to = min(len(text), at + rng.randrange(6))
        middle = rng.choice(["", text[at:to] * 2, text[at:to][::-1], chr(rng.randrange(0x3000))])
        text = text[:at] + middle + text[to:]
    return text


def fuzz(count: int, dialects: list[Dialect]) -> bool:
    rng = random.Random(0)
    read: Counter[str] = Counter()
    slowest, slowest_text = 0.0, ""
    begin = time.process_time()
    for number in range(count):
        text = random_bytes(rng) if number % 2 else mutated(rng)
        for dialect in dialects:
            start = time.process_time()
            try:
                parsed = dialect.parse(text, CHUNK)
            except Exception:
                print(f"{dialect.name} raised on {text!r}")
                raise
            taken = time.process_time() - start
            if taken > slowest:
                slowest, slowest_text = taken, text
            read[f"{dialect.name}: {'failure' if parsed.program is None else 'program'}"] += 1
            read.update(issue.code for issue in parsed.issues)
    seconds = time.process_time() - begin
    print(f"{count:,} inputs, {len(dialects)} dialects, no exception, {seconds:.0f} s")
    for name, number in sorted(read.items()):
        print(f"{number:>12,}  {name}")
    print(f"slowest input: {slowest * 1000:.2f} ms (cap {CAP_SECONDS * 1000:.0f} ms)")
    print(f"  {slowest_text[:200]!r}")
    return slowest <= CAP_SECONDS


def hostile(dialects: list[Dialect], size: int = 1_000_000) -> None:
    """Seconds for one megabyte and for two of each pattern: linear time doubles."""
    print(f"\n{'seconds for':<24}{'1 MB':>8}{'2 MB':>8}")
    for name, pattern in HOSTILE.items():
        taken = [
            max(
                _seconds(dialect, begin + pattern * (megabytes * size // len(pattern)))
                for dialect in dialects
                for begin in ("", "normalize(")
            )
            for megabytes in (1, 2)
        ]
        print(f"{name:<24}{taken[0]:>8.2f}{taken[1]:>8.2f}")


def _seconds(dialect: Dialect, text: str) -> float:
    start = time.process_time()
    dialect.parse(text, CHUNK)
    return time.process_time() - start


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    dialects = [get_dialect(name) for name in dialect_names()]
    passed = fuzz(count, dialects)
    hostile(dialects)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
