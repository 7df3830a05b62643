"""Kill `burnish annotate` at random instants, go on, and count what was lost or paid for twice.

    python benchmarks/annotate_kills.py --kills 50

A made-up teacher on this machine answers each prompt by a hash of it, after 20 to 50 ms, and marks
every answer with that hash. The real command asks it about made-up pages, eight questions at a
time; it is killed with SIGKILL at a random instant and started again until it ends. Then a new
folder is begun, until there were enough kills. Counted are

- files of a finished folder that differ from those of a run that nobody disturbed;
- prompts that were answered more than once, and those of them whose earlier answer was under way at
  a kill: not in the file yet, of which there can be eight. All others ought not to be asked again.

In the end one run is stopped with SIGINT, as by Ctrl-C, and goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from burnish.annotation.folder import ANSWERS
from burnish.annotation.prompts import Task, chunk_tasks, document_tasks
from burnish.annotation.scores import SCORES
from burnish.annotation.variants import VARIANTS

DOCUMENTS = 200
CONCURRENCY = 8
LATENCY = 0.02, 0.05  # seconds, shortest and longest
NAME = "labels"  # of each folder: it stands in the data card
LATE_SECONDS = 0.1
RELABELLED = 3  # sessions of a folder that only write its labels anew, before the last
_MARK = re.compile(r"mark ([0-9a-f]{24})")
_LINE = re.compile(r"^\[(\d+)\]", re.MULTILINE)


# ---------------------------------------------------------------------------------- the teacher


@dataclass
class Sent:
    """By which session an answer was asked for (from 0), and when the last byte of it was written,
    in seconds of the monotonic clock; infinite where the other side was gone."""

    session: int
    ended: float = float("inf")


@dataclass
class Teacher:
    """The made-up teacher, and all that it answered, by the mark of the prompt."""

    sent: dict[str, list[Sent]] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def asked_by(self, session: int) -> set[str]:
        with self.lock:
            return {mark for mark, sent in self.sent.items() if sent[-1].session == session}

    def answer(self, body: dict[str, Any]) -> tuple[str, float]:
        """What is said to a request, and after how many seconds."""
        system, user = (message["content"] for message in body["messages"])
        mark = mark_of(body)
        chance = random.Random(mark)
        latency = chance.uniform(*LATENCY)
        task = self.tasks[system]
        if chance.random() < 0.05:
            return f"Nothing to say; mark {mark}.", latency
        if task.shows == "document":
            told = [
                f"A page of {name} value; mark {mark}.\n{SCORES[name]}: {chance.randint(0, 5)}"
                for name in task.parts
            ]
            return "\n\n".join(told), latency
        lines = _LINE.findall(user)
        programs = []
        for _ in task.parts:
            line = chance.choice(lines)
            removal = f"remove_lines(line_start={line}, line_end={line})"
            programs.append(chance.choice((removal, removal, "keep_chunk()")))
        if len(programs) == 1:
            return f"# mark {mark}\n{programs[0]}", latency
        sections = (f"## {n}\n{p}" for n, p in zip(task.parts, programs, strict=True))
        return f"mark {mark}\n\n" + "\n\n".join(sections), latency


def mark_of(body: dict[str, Any]) -> str:
    asked = json.dumps([body["messages"], body.get("max_tokens"), body.get("seed")])
    return hashlib.sha256(asked.encode()).hexdigest()[:24]


@contextmanager
def teaching() -> Iterator[Teacher]:
    """The teacher on a free local port."""
    teacher = Teacher()
    tasks = [*document_tasks(joint=True), *document_tasks(joint=False)]
    for variant in VARIANTS:
        tasks += [*chunk_tasks(variant, joint=True), *chunk_tasks(variant, joint=False)]
    teacher.tasks = {task.system: task for task in tasks}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.reply({"data": [{"id": "made-up"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            sent = Sent(int(self.headers["authorization"].split()[-1]))
            with teacher.lock:
                teacher.sent.setdefault(mark_of(body), []).append(sent)
            text, latency = teacher.answer(body)
            time.sleep(latency)
            message = {"role": "assistant", "content": text}
            words = [len(str(m["content"]).split()) for m in (*body["messages"], message)]
            usage = {"prompt_tokens": sum(words[:-1]), "completion_tokens": words[-1]}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            if self.reply({"choices": [choice], "usage": usage}):
                sent.ended = time.monotonic()

        def reply(self, value: dict[str, Any]) -> bool:
            data = json.dumps(value).encode()
            try:
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                return True
            except OSError:
                self.close_connection = True
                return False

        def log_message(self, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the other side was killed

    server = Quiet(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    teacher.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield teacher
    finally:
        server.shutdown()
        server.server_close()


# ---------------------------------------------------------------------------------- the command


def make_pages(path: Path, documents: int) -> None:
    """Writes made-up pages, no two of which are alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(documents):
            lines = [
                " ".join(f"word{chance.randrange(5_000)}" for _ in range(chance.randint(3, 12)))
                for _ in range(chance.randint(4, 12))
            ]
            row = {
                "id": f"page-{number}",
                "url": f"https://site-{number}.example/",
                "lang": "en",
                "text": "\n".join(lines),
            }
            file.write(json.dumps(row) + "\n")


