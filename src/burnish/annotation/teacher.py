"""Whoever answers questions: a server's model, or one that runs here.

The engines are those of refiners. A server is asked by as many threads as it may have requests
under way; a model in this process gets its questions in batches.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from burnish.annotation.answers import Question
from burnish.errors import UsageError
from burnish.refiners.engines.base import Completion, Engine
from burnish.refiners.engines.choice import EngineChoice

PASSES_TEMPERATURE = 0.7
"""Of a teacher that is asked several times, unless something else is asked for."""


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

    def prepare(self) -> None:
        """Finds out whether it can be asked: a server is there, a model can be loaded.

        Raises RefinerError if not.
        """
        ...

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


class EngineTeacher:
    """What teachers on an engine share: the engine is made when it is first needed."""

    def __init__(self) -> None:
        self._made: Engine | None = None
        self._making = threading.Lock()

    @property
    def engine(self) -> Engine:
        """The engine; raises RefinerError where it can not be made."""
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> Engine:
        raise NotImplementedError

    def prepare(self) -> None:
        """See `Teacher.prepare`."""
        _ = self.engine

    def stop(self) -> None:
        """See `Teacher.stop`."""
        self._tell("stop")

    def ready(self) -> None:
        """See `Teacher.ready`."""
        self._tell("ready")

    def _tell(self, what: str) -> None:
        """Calls the engine's method of that name, if there is an engine and it has one."""
        method = getattr(self._made, what, None)
        if method is not None:
            method()


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
        from burnish.annotation.server_teacher import ServerTeacher

        return ServerTeacher(place, model, options)
    if model is not None:
        raise UsageError(f"--model belongs to an address; {place} is a model itself")
    if passes > 1:
        raise UsageError(
            f"{place} answers greedily, so that several passes would all say the same; ask several "
            "teachers, or a server"
        )
    from burnish.annotation.local_teacher import LocalTeacher  # needs a tokenizer's library

    return LocalTeacher(place, choice)
