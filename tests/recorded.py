"""A strong teacher, played from recordings: the answers that we wrote for our twenty documents.

    with recorded() as server:
        burnish annotate DOCUMENTS -o out --teacher server.url --model strong

Questions are told apart by their system prompt and the document that is shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from played import Answer, Body, Played, answer, playing, problem

from burnish.annotation.prompts import Task, chunk_tasks, document_tasks, rewrite_task
from burnish.annotation.variants import VARIANTS
from burnish.program.derive import MODES

FOLDER = Path(__file__).parent / "fixtures" / "annotation"
DOCUMENTS = FOLDER / "documents.jsonl"


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text("utf-8").split("\n") if line]


def tasks() -> list[Task]:
    """All that a teacher may be asked."""
    found = [*document_tasks(joint=True), *document_tasks(joint=False)]
    for variant in VARIANTS:
        found += [*chunk_tasks(variant, joint=True), *chunk_tasks(variant, joint=False)]
    return found + [rewrite_task(mode) for mode in MODES]


class Recordings:
    """Finds the answer to a request; a later attempt shows the same, and more behind it."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], dict[str, Any]] = {}
        self.answers = {
            (row["teacher"], row["document"], row["task"], row["attempt"], row["pass"]): row
            for row in rows("answers.jsonl")
        }
        self.tasks = tasks()
        self.shown = {
            (task.system, task.prompt(row["text"]).user): (row["id"], task.name)
            for task in self.tasks
            for row in rows("documents.jsonl")
        }

    def find(self, body: Body) -> dict[str, Any] | None:
        """The recording for a request, None where there is none."""
        system, user = (message["content"] for message in body["messages"])
        place, attempt = self.shown.get((system, user)), 1
        if place is None:
            attempt = 2
            starts = (
                found for (s, shown), found in self.shown.items()
                if s == system and user.startswith(shown + "\n\nYour last answer")
            )  # fmt: skip
            place = next(starts, None)
        if place is None:
            return None
        key = (body["model"], *place, attempt, body.get("seed", 0))
        return self.answers.get(key)

    def respond(self, body: Body) -> Answer:
        row = self.find(body)
        if row is None:
            return problem(400, "there is no recording for this")
        system, user = (message["content"] for message in body["messages"])
        usage = {
            "prompt_tokens": (len(system) + len(user)) // 4,
            "completion_tokens": len(row["answer"]) // 4 + 1,
            "prompt_tokens_details": {"cached_tokens": len(system) // 4},
        }
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": row["answer"]},
            "finish_reason": row["finish"],
        }
        return answer({"choices": [choice], "usage": usage})


@contextmanager
def recorded(
    disturb: Callable[[int, Body, Answer], Answer] = lambda number, body, found: found,
) -> Iterator[Played]:
    """The server; `disturb` may put another answer in the place of the one found."""
    recordings = Recordings()

    def script(number: int, body: Body) -> Answer:
        return disturb(number, body, recordings.respond(body))

    listed = answer({"data": [{"id": "strong"}, {"id": "second"}]})
    with playing(script, listed) as server:
        yield server
