"""Sweeps over a real SLURM that fails in every way end with the undisturbed sweep's table."""

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest

from fieldtrial.disk.task_queue import TaskQueue
from tests.control.slurm_sweeps import (
    SHORT,
    SITE,
    assert_nothing_is_left,
    assert_undisturbed,
    jobs,
    record_count,
    runs,
    trains,
    workers,
)
from tests.slurm_cluster import SlurmCluster, temporary_cluster

KILLS = 20
WAYS = pytest.mark.parametrize("trials_per_job", [1, 20])

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.usefixtures("no_job_is_left")]

Sweep = Callable[..., Any]


@pytest.fixture
def sweep_through(
    slurm: SlurmCluster, make_driver: Callable[..., Any], processes: Any, tmp_path: Path
) -> Sweep:
    """Return a function that runs a sweep with a `fault`, and compares it with `undisturbed`."""

    def run(
        fault: Callable[[Any], None],
        undisturbed: Any,
        *flags: str,
        epoch: str = "0.3",
        **settings: object,
    ) -> Any:
        driver = make_driver(tmp_path, {**SITE, "most_jobs": 1, **settings}, EPOCH_SECONDS=epoch)
        process = driver.start(*flags)
        assert processes.eventually(
            lambda: trains(driver.folder()) or process.poll() is not None, 240
        )
        try:
            fault(driver)
            outcome = driver.finish(process, 900)
        finally:
            process.kill()
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        assert_undisturbed(slurm, driver, processes, undisturbed)
        return driver

    return run


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory, make_driver: Callable[..., Any]) -> Any:
    """Return the driver of the undisturbed sweep of SHORT."""
    driver = make_driver(tmp_path_factory.mktemp("short"), {"most_trials": 1}, EPOCH_SECONDS="0.03")
    assert driver.finish(driver.start(*SHORT), 240).returncode == 0
    return driver


def cancel_jobs(slurm: SlurmCluster, processes: Any, driver: Any, times: int = 3) -> None:
    """Cancel the sweep's job as somebody else would, each time another epoch is done."""
    for _ in range(times):
        count = record_count(driver.folder())
        assert processes.eventually(
            lambda count=count: record_count(driver.folder()) > count and jobs(slurm), 60
        )
        slurm.run("scancel", *jobs(slurm))


def attempts(driver: Any) -> int:
    """Return how many attempts the sweep's trials have taken beyond the first."""
    return sum(len(run.attempts()) - 1 for run in runs(driver.folder()))


@WAYS
def test_drivers_killed_at_twenty_random_moments(
    slurm: SlurmCluster,
    make_driver: Callable[..., Any],
    processes: Any,
    tmp_path: Path,
    trials_per_job: int,
) -> None:
    seed = random.SystemRandom().randrange(1000)
    print(f"random seed {seed}")
    chance = random.Random(seed)
    # More trials than kills: each driver starts a new one.
    flags = ("--trials", "16", "--seeds", "2")
    undisturbed = make_driver(tmp_path / "undisturbed", {"most_trials": 1}, EPOCH_SECONDS="0.03")
    assert undisturbed.finish(undisturbed.start(*flags), 900).returncode == 0
    driver = make_driver(
        tmp_path / "killed", {**SITE, "most_jobs": 1, "trials_per_job": trials_per_job}
    )
    state = driver.folder().state_path
    for number in range(KILLS):
        before = state.stat().st_mtime if state.exists() else 0
        process = driver.start(*flags)
        if number % 4:  # each fourth is killed in its start
            assert processes.eventually(
                lambda before=before: state.exists() and state.stat().st_mtime > before, 240
            )
        processes.eventually(lambda: process.poll() is not None, chance.uniform(0, 1.5))  # noqa: B023
        assert process.poll() is None, "the sweep has ended too early for this test"
        process.kill()
        process.communicate()
    outcome = driver.finish(driver.start(*flags), 900)
    assert outcome.returncode == 0, outcome.stderr
    print(
        f"{KILLS} kills, {len(runs(driver.folder()))} trials, {attempts(driver)} further attempts"
    )
    assert_undisturbed(slurm, driver, processes, undisturbed)


