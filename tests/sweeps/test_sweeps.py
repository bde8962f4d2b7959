"""The sweep files as commands, with the real training worker and the embedded data."""

import argparse
import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.flags import add_flags
from tests.job_commands import complaints

ROOT = Path(__file__).parents[2]


def command(
    folder: Path, name: str, *flags: str, script: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a sweep file with `folder` as the working directory."""
    line = [sys.executable, str(script or ROOT / "sweeps" / name), *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def cells(folder: SweepFolder) -> list[dict[str, str]]:
    with Path(folder.table_path("csv")).open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_dry_run_shows_the_sweep_and_starts_nothing(tmp_path: Path) -> None:
    flags = (
        "--set",
        "epochs=3",
        "--trials",
        "7",
        "--seeds",
        "2",
        "--name",
        "mine",
        "--runs",
        "there",
        "--dry-run",
    )
    outcome = command(tmp_path, "digits_transfer.py", *flags)
    assert outcome.returncode == 0, outcome.stderr
    assert list(tmp_path.iterdir()) == []
    lines = outcome.stdout.splitlines()
    assert lines[0].split()[:7] == [
        "model",
        "freeze",
        "optimizer",
        "batch_size",
        "trials",
        "seeds",
        "parameters",
    ]
    assert [line.split()[:6] for line in lines[1:25:23]] == [
        ["cnn", "none", "sgd", "16", "7", "2"],
        ["mlp", "all_but_head", "adamw", "64", "7", "2"],
    ]
    assert "search lr: loguniform(0.0001, 0.1)" in lines
    assert f"24 rows, {24 * 9} trials and 2 sources in there/mine" in lines
    assert re.search(
        r"device-hours at most: 0?\.\d+ \(assumes 0.02 teraflops a trial, 15 s for each start",
        outcome.stdout,
    )
    (shown,) = (line.removeprefix("a trial: ") for line in lines if line.startswith("a trial: "))
    program, job, option, run, *flags_of_trial = shlex.split(shown)
    assert (program, job, option, Path(run).parent) == (
        "fieldtrial",
        "train",
        "--run",
        Path("there/mine"),
    )
    parser = argparse.ArgumentParser()
    add_flags(parser)
    config = TrainConfig.from_flags(parser.parse_args(flags_of_trial))
    assert config.id == Path(run).name
    assert (config.epochs, config.freeze, config.weights[:4]) == (3, "none", "run:")


SWEEP = """
from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import choice
from fieldtrial.sweep import Sweep, grid


def sweep():
    base = TrainConfig(model="mlp", epochs=1, dense_width=(8,))
    rows = grid(strategy=["ddp", "zero1"])
    return Sweep(base=base, rows=rows, search={"lr": choice([0.01])}, trials=1, seeds=1)


if __name__ == "__main__":
    main(sweep)
"""
OPTIMIZERS = SWEEP.replace('strategy=["ddp", "zero1"]', 'optimizer=["sgd", "adamw"]')


def project(folder: Path, sweep: str = SWEEP, place: str = 'kind = "local"') -> Path:
    """Write a sweep and a place of its own; return the sweep's path."""
    (folder / "sweeps").mkdir()
    (folder / "cluster").mkdir()
    (folder / "cluster" / "local.toml").write_text(place)
    (folder / "sweeps" / "mine.py").write_text(sweep)
    return folder / "sweeps" / "mine.py"


@pytest.mark.slow
def test_a_smoke_is_a_command(tmp_path: Path) -> None:
    """Every file's rows are trained in test_smokes.py."""
    outcome = command(tmp_path, "", "--smoke", script=project(tmp_path, OPTIMIZERS))
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert complaints(outcome.stderr) == ""
    folder = SweepFolder(tmp_path / "runs" / "mine-smoke")
    rows = cells(folder)
    finals = {one["row"]: one["trial"] for one in folder.trials() if one["role"] == "final"}
    assert len(rows) == len(finals) == 2
    for number, row in enumerate(rows):
        result = folder.run(finals[number]).result() or {}
        assert float(row["test_accuracy_mean"]) == pytest.approx(result["test_accuracy"])
        assert (row["n"], row["note"]) == ("1", "")
    assert folder.report_path.exists()


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two processes need two cores")
@pytest.mark.chaos
def test_trials_of_two_processes(tmp_path: Path) -> None:
    script = project(
        tmp_path, place='kind = "local"\ncpus_per_trial = 2\nprocesses_per_trial = 2\n'
    )
    outcome = command(tmp_path, "", script=script)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    folder = SweepFolder(tmp_path / "runs" / "mine")
    rows = cells(folder)
    assert [row["strategy"] for row in rows] == ["ddp", "zero1"]
    assert all(float(row["test_accuracy_mean"]) > 0 for row in rows)
    environments = [folder.run(one["trial"]).environment() for one in folder.trials()]
    assert all(environment["1"]["world_size"] == 2 for environment in environments)


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--set", "epoch=1"], 2, "--set: unknown field 'epoch'; did you mean 'epochs'\\?"),
        (["--set", "epochs"], 2, "--set: 'epochs': must be FIELD=VALUE"),
        (["--set", "lr=1"], 2, "--set: lr: the search decides it, so it cannot be set; .*"),
        (
            ["--set", "lr=1", "--set", "epoch=1"],
            2,
            "--set: lr: the search .*\n--set: unknown field 'epoch'; .*",
        ),
        (
            ["--trials", "0", "--seeds", "-1"],
            2,
            "sweep: trials = 0: must be at least 1\nsweep: seeds = -1: must .* 0",
        ),
        (
            ["--cluster", "moon"],
            2,
            "--cluster: no such place: .*moon.toml is missing; places in .*cluster: local;"
            " places in .*shipped: local, slurm",
        ),
        (
            ["--runs", "/proc/none"],
            1,
            "/proc/none/mine: cannot be written to: No such file or directory",
        ),
        (["--trials", "many"], 2, "(?s)usage: .*argument --trials: invalid int value: 'many'"),
    ],
)
def test_bad_input_gets_one_clear_error(
    tmp_path: Path, flags: list[str], status: int, message: str
) -> None:
    outcome = command(tmp_path, "", *flags, script=project(tmp_path))
    assert (outcome.returncode, outcome.stdout) == (status, "")
    assert re.fullmatch(message + r"\n", complaints(outcome.stderr)), outcome.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_missing_data_is_told_before_anything_starts(tmp_path: Path) -> None:
    script = project(tmp_path)
    (tmp_path / "images").mkdir()
    outcome = command(
        tmp_path, "", "--set", "dataset=mnist", "--data-root", "images", script=script
    )
    assert outcome.returncode == 2
    assert str(tmp_path / "images") in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not list(tmp_path.glob("runs/*/*/config.json"))
