"""Whoever answers questions: a server's model, or one that runs here.

The engines are those of refiners. A server is asked by as many threads as it may have requests
under way; a model in this process gets its questions in batches.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain, islice
from math import inf
from pathlib import Path
from typing import Any, Protocol

from burnish.annotation.answers import Answer, Answers, Question, Usage
from burnish.annotation.bill import Ledger, expected, expected_tokens
from burnish.dialects.base import Prompt
from burnish.errors import RefinerError, UsageError
from burnish.refiners.checkpoint import Checkpoint, Template, find_weights
from burnish.refiners.engines.base import Completion, Engine, Request
from burnish.refiners.engines.choice import EngineChoice, make_engine

CONCURRENCY = 32
"""Requests under way at once at a server, unless something else is asked for."""
PASSES_TEMPERATURE = 0.7
"""Of a teacher that is asked several times, unless something else is asked for."""
_BATCH = 64  # questions at once for a model in this process
_PATIENCE_SECONDS = 0.2  # until Ctrl-C is noticed
_GRACE_SECONDS = 10.0  # for answers under way when something broke


class Teacher(Protocol):
    """Answers questions.

    Attributes:
        name: of the model, in labels and in the bill.
        identity: all that its answers depend on, as plain data; answers are kept under it.
        threads: how many may ask at once.
        batch: how many questions each of them should bring.
    """

    name: str
    identity: Mapping[str, Any]
    threads: int
    batch: int

    def answer(self, questions: Sequence[Question]) -> list[Completion]:
        """One completion for each question, in order; one that failed has the finish "error".

        Raises RefinerError where nothing can go on.
        """
        ...

    def stop(self) -> None:
        """Ends what is under way in other threads, with RefinerError."""
        ...

    def ready(self) -> None:
        """Takes back `stop`."""
        ...


class ServerTeacher:
    """A model behind an OpenAI-compatible address, asked by its chat API."""

    def __init__(self, url: str, model: str, options: Mapping[str, Any]) -> None:
        """`options` are those of `burnish.refiners.engines.openai_compatible`; the server is not
        asked anything yet.

        Raises UsageError for a wrong option, MissingExtra without the extra "openai".
        """
        given = {"concurrency": CONCURRENCY, **options, "model": model}
        if given.setdefault("api", "chat") != "chat":
            raise UsageError("a teacher is asked by the chat API; leave the option api out")
        given.setdefault("grammar", "none")
        given.setdefault("dtype", None)  # near ties matter to refiners, not to labels
        self.name = model
        self.threads, self.batch = int(given["concurrency"]), 1
        self._choice = EngineChoice(url, tuple(sorted(given.items())), constrained=False)
        self._choice.engine_class()
        self.identity: Mapping[str, Any] = {"model": model, "engine": self._choice.identity}
        self._lock = threading.Lock()

    @cached_property
    def _engine(self) -> Engine:
        return make_engine(self._choice, Path(), (), 0)

    def answer(self, questions: Sequence[Question]) -> list[Completion]:
        with self._lock:
            engine = self._engine
        return engine.generate(
            [
                Request((), q.max_tokens, chat=_sendable(q.prompt), seed=q.number or None)
                for q in questions
            ]
        )

    def stop(self) -> None:
        _tell(self.__dict__.get("_engine"), "stop")

    def ready(self) -> None:
        _tell(self.__dict__.get("_engine"), "ready")


class LocalTeacher:
    """A model in this process: a folder or "hf:organisation/name", on an engine of refiners."""

    threads = 1

    def __init__(self, model: str, choice: EngineChoice) -> None:
        """Raises RefinerError, UsageError or MissingExtra where it can not be had."""
        settled = replace(choice, constrained=False).settled()
        settled.engine_class()
        folder = find_weights(model, None, Path())
        self._checkpoint = Checkpoint(folder)
        context = self._checkpoint.context
        if context is None:
            raise RefinerError(f"{folder}: config.json names no max_position_embeddings")
        self._choice, self._context = settled, context
        self.name = Path(model).name if folder == Path(model) else model
        self.batch = _BATCH
        self.identity: Mapping[str, Any] = {
            "model": self.name,
            "weights": _sizes(folder),
            "engine": settled.identity,
        }
        self._template = lru_cache(maxsize=64)(self._template_of)

    @cached_property
    def _engine(self) -> Engine:
        checkpoint = self._checkpoint
        return make_engine(self._choice, checkpoint.folder, checkpoint.end_tokens, self._context)

    def _template_of(self, system: str) -> Template:
        """The model's own chat template, or a plain frame where it has none."""
        try:
            return self._checkpoint.template("own", system)
        except RefinerError:
            return self._checkpoint.template("plain", system)

    def answer(self, questions: Sequence[Question]) -> list[Completion]:
        requests = []
        for question in questions:
            template = self._template(question.prompt.system)
            ids = template.encode(self._checkpoint.tokens, question.prompt.user)
            requests.append(Request(ids, question.max_tokens, chat=question.prompt))
        room = [self._context - len(r.prompt) - r.max_new_tokens for r in requests]
        fitting = [request for request, left in zip(requests, room, strict=True) if left >= 0]
        answered = iter(self._engine.generate(fitting) if fitting else ())
        return [
            replace(next(answered), prompt_tokens=len(request.prompt))
            if left >= 0
            else Completion("", "error", error=self._too_long(request))
            for request, left in zip(requests, room, strict=True)
        ]

    def _too_long(self, request: Request) -> str:
        return (
            f"a prompt of {len(request.prompt)} tokens and {request.max_new_tokens} new ones do "
            f"not fit into the model's context of {self._context}"
        )

    def stop(self) -> None:
        _tell(self.__dict__.get("_engine"), "stop")

    def ready(self) -> None:
        _tell(self.__dict__.get("_engine"), "ready")


