"""How far a long job is: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from fieldtrial.panel.terminal import clock

LINE_SECONDS = 10.0  # between two lines, where there is no terminal
RECENT_SECONDS = 60.0  # over which the rate is measured


class Advance:
    """Counts what is done of a job, and says how fast it goes and how long it will take.

    what: the job, as the line's first word. total: how many there are. done: how many an earlier
    command has done: they say nothing about the rate. unit: what is counted, such as frames.
    """

    def __init__(
        self,
        console: Console,
        what: str,
        total: int,
        done: int = 0,
        unit: str = "frames",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._what, self._total, self._unit = console, what, total, unit
        self._now = now
        self._done, self._started = done, now()
        self._seen = [(self._started, done)]
        self._next_line = self._started + LINE_SECONDS
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}", markup=False), BarColumn())
            self._bar = Progress(
                *columns, TextColumn("{task.fields[text]}", markup=False), console=self._console
            )
            self._task = self._bar.add_task(
                self._what, total=self._total or None, completed=self._done, text=self.text()
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None:
            self._print()

    def add(self, count: int) -> None:
        """Note that `count` more are done."""
        self._done += count
        now = self._now()
        self._seen.append((now, self._done))
        while len(self._seen) > 2 and self._seen[1][0] < now - RECENT_SECONDS:
            self._seen.pop(0)
        if self._bar:
            self._bar.update(self._task, completed=self._done, text=self.text())
        elif now >= self._next_line:
            self._next_line = now + LINE_SECONDS
            self._print()

    def text(self) -> str:
        """Return how far it is, how fast, and how much time is left."""
        said = f"{self._done:,}/{self._total:,} {self._unit}" if self._total else ""
        said = said or f"{self._done:,} {self._unit}"
        (first, before), (last, done) = self._seen[0], self._seen[-1]
        if last <= first or done <= before:
            return said
        rate = (done - before) / (last - first)
        said += f", {rate:,.1f} {self._unit}/s"
        left = self._total - self._done
        return f"{said}, {clock(left / rate)} left" if left > 0 else said

    def _print(self) -> None:
        since = clock(self._now() - self._started)
        self._console.print(f"{since}  {self._what}: {self.text()}", soft_wrap=True)
