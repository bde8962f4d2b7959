"""The sweep files, with the real training worker and the embedded data."""

import argparse
import csv
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control import cli
from fieldtrial.control.driver.drive import claim
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.control.smoke import smoke
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.flags import add_flags
from fieldtrial.results.table import of_sweep
from fieldtrial.training.attempt.preflight import look_at

ROOT = Path(__file__).parents[2]
COMMANDS = ["digits_transfer.py", "mnist_dropout.py", "stl10_svm.py"]  # a source; plain; machines
FILES = sorted({path.name for path in (ROOT / "sweeps").glob("*.py")} - {*COMMANDS})


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
    with folder.table_path("csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_dry_run_shows_the_sweep_and_starts_nothing(tmp_path: Path) -> None:
    line = "--set epochs=3 --trials 7 --seeds 2 --name mine --runs there --dry-run"
    outcome = command(tmp_path, "digits_transfer.py", *line.split())
    assert outcome.returncode == 0, outcome.stderr
    assert list(tmp_path.iterdir()) == []
    lines = outcome.stdout.splitlines()
    columns = "model freeze optimizer batch_size trials seeds parameters"
    assert lines[0].split()[:7] == columns.split()
    assert [line.split()[:6] for line in lines[1:25:23]] == [
        ["cnn", "none", "sgd", "16", "7", "2"],
        ["mlp", "all_but_head", "adamw", "64", "7", "2"],
    ]
    assert "search lr: loguniform(0.0001, 0.1)" in lines
    assert f"24 rows, {24 * 9} trials and 2 sources in there/mine" in lines
    assert re.search(
        r"device-hours at most: 0?\.\d+ \(at 0.02 teraflops a trial, and 15 s for the start",
        outcome.stdout,
    )
    (shown,) = (line.removeprefix("a trial: ") for line in lines if line.startswith("a trial: "))
    program, job, option, run, *flags_of_trial = shlex.split(shown)
    assert [program, job, option] == ["python", "jobs/train.py", "--run"]
    assert Path(run).parent == Path("there/mine")
    parser = argparse.ArgumentParser()
    add_flags(parser)
    config = TrainConfig.from_flags(parser.parse_args(flags_of_trial))
    assert config.id == Path(run).name
    assert (config.epochs, config.freeze, config.weights[:4]) == (3, "none", "run:")


@pytest.fixture(scope="module")
def place() -> Iterator[LocalPlace]:
    """Return this machine, whose workers stay warm from one sweep's smoke to the next."""
    place = LocalPlace(LocalSettings())
    yield place
    place.close()


def check_every_row_was_trained(folder: SweepFolder) -> None:
    rows = cells(folder)
    assert len(rows) == len(folder.require_description()["rows"])
    for row in rows:
        assert 0 < float(row["test_accuracy_mean"]) <= 1
        assert (row["n"], row["note"]) == ("1", "")
    trials = [folder.run(one["trial"]) for one in folder.trials()]
    assert all(run.weights_path.exists() or run.config().classifier == "svm" for run in trials)
    shutil.rmtree(folder.path)  # the weights of the largest are gigabytes


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_smoke_run_trains_every_row(name: str, tmp_path: Path) -> None:
    outcome = command(tmp_path, name, "--smoke")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stderr == ""
    check_every_row_was_trained(SweepFolder(tmp_path / "runs" / f"{Path(name).stem}-smoke"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_the_smoke_of_a_sweep_trains_every_row(
    name: str, place: LocalPlace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "sweeps" / name
    assert path.read_text().endswith('\n\nif __name__ == "__main__":\n    main(sweep)\n')
    sweep = smoke(runpy.run_path(str(path))["sweep"]())
    looks = [look_at(row.largest, Run(tmp_path), shapes_only=True) for row in sweep.planned]
    assert [problem for look in looks for problem in look["problems"]] == []
    folder = SweepFolder(tmp_path / path.stem)
    claim(folder, sweep)
    engine = Engine(sweep, folder, place)
    engine.run()
    assert [row.number for row in engine.rows if row.winner() is None] == []
    assert of_sweep.main([str(folder.path)]) == 0
    assert capfd.readouterr().err == ""
    check_every_row_was_trained(folder)


SWEEP = """
from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.sweep import Sweep, grid


def sweep():
    base = TrainConfig(model="mlp", epochs=1, dense_width=(8,))
    rows = grid(strategy=["ddp", "zero1"])
    return Sweep(base=base, rows=rows, search={"lr": tune.choice([0.01])}, trials=1, seeds=1)


if __name__ == "__main__":
    main(sweep)
"""


def project(folder: Path, sweep: str = SWEEP, place: str = 'kind = "local"') -> Path:
    """Write a sweep and a place of its own; return the sweep's path."""
    (folder / "sweeps").mkdir()
    (folder / "cluster").mkdir()
    (folder / "cluster" / "local.toml").write_text(place)
    (folder / "sweeps" / "mine.py").write_text(sweep)
    return folder / "sweeps" / "mine.py"


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two processes need two cores")
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
        (["--set", "epoch=1"], 1, "--set: unknown field 'epoch'; did you mean 'epochs'\\?"),
        (["--set", "epochs"], 1, "--set: 'epochs': must be FIELD=VALUE"),
        (["--set", "lr=1"], 1, "--set: lr: the sweep itself decides it, so it cannot be set"),
        (
            ["--set", "lr=1", "--set", "epoch=1"],
            1,
            "--set: lr: the sweep itself .*\n--set: unknown field 'epoch'; .*",
        ),
        (
            ["--trials", "0", "--seeds", "-1"],
            1,
            "sweep: trials = 0: must be at least 1\nsweep: seeds = -1: must .* 0",
        ),
        (
            ["--cluster", "moon"],
            1,
            "--cluster: no such place: .*moon.toml is missing; places in .*cluster: .*local",
        ),
        (["--trials", "many"], 2, "(?s)usage: .*argument --trials: invalid int value: 'many'"),
    ],
)
def test_bad_input_gets_one_clear_error(
    tmp_path: Path,
    flags: list[str],
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), *flags])
    umask = os.umask(0)
    try:
        with pytest.raises(SystemExit) as end:
            cli.main(runpy.run_path(str(script))["sweep"])
    finally:
        os.umask(umask)
    printed = capsys.readouterr()
    assert (end.value.code, printed.out) == (status, "")
    assert re.fullmatch(message + r"\n", printed.err), printed.err
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(tmp_path: Path) -> None:
    outcome = command(tmp_path, "", "--runs", "/proc/none", script=project(tmp_path))
    assert (outcome.returncode, outcome.stdout) == (1, "")
    said = "/proc/none/mine: cannot be written to: No such file or directory\n"
    assert outcome.stderr == said


@pytest.mark.slow
def test_missing_data_is_told_before_anything_starts(tmp_path: Path) -> None:
    script = project(tmp_path)
    (tmp_path / "images").mkdir()
    outcome = command(
        tmp_path, "", "--set", "dataset=mnist", "--data-root", "images", script=script
    )
    assert outcome.returncode == 1
    assert str(tmp_path / "images") in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not list(tmp_path.glob("runs/*/*/config.json"))
