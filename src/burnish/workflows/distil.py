"""Programs of runs as labels: what refiners decided, for another to learn from (distillation)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from burnish.errors import InputError, OutputError
from burnish.io.labels import CHUNK, DOCUMENT, label_file
from burnish.io.output import json_part, sync
from burnish.program.operations import DropDocument, RemoveLines, from_json
from burnish.schema import StageTrace, Status
from burnish.workflows.restore import Restored, restore

_SCORES = ("edu", "format")
_CARRIED = ("lang", "domain", "url", "license")
_TAG = "labels"


@dataclass
class Distilled:
    """What came of it: rows of pages with lines (`alone` are those of which one of several runs
    spoke), and of documents with a decision; and documents of which no run said anything."""

    pages: int = 0
    alone: int = 0
    documents: int = 0
    silent: int = 0


def write_labels(runs: Sequence[Path], output: Path, partial: bool = False) -> Distilled:
    """Writes the decisions of runs over the same input into a folder of labels.

    `chunks_train.jsonl.zst` gets the pages that a chunk stage has seen, `train.jsonl.zst` the
    documents that a document stage has decided about; training takes the folder as it takes one of
    `burnish annotate`. Of several runs (an ensemble) the majority counts: a line of a tie is
    unknown (-1), a document of a tie is left out, scores are averaged. What a run refused or failed
    on counts for nothing, nor does a page count that a stage before had dropped or edited. The
    program itself is stored where one run speaks of a page. A page that was dropped because too
    much of it would go is labelled by its program.

    Raises InputError for a folder without a finished run (`partial` takes what is done of one), for
    runs of different inputs, and where no run says anything; OutputError where labels are there
    already or can not be written.
    """
    pages, documents = (label_file(output, kind, "train").path for kind in (CHUNK, DOCUMENT))
    for path in (pages, documents):
        if path.exists():
            raise OutputError(f"{path} exists already; name another folder")
    if len({run.resolve() for run in runs}) < len(runs):
        raise InputError("a run is named twice; each has one vote")
    made = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can not use {output}: {error.strerror or error}") from None
    found = Distilled()
    parts = {path: json_part(path, _TAG) for path in (pages, documents)}
    try:
        for same in _together(runs, partial):
            page, document = page_row(same), document_row(same)
            if page is not None:
                parts[pages].write(page)
            if document is not None:
                parts[documents].write(document)
            found.pages += page is not None
            found.alone += len(runs) > 1 and page is not None and len(_lined(same)) == 1
            found.documents += document is not None
            found.silent += page is None and document is None
        if not found.pages + found.documents:
            raise InputError(f"no stage has decided anything in {', '.join(map(str, runs))}")
        sync(done for part in parts.values() if (done := part.finish()) is not None)
        for part in parts.values():
            part.publish()
    except BaseException:
        for part in parts.values():
            part.abort()
        if made:
            with suppress(OSError):
                output.rmdir()
        raise
    return found


def _together(runs: Sequence[Path], partial: bool) -> Iterator[Sequence[Restored]]:
    """Each document as every run has it. Raises InputError where the runs differ in documents."""
    for same in zip_longest(*(restore(run, partial) for run in runs)):
        first = same[0]
        if any(one is None or (one.id, one.text) != (first.id, first.text) for one in same):
            names = ", ".join(map(str, runs))
            where = "one has more documents" if None in same else f"they part at {first.id}"
            raise InputError(f"the runs are not of the same input, {where}: {names}")
        yield same


def page_row(same: Sequence[Restored]) -> dict[str, Any] | None:
    """The lines of a document with the labels that the runs' chunk stages give them."""
    traces = _lined(same)
    if not traces:
        return None
    lines = same[0].text.split("\n")
    votes = [0] * len(lines)
    for trace in traces:
        gone = _gone(trace, len(lines))
        for number in range(len(lines)):
            votes[number] += 1 if number in gone else -1
    row = {
        **_common(same[0], traces),
        "lines": [
            {"text": line, "label": -1 if vote == 0 else int(vote > 0)}
            for line, vote in zip(lines, votes, strict=True)
        ],
    }
    (trace, *others) = traces
    if not others and trace.program and not _drops(trace):
        row["operations"] = trace.program
    return row


def _lined(same: Sequence[Restored]) -> list[StageTrace]:
    """What the chunk stages say that have decided about the text as it came."""
    return [trace for one in same if (trace := _decided(one, "chunk")) is not None]


def document_row(same: Sequence[Restored]) -> dict[str, Any] | None:
    """A document with the decision of the runs' document stages, and their mean scores."""
    traces = [trace for one in same if (trace := _decided(one, "document")) is not None]
    vote = sum(-1 if trace.status is Status.DROPPED else 1 for trace in traces)
    if not vote:
        return None
    means = {}
    for name in _SCORES:
        values = [trace.scores[name] for trace in traces if name in trace.scores]
        if values:
            means[name] = round(sum(values) / len(values), 4)
    return {
        **_common(same[0], traces),
        "text": same[0].text,
        "keep": int(vote > 0),
        **means,
    }


def _decided(found: Restored, stage: str) -> StageTrace | None:
    """The stage's trace, where it has decided about the text as it came."""
    for trace in found.traces:
        if trace.stage == stage:
            usable = trace.status not in (Status.REFUSED, Status.FAILED)
            return trace if usable and trace.program is not None else None
        if trace.edits:
            return None
    return None


def _gone(trace: StageTrace, lines: int) -> set[int]:
    """Numbers of the lines that go whole (0-based)."""
    if _drops(trace):
        return set(range(lines))
    ranges = trace.removed_lines
    if trace.status is Status.DROPPED:  # nothing was executed, but the program stands
        program = from_json(trace.program or ())
        ranges = tuple((op.first, op.last) for op in program if isinstance(op, RemoveLines))
    return {n for first, last in ranges for n in range(first, last + 1)}


def _drops(trace: StageTrace) -> bool:
    """Whether the program itself drops the document."""
    return any(isinstance(op, DropDocument) for op in from_json(trace.program or ()))


def _common(found: Restored, traces: Sequence[StageTrace]) -> dict[str, Any]:
    """Columns of every row: whose decision it is, and what the input says of the document."""
    carried = {name: found.stored[name] for name in _CARRIED if name in found.stored}
    text = {name: value for name, value in carried.items() if isinstance(value, str)}
    teachers = sorted({trace.refiner for trace in traces})
    return {"id": found.id, "source": " + ".join(teachers), **text}