def make_teacher(
    place: str, model: str | None, choice: EngineChoice, *, passes: int = 1
) -> Teacher:
    """The teacher at an address, or of that name; `choice` holds the engine's options.

    Raises UsageError for an address without a model, and for several passes over a model that says
    the same each time.
    """
    options = dict(choice.options)
    if place.startswith(("http://", "https://")):
        if model is None:
            raise UsageError(f"{place} needs the name of a model there: --model NAME")
        if passes > 1:
            options.setdefault("temperature", PASSES_TEMPERATURE)
            if options["temperature"] == 0:
                raise UsageError("several passes at temperature 0 would all say the same")
        return ServerTeacher(place, model, options)
    if model is not None:
        raise UsageError(f"--model belongs to an address; {place} is a model itself")
    if passes > 1:
        raise UsageError(
            f"{place} answers greedily, so that several passes would all say the same; ask several "
            "teachers, or a server"
        )
    return LocalTeacher(place, choice)


def _sendable(prompt: Prompt) -> Prompt:
    """The prompt as a server can get it, and as the tokenizer of a model here does: with a question
    mark for each lone surrogate, which UTF-8 has no bytes for."""
    return Prompt(
        prompt.system.encode("utf-8", "replace").decode(),
        prompt.user.encode("utf-8", "replace").decode(),
    )


def _tell(engine: Engine | None, what: str) -> None:
    """Calls the engine's method of that name, if there is an engine and it has one."""
    method = getattr(engine, what, None)
    if method is not None:
        method()


def _sizes(folder: Path) -> str:
    """A fingerprint of the names and sizes of a model's files."""
    files = sorted((p.name, p.stat().st_size) for p in folder.iterdir() if p.is_file())
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]


# ---------------------------------------------------------------------------------- asking


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
    threads = [
        threading.Thread(target=asking.work, name="burnish-teacher", daemon=True)
        for _ in range(teacher.threads)
    ]
    for thread in threads:
        thread.start()
    try:
        _wait(threads, asking)
    except KeyboardInterrupt:
        asking.stopped.set()
        on_stopping()
        _wait(threads, asking)
        raise
    finally:
        teacher.stop()
        end = time.monotonic() + _GRACE_SECONDS  # of all together
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0.0))
        teacher.ready()
    if asking.error is not None:
        raise asking.error


def _wait(threads: Sequence[threading.Thread], asking: _Asking) -> None:
    """Waits for the threads; after an error, no longer than `_GRACE_SECONDS`."""
    end = inf
    while any(thread.is_alive() for thread in threads) and time.monotonic() < end:
        if asking.error is not None and end == inf:
            end = time.monotonic() + _GRACE_SECONDS
        next(thread for thread in threads if thread.is_alive()).join(_PATIENCE_SECONDS)


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
    """The completion as an answer; tokens that a server did not count are estimated."""
    if completion.finish == "error":
        return completion.error
    told = expected(question, completion.tokens)
    return Answer(
        completion.text,
        completion.finish,
        completion.prompt_tokens or told.prompt_tokens,
        completion.cached_tokens,
        completion.tokens or expected_tokens(completion.text),
    )
