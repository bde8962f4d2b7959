"""What is exported while a sweep runs, and at its end."""

from pathlib import Path
from typing import Any

import pandas as pd

from fieldtrial.config import TrainConfig
from fieldtrial.control.driver.live_export import LiveExport, export_at_the_end
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.export_targets import Target


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


def test_a_running_sweep_is_exported_and_an_outage_is_said_once(
    tmp_path: Path, processes: Any
) -> None:
    folder, said = a_sweep(tmp_path / "x"), list[str]()
    (tmp_path / "file").touch()
    targets = [Target("csv", str(tmp_path / "file" / "out")), Target("csv", str(tmp_path / "out"))]
    epochs = tmp_path / "out" / "epochs.csv"
    with LiveExport(folder, targets, said.append, first=0, least=0.1):
        assert processes.eventually(epochs.exists, seconds=120)
        epochs.unlink()
        assert processes.eventually(epochs.exists, seconds=120), "it exports again"
    assert pd.read_csv(epochs)["validation_accuracy"].tolist() == [0.5]
    (line,) = said
    assert line.startswith("not exported, tried again later: ")
    assert f"{tmp_path}/file" in line
    last = export_at_the_end(folder, targets)
    assert last[0] == line.replace(", tried again later", "")
    assert last[1] == f"{tmp_path}/out: 0 of 3 files written, 1 trial"


def test_without_targets_nothing_is_started(tmp_path: Path) -> None:
    with LiveExport(SweepFolder(tmp_path), [], print, first=0, least=0):
        pass
    assert export_at_the_end(SweepFolder(tmp_path), []) == []
    assert [*tmp_path.iterdir()] == []
