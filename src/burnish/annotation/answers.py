"""What teachers answered, kept on disk: an answer that was paid for is never asked for again.

One SQLite file. An answer is written by the thread that received it, before anything is done with
it, in a transaction of its own: a process may be killed at any instant, and what had arrived is
there. (After a power cut the last seconds may be missing: waiting for the disk each time bounds a
run to some hundred answers a second.) Failures are not kept, so that the next run tries again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from burnish.dialects.base import Prompt
from burnish.errors import OutputError

_WAIT_SECONDS = 60.0  # for another process that writes to the same file
_FIELDS = "text, finish, prompt_tokens, cached_tokens, completion_tokens"
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")  # the last: another table


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt for one teacher.

    Attributes:
        prompt: the messages, before any template.
        max_tokens: the answer is cut off after so many tokens.
        number: tells apart several answers of a teacher to the same prompt (from 0).
        likely_tokens: about how long the answer will be, for an estimate of the bill.
    """

    prompt: Prompt
    max_tokens: int
    number: int = 0
    likely_tokens: int = 0

    def key(self, teacher: Mapping[str, Any]) -> str:
        """What the answer is kept under, 32 hexadecimal digits; `teacher` is all of the teacher
        that its answers depend on."""
        asked = [self.prompt.system, self.prompt.user, self.max_tokens, self.number]
        told = json.dumps([dict(teacher), asked], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a teacher wrote; tokens as its server counted them (`cached_tokens` are among
    `prompt_tokens`)."""

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Usage:
    """Tokens read and written, added up over answers."""

    answers: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """All tokens, those that the server had at hand included."""
        return self.prompt_tokens + self.completion_tokens

    def add(self, answer: Answer) -> None:
        """Counts one answer in."""
        tokens = answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens
        self.merge(Usage(1, *tokens))

    def merge(self, other: Usage) -> None:
        """Adds what was spent elsewhere."""
        self.answers += other.answers
        self.prompt_tokens += other.prompt_tokens
        self.cached_tokens += other.cached_tokens
        self.completion_tokens += other.completion_tokens

    def to_json(self) -> dict[str, int]:
        return asdict(self)


class Answers:
    """The answers in a file, by key; may be used from several threads and processes.

    Every method but `close` raises OutputError where the file can not be read or written.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it. Raises OutputError where it can not be written to, so that
        this is known before an answer is paid for."""
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=_WAIT_SECONDS, check_same_thread=False)
        except (sqlite3.Error, OSError) as error:
            raise self._fault(error) from None
        try:
            with self._opened() as file:
                file.execute("BEGIN IMMEDIATE")
                file.execute(
                    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY,"
                    " teacher TEXT NOT NULL, text NOT NULL, finish TEXT NOT NULL,"
                    " prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,"
                    " completion_tokens INTEGER NOT NULL) WITHOUT ROWID"
                )
                file.execute(f"SELECT {_FIELDS}, key, teacher FROM answers LIMIT 1").fetchone()
            with suppress(sqlite3.OperationalError):  # a file system that has no such locks
                self._file.execute("PRAGMA journal_mode = WAL")
                self._file.execute("PRAGMA synchronous = NORMAL")
        except OutputError:
            self.close()
            raise

    def find(self, key: str) -> Answer | None:
        with self._opened() as file:
            row = file.execute(f"SELECT {_FIELDS} FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else Answer(_text(row[0]), *row[1:])

    def keep(self, key: str, teacher: str, answer: Answer) -> None:
        """Writes an answer; of two under the same key the first stays."""
        values = (
            answer.finish,
            answer.prompt_tokens,
            answer.cached_tokens,
            answer.completion_tokens,
        )
        with self._opened() as file:
            file.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key, teacher, _stored(answer.text), *values),
            )

    def usage(self, teacher: str) -> Usage:
        """What all answers of a teacher in the file came to."""
        with self._opened() as file:
            row = file.execute(
                "SELECT count(*), total(prompt_tokens), total(cached_tokens),"
                " total(completion_tokens) FROM answers WHERE teacher = ?",
                (teacher,),
            ).fetchone()
        return Usage(*map(int, row))

    def close(self) -> None:
        with self._lock:
            self._file.close()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The file for one thread at a time; what is written is on disk at the end."""
        try:
            with self._lock, self._file:
                yield self._file
        except sqlite3.Error as error:
            raise self._fault(error) from None

    def _fault(self, error: sqlite3.Error | OSError) -> OutputError:
        if getattr(error, "sqlite_errorname", "").startswith(_DAMAGED):
            return OutputError(
                f"{self.path} is damaged, or no file of answers ({error}). Bring a copy of it "
                "back, or move it away: then all is asked again"
            )
        return OutputError(
            f"the answers in {self.path} can not be read or written ({error}). Mend that and run "
            "the same command again: the answers that are there stay"
        )


def _stored(text: str) -> str | bytes:
    """SQLite holds any text but one with lone surrogates, which is stored as bytes."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _text(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else stored.decode("utf-8", "surrogatepass")
