"""From labelled rows to what a language model is shown and what it shall answer.

How that looks is not decided here: windows, prompts and the ids of an answer come from the refiner
that will run the trained model, so training and inference can not differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from burnish.chunking import windows
from burnish.dialects import get_dialect
from burnish.errors import InputError
from burnish.io.gold import check_line, first_line_of
from burnish.io.jsonl import loads, numbered_lines
from burnish.program.lines import Chunk, split_lines
from burnish.program.operations import (
    DropDocument,
    InsertLines,
    Operation,
    Program,
    RemoveLines,
    ReplaceText,
    RewriteLines,
    cut,
    from_json,
    removal,
    shift,
)
from burnish.refiners.base import Draft
from burnish.refiners.engines.base import Request
from burnish.spec import StageSpec

UNREADABLE = "its program can not be read"
OUTSIDE = "its program names lines that it does not have"
UNSAYABLE = "the dialect can not say its program"
UNKNOWN = "no label of it is known"
LONG_PROMPT = "its prompt is too long"
LONG_PROGRAM = "its program is too long"
LONG_LINE = "a line longer than a window"
HELD_OUT = "it is among the dev files, whole or in part"

_TOLD_IN = "prox-chunk"  # the dialect of a row's program where the row does not name one


class Writer(Protocol):
    """What is asked of the refiner that runs the model: `burnish.refiners.generative.Generative`.

    Its members are described there.
    """

    def measure(self, lines: Sequence[str], first: int = 0) -> list[int]: ...

    def asked(self, chunk: Chunk) -> list[tuple[Chunk, Request]]: ...

    def fits(self, request: Request) -> bool: ...

    def answer(self, program: Program, chunk: Chunk) -> list[int]: ...

    def write(self, chunks: Sequence[Chunk]) -> list[Draft]: ...


@dataclass(frozen=True, slots=True)
class Gold:
    """A text and the right program for it.

    `lines` stand in their document from line `first` on, and `program` counts as the document does;
    None where it could not be read. `labels`: of each line, 1 goes, 0 stays, -1 unknown; none at
    the document stage.
    """

    lines: tuple[str, ...]
    first: int
    program: Program | None
    labels: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of a prompt, and of the answer to it with the end token."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass
class Examples:
    """What a model learns from, in the order of the rows, and why some of it was left out."""

    found: list[Example] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


# ---------------------------------------------------------------------------------------- rows


def read_gold(path: Path, stage: str) -> Iterator[Gold]:
    """The gold of a file of labels for one stage; rows that say nothing about it are passed over.

    Raises InputError, naming file and row, for a row that is no gold at all.
    """
    for number, line in numbered_lines(path):
        try:
            found = gold_of(loads(line), stage)
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}") from None
        if found is not None:
            yield found


def gold_of(row: Mapping[str, Any], stage: str) -> Gold | None:
    """What a row says for the stage: a document with `keep`, or lines with labels and perhaps a
    program; None if nothing. Raises ValueError for a broken row."""
    if stage == "document":
        if not isinstance(row.get("text"), str) or row.get("keep") is None:
            return None
        if row["keep"] not in (0, 1):
            raise ValueError(f"keep must be 0 or 1, not {row['keep']!r}")
        program: Program = () if row["keep"] else (DropDocument(),)
        return Gold(tuple(split_lines(row["text"])), 0, program)
    if not isinstance(row.get("lines"), list):
        return None
    lines = tuple(_text(number, line) for number, line in enumerate(row["lines"]))
    if not lines:
        return None
    first = first_line_of(row)
    labels = tuple(line["label"] for line in row["lines"])
    told = _program(row, lines, labels)
    return Gold(lines, first, None if told is None else shift(told, first), labels)


def _text(number: int, line: Any) -> str:
    check_line(number, line)
    text: str = line["text"]
    return text


def _program(row: Mapping[str, Any], lines: Sequence[str], labels: Sequence[int]) -> Program | None:
    """The row's program, in lines of the row; of labels alone, that which removes what is noise.

    None for one that can not be read whole. Raises ValueError for operations that are none.
    """
    if row.get("operations") is not None:
        return from_json(row["operations"])
    told = row.get("program")
    if told is None:
        return removal(n for n, label in enumerate(labels) if label == 1)
    text = told if isinstance(told, str) else "\n".join(map(str, told))
    read = get_dialect(row.get("dialect") or _TOLD_IN).parse(
        text, Chunk(lines, 0, (0, len(lines) - 1))
    )
    return None if read.issues else read.program


# ------------------------------------------------------------------------------------- examples


def make_examples(
    golds: Iterable[Gold],
    spec: StageSpec,
    writer: Writer,
    end: int,
    held_out: Container[str] = (),
    limit: int | None = None,
) -> Examples:
    """The examples of the golds: of each, its windows as the stage cuts them.

    `end` is the id that ends an answer; texts in `held_out` are left out; `limit` bounds how many
    examples are made.
    """
    made = Examples()
    for gold in golds:
        if limit is not None and len(made.found) >= limit:
            break
        if gold.text in held_out:
            made.left_out[HELD_OUT] += 1
        elif gold.program is None:
            made.left_out[UNREADABLE] += 1
        elif not _within(gold.program, gold):
            made.left_out[OUTSIDE] += 1
        else:
            chunks, passed_over = gold_windows(gold, spec, writer)
            made.left_out[LONG_LINE] += len(passed_over)
            for chunk in chunks:
                for part, request in writer.asked(chunk):
                    example = _example(gold, part, request, writer, end)
                    if isinstance(example, Example):
                        made.found.append(example)
                    else:
                        made.left_out[example] += 1
    made.left_out = +made.left_out
    if limit is not None:
        del made.found[limit:]
    return made


def _within(program: Program, gold: Gold) -> bool:
    """Whether each operation is about lines that are there; an insertion may stand behind them."""
    end = gold.first + len(gold.lines)
    for operation in program:
        match operation:
            case InsertLines(before=before) if not gold.first <= before <= end:
                return False
            case RemoveLines(first=a, last=b) | ReplaceText(first=a, last=b):
                if not gold.first <= a <= b < end:
                    return False
            case RewriteLines(first=a, last=b) if not gold.first <= a <= b < end:
                return False
    return True


def gold_windows(gold: Gold, spec: StageSpec, writer: Writer) -> tuple[list[Chunk], list[int]]:
    """The windows of a gold text, and the lines that are passed over, both counted as the document
    counts."""
    lines, first = gold.lines, gold.first
    if spec.window is None:
        return [Chunk(lines, first, (first, first + len(lines) - 1))], []
    return windows(lines, writer.measure(lines, first), spec.window, spec.overlap, first)


def _example(gold: Gold, chunk: Chunk, request: Request, writer: Writer, end: int) -> Example | str:
    """The example of a window, or why there is none."""
    if gold.labels and all(label == -1 for label in _labels(gold, chunk)):
        return UNKNOWN
    if not writer.fits(request):
        return LONG_PROMPT
    assert gold.program is not None
    answer = _answer(settled(cut(gold.program, chunk.first, chunk.last), chunk), chunk, writer)
    if answer is None:
        return UNSAYABLE
    if len(answer) + 1 > request.max_new_tokens:
        return LONG_PROGRAM
    return Example(tuple(request.prompt), (*answer, end))


def _labels(gold: Gold, chunk: Chunk) -> Sequence[int]:
    start = chunk.first - gold.first
    return gold.labels[start : start + len(chunk.lines)]


def _answer(program: Program, chunk: Chunk, writer: Writer) -> list[int] | None:
    """The program's ids, if need be line by line; None where the dialect can not say it."""
    for said in (program, by_line(program, chunk)):
        try:
            return writer.answer(said, chunk)
        except ValueError:
            continue
    return None


