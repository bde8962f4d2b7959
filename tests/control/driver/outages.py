"""A driver whose file system goes away now and then."""

import time
from typing import Any

from tests.control.slurm_sweeps import record_count, runs
from tests.unreliable import UnreliableFolder

AWAY_SECONDS = 2.0


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
