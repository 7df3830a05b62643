"""Run a job on this machine, in this process or in several.

The parent hands out shards, decompresses what must be decompressed in one stream, and counts; the
workers read, process and write. Memory does not grow with the input: a worker streams its shard. It
holds a whole shard only where it must: the lines of compressed JSONL (the parent holds one more,
ahead), and the rows of JSONL on their way to Parquet.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from burnish.errors import BurnishError, UsageError, WorkerDied
from burnish.io import jsonl
from burnish.io.output import FORMATS, merge_kinds
from burnish.io.rows import Columns
from burnish.io.shards import InputFile, Plan, plan
from burnish.runner.base import Factory, Job, OnProgress, Progress, Summary
from burnish.runner.manifest import Manifest, settings_of
from burnish.runner.worker import Assignment, Done, Setup, do_shard

TERMINATE_SECONDS = 2.0
"""How long a worker may take to end before it is killed."""


def run(job: Job, workers: int = 1, on_progress: OnProgress | None = None) -> Summary:
    """Run a job, or what is left of it, and return what the whole folder holds by now.

    One worker is this process itself; more are spawned, and import the main module again, so a
    script that asks for more needs `if __name__ == "__main__":`. The output does not depend on
    their number. An interrupt (SIGINT, SIGTERM) raises KeyboardInterrupt after the workers ended;
    finished shards are kept, whatever happens, and running the job again goes on from there.

    Raises InputError and UsageError before anything starts, OutputError if the folder can not be
    used or written, WorkerDied if a worker was killed or its process function broke.
    """
    _check(job, workers)
    columns = Columns(job.text_column, job.id_column)
    work = plan(job.inputs, job.shard_bytes, job.limit, columns, exclude=job.output)
    _check_apart(job, work)
    with _terminate_as_interrupt(), Manifest(job.output, settings_of(job, work), job.task) as book:
        finished = book.summary()
        if finished is not None:
            return replace(finished, finished=True, already_done=True)
        tally = _Tally(work, job, book, on_progress)
        setup = Setup(job.output, job.format, columns, book.tag)
        todo = _assignments(work, job.task, book)
        started = time.monotonic()
        try:
            if workers == 1:
                _run_here(job.factory, setup, todo, tally)
            else:
                _run_spawned(job, setup, todo, tally, workers)
        finally:
            _note_time(book, tally, time.monotonic() - started, workers)
        return _conclude(work, book)


def _check(job: Job, workers: int) -> None:
    index, count = job.task
    if not 0 <= index < count:
        raise UsageError(f"task {index} of {count}: tasks are numbered from 0 to {count - 1}")
    if workers < 1:
        raise UsageError(f"the number of workers is at least 1, got {workers}")
    if job.format not in FORMATS:
        raise UsageError(f"unknown format {job.format!r}; known formats are {', '.join(FORMATS)}")


def _check_apart(job: Job, work: Plan) -> None:
    output = os.path.realpath(job.output)
    for file in work.files:
        if os.path.realpath(file.path).startswith(output + os.sep):
            raise UsageError(f"the input {file.path} lies in the output folder {job.output}")


def _assignments(work: Plan, task: tuple[int, int], book: Manifest) -> Iterator[Assignment]:
    """The shards of this task that are not done, in the order of the input.

    Shard n of file m belongs to task (m + n) mod N. A compressed file is read, once, as far as its
    last such shard; nothing of it is read if all are known to be done.
    """
    index, count = task
    for file in work.files:

        def mine(number: int, file: InputFile = file) -> bool:
            return (file.index + number) % count == index

        def missing(number: int, file: InputFile = file) -> bool:
            return work.shard(file, number).name not in book.done

        known = work.count(file)
        if known is not None:
            for number in filter(missing, filter(mine, range(known))):
                yield Assignment(file, work.shard(file, number))
            continue
        known = book.shards_of_file.get(file.index)
        left = None if known is None else {n for n in range(known) if mine(n) and missing(n)}
        if left is not None and not left:
            continue
        number = -1
        stream = jsonl.blocks(file.path, file.name, file.compression, work.shard_bytes, file.stop)
        for block in stream:
            number = block.number
            if mine(number) and missing(number):
                yield Assignment(file, work.shard(file, number), block)
            if left is not None:
                left.discard(number)
                if not left:
                    break
        else:
            book.write_shards_of_file(file.index, number + 1)


class _Tally:
    """Counts what is done, tells it, and watches over what all shards must share."""

    def __init__(
        self, work: Plan, job: Job, book: Manifest, on_progress: OnProgress | None
    ) -> None:
        self._work = work
        self._on_progress = on_progress
        self._running: dict[int, Summary] = {}  # worker -> counts of its unfinished shard
        self._kinds: dict[str, str] = {}
        self.done = Summary()
        self._bytes = 0.0
        self._total_bytes = sum(file.size for file in work.files)
        for name in sorted(book.done):
            note = book.note(name)
            self.done.add(note.counts)
            self._kinds = merge_kinds(self._kinds, note.kinds, note.file)
            self._bytes += self._weight(work.files[int(name.split("-")[0])])
        self.resumed = deepcopy(self.done)
        self._resumed_bytes = self._bytes
        self._tell()

    def running(self, worker: int, counts: Summary) -> None:
        self._running[worker] = counts
        self._tell()

    def finished(self, worker: int, assignment: Assignment, done: Done) -> None:
        self._running.pop(worker, None)
        self.done.add(done.counts)
        self._bytes += self._weight(assignment.file)
        self._tell()
        self._kinds = merge_kinds(self._kinds, done.kinds, assignment.file.name)

    def _weight(self, file: InputFile) -> float:
        """The bytes on disk of an average shard of the file, about right if it is compressed."""
        count = self._work.count(file) or -(-file.size * 3 // self._work.shard_bytes)
        return file.size / max(1, count)

    def _tell(self) -> None:
        if self._on_progress is None:
            return
        counts = deepcopy(self.done)
        for running in self._running.values():
            counts.add(replace(running, shards=0))
        total = self._total_bytes
        read, resumed = (min(round(n), total) for n in (self._bytes, self._resumed_bytes))
        self._on_progress(Progress(counts, read, total, self.resumed, resumed))


def _conclude(work: Plan, book: Manifest) -> Summary:
    """Sum up the folder; write the summary if every shard of every task is done.

    Only here are the columns of parallel tasks seen together: raises OutputError for a misfit.
    """
    book.refresh()
    summary = Summary()
    kinds: dict[str, str] = {}
    finished = True
    for file in work.files:
        count = work.count(file)
        if count is None:
            count = book.shards_of_file.get(file.index)
        finished = finished and count is not None
        names = (work.shard(file, number).name for number in range(count or 0))
        for name in names:
            if name in book.done:
                note = book.note(name)
                summary.add(note.counts)
                kinds = merge_kinds(kinds, note.kinds, note.file)
            else:
                finished = False
    if finished:
        book.write_summary(summary)
    return replace(summary, finished=finished)


def _note_time(book: Manifest, tally: _Tally, seconds: float, workers: int) -> None:
    size = tally.done.text_bytes - tally.resumed.text_bytes
    session = {
        "seconds": round(seconds, 3),
        "workers": workers,
        "documents": tally.done.documents - tally.resumed.documents,
        "text_megabytes": round(size / 1e6, 3),
        "text_megabytes_per_second": round(size / 1e6 / max(seconds, 1e-9), 3),
    }
    try:
        book.write_timing(session)
    except BurnishError:
        if sys.exc_info()[1] is None:  # pragma: no cover
            raise


def _run_here(factory: Factory, setup: Setup, todo: Iterator[Assignment], tally: _Tally) -> None:
    process = None
    for assignment in todo:
        if process is None:
            process = factory()
        done = do_shard(assignment, setup, process, lambda counts: tally.running(0, counts))
        tally.finished(0, assignment, done)


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    assignment: Assignment | None = None


def _run_spawned(
    job: Job, setup: Setup, todo: Iterator[Assignment], tally: _Tally, count: int
) -> None:
    """Hand out shards until there are none; one is kept ready while the workers are busy."""
    ready = next(todo, None)
    if ready is None:
        return
    workers: dict[Connection, _Worker] = {}
    idle: list[_Worker] = []
    starting = 0
    try:
        for number in range(count):
            places = job.environments
            worker = _spawn(job.factory, setup, places[number % len(places)] if places else {})
            workers[worker.connection] = worker
            starting += 1
        while ready is not None or len(idle) + starting < len(workers):
            while ready is not None and idle:
                worker = idle.pop(0)
                worker.assignment = ready
                _send(worker, ready)
                ready = next(todo, None)
            if ready is None and len(idle) + starting == len(workers):
                return
            for connection in wait(list(workers)):
                worker = workers[connection]  # type: ignore[index]
                message, value = _receive(worker)
                if message == "counts":
                    tally.running(worker.process.pid or 0, value)
                elif message == "ready":
                    starting -= 1
                    idle.append(worker)
                elif message == "done":
                    assert worker.assignment is not None
                    tally.finished(worker.process.pid or 0, worker.assignment, value)
                    worker.assignment = None
                    idle.append(worker)
                else:
                    raise _revive(value)
    finally:
        _stop(list(workers.values()))


def _spawn(factory: Factory, setup: Setup, environment: Mapping[str, str]) -> _Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(
        target=_work,
        args=(there, factory, setup, environment, os.getpid()),
        name="burnish-worker",
    )
    # An interrupt from the terminal reaches the child too: it waits until the child ignores it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(f"the factory can not be sent to a worker process: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        there.close()
    return _Worker(process, here)


def _send(worker: _Worker, assignment: Assignment) -> None:
    try:
        worker.connection.send(assignment)
    except OSError:
        raise _died(worker) from None


def _receive(worker: _Worker) -> tuple[str, Any]:
    try:
        message: tuple[str, Any] = worker.connection.recv()
    except (EOFError, OSError):
        raise _died(worker) from None
    return message


def _died(worker: _Worker) -> WorkerDied:
    worker.process.join(TERMINATE_SECONDS)
    code = worker.process.exitcode
    if code is not None and code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL:
            how += " (by the system, if memory ran out: try fewer workers)"
    else:
        how = f"ended with exit code {code}"
    where = f"while working on {worker.assignment}" if worker.assignment else "while starting"
    return WorkerDied(
        f"worker process {worker.process.pid} {how} {where}. Finished shards are kept: run the "
        "same command again to go on."
    )


def _stop(workers: list[_Worker]) -> None:
    """End all workers: idle ones see the end of their pipe, busy ones are terminated."""
    for worker in workers:
        if worker.assignment is not None or sys.exc_info()[0] is not None:
            worker.process.terminate()
        worker.connection.close()
    deadline = time.monotonic() + TERMINATE_SECONDS
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(
    connection: Connection,
    factory: Factory,
    setup: Setup,
    environment: Mapping[str, str],
    parent: int,
) -> None:
    """The life of a worker process."""
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with(parent)
    setup = replace(setup, tag=f"{setup.tag}-{os.getpid()}")
    try:
        process = factory()
        connection.send(("ready", None))
        while True:
            try:
                assignment: Assignment = connection.recv()
            except EOFError:
                return
            done = do_shard(
                assignment, setup, process, lambda counts: connection.send(("counts", counts))
            )
            connection.send(("done", done))
    except ConnectionError:
        return  # the parent is gone or wants no more
    except BaseException as error:
        with suppress(OSError):  # a parent that is gone hears nothing
            connection.send(("error", _preserve(error)))


def _preserve(error: BaseException) -> tuple[bytes, str]:
    """An exception as pickled (class, args, attributes), and as text."""
    text = "".join(traceback.format_exception(error))
    try:
        state = pickle.dumps((type(error), error.args, error.__dict__))
    except Exception:
        state = pickle.dumps((WorkerDied, (f"{type(error).__name__}: {error}",), {}))
    return state, text


def _revive(preserved: tuple[bytes, str]) -> BaseException:
    """The exception of a worker; one that is not ours becomes the cause of a WorkerDied."""
    state, text = preserved
    kind, args, attributes = pickle.loads(state)
    error: BaseException = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    if not isinstance(error, BurnishError):
        error = WorkerDied(f"a worker failed: {kind.__name__}: {error}")
    error.add_note(f"in a worker process:\n{text}")
    return error


def _die_with(parent: int) -> None:
    """End this process when its parent ends, even by SIGKILL."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    if sys.platform == "linux":
        death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, where this thread may decide that."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Callable[[int, FrameType | None], Any] | int | None = signal.signal(
        signal.SIGTERM, interrupt
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
