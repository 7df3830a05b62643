"""Process functions for the tests of the runner, in a module that workers import quickly."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator

from burnish.errors import MissingExtra, RefinerError
from burnish.runner.base import Process
from burnish.schema import Document, Edit, Record, StageTrace, Status


def keep(document: Document) -> Record:
    return Record(document, Status.KEPT, document.text, (StageTrace("s", "r", Status.KEPT, []),))


def decide(document: Document) -> Record:
    """Follow the first word of the text: drop, edit, fail; keep otherwise."""
    text = document.text
    if text.startswith("drop"):
        trace = StageTrace("s", "r", Status.DROPPED, [], scores={"keep": 0.25}, reason="low score")
        return Record(document, Status.DROPPED, text, (trace,))
    if text.startswith("edit"):
        edits = (Edit(0, text[:5], "\udc00" if "surrogate" in text else "é"),)
        trace = StageTrace("s", "r", Status.EDITED, [["x", 1]], edits, removed_lines=((0, 1),))
        return Record(document, Status.EDITED, edits[0].new + text[5:], (trace,))
    if text.startswith("fail"):
        trace = StageTrace("s", "r", Status.FAILED, reason="no program")
        return Record(document, Status.FAILED, text, (trace,))
    return keep(document)


def one_by_one(function: Callable[[Document], Record]) -> Process:
    def process(documents: Iterable[Document]) -> Iterator[Record]:
        return map(function, documents)

    return process


def in_batches(documents: Iterable[Document]) -> Iterator[Record]:
    waiting: list[Document] = []
    for document in documents:
        waiting.append(document)
        if len(waiting) == 7:
            yield from map(decide, waiting)
            waiting.clear()
    yield from map(decide, waiting)


def slow(document: Document) -> Record:
    time.sleep(0.01)
    return decide(document)


def break_at(document: Document) -> Record:
    if document.text.startswith("break"):
        raise ZeroDivisionError("division by zero")
    return keep(document)


def die_at(document: Document) -> Record:
    if document.text.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    return keep(document)


def refuse_at(document: Document) -> Record:
    if document.text.startswith("break"):
        raise MissingExtra("The engine", "vllm", "vllm")
    return keep(document)


def naming_gpu(document: Document) -> Record:
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    time.sleep(0.002)  # so that both workers get some
    return Record(document, Status.KEPT, document.text, (StageTrace("s", gpu, Status.KEPT, []),))


def naming() -> Process:
    return one_by_one(naming_gpu)


def deciding() -> Process:
    return one_by_one(decide)


def batching() -> Process:
    return in_batches


def slowing() -> Process:
    return one_by_one(slow)


def breaking() -> Process:
    return one_by_one(break_at)


def dying() -> Process:
    return one_by_one(die_at)


def refusing() -> Process:
    return one_by_one(refuse_at)


def forgetting() -> Process:
    def process(documents: Iterable[Document]) -> Iterator[Record]:
        for number, document in enumerate(documents):
            if number % 2:
                yield keep(document)

    return process


def unloadable() -> Process:
    raise RefinerError("there is no such refiner")
