"""A stand-in for the training worker, and whole drivers of it, for tests of what runs where."""

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from fieldtrial.control.engine.journal.state import load_state
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.control.places.slurm.place import SlurmPlace
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.control.slurm_places import STAND_IN, Make, place_of
from tests.control.slurm_sweeps import jobs
from tests.slurm_cluster import SlurmCluster

ROOT = Path(__file__).parents[2]
EPOCH_SECONDS = 0.3
GUARDED = "FIELDTRIAL_PLACE"


class Processes:
    """Looks at this machine's processes."""

    def marked(self, mark: str) -> list[psutil.Process]:
        """Return the live processes that were started with a place's mark in their environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if (
                    process.environ().get(GUARDED) == mark
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def guarded(self, driver: int) -> tuple[str, Path] | None:
        """Return the mark and the temporary folder of a driver's place, once it has one."""
        lines = (process.cmdline() for process in psutil.Process(driver).children())
        return next(
            (
                (line[-2], Path(line[-1]))
                for line in lines
                if "fieldtrial.control.places.guard" in line
            ),
            None,
        )

    def workers(self, driver: int) -> list[psutil.Process]:
        """Return the stand-in workers of the driver with this process id."""
        found = []
        for process in psutil.Process(driver).children(recursive=True):
            try:
                if process.cmdline()[1:] == ["-P", *STAND_IN]:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def actors(self, driver: int) -> list[psutil.Process]:
        """Return the actors that feed the workers."""
        return [parent for worker in self.workers(driver) if (parent := worker.parent())]

    def eventually(self, holds: Callable[[], object], seconds: float = 60.0) -> bool:
        """Return whether `holds` becomes true in time."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)  # the tests' processes need the cores
        return True


@dataclass
class Driver:
    """A sweep's command in a project of its own: `start` runs it, `state` reads what it left."""

    project: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *flags: str, **options: Any) -> "subprocess.Popen[str]":
        """Start the command; what it prints can be read from the result's stdout and stderr."""
        command = [sys.executable, str(self.project / "sweeps" / "stand_in.py"), *flags]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        own = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")
        }
        return subprocess.Popen(command, cwd=self.project, env=own | self.environment, **options)

    def start_on_terminal(self, *flags: str) -> "tuple[subprocess.Popen[str], int]":
        """Start the command on a terminal of its own; return it and the terminal's other end."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
        process = self.start(
            *flags,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=partial(fcntl.ioctl, 0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        return process, ours

    def run(self, *flags: str) -> "subprocess.CompletedProcess[str]":
        """Run the command to its end."""
        return self.finish(self.start(*flags))

    def finish(
        self, process: "subprocess.Popen[str]", seconds: float = 300
    ) -> "subprocess.CompletedProcess[str]":
        """Wait for a command's end, for at most so many seconds."""
        try:
            output, errors = process.communicate(timeout=seconds)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def folder(self, name: str = "stand_in") -> SweepFolder:
        """Return the sweep's folder."""
        return SweepFolder(self.project / "runs" / name)

    def trials(self, name: str = "stand_in") -> list[tuple[Any, ...]]:
        """Return each trial's id, config, status, epoch it was stopped at, and best value."""
        state = load_state(self.folder(name), self.folder(name).require_description())
        assert state is not None
        rows, sources = state
        every = [
            *sources.values(),
            *(trial for row in rows for trial in [*row.trials, *row.finals]),
        ]
        return [(t.trial_id, t.name, t.status, t.stopped_at, t.best) for t in every]

    def table(self, name: str = "stand_in") -> str:
        """Return the table as CSV."""
        return self.folder(name).table_path("csv").read_text()


@pytest.fixture(scope="session")
def make_driver() -> Callable[..., Driver]:
    """Return a function that makes a project with stand_in_sweep.py and a place of `settings`."""

    def make(project: Path, settings: Mapping[str, object], **environment: str) -> Driver:
        for name in ("sweeps", "cluster"):
            (project / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(
            Path(__file__).with_name("stand_in_sweep.py"), project / "sweeps" / "stand_in.py"
        )
        lines = [
            f"{key} = {json.dumps(value)}" for key, value in {"kind": "local", **settings}.items()
        ]
        (project / "cluster" / "local.toml").write_text("\n".join(lines))
        own = {"EPOCH_SECONDS": "0.1", "STAND_IN_WORKER": STAND_IN[0]}
        return Driver(project, own | environment)

    return make


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, make_driver: Callable[..., Driver]
) -> Driver:
    """Return the driver of the sweep that has run without SLURM, one trial at a time."""
    driver = make_driver(tmp_path_factory.mktemp("undisturbed"), {"most_trials": 1})
    outcome = driver.run()
    assert outcome.returncode == 0, outcome.stderr
    return driver


@pytest.fixture
def no_job_is_left(slurm: SlurmCluster) -> Iterator[None]:
    """A test that leaves jobs in the queue fails, and the next one does not find them."""
    yield
    left = jobs(slurm)
    shown = slurm.run("squeue", "--states=all") if left else ""
    slurm.run("scancel", "--quiet", *left) if left else None
    assert left == [], shown


@pytest.fixture(scope="session")
def processes() -> Processes:
    return Processes()


@pytest.fixture(scope="module")
def place(processes: Processes) -> Iterator[LocalPlace]:
    """Return a local place of two slots with stand-in workers; at the end nothing is left of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPOCH_SECONDS", str(EPOCH_SECONDS))
        place = LocalPlace(LocalSettings(most_trials=2), worker=STAND_IN)
        guarded = processes.guarded(os.getpid())
        assert guarded
        yield place
        place.close()
    mark, folder = guarded
    assert not processes.marked(mark)
    assert not folder.exists()
    assert GUARDED not in os.environ


@pytest.fixture
def said() -> list[str]:
    """What places had to say."""
    return []


@pytest.fixture
def make_place(slurm: SlurmCluster, said: list[str], tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes a place of settings; at the end no job is left."""
    places = []

    def make(*arguments: Any, **settings: Any) -> SlurmPlace:
        places.append(place_of(tmp_path, said.append, *arguments, **settings))
        return places[-1]

    yield make
    for place in places[-1:]:
        place.close()
    deadline = time.monotonic() + 60
    while left := slurm.run("squeue", "--noheader"):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
