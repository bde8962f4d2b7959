"""What is exported while a sweep runs, and at its end."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.driver import live_export
from fieldtrial.control.driver.live_export import LiveExport, export_at_the_end
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.targets.export import Target


def a_sweep(path: Path) -> SweepFolder:
    """A sweep with one trial, which has recorded an epoch."""
    folder, config = SweepFolder(path), TrainConfig(model="mlp")
    about: dict[str, Any] = {"search": {}, "trials": 1, "seeds": 1, "base": TrainConfig()}
    row = {"model": "mlp"}
    described = SweepDescription(name="x", rows=(row,), select="validation_accuracy", **about)
    folder.write_description(described)
    folder.list_trial(config.id, 0, "search")
    with Run.create(folder.path / config.id, config).recorder(1) as records:
        records.write({"epoch": 0, "validation_accuracy": 0.5})
    return folder


def test_a_running_sweep_is_exported_and_once_more_at_its_end(
    tmp_path: Path, processes: Any
) -> None:
    folder, said = a_sweep(tmp_path / "x"), list[str]()
    targets = [Target("csv", str(tmp_path / "out"))]
    rows = tmp_path / "out" / "rows.csv"
    with LiveExport(folder, targets, said.append, first=0, least=1000):
        assert processes.eventually(rows.exists, seconds=120)
    epochs = pd.read_csv(rows.with_name("epochs.csv"))
    assert epochs["validation_accuracy"].tolist() == [0.5]
    (line,) = export_at_the_end(folder, targets)
    assert line.startswith(f"{tmp_path}/out: ")
    assert line.endswith(" of 3 files written, 1 trial")
    assert said == []


def test_an_outage_is_said_once_and_exports_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: Any
) -> None:
    said, count = list[str](), tmp_path / "count"
    script = (
        f"import pathlib, sys; count = pathlib.Path({str(count)!r}); done = count.exists()\n"
        "number = len(count.read_text()) if done else 0; count.write_text('x' * (number + 1))\n"
        "print('loading …', file=sys.stderr)\n"
        "sys.exit('error: no answer' if number != 3 else 0)"
    )
    monkeypatch.setattr(live_export, "_command", lambda *_: [sys.executable, "-c", script])
    targets = [Target("mlflow", "http://tracker")]
    with LiveExport(SweepFolder(tmp_path), targets, said.append, first=0, least=0):
        assert processes.eventually(lambda: len(said) == 2, seconds=120)
    assert said == ["not exported, tried again later: no answer"] * 2  # before and after the fourth
    assert export_at_the_end(SweepFolder(tmp_path), targets) == ["not exported: no answer"]


def test_an_export_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: Any
) -> None:
    said, targets = list[str](), [Target("mlflow", "http://tracker")]
    script = "import time; time.sleep(600)"
    monkeypatch.setattr(live_export, "_command", lambda *_: [sys.executable, "-c", script])
    monkeypatch.setattr(live_export, "MOST_SECONDS", 0)
    with LiveExport(SweepFolder(tmp_path), targets, said.append, first=0, least=1000):
        assert processes.eventually(lambda: said, seconds=120)
    late = "mlflow http://tracker took more than 0 s"
    assert said == [f"not exported, tried again later: {late}"]
    assert export_at_the_end(SweepFolder(tmp_path), targets) == [f"not exported: {late}"]


def test_without_targets_nothing_is_started(tmp_path: Path) -> None:
    with LiveExport(SweepFolder(tmp_path), [], print, first=0, least=0):
        pass
    assert export_at_the_end(SweepFolder(tmp_path), []) == []
    assert [*tmp_path.iterdir()] == []
