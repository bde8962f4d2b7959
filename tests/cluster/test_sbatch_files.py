"""The files in slurm/ on a real SLURM: a sweep as a job, and one run with no sweep, trained for
real.
"""

import csv
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.commands.new.create import create, project_files
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.slurm_cluster import SlurmCluster

ROOT = Path(__file__).parents[2]

SWEEP = """
from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.sweep import Sweep


def sweep() -> Sweep:
    base = TrainConfig(model="mlp", dense_width=(8,))
    return Sweep(base=base, rows=[{}], search={"lr": tune.loguniform(1e-3, 1e-1)}, trials=3)


if __name__ == "__main__":
    main(sweep)
"""

pytestmark = pytest.mark.slow


def wait_for_job(slurm: SlurmCluster, job: str, project: Path) -> str:
    """Wait for a batch job's end; return its state and what it has printed."""
    deadline = time.monotonic() + 240
    while (state := slurm.state(job)) in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"):
        assert time.monotonic() < deadline, state
        time.sleep(0.2)
    printed = "".join(path.read_text() for path in sorted(project.glob(f"*-{job}.log")))
    return f"{state}\n{printed}"


def environment() -> dict[str, str]:
    """What a batch script needs to find this test's Python."""
    return os.environ | {"PYTHON": sys.executable}


def submit(slurm: SlurmCluster, project: Path, *arguments: str) -> str:
    small = ["--parsable", "--cpus-per-task=1", "--mem=1500M"]
    done = subprocess.run(
        ["sbatch", *small, *arguments],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert slurm.state(done.stdout.strip())
    return done.stdout.strip()


def test_a_sweep_as_a_job(slurm: SlurmCluster, project: Path) -> None:
    (project / "sweeps" / "small.py").write_text(SWEEP)
    flags = ["--smoke", "--cluster", "devslurm"]
    job = submit(slurm, project, "slurm/sweep.sh", "sweeps/small.py", "--", *flags)
    ended = wait_for_job(slurm, job, project)
    assert ended.startswith("COMPLETED"), ended
    with Path(SweepFolder(project / "runs" / "small-smoke").table_path("csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["search_trials"] for row in rows] == ["1"]


STAND_IN_DRIVER = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit("detached"))
print("runs", flush=True)
time.sleep(120)
"""


@pytest.mark.chaos
@pytest.mark.parametrize(("how", "restarts"), [(["--batch", "--signal=USR1"], 1), ([], 0)])
def test_a_driver_is_queued_again_before_its_time_is_over_and_not_after_scancel(
    slurm: SlurmCluster, project: Path, how: list[str], restarts: int
) -> None:
    (project / "sweeps" / "long.py").write_text(STAND_IN_DRIVER)
    job = submit(slurm, project, "slurm/sweep.sh", "sweeps/long.py")
    log = project / f"sweep-{job}.log"
    deadline = time.monotonic() + 240
    while not log.exists() or "runs" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    slurm.run("scancel", *how, job)
    if restarts:
        while "Restarts=1" not in slurm.run("scontrol", "show", "job", job):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        slurm.run("scancel", job)
    assert wait_for_job(slurm, job, project).startswith("CANCELLED")
    assert f"Restarts={restarts}" in slurm.run("scontrol", "show", "job", job)
    assert "detached" in log.read_text()


def test_one_run_without_a_sweep_in_a_new_project(slurm: SlurmCluster, tmp_path: Path) -> None:
    create(tmp_path, project_files(sys.executable))
    flags = ["--run", "runs/one", "--dataset", "digits", "--model", "mlp", "--epochs", "2"]
    job = submit(slurm, tmp_path, "slurm/finetune.sh", *flags)
    ended = wait_for_job(slurm, job, tmp_path)
    assert ended.startswith("COMPLETED"), ended
    result = Run(tmp_path / "runs" / "one").result()
    assert result
    assert (result["outcome"], result["epochs"]) == ("finished", 2)


def test_what_is_wrong_with_a_run_for_two_processes_is_said_once(
    slurm: SlurmCluster, project: Path
) -> None:
    flags = ["--run", "new", "--model", "cnn", "--batch_size", "2"]
    job = submit(slurm, project, "--gpus-per-node=2", "slurm/finetune.sh", *flags)
    state, _, printed = wait_for_job(slurm, job, project).partition("\n")
    assert state == "FAILED"
    line = "error: batch_size = 2: gives a process one image at .*\n"
    assert re.fullmatch(line, printed), printed
    assert not (project / "new").exists()


@pytest.mark.parametrize(
    "shape",
    [
        ["--nodes=2", "--gpus-per-node=1"],
        pytest.param(["--gpus-per-node=2"], marks=pytest.mark.chaos),
    ],
)
def test_a_run_of_two_processes_starts_again_with_less_at_once_and_leaves_nothing(
    slurm: SlurmCluster, project: Path, shape: list[str]
) -> None:
    small = ROOT / "tests" / "jobs" / "train_on_a_small_device.py"
    (project / "jobs" / "train.py").write_text(
        f"import runpy; runpy.run_path({str(small)!r}, run_name='__main__')\n"
    )
    flags = ["--run", "runs/two", "--model", "mlp", "--classes", "2", "--epochs", "2"]
    job = submit(slurm, project, *shape, "slurm/finetune.sh", *flags, "--seed", "8")
    ended = wait_for_job(slurm, job, project)
    assert ended.startswith("COMPLETED"), ended
    assert "out of memory: restarting with 2 gradient accumulation steps" in ended
    run = Run(project / "runs" / "two")
    assert (run.result() or {})["accumulate"] == 2
    assert run.environment()["1"]["world_size"] == 2
    assert not list(project.glob(".finetune-*"))


def test_a_run_gets_the_processors_that_were_asked_for_and_its_jobs_environment(
    slurm: SlurmCluster, project: Path
) -> None:
    python = project / "python"
    python.write_text(
        '#!/bin/sh\n[ "$2" = jobs/train.py ] && exit\nscontrol show step "$SLURM_JOB_ID.0"\n'
        'echo "meets in $FIELDTRIAL_RENDEZVOUS"\n'
    )
    python.chmod(0o755)
    handed_on = f"--export=PATH,PYTHON={python}"  # by sbatch, and not by srun: it hands on all
    job = submit(slurm, project, "--cpus-per-task=2", handed_on, "slurm/finetune.sh")
    ended = wait_for_job(slurm, job, project)
    assert "TresPerTask=cpu:2" in ended
    assert f"meets in {project}/.finetune-{job}-" in ended


@pytest.mark.chaos
def test_a_run_is_queued_again_before_its_time_is_over_and_resumes(
    slurm: SlurmCluster, project: Path
) -> None:
    flags: list[Any] = [
        "--run",
        "runs/long",
        "--dataset",
        "digits",
        "--model",
        "mlp",
        "--epochs",
        "400",
    ]
    job = submit(slurm, project, "--time=10", "slurm/finetune.sh", *flags)
    run = Run(project / "runs" / "long")
    deadline = time.monotonic() + 240
    while not run.records():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    slurm.run("scancel", "--batch", "--signal=USR1", job)
    deadline = time.monotonic() + 240
    while len(run.attempts()) < 2:
        assert time.monotonic() < deadline, slurm.run("scontrol", "show", "job", job)
        time.sleep(0.1)
    slurm.run("scancel", job)
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", job)
    epochs = [record["epoch"] for record in run.records()]
    assert epochs == list(range(len(epochs)))
