"""A large sweep with early stopping over a real SLURM: same result as locally, no node wasted."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.control.slurm_sweeps import (
    SITE,
    answered_by,
    assert_each_epoch_was_trained_once,
    assert_nothing_is_left,
    runs,
    table,
)
from tests.slurm_cluster import SlurmCluster

LARGE = ("--trials", "24")  # in each of the two rows
COMMANDS = ("sbatch", "squeue", "sacct", "scancel")
MOST_SECONDS = 3.0  # from a decision to the end of the job, whose epochs are shorter
ACCOUNTING_SECONDS = 30.0  # that slurmdbd may take to hear of an end

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.usefixtures("no_job_is_left")]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, make_driver: Callable[..., Any]) -> Any:
    """Return the driver of the sweep that has run without SLURM, one trial at a time."""
    driver = make_driver(tmp_path_factory.mktemp("large"), {"most_trials": 1})
    assert driver.finish(driver.start(*LARGE), 600).returncode == 0
    return driver


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, int]]:
    """Return a function that returns how often each of SLURM's commands was called."""
    folder = tmp_path / "counted"
    folder.mkdir()
    for name in COMMANDS:
        (folder / name).write_text(
            f'#!/bin/sh\necho >>"{folder}/{name}.calls"\nexec {which(name)} "$@"\n'
        )
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    files = {name: folder / f"{name}.calls" for name in COMMANDS}
    return lambda: {
        name: len(file.read_text()) if file.exists() else 0 for name, file in files.items()
    }


class Ends:
    """Knows when a trial's job was free of it: when it had ended, or was on its next trial."""

    def __init__(self, slurm: SlurmCluster, processes: Any, driver: Any) -> None:
        self._slurm, self._processes = slurm, processes
        self._jobs = answered_by(driver.folder())
        self._starts = {run.name: run.records()[0]["time"] for run in runs(driver.folder())}

    def of(self, trial: str) -> float:
        """Return it in seconds since 1970, rounded up for a job's end, as SLURM keeps seconds."""
        job, start = self._jobs[trial], self._starts[trial]
        later = [self._starts[other] for other in self._jobs if self._jobs[other] == job]
        return min((other for other in later if other > start), default=0.0) or self._end_of_job(
            job
        )

    def _end_of_job(self, job: str) -> float:
        command = ("sacct", "-XnP", f"--jobs={job}", "--format=End,State")
        assert self._processes.eventually(
            lambda: "COMPLETED" in self._slurm.run(*command), ACCOUNTING_SECONDS
        )
        return datetime.fromisoformat(self._slurm.run(*command).split("|")[0]).timestamp() + 1


@pytest.mark.parametrize("trials_per_job", [1, 20])
def test_it_is_the_same_sweep(
    slurm: SlurmCluster,
    make_driver: Callable[..., Any],
    processes: Any,
    large: Any,
    calls: Callable[[], dict[str, int]],
    tmp_path: Path,
    trials_per_job: int,
) -> None:
    driver = make_driver(
        tmp_path / "slurm", {**SITE, "most_jobs": 1, "trials_per_job": trials_per_job}
    )
    outcome = driver.finish(driver.start(*LARGE), 900)
    assert outcome.returncode == 0, outcome.stderr
    print(calls())
    assert driver.trials() == large.trials()
    assert driver.folder().trials() == large.folder().trials(), "the winners are among them"
    assert table(driver) == table(large)
    assert_each_epoch_was_trained_once(driver.folder())
    assert_nothing_is_left(slurm, processes, driver.folder())
    ends, seconds = Ends(slurm, processes, driver), []
    for _, trial, _, stopped_at, _ in driver.trials():
        if stopped_at is not None:
            records = {record["epoch"]: record for record in driver.folder().run(trial).records()}
            seconds.append(ends.of(trial) - records[stopped_at]["time"])
    print(
        f"{len(seconds)} of {len(driver.trials())} trials stopped, the slowest {max(seconds):.2f} s"
        " after the decision"
    )
    assert len(seconds) > len(driver.trials()) / 4
    assert max(seconds) < MOST_SECONDS
