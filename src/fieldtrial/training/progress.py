"""How far a long piece of work is: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

STREAM = "FIELDTRIAL_PROGRESS"  # the file descriptor to show progress on, from whoever keeps this process's stderr
SECONDS = 10  # between two lines


@contextlib.contextmanager
def progress(label: str, done: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show that `done` of `total` bytes are done (None: unknown), and yield what is to be told of each further piece.

    Work that is over before the first line is due leaves none.
    """
    with _stream() as stream:
        console = Console(file=stream)
        if not console.is_terminal:
            yield _lines(label, done, total, stream)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task(label, completed=done, total=total)
            yield lambda size: bar.advance(task, size)


@contextlib.contextmanager
def _stream() -> Iterator[TextIO]:
    if STREAM in os.environ:
        with os.fdopen(os.dup(int(os.environ[STREAM])), "w") as stream:
            yield stream
    else:
        yield sys.stderr


def _lines(label: str, done: int, total: int | None, stream: TextIO) -> Callable[[int], None]:
    told = time.monotonic()

    def advance(size: int) -> None:
        nonlocal done, told
        done += size
        if time.monotonic() - told >= SECONDS:
            told = time.monotonic()
            of = f" of {total / 1e6:,.0f}" if total else ""
            print(f"{label}: {done / 1e6:,.0f}{of} MB", file=stream, flush=True)

    return advance
