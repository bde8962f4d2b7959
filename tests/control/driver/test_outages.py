"""A sweep with an outage of its file system ends with the undisturbed sweep's table."""

import re
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.control.driver.outages import AWAY_SECONDS, run_through_outages
from tests.control.slurm_sweeps import (
    SITE,
    assert_undisturbed,
    record_count,
)
from tests.slurm_cluster import SlurmCluster
from tests.unreliable import UnreliableFolder

pytestmark = pytest.mark.slow


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
