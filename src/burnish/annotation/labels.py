"""From a document and what its teachers answered to its labels: a function of these alone.

A document whose answers are not all there has no labels yet, but names the questions that are open.
So asking and labelling know nothing of each other, and a run that goes on after a stop labels as
one that was never stopped.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median_low
from typing import Any, TypeVar

from burnish.annotation import reading
from burnish.annotation.answers import Answer, Question
from burnish.annotation.bill import expected_tokens
from burnish.annotation.policy import Policy
from burnish.annotation.prompts import (
    SCORES,
    Task,
    again,
    chunk_tasks,
    document_tasks,
    rewrite_task,
)
from burnish.annotation.reading import Problem, Programs, Scored
from burnish.annotation.variants import variant_of
from burnish.annotation.votes import Annotator, Voice, merge, row, said
from burnish.chunking import windows
from burnish.dialects import Dialect, get_dialect
from burnish.program.executor import execute
from burnish.program.lines import Chunk, split_lines
from burnish.program.operations import Program
from burnish.schema import Document, Status, text_hash

T = TypeVar("T")

CARRIED = ("url", "domain", "lang", "source", "file", "license")
"""Columns of a document that its labels repeat."""

_CRITIQUE_TOKENS = 512  # a hundred words, in a language that takes many tokens for one
_PROGRAM_TOKENS = 1_024


Find = Callable[[Annotator, Question], Answer | str | None]
"""The answer to a question, the words why there is none, or None where it was not asked yet."""


@dataclass
class Labels:
    """What is known about one document.

    `documents` and `windows` are rows of gold, `rejected` answers that could not be used, with the
    reason. While `missing` is not empty, something is still to be asked, and the rows may change.
    `answers` are all that were read, by whom.
    """

    missing: list[tuple[Annotator, Question]] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    windows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    answers: list[tuple[Annotator, Answer]] = field(default_factory=list)


class Labeller:
    """Labels documents by a policy, with what some annotators answered."""

    def __init__(self, policy: Policy, annotators: Sequence[Annotator], find: Find) -> None:
        """Raises InputError for prompts that can not be read."""
        self.policy = policy
        self._annotators = tuple(annotators)
        self._find = find
        self._tasks: dict[str, dict[str, tuple[Task, ...]]] = {}

    def tasks(self, variant: str) -> dict[str, tuple[Task, ...]]:
        """What is asked about a document of this variant, by stage."""
        if variant not in self._tasks:
            joint, folder = self.policy.calls != "separate", self.policy.prompts
            made: dict[str, tuple[Task, ...]] = {}
            for stage in self.policy.stages:
                if stage == "document":
                    made[stage] = document_tasks(joint, folder=folder)
                elif stage == "chunk":
                    made[stage] = chunk_tasks(variant, joint, folder=folder)
                else:
                    made[stage] = (rewrite_task(self.policy.mode, folder=folder),)
            self._tasks[variant] = made
        return self._tasks[variant]

    def label(self, document: Document) -> Labels:
        """The document's labels as far as its answers go, and the questions that are open."""
        found = Labels()
        variant = variant_of(document.text, None, document.columns) if self.policy.lines else "web"
        tasks = self.tasks(variant)
        if "document" in tasks:
            self._label_document(document, tasks["document"], found)
            if self.policy.only_kept and not (found.documents and found.documents[0]["keep"]):
                return found
        if self.policy.lines:
            for window in self._windows(document, found):
                self._label_window(document, window, variant, tasks[self.policy.lines], found)
        return found

    # ------------------------------------------------------------------------------ asking

    def _ask(
        self,
        annotator: Annotator,
        task: Task,
        shown: Chunk,
        room: int,
        read: Callable[[Answer], T | Problem],
        found: Labels,
    ) -> tuple[T | Problem | None, str]:
        """What the annotator's answer says, after as many attempts as the policy has; the problem
        with the last; or None while an answer is missing. And the text of the last answer."""
        prompt = task.prompt(shown)
        problem, text = Problem("no answer"), ""
        for attempt in range(self.policy.attempts):
            asked = prompt
            if attempt:
                told = problem.reason + (f": {problem.detail}" if problem.detail else "")
                asked = replace(prompt, user=again(prompt.user, told, folder=self.policy.prompts))
            most = room + self.policy.thinking_tokens
            question = Question(asked, most, annotator.number)
            answer = self._find(annotator, question)
            if answer is None:
                found.missing.append((annotator, question))
                return None, ""
            if isinstance(answer, str):
                return Problem("no answer", answer), ""
            found.answers.append((annotator, answer))
            found.counts["asked again"] += attempt > 0
            value = read(answer)
            if not isinstance(value, Problem):
                return value, answer.text
            problem, text = value, answer.text
            found.counts["refusals"] += problem.reason == "refusal"
        return problem, text

    def _reject(
        self,
        document: Document,
        stage: str,
        task: Task,
        annotator: Annotator,
        problem: Problem,
        answer: str,
        found: Labels,
        **place: Any,
    ) -> None:
        found.rejected.append(
            {
                "id": document.id,
                "stage": stage,
                **place,
                "task": task.name,
                **annotator.to_json(),
                "reason": problem.reason,
                "detail": problem.detail,
                "answer": answer,
            }
        )

    def _enough(self, voices: Sequence[Any]) -> bool:
        """Whether more than half of the annotators gave something to count."""
        return 2 * len(voices) > len(self._annotators)

    # ------------------------------------------------------------------------------ documents

    def _label_document(self, document: Document, tasks: Sequence[Task], found: Labels) -> None:
        shown = Chunk.whole(document.text)
        voices: list[tuple[Annotator, dict[str, Scored]]] = []
        for annotator in self._annotators:
            scored: dict[str, Scored] = {}
            for task in tasks:
                names = task.parts

                def read(answer: Answer, names: tuple[str, ...] = names) -> Any:
                    return reading.scores(answer, names)

                room = _CRITIQUE_TOKENS * len(names)
                value, text = self._ask(annotator, task, shown, room, read, found)
                if isinstance(value, Problem):
                    self._reject(document, "document", task, annotator, value, text, found)
                elif value is not None:
                    scored |= value
            if len(scored) == len(SCORES):
                voices.append((annotator, scored))
        if found.missing or not self._enough(voices):
            return
        edu = median_low(scored["educational"].score for _, scored in voices)
        form = median_low(scored["format"].score for _, scored in voices)
        prompts = {name: task.hash for task in tasks for name in task.parts}
        found.documents.append(
            {
                "id": document.id,
                **_carried(document),
                "edu": edu,
                "format": form,
                "keep": int(self.policy.keeps(edu, form)),
                "reason": next(
                    scored["educational"].critique
                    for _, scored in voices
                    if scored["educational"].score == edu
                ),
                "annotators": [
                    {
                        **annotator.to_json(),
                        "prompts": prompts,
                        "edu": scored["educational"].score,
                        "format": scored["format"].score,
                        "keep": int(
                            self.policy.keeps(scored["educational"].score, scored["format"].score)
                        ),
                        "critiques": {name: scored[name].critique for name in SCORES},
                    }
                    for annotator, scored in voices
                ],
                "text": document.text,
            }
        )

    # ------------------------------------------------------------------------------ windows

    def _windows(self, document: Document, found: Labels) -> Iterator[_Window]:
        """The windows that are asked about, in the order of the document: those with the smallest
        hashes, so that it does not matter what else was drawn."""
        lines = split_lines(document.text)
        sizes = [len(line) + 1 for line in lines]
        chunks, passed_over = windows(lines, sizes, self.policy.window)
        found.counts["lines longer than a window"] += len(passed_over)
        chunks = [chunk for chunk in chunks if not chunk.text.isspace() and chunk.text]
        seed = f"{self.policy.seed} {text_hash(document.text)}"

        def draw(chunk: Chunk) -> bytes:
            return hashlib.sha256(f"{seed} {chunk.first}".encode()).digest()

        chosen = sorted(chunks, key=draw)[: self.policy.windows]
        for chunk in sorted(chosen, key=lambda chunk: chunk.first):
            whole = chunk.first == 0 and chunk.last == len(lines) - 1
            at_edge = "head" if chunk.first == 0 else "tail" if chunk is chunks[-1] else "middle"
            yield _Window(chunk, "whole" if whole else at_edge, len(lines))

    def _label_window(
        self,
        document: Document,
        window: _Window,
        variant: str,
        tasks: Sequence[Task],
        found: Labels,
    ) -> None:
        stage = self.policy.lines or ""
        shown = window.alone
        voices: list[Voice] = []
        open_before = len(found.missing)
        for annotator in self._annotators:
            by_kind: dict[str, Program] = {}
            whole = True
            for task in tasks:
                read, room = self._reader(task, shown)
                value, text = self._ask(annotator, task, shown, room, read, found)
                if isinstance(value, Programs):
                    by_kind |= value.by_kind
                    found.counts["contradictions"] += value.contradictions
                    continue
                whole = False
                if value is not None:
                    place = {"first_line": window.chunk.first}
                    self._reject(document, stage, task, annotator, value, text, found, **place)
            if whole:
                voices.append(Voice.of(annotator, by_kind, shown))
        if len(found.missing) > open_before or not self._enough(voices):
            return
        found.counts["conflicts between kinds"] += sum(voice.conflicts for voice in voices)
        merged = merge(voices, shown)
        outcome = execute(shown.text, merged, limits=self.policy.limits, lines=shown.lines)
        if outcome.status not in (Status.KEPT, Status.EDITED):
            problem = Problem(outcome.reason, outcome.issues[-1].message)
            place = {"first_line": window.chunk.first}
            told = "\n".join(said(merged, shown, self._dialect) or ())
            task, annotator = tasks[0], voices[0].annotator
            self._reject(document, stage, task, annotator, problem, told, found, **place)
            return
        found.windows.append(
            {
                "id": document.id,
                **_carried(document),
                "route": stage,
                "variant": variant,
                "window": window.place,
                "first_line": window.chunk.first,
                "of_lines": window.of_lines,
                **row(merged, outcome, voices, shown, self._dialect),
                "annotators": [
                    {
                        **voice.annotator.to_json(),
                        "prompts": {name: task.hash for task in tasks for name in task.parts},
                        **voice.to_json(shown, self._dialect),
                    }
                    for voice in voices
                ],
            }
        )

    @property
    def _dialect(self) -> Dialect:
        """In which the programs of rows are written."""
        return get_dialect("ultrax" if self.policy.lines == "rewrite" else "prox-chunk")

    def _reader(
        self, task: Task, shown: Chunk
    ) -> tuple[Callable[[Answer], Programs | Problem], int]:
        """How an answer about a window is read, and the room that it needs in tokens."""
        if self.policy.lines == "rewrite":
            room = 2 * expected_tokens(shown.text) + _CRITIQUE_TOKENS
            return (lambda answer: reading.rewritten(answer, self.policy.mode, shown)), room
        room = _PROGRAM_TOKENS * (2 if len(task.parts) > 1 else 1)
        return (lambda answer: reading.programs(answer, task.parts, shown)), room


@dataclass(frozen=True, slots=True)
class _Window:
    """A window of a document, and where it stands in it."""

    chunk: Chunk
    place: str
    of_lines: int

    @property
    def alone(self) -> Chunk:
        """The window as a text of its own, whose lines are numbered from 0."""
        return Chunk(self.chunk.lines, 0, (0, len(self.chunk.lines) - 1))


def _carried(document: Document) -> dict[str, Any]:
    columns = document.columns
    return {name: columns[name] for name in CARRIED if columns.get(name) is not None}
