"""A teacher behind an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.annotation.answers import Question
from burnish.annotation.teacher import EngineTeacher
from burnish.errors import UsageError
from burnish.refiners.engines.base import Completion, Engine, Request
from burnish.refiners.engines.choice import EngineChoice, make_engine

CONCURRENCY = 32
"""Requests under way at once, unless something else is asked for."""


class ServerTeacher(EngineTeacher):
    """A model behind an OpenAI-compatible address, asked by its chat API."""

    def __init__(self, url: str, model: str, options: Mapping[str, Any]) -> None:
        """`options` are those of `burnish.refiners.engines.openai_compatible`; the server is not
        asked anything yet.

        Raises UsageError for a wrong option, MissingExtra without the extra "openai".
        """
        super().__init__()
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

    def _make(self) -> Engine:
        return make_engine(self._choice, Path(), (), 0)

    def answer(self, questions: Sequence[Question]) -> list[Completion]:
        """See `burnish.annotation.teacher.Teacher.answer`."""
        return self.engine.generate(
            [Request((), q.max_tokens, chat=q.prompt, seed=q.number or None) for q in questions]
        )