def settled(program: Program, chunk: Chunk) -> Program:
    """The one way to say a window's program that is taught: removed lines first, ascending and in
    as few ranges as can be; then the rest in its order, without repeats and without what has no
    effect, such as a replacement whose string stands in removed lines only."""
    gone = {
        n for op in program if isinstance(op, RemoveLines) for n in range(op.first, op.last + 1)
    }
    others = (op for op in program if not isinstance(op, RemoveLines))
    return (*removal(gone), *dict.fromkeys(op for op in others if _matters(op, gone, chunk)))


def _matters(operation: Operation, gone: set[int], chunk: Chunk) -> bool:
    if not isinstance(operation, ReplaceText):
        return True
    rows = range(operation.first, operation.last + 1)
    lines = {n: chunk.lines[n - chunk.first] for n in rows}
    if "\n" in operation.old:
        return operation.old in "\n".join((*lines.values(), ""))
    return any(operation.old in line for n, line in lines.items() if n not in gone)


def by_line(program: Program, chunk: Chunk) -> Program:
    """The program with each replacement that concerns several lines said of each line that holds
    its string, for a dialect that speaks of one line at a time."""
    gone = {
        n for op in program if isinstance(op, RemoveLines) for n in range(op.first, op.last + 1)
    }
    said: list[Operation] = []
    for op in program:
        several = isinstance(op, ReplaceText) and op.count is None and op.offset is None
        if several and isinstance(op, ReplaceText) and "\n" not in op.old:
            said += [
                ReplaceText(n, n, op.old, op.new)
                for n in range(op.first, op.last + 1)
                if n not in gone and op.old in chunk.lines[n - chunk.first]
            ]
        else:
            said.append(op)
    return tuple(said)
