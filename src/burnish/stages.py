"""One stage of refining, and the pipeline of several.

A stage shows windows of a document to a refiner, cuts the programs to what each window owns, merges
them and executes the result on the whole document. Document and chunk are two settings of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import isnan

from burnish.chunking import merge, windows
from burnish.errors import BurnishError
from burnish.program.executor import Outcome, execute_parsed
from burnish.program.lines import Chunk, split_lines
from burnish.program.operations import DropDocument, Program, shift, to_json
from burnish.program.released import execute_as
from burnish.refiners.base import Draft, Refiner
from burnish.schema import Document, Issue, Record, StageTrace, Status
from burnish.spec import OUR_EXECUTION, StageSpec

_BATCH_DOCUMENTS = 64
_BATCH_CHARACTERS = 1 << 20
_INCOMPLETE = "some windows failed"


@dataclass(frozen=True, slots=True)
class _Work:
    """One document on its way through a stage; its chunks count lines from `first` on."""

    text: str
    lines: list[str]
    first: int
    chunks: list[Chunk]
    passed_over: list[int]


class Stage:
    """Settings and a refiner: texts in, traces and refined texts out."""

    def __init__(self, spec: StageSpec, refiner: Refiner) -> None:
        self.spec = spec
        self.refiner = refiner

    def run(
        self, texts: Sequence[str], firsts: Sequence[int] | None = None
    ) -> list[tuple[StageTrace, str]]:
        """For each text, in order, its trace and the text after the stage. `firsts` are the numbers
        that the refiner is shown for their first lines (see `Document.first_line`)."""
        numbers = [0] * len(texts) if firsts is None else firsts
        work = [self._split(text, first) for text, first in zip(texts, numbers, strict=True)]
        drafts = iter(self._write([chunk for item in work for chunk in item.chunks]))
        return [self._finish(item, [next(drafts) for _ in item.chunks]) for item in work]

    def _split(self, text: str, first: int) -> _Work:
        lines = split_lines(text)
        if self.spec.window is None:
            whole = Chunk(lines, first, (first, first + len(lines) - 1))
            return _Work(text, lines, first, [whole], [])
        sizes = self.refiner.measure(lines, first)
        chunks, passed_over = windows(lines, sizes, self.spec.window, self.spec.overlap, first)
        return _Work(text, lines, first, chunks, passed_over)

    def _write(self, chunks: Sequence[Chunk]) -> list[Draft]:
        """The refiner's drafts; where a batch fails, each chunk is tried alone, so that one bad
        chunk fails alone. Errors of our own mean that nothing can go on."""
        try:
            return _checked(self.refiner.write(chunks), len(chunks))
        except BurnishError:
            raise
        except Exception as error:
            if len(chunks) > 1:
                return [draft for chunk in chunks for draft in self._write([chunk])]
            message = f"{self.refiner.name}: {type(error).__name__}: {error}"
            return [Draft(None, (Issue("refiner", message),)) for _ in chunks]

    def _finish(self, work: _Work, drafts: Sequence[Draft]) -> tuple[StageTrace, str]:
        issues = [issue for draft in drafts for issue in draft.issues]
        issues += [
            Issue("long-line", f"line {n} is longer than a window and was passed over")
            for n in work.passed_over
        ]
        scores = _merged_scores(drafts)
        program = self._program(work, drafts, scores)
        outcome = self._execute(work, program, issues)
        if program is not None and any(draft.program is None for draft in drafts):
            outcome = _incomplete(outcome)
        trace = StageTrace(
            stage=self.spec.name,
            refiner=self.refiner.name,
            status=outcome.status,
            program=None if program is None else to_json(program),
            # A dropped document is stored whole; its text need not stand here a second time.
            edits=() if outcome.status is Status.DROPPED else outcome.edits,
            issues=outcome.issues,
            scores=scores,
            removed_lines=outcome.removed_lines,
            reason=outcome.reason,
        )
        return trace, outcome.text

    def _program(
        self, work: _Work, drafts: Sequence[Draft], scores: Mapping[str, float]
    ) -> Program | None:
        """The document's program; a window that failed takes nothing from the others."""
        threshold = self.spec.keep_threshold
        if threshold is not None and "keep" in scores:
            return (DropDocument(),) if scores["keep"] < threshold else ()
        several = len(drafts) > 1
        pairs = [
            (chunk, draft.program)
            for chunk, draft in zip(work.chunks, drafts, strict=True)
            if draft.program is not None
            and not (several and self.spec.limits.too_many_issues(draft.issues))
        ]
        if drafts and not pairs:
            return None
        merged = merge([chunk for chunk, _ in pairs], [program for _, program in pairs])
        return shift(merged, -work.first) if work.first else merged

    def _execute(self, work: _Work, program: Program | None, issues: Sequence[Issue]) -> Outcome:
        limits = self.spec.limits
        if program is not None and self.spec.execution != OUR_EXECUTION:
            return execute_as(self.spec.execution, work.text, program, issues)
        if len(work.chunks) > 1:  # too many issues count against their window alone
            limits = replace(limits, max_issues=None)
        outcome = execute_parsed(work.text, program, issues, limits=limits, lines=work.lines)
        if outcome.reason == "program" and self.spec.keep_threshold is not None:
            return replace(outcome, reason="keep score")
        return outcome


