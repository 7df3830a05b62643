"""What happens to one shard: read, process, write, note. The same in every executor."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from burnish.errors import BurnishError, WorkerDied
from burnish.io import jsonl, parquet
from burnish.io.output import ShardWriter
from burnish.io.rows import Columns, Damage
from burnish.io.shards import InputFile, Shard
from burnish.runner.base import Process, Summary
from burnish.runner.manifest import write_note
from burnish.schema import Document, Rejected

PROGRESS_SECONDS = 0.5
"""How often a shard tells how far it is."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is the same for all shards of a run; `tag` is unique to the process that writes."""

    output: Path
    format: str
    columns: Columns
    tag: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """One shard to do; `block` brings the lines where the file is compressed."""

    file: InputFile
    shard: Shard
    block: jsonl.Block | None = None

    def __str__(self) -> str:
        unit = "rows" if self.file.format == "parquet" else "bytes"
        return f"{self.file.path}, {unit} {self.shard.start} to {self.shard.end}"


@dataclass(frozen=True, slots=True)
class Done:
    """A finished shard: its counts, and the kinds of the columns inferred for Parquet output."""

    counts: Summary
    kinds: dict[str, str]


def do_shard(
    assignment: Assignment,
    setup: Setup,
    process: Process,
    on_counts: Callable[[Summary], None] = lambda counts: None,
) -> Done:
    """Do one shard and note it; nothing is left under a final name if it fails.

    Raises WorkerDied, naming file and range, for what `process` raises that is no BurnishError, and
    if it does not return one record for each document, in order.
    """
    counts = Summary(shards=1)
    shard = assignment.shard
    columns = setup.columns
    writer = ShardWriter(setup.output, shard.name, setup.format, setup.tag, columns.text)
    waiting: deque[Document] = deque()

    def documents() -> Iterator[Document]:
        for row in read(assignment, setup):
            if isinstance(row, Document):
                waiting.append(row)
                yield row
            else:
                writer.reject(row)
                counts.rejected += 1
                counts.errors += isinstance(row, Damage)

    try:
        due = time.monotonic() + PROGRESS_SECONDS
        for record in process(documents()):
            if not waiting or record.id != waiting[0].id:
                raise WorkerDied(f"{assignment}: the record of {record.id!r} came out of order")
            document = waiting.popleft()
            writer.write(document, record)
            counts.count(document, record)
            if time.monotonic() >= due:
                on_counts(counts)
                due = time.monotonic() + PROGRESS_SECONDS
        if waiting:
            raise WorkerDied(f"{assignment}: {len(waiting)} documents came back without a record")
        writer.commit()
        done = Done(counts, writer.column_kinds)
        note = {"file": assignment.file.name, "counts": counts.to_json(), "kinds": done.kinds}
        write_note(setup.output, shard.name, note, setup.tag)
        return done
    except BurnishError as error:
        error.add_note(f"while working on {assignment}")
        raise
    except Exception as error:
        raise WorkerDied(f"{assignment}: {type(error).__name__}: {error}") from error
    finally:
        writer.abort()


def read(assignment: Assignment, setup: Setup) -> Iterator[Document | Rejected]:
    """The rows of a shard, in order."""
    file, shard, block = assignment.file, assignment.shard, assignment.block
    columns, arrow = setup.columns, setup.format == "parquet"
    if file.format == "parquet":
        yield from parquet.read(file.path, file.name, shard.start, shard.end, columns)
    elif block is not None:
        lines = jsonl.lines_of_block(block.data, block.position)
        yield from jsonl.read(lines, file.name, columns, arrow)
        if block.damage is not None:
            yield block.damage
    else:
        lines = jsonl.lines_of_range(file.path, shard.start, shard.end)
        yield from jsonl.read(lines, file.name, columns, arrow)
