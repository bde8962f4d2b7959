"""Sweeps whose rows learned labels or numbers: their table, their verdicts and their report."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldtrial.results.read.answers import StoredLabels, StoredNumbers, load_answers
from fieldtrial.results.read.sweeps import read_sweeps
from fieldtrial.results.report.build import render_report
from fieldtrial.results.table.tables import Table, grouped_table, sweep_table
from tests.results.conftest import Written
from tests.results.report.answered import ROWS, write_sweep
from tests.results.report.test_build import data, texts


def answers(written: Written) -> list[list[Any]]:
    """Return what the final runs of each row have answered."""
    return [
        [
            load_answers(written.folder.run(written.trial(row, **fields, seed=seed)))
            for seed in (1, 2, 3)
        ]
        for row, fields in enumerate(ROWS)
    ]


def compared(written: Written, metric: str, head: str) -> Table:
    """Return the table, whose second row is shown to be worse for new seeds and new images."""
    sweeps = read_sweeps([written.folder.path])
    table = sweep_table(sweeps, sweeps.records())
    own = [np.mean([one.summary()[metric] for one in row]) for row in answers(written)]
    assert table.frame[f"test_{metric}_mean"].tolist() == pytest.approx(own)
    assert f"{head} ± seeds ± images" in table.grid.header
    first, second = table.groups.groups
    assert first.interval is not None
    assert first.interval.low is not None
    assert 0 < first.interval.low < first.interval.mean  # an error, too, is not below 0
    assert second.comparison is not None
    assert second.comparison.shown
    assert not [line for line in table.grid.footer if "without what other test images" in line]
    return table


def test_labels_are_compared_and_shown_one_by_one(tmp_path: Path) -> None:
    written = write_sweep(tmp_path / "sweep", "multilabel")
    compared(written, "map", "test mAP %")
    made: list[StoredLabels] = answers(written)[0]
    page = render_report(written.folder)
    shown = data(page)["labels"]["rows"]
    assert (data(page)["answers"], len(shown), shown[0]["runs"]) == ("labels", 2, 3)
    assert "lr=0.1 is the best on validation" in texts(page)
    wanted = np.mean([one.by_class()["ap"] for one in made], axis=0)
    assert shown[0]["ap"] == pytest.approx(wanted, abs=1e-5)
    assert shown[0]["support"] == made[0].truth.sum(0).tolist()
    for (low, high), ap in zip(shown[1]["interval"], shown[1]["ap"], strict=True):
        assert 0 <= low < ap < high <= 1
    sweeps = read_sweeps([written.folder.path])
    each = grouped_table(sweeps, sweeps.records(), show=["class_ap", "daisy_f1"])
    named = [one for one in each.grid.header if "AP of" in one or "F1 of" in one]
    assert named[:2] == ["AP of daisy %", "AP of rose %"]
    assert named[3:] == ["F1 of daisy %"]
    assert each.frame["daisy_ap"].tolist()[0] == pytest.approx(wanted[0])


def test_numbers_are_compared_and_drawn_against_the_true_ones(tmp_path: Path) -> None:
    written = write_sweep(tmp_path / "sweep", "regression")
    table = compared(written, "mae", "test MAE")
    assert "%" not in " ".join(one for one in table.grid.header if "MAE" in one)
    made: list[StoredNumbers] = answers(written)[0]
    page = render_report(written.folder)
    shown = data(page)["numbers"]["rows"]
    assert (data(page)["answers"], len(shown), shown[0]["predictions"]) == ("numbers", 2, 180)
    pairs = sorted((a, b) for one in made for a, b in zip(one.target, one.value, strict=True))
    assert sorted(zip(shown[0]["target"], shown[0]["value"], strict=True)) == [
        (pytest.approx(a, rel=1e-4), pytest.approx(b, rel=1e-4)) for a, b in pairs
    ]
    assert shown[0]["mae"] == pytest.approx(
        np.mean([one.summary()["mae"] for one in made]), rel=1e-3
    )
    assert "fieldtrial explain" not in texts(page)
