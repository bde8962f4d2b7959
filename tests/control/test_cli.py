"""The command line of a sweep file, in this process."""

from pathlib import Path

import pytest
from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.sweep import Sweep


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


def test_all_problems_of_the_flags_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(sweep, ["--trials", "2", "--finalists", "3", "--searches", "0", "--seeds", "-1"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "sweep: seeds = -1: must be at least 0",
        "sweep: searches = 0: must be at least 1",
        "sweep: finalists = 3: must be at most trials = 2",
    ]
