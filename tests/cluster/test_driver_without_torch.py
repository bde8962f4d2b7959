"""A driver whose Python has no torch, and jobs whose Python has, on a real SLURM."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fieldtrial.commands.new.create import create, project_files
from fieldtrial.control.driver.preflight import NOT_CHECKED
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.hiding import TORCH, hiding

PLACE = """
kind = "slurm"
partitions = ["gpu"]
gpus_per_trial = 0
cpus_per_process = 1
memory_gb_per_process = 1
most_jobs = 1
trials_per_job = 50
python = "{python}"
"""


@pytest.mark.chaos
@pytest.mark.usefixtures("slurm")
def test_trials_run_where_the_place_says_that_torch_is(tmp_path: Path) -> None:
    project, python = tmp_path / "project", tmp_path / "python"
    create(project, project_files(sys.executable))
    python.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (project / "cluster" / "site.toml").write_text(PLACE.format(python=python))
    flags = ("--cluster", "site", "--smoke", "--rows", "model=mlp", "--rows", "optimizer=sgd")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fieldtrial", "run", "sweeps/first.py", *flags],
        cwd=project, env=os.environ | hiding(TORCH, tmp_path / "hiding"),
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert NOT_CHECKED in done.stdout
    folder = SweepFolder(project / "runs" / "first-smoke")
    trials = [folder.run(one["trial"]) for one in folder.trials()]
    assert len(trials) > 1
    assert all(trial.result() for trial in trials)
