"""The reports of a sweep: while it runs, a process of the lowest priority writes one now and then;
at its end one is written while the table is made.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time

from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.processes import python

FIRST_SECONDS = 15  # after the start
LEAST_SECONDS = 60  # from one report to the next
SHARE = 0.05  # of the time, at most, in which a report is being written
POLL_SECONDS = 0.2
LOWEST_PRIORITY = 19


class LastReport:
    """A context manager: a process writes the report of a sweep that has ended. It does not outlive
    the context.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._problem = ""

    def __enter__(self) -> "LastReport":
        command, pipe = _command(self._folder), subprocess.PIPE
        try:
            self._process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        except OSError as error:
            self._problem = f"no report: {error.strerror}\n"
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process:
            with self._process:  # its pipes are closed
                self._process.kill()  # the report is replaced atomically

    def show(self) -> None:
        """Wait for the report and print its path, or why there is none; that is no error here."""
        path, problem = self._process.communicate() if self._process else ("", self._problem)
        sys.stdout.write(path)
        sys.stdout.flush()
        sys.stderr.write(problem)
        sys.stderr.flush()


class LiveReport:
    """A context manager that writes the report of a sweep again and again, without output.

    If no process can be started, that report is left out.
    """

    def __init__(
        self, folder: SweepFolder, first: float = FIRST_SECONDS, least: float = LEAST_SECONDS
    ) -> None:
        self._folder = folder
        self._first, self._least = first, least
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> "LiveReport":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _write(self) -> None:
        pause = self._first
        while not self._over.wait(pause):
            started = time.monotonic()
            with contextlib.suppress(OSError):  # no memory or no process is left
                self._write_once()
            pause = max(self._least, (time.monotonic() - started) / SHARE)

    def _write_once(self) -> None:
        nothing = subprocess.DEVNULL
        process = subprocess.Popen(
            _command(self._folder),
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            start_new_session=True,  # Ctrl-C must reach the driver only
        )
        os.setpriority(os.PRIO_PROCESS, process.pid, LOWEST_PRIORITY)
        while process.poll() is None:
            if self._over.wait(POLL_SECONDS):
                process.kill()  # the report is replaced atomically
                process.wait()


def _command(folder: SweepFolder) -> list[str]:
    return python("-m", "fieldtrial.results.report.command", str(folder.path))
