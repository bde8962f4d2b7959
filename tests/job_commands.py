"""A plugin of pytest: the jobs, as commands and in this process."""

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from fieldtrial.command_line import Main

JOBS = Path(__file__).parents[1] / "jobs"
Done = subprocess.CompletedProcess[str]


def main_of(name: str) -> Main:
    """Return the `main` of the job with this file name."""
    main: Main = runpy.run_path(str(JOBS / name))["main"]
    return main


class Job(Protocol):
    """Runs the job of this file name to its end."""

    def __call__(self, name: str, *arguments: str | Path) -> Done: ...


@pytest.fixture(scope="session")
def command() -> Job:
    """Return a function that runs a job as a command."""

    def run(name: str, *arguments: str | Path) -> Done:
        line = [sys.executable, str(JOBS / name), *map(str, arguments)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(
            line, env=env, capture_output=True, text=True, timeout=300, check=False
        )

    return run


@pytest.fixture
def job(capfd: pytest.CaptureFixture[str]) -> Iterator[Job]:
    """Return a function that runs a job's `main` here; environment and umask come back."""

    def run(name: str, *arguments: str | Path) -> Done:
        main = main_of(name)
        capfd.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:  # from argparse
            status = int(end.code or 0)
        printed = capfd.readouterr()
        return Done([name, *map(str, arguments)], status, printed.out, printed.err)

    umask = os.umask(0)
    os.umask(umask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIELDTRIAL_DATA", os.environ["FIELDTRIAL_DATA"])
        yield run
    os.umask(umask)


def complaints(stderr: str) -> str:
    """Return what stands on stderr, without the lines that say what is waited for."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not line.endswith(" …\n"))