@WAYS
def test_jobs_cancelled_from_outside(
    slurm: SlurmCluster, sweep_through: Sweep, processes: Any, undisturbed: Any, trials_per_job: int
) -> None:
    driver = sweep_through(
        lambda driver: cancel_jobs(slurm, processes, driver),
        undisturbed,
        trials_per_job=trials_per_job,
    )
    assert attempts(driver) >= 1


@WAYS
def test_a_node_set_down_and_resumed(
    slurm: SlurmCluster, sweep_through: Sweep, processes: Any, short: Any, trials_per_job: int
) -> None:
    def set_down(driver: Any) -> None:
        assert processes.eventually(lambda: record_count(driver.folder()) > 2, 240)
        (node,) = slurm.run("squeue", "--noheader", "--states=RUNNING", "--format=%N").split()
        slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        assert processes.eventually(lambda: attempts(driver) == 1, 90), slurm.run(
            "squeue", "--states=all"
        )
        slurm.start()  # resumes it, unless it has come back by itself

    try:  # the trial takes longer than SLURM takes to start its job again
        sweep_through(set_down, short, *SHORT, epoch="3", trials_per_job=trials_per_job)
    finally:
        slurm.start()


@WAYS
def test_a_node_that_reboots_before_slurm_misses_it(
    slurm: SlurmCluster, sweep_through: Sweep, processes: Any, short: Any, trials_per_job: int
) -> None:
    def reboot(driver: Any) -> None:
        assert processes.eventually(lambda: record_count(driver.folder()) > 2, 240)
        (node,) = slurm.run("squeue", "--noheader", "--states=RUNNING", "--format=%N").split()
        slurm.end_node(node)
        slurm.start()

    driver = sweep_through(reboot, short, *SHORT, epoch="1", trials_per_job=trials_per_job)
    assert attempts(driver) >= 1


@WAYS
def test_slurmd_killed_and_started_again(
    slurm: SlurmCluster, sweep_through: Sweep, processes: Any, undisturbed: Any, trials_per_job: int
) -> None:
    def kill_and_start(driver: Any) -> None:
        (node,) = slurm.run("squeue", "--noheader", "--states=RUNNING", "--format=%N").split()
        slurm.end(f"slurmd.{node}")
        jobs_before, runs_before, count = (
            jobs(slurm),
            len(runs(driver.folder())),
            record_count(driver.folder()),
        )
        assert processes.eventually(lambda: record_count(driver.folder()) > count + 1, 60), (
            "its step lives on"
        )
        assert processes.eventually(lambda: len(runs(driver.folder())) > runs_before, 60), (
            "to its trial's end"
        )
        if trials_per_job == 1:  # the next job may be sent to the node, in vain
            assert processes.eventually(lambda: jobs(slurm) not in ([], jobs_before), 60)
        slurm.start()

    try:
        driver = sweep_through(kill_and_start, undisturbed, trials_per_job=trials_per_job)
    finally:
        slurm.start()
    print(f"{attempts(driver)} further attempts")


@pytest.mark.parametrize(("requeue", "trials_per_job"), [(True, 1), (False, 20)])
def test_slurmd_killed_and_its_node_given_up_while_the_step_lives_on(
    slurm: SlurmCluster,
    sweep_through: Sweep,
    processes: Any,
    short: Any,
    requeue: bool,
    trials_per_job: int,
) -> None:
    def kill(driver: Any) -> None:
        assert processes.eventually(lambda: record_count(driver.folder()) > 1, 240)
        (node,) = slurm.run("squeue", "--noheader", "--states=RUNNING", "--format=%N").split()
        slurm.end(f"slurmd.{node}")
        assert processes.eventually(lambda: len(workers(driver.folder())) == 2, 120), (
            "another job, beside the step"
        )
        assert processes.eventually(lambda: attempts(driver) == 1, 60)
        assert (
            slurm.run("sinfo", "--noheader", f"--nodes={node}", "--partition=gpu", "--format=%t")
            == "down*"
        )
        assert processes.eventually(lambda: len(workers(driver.folder())) == 1, 60), (
            "the step gives way"
        )
        assert record_count(driver.folder()) < 9, "in the middle of the trial"

    try:  # the trial takes longer than SLURM takes to give its node up, and to start its job again
        driver = sweep_through(
            kill, short, *SHORT, epoch="10", requeue=requeue, trials_per_job=trials_per_job
        )
    finally:
        slurm.start()
    assert attempts(driver) == 1


