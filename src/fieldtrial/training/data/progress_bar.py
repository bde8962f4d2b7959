"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Literal, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

# the file descriptor to show progress on, where a parent process captures this one's stderr
STREAM = "FIELDTRIAL_PROGRESS"
SECONDS = 10  # between two lines
Unit = Literal["bytes", "images"]


@contextlib.contextmanager
def progress(
    label: str, done: int, total: int | None, unit: Unit = "bytes"
) -> Iterator[Callable[[int], None]]:
    """Show `done` of `total` units (None: unknown), and yield a function that adds units.

    Work that ends before the first line is due prints none. A full bar is removed.
    """
    with _stream() as stream:
        console = Console(file=stream)
        if not console.is_terminal:
            yield _lines(label, done, total, unit, stream)
            return
        sizes: dict[Unit, tuple[ProgressColumn, ...]] = {
            "bytes": (DownloadColumn(), TransferSpeedColumn()),
            "images": (MofNCompleteColumn(),),
        }
        columns = (BarColumn(), *sizes[unit], TimeRemainingColumn())
        with Progress("{task.description}", *columns, console=console, transient=True) as bar:
            task = bar.add_task(label, completed=done, total=total)
            yield lambda size: bar.advance(task, size)


@contextlib.contextmanager
def _stream() -> Iterator[TextIO]:
    if STREAM in os.environ:
        with os.fdopen(os.dup(int(os.environ[STREAM])), "w") as stream:
            yield stream
    else:
        yield sys.stderr


def _lines(
    label: str, done: int, total: int | None, unit: Unit, stream: TextIO
) -> Callable[[int], None]:
    scale, name = (1e6, "MB") if unit == "bytes" else (1, unit)
    told = time.monotonic()

    def advance(size: int) -> None:
        nonlocal done, told
        done += size
        if time.monotonic() - told >= SECONDS:
            told = time.monotonic()
            of = f" of {total / scale:,.0f}" if total else ""
            print(f"{label}: {done / scale:,.0f}{of} {name}", file=stream, flush=True)

    return advance
