"""Exports of a sweep while it runs, and at its end, to the targets of the project's settings.

Each is a process of its own, of the lowest priority: a tracker that does not answer delays and
breaks nothing. It is said once, and tried again.
"""

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

from fieldtrial.control.driver.live_report import (
    FIRST_SECONDS,
    LEAST_SECONDS,
    LOWEST_PRIORITY,
    POLL_SECONDS,
    SHARE,
)
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.processes import python
from fieldtrial.targets.export import Target

MOST_SECONDS = 600  # that one export to one target may take
COMMAND = "fieldtrial.results.export.command"


class LiveExport:
    """A context manager that exports a sweep again and again.

    say: prints a line; it is called in a thread.
    """

    def __init__(
        self,
        folder: SweepFolder,
        targets: Sequence[Target],
        say: Callable[[str], None],
        first: float = FIRST_SECONDS,
        least: float = LEAST_SECONDS,
    ) -> None:
        self._folder, self._targets, self._say = folder, targets, say
        self._first, self._least = first, least
        self._said: dict[Target, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._export, daemon=True)

    def __enter__(self) -> "LiveExport":
        if self._targets:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        if self._targets:
            self._thread.join()

    def _export(self) -> None:
        pause = self._first
        while not self._over.wait(pause):
            started = time.monotonic()
            for target in self._targets:
                with contextlib.suppress(OSError):  # no memory or no process is left
                    self._export_to(target)
            pause = max(self._least, (time.monotonic() - started) / SHARE)

    def _export_to(self, target: Target) -> None:
        nothing = subprocess.DEVNULL
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                _command(self._folder, target),
                stdin=nothing,
                stdout=nothing,
                stderr=errors,
                start_new_session=True,  # Ctrl-C must reach the driver only
            )
            os.setpriority(os.PRIO_PROCESS, process.pid, LOWEST_PRIORITY)
            end, problem = time.monotonic() + MOST_SECONDS, ""
            while process.poll() is None and not problem:
                is_over = self._over.wait(POLL_SECONDS)
                if is_over or time.monotonic() > end:
                    process.kill()  # the next export completes what is half done
                    process.wait()
                    problem = _too_long(target)
                if is_over:
                    return
            errors.seek(0)
            if process.returncode and not problem:
                problem = _last_line(errors.read())
        if problem and problem != self._said.get(target):
            self._say(f"not exported, tried again later: {problem}")
        self._said[target] = problem


def export_at_the_end(folder: SweepFolder, targets: Sequence[Target]) -> list[str]:
    """Export the sweep, and return a line on each target: what was done, or why nothing was."""
    lines = []
    for target in targets:
        try:
            done = subprocess.run(
                _command(folder, target), capture_output=True, timeout=MOST_SECONDS, check=False
            )
            said = _last_line(done.stderr if done.returncode else done.stdout)
            lines.append(f"not exported: {said}" if done.returncode else said)
        except subprocess.TimeoutExpired:
            lines.append(f"not exported: {_too_long(target)}")
        except OSError as error:
            lines.append(f"not exported: {error.strerror}")
    return lines


def _too_long(target: Target) -> str:
    return f"{target} took more than {MOST_SECONDS} s"


def _command(folder: SweepFolder, target: Target) -> list[str]:
    return python("-m", COMMAND, str(folder.path), "--to", *target.words)


def _last_line(printed: bytes) -> str:
    lines = printed.decode(errors="replace").splitlines()
    return lines[-1].removeprefix("error: ") if lines else "its process said nothing"
