"""The command line of a sweep file, in this process."""

import os
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.control.driver import drive as driver
from fieldtrial.control.places.settings import LocalSettings, SlurmSettings
from fieldtrial.control.places.slurm.sbatch import Submitter
from fieldtrial.control.places.slurm.snapshot import Snapshot
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep
from fieldtrial.targets.export import Target


def sweep() -> Sweep:
    return Sweep(
        base=TrainConfig(epochs=2),
        rows=[{"optimizer": "sgd"}, {"optimizer": "adamw"}],
        search={"lr": tune.loguniform(1e-4, 0.1)},
        seeds=2,
    )


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "local.toml").write_text('kind = "local"\n')
    monkeypatch.setattr("sys.argv", [str(tmp_path / "sweeps" / "small.py")])
    monkeypatch.chdir(tmp_path)


def test_a_dry_run_counts_finalists_and_searches(capsys: pytest.CaptureFixture[str]) -> None:
    main(sweep, ["--dry-run", "--trials", "5", "--finalists", "3", "--searches", "4"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["optimizer", "trials", "finalists", "searches", "seeds"]
    assert lines[1].split()[:5] == ["sgd", "5", "3", "4", "2"]
    assert f"2 rows, {2 * 4 * (5 + 3 * 2 + 2)} trials and 0 sources in runs/small" in lines


@pytest.mark.parametrize("flags", [["--dry-run"], []])
def test_a_place_that_this_machine_is_too_small_for_is_refused_before_anything(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, cores = tmp_path / "cluster" / "local.toml", len(os.sched_getaffinity(0))
    path.write_text(f'kind = "local"\ncpus_per_trial = {cores + 1}\ngpus_per_trial = 1000\n')
    with pytest.raises(SystemExit) as caught:
        main(sweep, flags)
    assert caught.value.code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"local: cpus_per_trial = {cores + 1}: this machine has {cores} cores"
    assert second.startswith("local: gpus_per_trial = 1000: this machine has ")
    assert not (tmp_path / "runs").exists()


def test_rows_that_are_written_alike_are_refused_with_their_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows: list[dict[str, object]] = [
        {"model": "mlp"},
        {"lr": 1.0},
        {"model": "mlp", "label": "again"},
        {"lr": "1"},
    ]
    for flags in ([], ["--dry-run"], ["--smoke"], ["--aa"]):
        with pytest.raises(SystemExit) as caught:
            main(lambda: Sweep(base=TrainConfig(), rows=rows), flags)
        assert caught.value.code == 2
        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith("sweep: row 0 (model=mlp), row 2 (model=mlp): are written alike")
        assert second.startswith("sweep: row 1 (lr=1.0), row 3 (lr=1): are written alike")


def test_rows_that_only_a_smoke_makes_alike_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    driven = list[Sweep]()

    def drive(sweep: Sweep, *_: object) -> int:
        driven.append(sweep)
        return 0

    monkeypatch.setattr(driver, "drive", drive)
    rows = [{"train_fraction": 0.5}, {"train_fraction": 1.0}]
    with pytest.raises(SystemExit):
        main(lambda: Sweep(base=TrainConfig(dataset="mnist"), rows=rows), ["--smoke"])
    assert len({row.cells for row in driven[0].planned}) == 1


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: None, "<lambda>(): returned nothing; it must end with `return Sweep(...)`"),
        (None, "main: needs the function itself, as in main(sweep), and was given nothing"),
        (sweep(), "main: needs the function itself, as in main(sweep), and was given a Sweep"),
    ],
)
def test_what_is_no_sweep_is_told_in_a_line(
    build: Any, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(build, [])
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines() == [line]


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_heads_of_a_deterministic_sweep_train_alone(
    is_deterministic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cluster" / "local.toml").write_text('kind = "local"\ntrials_together = 4\n')
    used = list[int]()

    def drive(_sweep: Sweep, _folder: SweepFolder, settings: LocalSettings, *_: bool) -> int:
        used.append(settings.trials_together)
        return 0

    monkeypatch.setattr(driver, "drive", drive)
    with pytest.raises(SystemExit):
        main(sweep, ["--deterministic"] if is_deterministic else [])
    assert used == [1 if is_deterministic else 4]


def test_what_the_projects_settings_name_is_exported_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, given = tmp_path / "fieldtrial.toml", list[object]()
    settings.write_text('[logging]\nto = ["csv tables"]\n')

    def drive(*arguments: object) -> int:
        given.append(arguments[-1])
        return 0

    monkeypatch.setattr(driver, "drive", drive)
    with pytest.raises(SystemExit):
        main(sweep, [])
    assert given == [[Target("csv", str(tmp_path / "tables"))]]
    settings.write_text('[logging]\nto = ["gold"]\n')
    with pytest.raises(SystemExit) as caught:
        main(sweep, ["--dry-run"])
    assert caught.value.code == 2
    assert "fieldtrial.toml: logging.to: --to gold: must be one of" in capsys.readouterr().err


def test_all_problems_of_the_flags_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(sweep, ["--trials", "2", "--finalists", "3", "--searches", "0", "--seeds", "-1"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "sweep: seeds = -1: must be at least 0",
        "sweep: searches = 0: must be at least 1",
        "sweep: finalists = 3: must be at most trials = 2",
    ]


@pytest.mark.parametrize("name", ["a,b", "a\nb", "a\tb", "\x1b[2Jb", "a\u2028b", "a\x9bb"])
def test_a_name_that_slurm_would_read_as_others_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in ([], ["--dry-run"]):
        with pytest.raises(SystemExit) as caught:
            main(sweep, ["--name", name, *flags])
        assert caught.value.code == 2
        told = f"the sweep's name: {name!r}: must have no comma and no control character"
        assert capsys.readouterr().err.startswith(told)
    folder = SweepFolder(tmp_path / name)
    with pytest.raises(ConfigError, match="must have no comma"):
        Submitter(SlurmSettings(), folder, Snapshot(tmp_path, ""))


@pytest.mark.parametrize("name", ["a b", "süß", "a'b", "a|b", "-a"])
def test_other_names_are_taken(name: str, tmp_path: Path) -> None:
    assert Submitter(SlurmSettings(), SweepFolder(tmp_path / name), Snapshot(tmp_path, ""))
