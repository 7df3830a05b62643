"""From a document and what its teachers answered to its labels: a function of these alone.

A document whose answers are not all there has no labels yet, but names the questions that are open.
So asking and labelling know nothing of each other, and a run that goes on after a stop labels as
one that was never stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from burnish.annotation import reading
from burnish.annotation.answers import Answer, Question
from burnish.annotation.bill import expected_tokens
from burnish.annotation.policy import Policy
from burnish.annotation.prompts import (
    DIALECT,
    Task,
    again,
    chunk_tasks,
    document_tasks,
    rewrite_task,
)
from burnish.annotation.reading import Problem, Programs, Scored
from burnish.annotation.rows import calls, document_row, rejected_row, window_row
from burnish.annotation.scores import SCORES
from burnish.annotation.variants import VARIANTS, variant_of
from burnish.annotation.votes import Annotator, DocumentVoice, WindowVoice, merge
from burnish.annotation.windows import Window, draw_windows
from burnish.dialects import get_dialect
from burnish.program.executor import execute
from burnish.program.lines import Chunk
from burnish.program.operations import Program
from burnish.schema import Document, Status

T = TypeVar("T")

_CRITIQUE_TOKENS = 512  # a hundred words, in a language that takes many tokens for one
_PROGRAM_TOKENS = 1_024
# How long answers usually are: critiques of less than a hundred words, and a few calls.
_LIKELY_CRITIQUE, _LIKELY_PROGRAM = 150, 40

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
        """Raises InputError for prompts that can not be read, whether these documents need them or
        not: so it is known before anything is asked."""
        self.policy = policy
        self._annotators = tuple(annotators)
        self._find = find
        self._tasks: dict[str, dict[str, tuple[Task, ...]]] = {
            variant: _tasks(policy, variant) for variant in VARIANTS
        }
        again("", "", folder=policy.prompts)

    def tasks(self, variant: str) -> dict[str, tuple[Task, ...]]:
        """What is asked about a document of this variant, by stage."""
        return self._tasks[variant]

    def label(self, document: Document) -> Labels:
        """The document's labels as far as its answers go, and the questions that are open."""
        found, policy = Labels(), self.policy
        stage = policy.line_stage
        variant = variant_of(document) if stage else "web"
        tasks = self.tasks(variant)
        if "document" in tasks:
            self._label_document(document, tasks["document"], found)
            if policy.only_kept and not (found.documents and found.documents[0]["keep"]):
                return found
        if stage:
            windows, passed_over = draw_windows(
                document, policy.window, policy.windows, policy.seed
            )
            found.counts["lines longer than a window"] += len(passed_over)
            for window in windows:
                self._label_window(document, window, stage, variant, found)
        return found

    # ------------------------------------------------------------------------------ asking

    def _ask(
        self,
        annotator: Annotator,
        task: Task,
        shown: Chunk,
        read: Callable[[Answer], T | Problem],
        place: Mapping[str, Any],
        found: Labels,
    ) -> T | None:
        """What the annotator's answer says, after as many attempts as the policy has.

        None where an answer is missing, and where none could be used: then the last is among the
        rejected, with `place`, which says where in the document it belongs.
        """
        prompt = task.prompt(shown)
        room = self.policy.thinking_tokens + _room(task, shown)
        problem, text = Problem("no answer"), ""
        for attempt in range(self.policy.attempts):
            asked = prompt
            if attempt:
                told = problem.reason + (f": {problem.detail}" if problem.detail else "")
                asked = replace(prompt, user=again(prompt.user, told, folder=self.policy.prompts))
            question = Question(asked, room, annotator.number, _likely(task, shown))
            answer = self._find(annotator, question)
            if answer is None:
                found.missing.append((annotator, question))
                return None
            if isinstance(answer, str):
                problem, text = Problem("no answer", answer), ""
                break
            found.answers.append((annotator, answer))
            found.counts["asked again"] += attempt > 0
            value = read(answer)
            if not isinstance(value, Problem):
                return value
            problem, text = value, answer.text
            found.counts["refusals"] += problem.reason == "refusal"
        found.rejected.append(rejected_row(place, task.name, annotator, problem, text))
        return None

    def _enough(self, voices: Sequence[object]) -> bool:
        """Whether more than half of the annotators gave something to count."""
        return 2 * len(voices) > len(self._annotators)

    # ------------------------------------------------------------------------------ documents

    def _label_document(self, document: Document, tasks: Sequence[Task], found: Labels) -> None:
        shown = Chunk.whole(document.text)
        place = {"id": document.id, "stage": "document"}
        voices: list[DocumentVoice] = []
        for annotator in self._annotators:
            scored: dict[str, Scored] = {}
            for task in tasks:
                read = partial(reading.scores, names=task.parts)
                scored |= self._ask(annotator, task, shown, read, place, found) or {}
            if len(scored) == len(SCORES):
                voices.append(DocumentVoice(annotator, scored["educational"], scored["format"]))
        if not found.missing and self._enough(voices):
            found.documents.append(
                document_row(document, voices, _hashes(tasks), self.policy.keeps)
            )

    # ------------------------------------------------------------------------------ windows

    def _label_window(
        self,
        document: Document,
        window: Window,
        stage: str,
        variant: str,
        found: Labels,
    ) -> None:
        tasks, shown = self.tasks(variant)[stage], window.chunk
        place = {"id": document.id, "stage": stage, "first_line": window.first_line}
        voices: list[WindowVoice] = []
        open_before = len(found.missing)
        for annotator in self._annotators:
            by_kind: dict[str, Program] = {}
            whole = True
            for task in tasks:
                read = self._reader(task, shown)
                programs = self._ask(annotator, task, shown, read, place, found)
                if programs is None:
                    whole = False
                else:
                    by_kind |= programs.by_kind
                    found.counts["contradictions"] += programs.contradictions
            if whole:
                voices.append(WindowVoice.of(annotator, by_kind, shown))
        if len(found.missing) > open_before or not self._enough(voices):
            return
        found.counts["conflicts between kinds"] += sum(voice.conflicts for voice in voices)
        program = merge(voices, shown)
        outcome = execute(shown.text, program, limits=self.policy.limits, lines=shown.lines)
        dialect = get_dialect("ultrax" if stage == "rewrite" else DIALECT)
        if outcome.status in (Status.KEPT, Status.EDITED):
            row = window_row(
                document, window, stage, variant, program, outcome, voices, _hashes(tasks), dialect
            )
            found.windows.append(row)
            return
        problem = Problem(outcome.reason, outcome.issues[-1].message)
        told = "\n".join(calls(program, shown, dialect) or ())
        annotator = voices[0].annotator
        found.rejected.append(rejected_row(place, tasks[0].name, annotator, problem, told))

    def _reader(self, task: Task, shown: Chunk) -> Callable[[Answer], Programs | Problem]:
        """How an answer about a window is read."""
        if task.shows == "rewrite":
            return partial(reading.rewritten, mode=self.policy.mode, chunk=shown)
        return partial(reading.programs, kinds=task.parts, chunk=shown)


