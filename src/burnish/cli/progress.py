"""The progress bar of a run."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from burnish.runner.base import Progress as Snapshot
from burnish.workflows.annotate import Progress as Asking


class _Bar:
    """A progress bar with counts behind it; a context manager.

    Without a terminal it prints nothing while running, so that logs stay short.
    """

    def __init__(self, console: Console, verb: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            _Counts(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(verb, total=None, counts="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


class RunProgress(_Bar):
    """Shows documents, MB of text a second, kept and dropped, and the time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "refining")
        self._began = time.monotonic()

    def update(self, snapshot: Snapshot) -> None:
        counts = snapshot.counts
        seconds = max(time.monotonic() - self._began, 1e-6)
        rate = (counts.text_bytes - snapshot.resumed.text_bytes) / 1e6 / seconds
        shown = (
            f"{counts.documents:,} documents  {rate:.1f} MB/s  "
            f"kept {counts.documents - counts.dropped:,}  dropped {counts.dropped:,}"
        )
        if counts.rejected:
            shown += f"  rejected {counts.rejected:,}"
        self._bar.update(
            self._task,
            total=snapshot.total_bytes or None,
            completed=snapshot.read_bytes,
            counts=shown,
        )


class AnnotationProgress(_Bar):
    """Shows documents, answers, tokens and dollars of a run that asks teachers."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "asking")
        self._console = console

    def update(self, snapshot: Asking) -> None:
        spent = snapshot.spent
        shown = (
            f"{snapshot.looked_at:,} documents  {spent.answers:,} answers  "
            f"{_short(spent.prompt_tokens)} tokens read, {_short(spent.completion_tokens)} written"
        )
        if snapshot.dollars is not None:
            shown += f"  ${snapshot.dollars:,.2f}"
        if snapshot.failed:
            shown += f"  failed {snapshot.failed:,}"
        self._bar.update(
            self._task,
            description=snapshot.phase,
            total=snapshot.documents,
            completed=snapshot.looked_at,
            counts=shown,
        )

    def stopping(self) -> None:
        self._console.print(
            "Stopping: waiting for the answers under way, which are paid for. Ctrl-C again leaves "
            "them.",
            style="yellow",
        )


def _short(count: int) -> str:
    """A number in about four characters.

    >>> _short(950), _short(9_500), _short(468_378), _short(12_345_678)
    ('950', '9.5k', '468k', '12.3M')
    """
    for size, sign in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            value = count / size
            return f"{value:.0f}{sign}" if value >= 100 else f"{value:.1f}{sign}"
    return str(count)


class _Counts(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["counts"])
