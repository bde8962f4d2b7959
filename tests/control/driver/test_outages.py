"""A sweep with an outage of its file system ends with the undisturbed sweep's table."""

import re
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.control.slurm_sweeps import (
    SITE,
    assert_each_epoch_was_trained_once,
    assert_undisturbed,
    record_count,
    runs,
    table,
)
from tests.slurm_cluster import SlurmCluster
from tests.unreliable import UnreliableFolder

AWAY_SECONDS = 2.0

pytestmark = pytest.mark.slow


def run_through_outages(
    driver: Any, unreliable: UnreliableFolder, processes: Any, outages: int
) -> None:
    """Run a driver to its end, with its sweep's folder away now and then."""
    (driver.project / "runs").symlink_to(unreliable.path)
    process = driver.start()
    try:
        for number in range(outages):
            assert processes.eventually(
                lambda many=4 * (number + 1): record_count(driver.folder()) > many, 120
            )
            unreliable.go_away()
            time.sleep(AWAY_SECONDS)
            unreliable.come_back()
            if number + 1 < outages:
                time.sleep(2 * AWAY_SECONDS)
        outcome = driver.finish(process, 300)
    finally:
        process.kill()
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert 1 <= outcome.stdout.count("waiting for the file system, nothing is lost") <= outages
    assert outcome.stdout.count("the file system answers again") == outcome.stdout.count(
        "waiting for the file"
    )
    assert [run.error() for run in runs(driver.folder()) if not run.result()] == []


def test_a_sweep_here(
    make_driver: Callable[..., Any],
    undisturbed: Any,
    unreliable: UnreliableFolder,
    processes: Any,
    tmp_path: Any,
) -> None:
    driver = make_driver(tmp_path, {"most_trials": 1}, EPOCH_SECONDS="0.3")
    run_through_outages(driver, unreliable, processes, 1)
    assert driver.trials() == undisturbed.trials()
    assert table(driver) == table(undisturbed)
    assert_each_epoch_was_trained_once(driver.folder())


@pytest.mark.chaos
@pytest.mark.usefixtures("no_job_is_left")
@pytest.mark.parametrize("trials_per_job", [1, 20])
def test_a_sweep_on_slurm(
    slurm: SlurmCluster,
    make_driver: Callable[..., Any],
    undisturbed: Any,
    unreliable: UnreliableFolder,
    processes: Any,
    tmp_path: Any,
    trials_per_job: int,
) -> None:
    site = {**SITE, "most_jobs": 1, "trials_per_job": trials_per_job}
    driver = make_driver(tmp_path, site, EPOCH_SECONDS="0.3")
    run_through_outages(driver, unreliable, processes, 1)
    assert_undisturbed(slurm, driver, processes, undisturbed)


@pytest.mark.chaos
@pytest.mark.usefixtures("no_job_is_left")
def test_slurm_is_away_as_well_and_for_longer(
    slurm: SlurmCluster,
    make_driver: Callable[..., Any],
    undisturbed: Any,
    unreliable: UnreliableFolder,
    processes: Any,
    tmp_path: Any,
) -> None:
    driver = make_driver(tmp_path, {**SITE, "most_jobs": 1}, EPOCH_SECONDS="0.3")
    (tmp_path / "runs").symlink_to(unreliable.path)
    printed = tmp_path / "printed"
    with printed.open("w") as output:
        process = driver.start(stdout=output)
    try:
        assert processes.eventually(lambda: record_count(driver.folder()) > 12, 120)
        unreliable.go_away()
        slurm.end("slurmctld", signal.SIGTERM)
        time.sleep(AWAY_SECONDS)
        unreliable.come_back()
        again = re.compile("SLURM does not answer: .*; trying again")
        assert processes.eventually(
            lambda: again.search(printed.read_text()) or process.poll() is not None, 180
        )
        assert process.poll() is None, printed.read_text() + process.communicate()[1]
        slurm.start()
        outcome = driver.finish(process, 300)
    finally:
        process.kill()
        slurm.start()
    assert outcome.returncode == 0, printed.read_text() + outcome.stderr
    assert_undisturbed(slurm, driver, processes, undisturbed)