@pytest.mark.parametrize("how", [SIGTERM, SIGKILL])
def test_slurmctld_restarted(
    slurm: SlurmCluster, sweep_through: Sweep, undisturbed: Any, how: Any
) -> None:
    def restart(_: Any) -> None:
        slurm.end("slurmctld", how)
        slurm.start()

    sweep_through(restart, undisturbed)


def test_slurmdbd_dead_in_mid_sweep(
    slurm: SlurmCluster, sweep_through: Sweep, processes: Any, undisturbed: Any
) -> None:
    def end_accounting(driver: Any) -> None:
        slurm.end("slurmdbd")
        cancel_jobs(slurm, processes, driver)

    try:
        driver = sweep_through(end_accounting, undisturbed)
    finally:
        slurm.start()
    assert attempts(driver) >= 1


def test_no_accounting_at_all(
    sweep_through: Sweep, processes: Any, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with temporary_cluster("--nodes", "1", "--no-accounting") as other:
        monkeypatch.setenv("SLURM_CONF", str(other.configuration))
        driver = sweep_through(lambda driver: cancel_jobs(other, processes, driver), undisturbed)
        assert jobs(other) == []
    assert attempts(driver) >= 1


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(("requeue", "gpus"), [(True, 1), (False, 1), (True, 2)])
def test_preemption_by_a_higher_partition(
    slurm: SlurmCluster,
    sweep_through: Sweep,
    processes: Any,
    short: Any,
    announced: bool,
    requeue: bool,
    gpus: int,
) -> None:
    def preempt(driver: Any) -> None:
        assert processes.eventually(lambda: record_count(driver.folder()) > 2, 240)
        everything = ("--nodes=4", "--exclusive", "--time=1", "--output=/dev/null")
        winner = slurm.run("sbatch", "--parsable", *everything, "--wrap=sleep 1")
        slurm.wait(winner, "COMPLETED", 90)

    try:
        slurm.start(*([] if announced else ["--no-preempt-signal"]))
        site = {"partitions": ["preempt"], "requeue": requeue, "gpus_per_trial": gpus}
        driver = sweep_through(preempt, short, *SHORT, epoch="4", **site)
    finally:
        slurm.start()
    assert attempts(driver) == 1
    if (
        gpus > 1 and not announced
    ):  # then it begins with the end of srun's processes, and the job counts as failed
        queue = TaskQueue(driver.folder().queue_path)
        assert max(map(queue.terminations, (queue.folder / "workers").names())) == gpus


def test_a_time_limit_hit(sweep_through: Sweep, short: Any) -> None:
    driver = sweep_through(
        lambda _: None, short, *SHORT, epoch="14", most_jobs=2, time_limit_minutes=1
    )
    assert all(len(run.attempts()) > 1 for run in runs(driver.folder()))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB where the sweeps are kept. The copy of the code takes 3 of them."""
    folder = tmp_path / "runs"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@WAYS
def test_the_disk_full_for_a_while(
    slurm: SlurmCluster,
    make_driver: Callable[..., Any],
    processes: Any,
    undisturbed: Any,
    small_disk: Path,
    tmp_path: Path,
    trials_per_job: int,
) -> None:
    site = {**SITE, "most_jobs": 1, "trials_per_job": trials_per_job}
    driver = make_driver(tmp_path, site, EPOCH_SECONDS="0.3")
    process = driver.start()
    assert processes.eventually(lambda: record_count(driver.folder()) > 2, 240)
    filler = small_disk / "somebody else's"
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={filler}", "bs=512"], capture_output=True, check=False
    )
    outcome = driver.finish(process, 240)
    assert outcome.returncode == 1
    assert "o space left" in outcome.stderr
    assert "run the same command again: nothing is lost" in outcome.stderr
    assert_nothing_is_left(slurm, processes, driver.folder())
    filler.unlink()
    outcome = driver.finish(driver.start(), 900)
    assert outcome.returncode == 0, outcome.stderr
    assert_undisturbed(slurm, driver, processes, undisturbed)
