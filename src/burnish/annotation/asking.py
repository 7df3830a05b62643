"""Asks a teacher many questions, and keeps each answer as it comes.

An answer that arrived is kept whatever happens after; where the budget ends, the questions before
are all asked.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from math import inf

from burnish.annotation.answers import Answer, Answers, Question, Usage
from burnish.annotation.bill import Ledger, expected, expected_tokens
from burnish.annotation.teacher import Teacher
from burnish.refiners.engines.base import Completion

_PATIENCE_SECONDS = 0.2  # until Ctrl-C is noticed
_GRACE_SECONDS = 10.0  # for answers under way when something broke
_MOST_TOKENS = 1 << 32  # of a prompt or an answer


@dataclass(frozen=True, slots=True)
class Asked:
    """A question on its way, with the key that its answer is kept under."""

    question: Question
    key: str


OnAnswer = Callable[[Asked, Answer | str], None]
"""Called for each answer, or with the words why there is none; from several threads, one at a
time."""


def ask(
    teacher: Teacher,
    questions: Iterable[Asked],
    answers: Answers,
    ledger: Ledger,
    on_answer: OnAnswer,
    on_stopping: Callable[[], None] = lambda: None,
) -> None:
    """Asks all questions and keeps each answer as it comes; stops early where the budget ends.

    Where the teacher fails for good its error is raised; what else was under way has a few seconds
    to arrive. On KeyboardInterrupt nothing new is asked, `on_stopping` is called, and the answers
    under way, which are paid for, are waited for and kept; a second one leaves them.
    """
    asking = _Asking(teacher, iter(questions), answers, ledger, on_answer)
    workers = [_Worker(asking.work) for _ in range(teacher.threads)]
    try:
        for worker in workers:
            worker.start()
        _wait(workers, asking)
    except KeyboardInterrupt:
        asking.stopped.set()
        on_stopping()
        _wait(workers, asking)
        raise
    finally:
        teacher.stop()
        end = time.monotonic() + _GRACE_SECONDS  # of all together
        for worker in workers:
            if worker.under_way:
                worker.ended.wait(max(end - time.monotonic(), 0.0))
        teacher.ready()
    if asking.error is not None:
        raise asking.error


class _Worker(threading.Thread):
    """A thread that says itself when it ends.

    `is_alive` can not be asked after Ctrl-C: until Python 3.13, a `join` that it breaks off takes
    the thread for ended, and the answer that is under way there would be left.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(name="burnish-teacher", daemon=True)
        self._work = work
        self.ended = threading.Event()

    @property
    def under_way(self) -> bool:
        """One that Ctrl-C kept from being started is not: it will find that all is stopped."""
        return self.ident is not None and not self.ended.is_set()

    def run(self) -> None:
        try:
            self._work()
        finally:
            self.ended.set()


def _wait(workers: Sequence[_Worker], asking: _Asking) -> None:
    """Waits for the workers; after an error, no longer than `_GRACE_SECONDS`."""
    end = inf
    while (busy := [w for w in workers if w.under_way]) and time.monotonic() < end:
        if asking.error is not None and end == inf:
            end = time.monotonic() + _GRACE_SECONDS
        busy[0].ended.wait(_PATIENCE_SECONDS)


class _Asking:
    """What the threads that ask one teacher share."""

    def __init__(
        self,
        teacher: Teacher,
        questions: Iterator[Asked],
        answers: Answers,
        ledger: Ledger,
        on_answer: OnAnswer,
    ) -> None:
        self.stopped = threading.Event()
        self.error: BaseException | None = None
        self._teacher, self._answers, self._ledger = teacher, answers, ledger
        self._questions: Iterator[Asked] = questions
        self._on_answer = on_answer
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def work(self) -> None:
        """Asks until there is nothing left, the budget ends, or somebody stops it."""
        try:
            while batch := self._next():
                self._ask(batch)
        except BaseException as error:
            with self._lock:
                self.error = self.error or error
            self.stopped.set()

    def _next(self) -> list[tuple[Asked, Usage]]:
        """The next questions, with what is set aside for them.

        One thread after the other, so that where the budget ends the questions before are all
        asked.
        """
        with self._turn:
            found = [] if self.stopped.is_set() else self._questions
            batch: list[tuple[Asked, Usage]] = []
            for asked in islice(found, self._teacher.batch):
                # Waiting for a batch that is not yet asked would have no end.
                most = self._ledger.reserve(self._teacher.name, asked.question, wait=not batch)
                if most is None:
                    self._questions = chain([asked], self._questions)
                    break
                batch.append((asked, most))
            if self.stopped.is_set():  # while there was no room, or labels were looked at
                for asked, most in batch:
                    self._settle(asked, most, "")
                return []
            return batch

    def _ask(self, batch: Sequence[tuple[Asked, Usage]]) -> None:
        pending = deque(batch)
        try:
            completions = self._teacher.answer([asked.question for asked, _ in batch])
            for completion in completions:
                asked = pending[0][0]
                answer = _answer(asked.question, completion)
                if isinstance(answer, Answer):
                    self._answers.keep(asked.key, self._teacher.name, answer)
                self._settle(*pending.popleft(), answer)
                with self._lock:
                    self._on_answer(asked, answer)
        finally:
            while pending:
                self._settle(*pending.popleft(), "")

    def _settle(self, asked: Asked, most: Usage, answer: Answer | str) -> None:
        given = answer if isinstance(answer, Answer) else None
        self._ledger.settle(self._teacher.name, most, asked.question, given)


def _answer(question: Question, completion: Completion) -> Answer | str:
    """The completion as an answer; tokens that a server did not count, or not in earnest, are
    estimated."""
    if completion.finish == "error":
        return completion.error
    told = expected(question, expected_tokens(completion.text))
    prompt = _counted(completion.prompt_tokens) or told.prompt_tokens
    return Answer(
        completion.text,
        completion.finish,
        prompt,
        min(_counted(completion.cached_tokens), prompt),
        _counted(completion.tokens) or told.completion_tokens,
    )


def _counted(tokens: int) -> int:
    """A number of tokens; 0 for one that can not be."""
    return tokens if 0 <= tokens < _MOST_TOKENS else 0
