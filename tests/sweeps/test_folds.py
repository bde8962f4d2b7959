"""A sweep over folds with the real training worker: the runs, their images, the table."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.driver.claim import claim_folder
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.results.table import command as table
from fieldtrial.search_domains import choice
from fieldtrial.sweep import Sweep, grid


@pytest.mark.slow
def test_each_image_is_tested_once_in_each_row(tmp_path: Path) -> None:
    base = TrainConfig(model="mlp", dense_width=(16,), epochs=1, classes="4", lr=0.01)
    rows = grid(freeze=["none", "all_but_head"])
    sweep = Sweep(
        base=base, rows=rows, search={"lr": choice([0.01, 0.03])}, trials=1, folds=3, searches=3
    )
    folder = SweepFolder(tmp_path / "folds")
    claim_folder(sweep, folder).write()
    place = LocalPlace(LocalSettings())
    try:
        Engine(sweep, folder, place).run()
    finally:
        place.close()
    finals = [one for one in folder.trials() if one["role"] == "final"]
    assert len(finals) == 2 * 3
    for row in range(2):
        runs = [folder.run(one["trial"]) for one in finals if one["row"] == row]
        assert [run.config().fold for run in runs] == [0, 1, 2]
        tested = np.sort(np.concatenate([load_predictions(run).index for run in runs]))
        assert len(tested) == 720  # images of four digits
        assert len(np.unique(tested)) == 720
    assert table.main([str(folder.path)]) == 0
    with Path(folder.table_path("csv")).open() as file:
        cells = list(csv.DictReader(file))
    assert [(one["n"], one["note"]) for one in cells] == [("3", "")] * 2
    assert {one["basis"] for one in cells} == {"", "folds"}