def _incomplete(outcome: Outcome) -> Outcome:
    """The outcome where some windows failed: what the others changed stands, but a document that
    nobody read to its end is not kept by decision."""
    if outcome.status is Status.KEPT:
        return replace(outcome, status=Status.FAILED, reason=_INCOMPLETE)
    return replace(outcome, reason=outcome.reason or _INCOMPLETE)


def _checked(drafts: Sequence[Draft], wanted: int) -> list[Draft]:
    """The drafts; raises ValueError where they are no answer to the `wanted` chunks."""
    if len(drafts) != wanted:
        raise ValueError(f"{len(drafts)} drafts for {wanted} chunks")
    if any(isnan(draft.scores.get("keep", 0)) for draft in drafts):
        raise ValueError("the keep score is not a number")  # no threshold would ever drop it
    return list(drafts)


def _merged_scores(drafts: Sequence[Draft]) -> dict[str, float]:
    """Each score's mean over the windows that gave it, weighted alike."""
    if len(drafts) == 1:
        return dict(drafts[0].scores)
    gathered: dict[str, list[float]] = {}
    for draft in drafts:
        for name, score in draft.scores.items():
            gathered.setdefault(name, []).append(score)
    return {name: sum(values) / len(values) for name, values in gathered.items()}


class Pipeline:
    """Stages in a row: a document that one stage drops is not shown to the next."""

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        batch_documents: int = _BATCH_DOCUMENTS,
        batch_characters: int = _BATCH_CHARACTERS,
        overlap: bool = False,
    ) -> None:
        """A batch holds `batch_documents` at most, and begins no further one after
        `batch_characters`. With `overlap`, two batches are under way in two threads, so that one is
        split, parsed and executed while a model works on the other; the refiners must allow it.
        """
        self.stages = tuple(stages)
        self._most = batch_documents, batch_characters
        self._overlap = overlap

    def with_refiners(self, refiners: Sequence[Refiner]) -> Pipeline:
        """The same pipeline with other refiners, one for each stage."""
        documents, characters = self._most
        return Pipeline(
            [Stage(old.spec, new) for old, new in zip(self.stages, refiners, strict=True)],
            batch_documents=documents,
            batch_characters=characters,
            overlap=self._overlap,
        )

    def run(self, documents: Iterable[Document]) -> Iterator[Record]:
        """One record for each document, in order."""
        batches = _batches(documents, *self._most)
        if self._overlap:
            yield from self._run_overlapped(batches)
        else:
            for batch in batches:
                yield from self._run_batch(batch)

    def _run_overlapped(self, batches: Iterator[list[Document]]) -> Iterator[Record]:
        pool = ThreadPoolExecutor(2)
        under_way: deque[Future[list[Record]]] = deque()
        broken: Exception | None = None
        try:
            while True:
                try:
                    batch = next(batches)
                except StopIteration:
                    break
                except Exception as error:  # comes after the records of the documents before it
                    broken = error
                    break
                under_way.append(pool.submit(self._run_batch, batch))
                if len(under_way) > 2:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
            if broken is not None:
                raise broken
        except BaseException:  # an error, Ctrl-C, or nobody wants the rest
            self._tell_refiners("stop")
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._tell_refiners("ready")

    def _tell_refiners(self, what: str) -> None:
        """Calls the method of each refiner that has it."""
        for stage in self.stages:
            tell = getattr(stage.refiner, what, None)
            if tell is not None:
                tell()

    def _run_batch(self, batch: Sequence[Document]) -> list[Record]:
        texts = [document.text for document in batch]
        firsts = [document.first_line for document in batch]
        traces: list[list[StageTrace]] = [[] for _ in batch]
        alive = list(range(len(batch)))
        for stage in self.stages:
            results = stage.run([texts[n] for n in alive], [firsts[n] for n in alive])
            for n, (trace, text) in zip(alive, results, strict=True):
                traces[n].append(trace)
                texts[n] = text
            alive = [n for n in alive if traces[n][-1].status is not Status.DROPPED]
        return [
            Record(document, overall(found), text, tuple(found))
            for document, text, found in zip(batch, texts, traces, strict=True)
        ]


def overall(traces: Sequence[StageTrace]) -> Status:
    """The document's status: dropped if any stage dropped it, else the worst that happened
    (failed, refused), else edited if any stage edited it."""
    found = {trace.status for trace in traces}
    order = (Status.DROPPED, Status.FAILED, Status.REFUSED, Status.EDITED)
    return next((status for status in order if status in found), Status.KEPT)


def _batches(
    documents: Iterable[Document], most_documents: int, most_characters: int
) -> Iterator[list[Document]]:
    """The documents in batches.

    Where `documents` raises, the documents before are a last batch, and then it raises.
    """
    batch: list[Document] = []
    characters = 0
    try:
        for document in documents:
            batch.append(document)
            characters += len(document.text)
            if len(batch) >= most_documents or characters >= most_characters:
                yield batch
                batch, characters = [], 0
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
