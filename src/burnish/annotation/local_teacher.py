"""A teacher in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from burnish.annotation.answers import Question
from burnish.annotation.teacher import EngineTeacher
from burnish.errors import RefinerError
from burnish.refiners.checkpoint import Checkpoint, Template, find_weights
from burnish.refiners.engines.base import Completion, Engine, Request
from burnish.refiners.engines.choice import EngineChoice, make_engine
from burnish.refiners.loading import weights_hash

_BATCH = 64  # questions at once


class LocalTeacher(EngineTeacher):
    """A model in this process: a folder or "hf:organisation/name", on an engine of refiners."""

    threads = 1

    def __init__(self, model: str, choice: EngineChoice) -> None:
        """Raises RefinerError, UsageError or MissingExtra where it can not be had."""
        super().__init__()
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
            "weights": weights_hash(folder),
            "engine": settled.identity,
        }
        self._template = lru_cache(maxsize=64)(self._template_of)

    def _make(self) -> Engine:
        checkpoint = self._checkpoint
        return make_engine(self._choice, checkpoint.folder, checkpoint.end_tokens, self._context)

    def _template_of(self, system: str) -> Template:
        """The model's own chat template, or a plain frame where it has none."""
        try:
            return self._checkpoint.template("own", system)
        except RefinerError:
            return self._checkpoint.template("plain", system)

    def answer(self, questions: Sequence[Question]) -> list[Completion]:
        """See `burnish.annotation.teacher.Teacher.answer`."""
        requests = []
        for question in questions:
            template = self._template(question.prompt.system)
            ids = template.encode(self._checkpoint.tokens, question.prompt.user)
            requests.append(Request(ids, question.max_tokens, chat=question.prompt))
        room = [self._context - len(r.prompt) - r.max_new_tokens for r in requests]
        fitting = [request for request, left in zip(requests, room, strict=True) if left >= 0]
        answered = iter(self.engine.generate(fitting) if fitting else ())
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