def start(teacher: Teacher, pages: Path, output: Path, session: int = 0) -> subprocess.Popen[bytes]:
    """Starts the command; its key tells the teacher which session asks."""
    command = [
        *(sys.executable, "-m", "burnish", "annotate", str(pages), "--output", str(output)),
        *("--teacher", teacher.url, "--model", "made-up", "--all", "--calls", "separate"),
        *("--concurrency", str(CONCURRENCY), "--engine-option", "first_pause=0.01"),
    ]
    return subprocess.Popen(
        command,
        env={**os.environ, "OPENAI_API_KEY": str(session)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def labels(output: Path) -> dict[str, bytes]:
    """All files of a finished run, but for the answers, which stand in the order of their keys in
    pages that came into being in another order."""
    return {p.name: p.read_bytes() for p in sorted(output.iterdir()) if p.name != ANSWERS}


def kept(output: Path) -> set[str]:
    """The marks of the answers in the file, as whoever opens it next will find them: a copy is
    looked into, since opening it mends what a kill left half written."""
    with tempfile.TemporaryDirectory() as folder:
        for path in output.glob(f"{ANSWERS}*"):
            shutil.copy(path, folder)
        file = Path(folder, ANSWERS)
        if not file.exists() or not file.stat().st_size:
            return set()
        with closing(sqlite3.connect(file)) as answers:
            rows = answers.execute("SELECT text FROM answers").fetchall()
    return {found[1] for (text,) in rows if (found := _MARK.search(text))}


# ---------------------------------------------------------------------------------- what is counted


@dataclass
class Counts:
    """What the kills did.

    `at` tells what the killed runs were about. Each thread of a run keeps an answer before it asks
    the next question, so at a kill no more than `CONCURRENCY` prompts can have been asked about and
    not be in the file: those are under way. `late` are those whose answers had been written out
    more than 100 ms before (the client was slow to read them, or the disk to write), the slowest
    by so many seconds.
    """

    kills: int = 0
    at: Counter[str] = field(default_factory=Counter)
    finished: int = 0
    files_that_differ: int = 0
    answers: int = 0
    answered_twice: int = 0
    not_under_way: int = 0
    late: int = 0
    slowest: float = 0.0

    @property
    def clean(self) -> bool:
        return not (self.files_that_differ or self.not_under_way)

    def add_kill(self, teacher: Teacher, at: float, asked: set[str], in_file: set[str]) -> None:
        """Counts one kill, of a run that had asked these prompts and left these in the file."""
        self.kills += 1
        missing = asked - in_file
        self.not_under_way += max(len(missing) - CONCURRENCY, 0)
        waited = [at - teacher.sent[mark][-1].ended for mark in missing]
        self.late += sum(seconds > LATE_SECONDS for seconds in waited)
        self.slowest = max([self.slowest, *waited])

    def add_answers(self, teacher: Teacher) -> None:
        """Counts what was answered for one folder; no session asks the same twice."""
        for sent in teacher.sent.values():
            self.answers += len(sent)
            self.answered_twice += len(sent) > 1
            self.not_under_way += len(sent) - len({one.session for one in sent})

    def told(self) -> str:
        where = ", ".join(f"{count} {name}" for name, count in self.at.most_common())
        return "\n".join(
            [
                f"kills: {self.kills} ({where})",
                f"folders finished: {self.finished}",
                f"their files that differ from the undisturbed run's: {self.files_that_differ}",
                f"answers given: {self.answers}",
                f"(a) prompts answered more than once: {self.answered_twice}",
                f"(b) of these, under way at a kill: {self.answered_twice - self.not_under_way}",
                f"(a) - (b): {self.not_under_way}",
                f"under way though written out {LATE_SECONDS * 1e3:.0f} ms before: {self.late}; "
                f"the slowest {self.slowest * 1e3:.0f} ms",
            ]
        )


@dataclass
class Undisturbed:
    """What a run comes to that nobody disturbs: its files, how many prompts it asks, its seconds,
    and those of a second one, which only labels."""

    files: dict[str, bytes]
    prompts: int
    seconds: float
    labelling: float


def undisturbed(pages: Path, folder: Path) -> Undisturbed:
    output = folder / "undisturbed" / NAME
    with teaching() as teacher:
        times = [time.monotonic()]
        for session in range(2):
            if start(teacher, pages, output, session).wait() != 0:
                raise RuntimeError("the undisturbed run failed")
            times.append(time.monotonic())
        seconds, labelling = (end - begin for begin, end in pairwise(times))
        return Undisturbed(labels(output), len(teacher.sent), seconds, labelling)


def survive(kills: int, seed: int, folder: Path, documents: int = DOCUMENTS) -> Counts:
    """Kills runs until there were `kills` kills, and lets the last one end."""
    chance = random.Random(seed)
    pages = folder / "pages.jsonl"
    make_pages(pages, documents)
    expected = undisturbed(pages, folder)
    counts = Counts()
    while counts.kills < kills or counts.finished == 0:
        output = folder / str(counts.finished) / NAME
        with teaching() as teacher:
            in_file: set[str] = set()
            relabelled = 0
            for session in count():
                process = start(teacher, pages, output, session)
                whole = len(in_file) == expected.prompts
                longest = 1.1 * expected.labelling if whole else 0.5 * expected.seconds
                last = counts.kills >= kills or relabelled == RELABELLED
                wait = None if last else chance.uniform(0.2, longest)
                code, at = ended(process, wait)
                asked = teacher.asked_by(session)
                counts.not_under_way += len(asked & in_file)
                in_file = kept(output)
                if code != 0:
                    counts.add_kill(teacher, at, asked, in_file)
                    counts.at["labelling" if whole else "asking" if asked else "starting"] += 1
                elif last:
                    break
                relabelled += whole
            counts.add_answers(teacher)
        counts.files_that_differ += differing(labels(output), expected.files)
        counts.finished += 1
        shutil.rmtree(output.parent)
    return counts


def ended(process: subprocess.Popen[bytes], seconds: float | None) -> tuple[int, float]:
    """Waits for the process and kills it after so many seconds; its exit code, and when it was
    killed."""
    try:
        code, at = process.wait(seconds), float("inf")
    except subprocess.TimeoutExpired:
        at = time.monotonic()
        process.kill()
        code = process.wait()
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the command failed by itself, with {code}")
    return code, at


def differing(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> int:
    return sum(found.get(name) != expected.get(name) for name in found.keys() | expected.keys())


@dataclass
class Stopped:
    """A run that was stopped by SIGINT: its exit code, the answers that had been asked for by then
    and those of them that were kept, prompts answered twice in all, and files that differ."""

    code: int
    asked: int
    kept: int
    answered_twice: int
    files_that_differ: int

    @property
    def clean(self) -> bool:
        whole = self.asked == self.kept > 0
        return self.code == 130 and whole and not self.answered_twice + self.files_that_differ

    def told(self) -> str:
        return (
            f"SIGINT: exit code {self.code}, {self.asked} prompts asked and {self.kept} kept; "
            f"after going on, {self.answered_twice} answered twice and {self.files_that_differ} "
            "files that differ"
        )


def interrupt(folder: Path, documents: int = DOCUMENTS) -> Stopped:
    """Stops a run by SIGINT in the middle of its questions, and goes on."""
    pages, output = folder / "pages.jsonl", folder / "interrupted" / NAME
    make_pages(pages, documents)
    expected = undisturbed(pages, folder)
    with teaching() as teacher:
        process = start(teacher, pages, output)
        while len(teacher.sent) < expected.prompts // 3 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        code = process.wait()
        asked, in_file = len(teacher.sent), kept(output)
        if start(teacher, pages, output, 1).wait() != 0:
            raise RuntimeError("the run does not go on")
        twice = sum(len(sent) > 1 for sent in teacher.sent.values())
    return Stopped(code, asked, len(in_file), twice, differing(labels(output), expected.files))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        counts = survive(arguments.kills, arguments.seed, place / "kills", arguments.documents)
        print(counts.told())
        stopped = interrupt(place / "stop", arguments.documents)
        print(stopped.told())
    if not (counts.clean and stopped.clean):
        sys.exit(1)


if __name__ == "__main__":
    main()
