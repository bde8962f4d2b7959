"""Whole drivers over a real SLURM, ended in every way, and restarted. The worker sleeps."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.control.running.detaching import DETACHED, RESUME_ADVICE
from fieldtrial.disk.task_queue import TaskQueue
from tests.control.screen import Screen
from tests.control.slurm_sweeps import (
    SHORT,
    SITE,
    answered_by,
    assert_each_epoch_was_trained_once,
    jobs,
    runs,
    table,
    trains,
)
from tests.slurm_cluster import SlurmCluster

ROOT = Path(__file__).parents[4]
WAYS = pytest.mark.parametrize("trials_per_job", [1, 20])

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_job_is_left")]


def accounted(slurm: SlurmCluster, job: str) -> list[str]:
    """Return a job's end and state in SLURM's accounting, which knows them a moment later."""
    line = slurm.run("sacct", "-XnP", f"--jobs={job}", "--format=End,State").strip()
    end = line.split("|")
    return end if end[0] not in ("", "Unknown") else []


@WAYS
def test_a_sweep_runs_both_ways(
    slurm: SlurmCluster,
    make_driver: Callable[..., Any],
    processes: Any,
    undisturbed: Any,
    tmp_path: Path,
    trials_per_job: int,
) -> None:
    driver = make_driver(tmp_path, {**SITE, "most_jobs": 1, "trials_per_job": trials_per_job})
    outcome = driver.run()
    assert outcome.returncode == 0, outcome.stderr
    assert driver.trials() == undisturbed.trials()
    assert table(driver) == table(undisturbed)
    assert_each_epoch_was_trained_once(driver.folder())
    by = answered_by(driver.folder())
    assert len(set(by.values())) == (10 if trials_per_job == 1 else 1)
    stopped = [run for run in runs(driver.folder()) if run.result()["outcome"] == "stopped"]
    assert stopped
    for run in stopped:
        decided = (run.path / "stop").stat().st_mtime
        assert (run.path / "result.json").stat().st_mtime - decided < 1
        assert max(record["epoch"] for record in run.records()) < 8
        if trials_per_job == 1:
            assert processes.eventually(lambda: accounted(slurm, by[run.name]))  # noqa: B023
            end, state = accounted(slurm, by[run.name])
            assert datetime.fromisoformat(end).timestamp() - decided < 3
            assert state == "COMPLETED"
    assert processes.eventually(lambda: not jobs(slurm))


@pytest.mark.chaos
def test_many_at_once_lose_and_repeat_nothing(
    slurm: SlurmCluster, make_driver: Callable[..., Any], processes: Any, tmp_path: Path
) -> None:
    driver = make_driver(tmp_path, {**SITE, "most_jobs": 6}, EPOCH_SECONDS="0.2")
    for _ in range(2):
        process = driver.start()
        assert processes.eventually(lambda: trains(driver.folder(), 2), 120)
        time.sleep(random.uniform(0, 1))
        process.kill()
        process.communicate()
    outcome = driver.run()
    assert outcome.returncode == 0, outcome.stderr
    trials = driver.trials()
    assert [trial[2] for trial in trials] == ["done"] * 10
    assert len({trial[1] for trial in trials}) == 10
    assert_each_epoch_was_trained_once(driver.folder())
    assert processes.eventually(lambda: not jobs(slurm))


def test_a_detached_driver_comes_back_to_its_jobs(
    slurm: SlurmCluster, make_driver: Callable[..., Any], processes: Any, tmp_path: Path
) -> None:
    driver = make_driver(tmp_path, {**SITE, "most_jobs": 3}, EPOCH_SECONDS="2")
    process = driver.start()
    assert processes.eventually(lambda: trains(driver.folder(), 3), 120)
    before = set(jobs(slurm))
    assert len(before) == 3
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, "")
    count = sum(len(run.records()) for run in runs(driver.folder()))
    assert "Detached: the jobs run on." in output
    assert set(jobs(slurm)) == before
    status = [sys.executable, str(ROOT / "jobs" / "status.py"), str(driver.folder().path)]
    shown = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    assert "3 running" in shown.partition("\n")[0]
    command = f"cd {tmp_path} && {sys.executable} {tmp_path}/sweeps/stand_in.py"
    assert f"no driver is running; this resumes it: {command}\n" in shown
    assert "jobs in SLURM's queue: 3 running\n" in shown
    assert f"fieldtrial cancel {driver.folder().path} cancels them\n" in shown
    assert processes.eventually(
        lambda: sum(len(run.records()) for run in runs(driver.folder())) > count + 3
    )
    driver.environment["EPOCH_SECONDS"] = "0.1"  # of the jobs that are yet to come
    process = driver.start()
    assert processes.eventually(
        lambda: len(set(jobs(slurm)) - before) > 0 or process.poll() is not None, 120
    )
    outcome = driver.finish(process)
    assert outcome.returncode == 0, outcome.stderr
    assert [trial[2] for trial in driver.trials()] == ["done"] * 10
    assert_each_epoch_was_trained_once(driver.folder())
    assert {run.attempts()[-1] for run in runs(driver.folder())} == {1}, "nothing was started again"
    assert processes.eventually(lambda: not jobs(slurm))


@pytest.mark.parametrize("answer", ["", "n"])
def test_ctrl_c_asks_about_the_jobs(
    slurm: SlurmCluster,
    make_driver: Callable[..., Any],
    processes: Any,
    tmp_path: Path,
    answer: str,
) -> None:
    site = {**SITE, "most_jobs": 2, "sbatch.begin": "now+1hour"}
    driver = make_driver(tmp_path, site, EPOCH_SECONDS="2")
    process, terminal = driver.start_on_terminal(*SHORT)
    shown = Screen(terminal)
    waits = "0 running, 2 waiting for jobs (BeginTime), 0 failed"
    assert processes.eventually(lambda: waits in shown.text() and len(jobs(slurm)) == 2, 120), (
        shown.text()
    )
    before = set(jobs(slurm))
    for job in before:
        slurm.run("scontrol", "update", f"jobid={job}", "starttime=now")
    assert processes.eventually(lambda: trains(driver.folder(), 2), 120), shown.text()
    assert processes.eventually(lambda: "2 running" in shown.text()), shown.text()
    os.write(terminal, b"\x03")
    assert processes.eventually(lambda: shown.text().endswith("Leave the jobs running? [Y/n] ")), (
        shown.text()
    )
    assert process.poll() is None
    assert set(jobs(slurm)) == before, "nothing is done before the answer"
    os.write(terminal, f"{answer}\n".encode())
    assert processes.eventually(lambda: shown.text() and process.poll() is not None), shown.text()
    assert process.returncode == 130
    assert "Traceback" not in shown.text()
    said = shown.text().partition("[Y/n]")[2]
    if answer:
        assert RESUME_ADVICE in said
        assert processes.eventually(lambda: not jobs(slurm))
        queue = TaskQueue(driver.folder().queue_path)
        assert (queue.waiting(), queue.claimed()) == (set(), {}), (
            "fieldtrial status shows nobody at work"
        )
        return
    assert DETACHED.format("runs/stand_in") in " ".join(said.split())
    outcome = driver.run(*SHORT)
    assert outcome.returncode == 0, outcome.stderr
    assert set(answered_by(driver.folder()).values()) == before, "no other job was needed"
    assert [run.attempts() for run in runs(driver.folder())] == [[1], [1]], (
        "nothing was started twice"
    )
    assert_each_epoch_was_trained_once(driver.folder())
    assert processes.eventually(lambda: not jobs(slurm))


@pytest.mark.chaos
def test_a_dead_node_costs_time_only(
    slurm: SlurmCluster, make_driver: Callable[..., Any], processes: Any, tmp_path: Path
) -> None:
    driver = make_driver(
        tmp_path, {**SITE, "most_jobs": 8, "trials_per_job": 20}, EPOCH_SECONDS="0.5"
    )
    process = driver.start()
    try:
        assert processes.eventually(lambda: trains(driver.folder(), 8), 120)
        slurm.end_node("n1")
        outcome = driver.finish(
            process, 300
        )  # SLURM takes half a minute to call a silent node down
    finally:
        slurm.start()
    assert outcome.returncode == 0, outcome.stderr
    assert [trial[2] for trial in driver.trials()] == ["done"] * 10
    assert_each_epoch_was_trained_once(driver.folder())
    assert max(run.attempts()[-1] for run in runs(driver.folder())) > 1, (
        "trials of the dead node were started again"
    )
    assert processes.eventually(lambda: not jobs(slurm))


def test_jobs_that_die_at_start_end_the_sweep(
    make_driver: Callable[..., Any], tmp_path: Path
) -> None:
    setup = ["echo module: cannot find cuda/99 >&2; exit 3"]
    driver = make_driver(tmp_path, {**SITE, "most_jobs": 4, "setup": setup})
    outcome = driver.run()
    assert outcome.returncode == 1
    assert re.search(
        r"^\d jobs in a row ended before they took a trial; the last, \d+_\d:\n    module: ",
        outcome.stderr,
    )


def test_a_place_that_slurm_refuses_ends_the_sweep(
    make_driver: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = make_driver(tmp_path, {**SITE, "partitions": ["nowhere"]}).run()
    assert outcome.returncode == 1
    assert "SLURM accepts no job of this place" in outcome.stderr
    assert "invalid partition" in outcome.stderr


@pytest.mark.parametrize("takeover", [[], ["--takeover"]])
def test_cancel_ends_one_sweeps_jobs(
    slurm: SlurmCluster,
    make_driver: Callable[..., Any],
    processes: Any,
    tmp_path: Path,
    takeover: list[str],
) -> None:
    other = slurm.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 60")
    driver = make_driver(tmp_path, {**SITE, "most_jobs": 3}, EPOCH_SECONDS="60")
    hears_hangups = partial(
        signal.signal, signal.SIGHUP, signal.SIG_DFL
    )  # whatever these tests run under
    process = driver.start(preexec_fn=hears_hangups)
    assert processes.eventually(lambda: trains(driver.folder(), 2), 120)
    command = [sys.executable, str(ROOT / "jobs" / "cancel.py"), str(driver.folder().path)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert (
        f"process {process.pid}, runs this sweep; end it first, or give --takeover"
        in refused.stderr
    )
    if not takeover:
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=120)
        assert len(jobs(slurm)) == 4
    done = subprocess.run([*command, *takeover], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("3 jobs cancelled\n")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == (1 if takeover else 130)
    if takeover:
        assert "has taken this sweep over, and this driver has ended" in errors
        assert "Detached" not in output
    assert processes.eventually(lambda: jobs(slurm) == [other])
    slurm.run("scancel", other)
    assert processes.eventually(lambda: not jobs(slurm))
    queue = TaskQueue(driver.folder().queue_path)
    assert (queue.waiting(), queue.claimed()) == (set(), {})