def _tasks(policy: Policy, variant: str) -> dict[str, tuple[Task, ...]]:
    joint, folder = policy.calls != "separate", policy.prompts
    found: dict[str, tuple[Task, ...]] = {}
    for stage in policy.stages:
        if stage == "document":
            found[stage] = document_tasks(joint, folder=folder)
        elif stage == "chunk":
            found[stage] = chunk_tasks(variant, joint, folder=folder)
        else:
            found[stage] = (rewrite_task(policy.mode, folder=folder),)
    return found


def _room(task: Task, shown: Chunk) -> int:
    """The room that an answer needs, in tokens."""
    if task.shows == "document":
        return _CRITIQUE_TOKENS * len(task.parts)
    if task.shows == "rewrite":
        return 2 * expected_tokens(shown.text) + _CRITIQUE_TOKENS
    return _PROGRAM_TOKENS * (2 if len(task.parts) > 1 else 1)


def _likely(task: Task, shown: Chunk) -> int:
    """About how long an answer will be, in tokens."""
    if task.shows == "rewrite":
        return expected_tokens(shown.text)
    each = _LIKELY_CRITIQUE if task.shows == "document" else _LIKELY_PROGRAM
    return each * len(task.parts)


def _hashes(tasks: Sequence[Task]) -> dict[str, str]:
    """The hash of the instruction that each thing was asked with."""
    return {name: task.hash for task in tasks for name in task.parts}
