"""The same sweep on this machine and on a real SLURM, trained for real; several nodes; and the files in slurm/."""

import csv
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.run import Run, SweepFolder
from tests.slurm_cluster import SlurmCluster

ROOT = Path(__file__).parents[2]
SWEEP = """
from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.command import main
from fieldtrial.control.sweep import Sweep


def sweep() -> Sweep:
    base = TrainConfig(epochs=3, model="cnn", filters=(8,), batch_norm=False, batch_size=64)
    return Sweep(base=base, rows=ROWS, search=SEARCH, trials=TRIALS, seeds=SEEDS)


if __name__ == "__main__":
    main(sweep)
"""
SEARCHED: dict[str, object] = {
    "ROWS": '[{"optimizer": "sgd"}, {"optimizer": "adamw"}]',
    "SEARCH": '{"lr": tune.loguniform(1e-3, 1e-1)}',
    "TRIALS": 2,
    "SEEDS": 1,
}
SITE = """
kind = "slurm"
partitions = ["gpu"]
gpus_per_trial = {gpus}
gpus_per_node = 2
cpus_per_process = 1
memory_gb_per_process = 1
time_limit_minutes = 5
most_jobs = 1
trials_per_job = {trials}
squeue_seconds = 0.5
idle_seconds = 5
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what the files in slurm/ expect around them, and a sweep of its own."""
    for name in ("slurm", "jobs", "cluster"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("devslurm"))
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "runs").mkdir()
    return tmp_path


def write_sweep(project: Path, values: dict[str, object]) -> None:
    text = SWEEP
    for name, value in values.items():
        text = text.replace(f"={name}", f"={value}")
    (project / "sweeps" / "small.py").write_text(text)


def command(project: Path, *flags: str) -> str:
    arguments = [sys.executable, "sweeps/small.py", *flags]
    done = subprocess.run(arguments, cwd=project, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.pop("minutes")
    return rows


def wait_for_job(slurm: SlurmCluster, job: str, project: Path) -> str:
    """Wait for a batch job's end; return its state and what it has printed."""
    deadline = time.monotonic() + 240
    while (state := slurm.state(job)) in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"):
        assert time.monotonic() < deadline, state
        time.sleep(0.2)
    printed = "".join(path.read_text() for path in sorted((project / "runs").glob(f"*-{job}.log")))
    return f"{state}\n{printed}"


def environment() -> dict[str, str]:
    """What a batch script needs to find this test's Python."""
    return os.environ | {"PYTHON": sys.executable}


def submit(slurm: SlurmCluster, project: Path, *arguments: str) -> str:
    small = ["--parsable", "--cpus-per-task=1", "--mem=1500M"]
    done = subprocess.run(
        ["sbatch", *small, *arguments], cwd=project, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert slurm.state(done.stdout.strip())
    return done.stdout.strip()


def test_the_same_sweep_here_and_there_gives_the_same_table(slurm: SlurmCluster, project: Path) -> None:
    write_sweep(project, SEARCHED)
    (project / "cluster" / "local.toml").write_text('kind = "local"\nmost_trials = 1\n')
    (project / "cluster" / "there.toml").write_text(SITE.format(gpus=1, trials=20))
    shown = command(project, "--cluster", "there", "--dry-run")
    assert "#SBATCH --gpus-per-node=1" in shown
    assert re.search(r"sbatch --test-only: sbatch: Job \d+ to start at ", shown)
    assert not (project / "runs" / "small").exists()
    command(project, "--cluster", "there", "--name", "there")
    command(project, "--name", "here")
    assert table(project / "runs" / "there") == table(project / "runs" / "here")
    found = [
        [one for one in SweepFolder(project / "runs" / name).trials() if one["role"] == "winner"]
        for name in ("here", "there")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 2
    assert slurm.run("squeue", "--noheader", "--name", "nothing") == ""


def losses(run: Run) -> list[float]:
    return [record[name] for record in run.records() for name in ("train_loss", "validation_loss") if name in record]


def test_two_nodes_of_two_processes_agree_with_one_process(slurm: SlurmCluster, project: Path) -> None:
    everything = {"ROWS": '[{"strategy": "ddp"}, {"strategy": "zero2"}]', "SEARCH": {}, "TRIALS": 1, "SEEDS": 0}
    write_sweep(project, everything)
    (project / "cluster" / "nodes.toml").write_text(SITE.format(gpus=4, trials=1))
    command(project, "--cluster", "nodes", "--name", "nodes")
    trials = [
        SweepFolder(project / "runs" / "nodes").run(path.parent.name)
        for path in (project / "runs" / "nodes").glob("*/config.json")
    ]
    assert {trial.config().strategy for trial in trials} == {"ddp", "zero2"}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    for trial in trials:
        facts = trial.environment()["1"]
        assert facts["commit"] == (head.strip() or None), "of the program, whatever repository is around the sweep"
        assert facts["world_size"] == 4
        assert re.fullmatch(r"n\[\d[-,]\d\]", facts["job"]["SLURM_JOB_NODELIST"])
        alone = project / "runs" / f"alone-{trial.config().strategy}"
        flags = ["--run", str(alone), *trial.config().to_flags()]
        subprocess.run([sys.executable, "jobs/train.py", *flags], cwd=project, capture_output=True, check=True)
        assert losses(trial) == pytest.approx(losses(Run(alone)), abs=1e-4)
    assert slurm.run("squeue", "--noheader", "--name", "nothing") == ""


def test_a_sweep_as_a_job(slurm: SlurmCluster, project: Path) -> None:
    shutil.copy(ROOT / "sweeps" / "inat_bayes.py", project / "sweeps")
    job = submit(slurm, project, "slurm/sweep.sh", "sweeps/inat_bayes.py", "--", "--smoke", "--cluster", "devslurm")
    ended = wait_for_job(slurm, job, project)
    assert ended.startswith("COMPLETED"), ended
    rows = table(project / "runs" / "inat_bayes-smoke")
    assert rows
    assert all(row["search_trials"] == "1" for row in rows)


def test_one_run_without_a_sweep(slurm: SlurmCluster, project: Path) -> None:
    flags = ["--run", "runs/one", "--dataset", "digits", "--model", "mlp", "--epochs", "2"]
    job = submit(slurm, project, "slurm/finetune.sh", *flags)
    ended = wait_for_job(slurm, job, project)
    assert ended.startswith("COMPLETED"), ended
    result = Run(project / "runs" / "one").result()
    assert result
    assert (result["outcome"], result["epochs"]) == ("finished", 2)


@pytest.mark.chaos
def test_a_run_is_queued_again_before_its_time_is_over_and_resumes(slurm: SlurmCluster, project: Path) -> None:
    flags: list[Any] = ["--run", "runs/long", "--dataset", "digits", "--model", "mlp", "--epochs", "400"]
    job = submit(slurm, project, "--time=10", "slurm/finetune.sh", *flags)
    run = Run(project / "runs" / "long")
    deadline = time.monotonic() + 60
    while not run.records():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    slurm.run("scancel", "--batch", "--signal=USR1", job)
    deadline = time.monotonic() + 60
    while len(run.attempts()) < 2:
        assert time.monotonic() < deadline, slurm.run("scontrol", "show", "job", job)
        time.sleep(0.1)
    slurm.run("scancel", job)
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", job)
    epochs = [record["epoch"] for record in run.records()]
    assert epochs == list(range(len(epochs)))
