"""Sweeps whose rows learned labels or numbers: their table, their verdicts and their report."""

import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.read.answers import Answers, load_answers
from fieldtrial.results.read.sweeps import read_sweeps
from fieldtrial.results.report.build import render_report
from fieldtrial.results.table.tables import grouped_table, sweep_table
from fieldtrial.training.attempt.train import train
from fieldtrial.training.loop.attempt import Attempt
from tests.results.report.test_build import data, texts
from tests.training.data.labels.pictures import SIDE, write_folder

ROWS: list[dict[str, Any]] = [{"lr": 0.003}, {"lr": 1e-6}]  # one learns, the other does not
SEEDS = (1, 2, 3)
TASKS: dict[str, dict[str, Any]] = {
    "multilabel": {"task": "multilabel", "select": "validation_map"},
    "regression": {"task": "regression", "select": "validation_mae", "target": "length"},
}


def trained(root: Path, task: str) -> tuple[SweepFolder, list[list[Answers]]]:
    """Return a sweep of two rows, as it ends, and what each row's final runs answered."""
    write_folder(root / "pictures", 160)
    values = {
        "dataset": f"folder:{root / 'pictures'}", "model": "mlp", "dense_width": [32],
        "image_size": SIDE, "epochs": 12, "batch_size": 16, **TASKS[task],
    }  # fmt: skip
    folder, base = SweepFolder(root / "sweep"), TrainConfig.from_dict(values)
    described = {
        "name": "sweep", "base": base.to_dict(), "rows": ROWS, "search": {}, "trials": 1,
        "seeds": len(SEEDS), "select": base.select,
    }  # fmt: skip
    folder.write_description(SweepDescription.from_json(described, "the test"))
    answers: list[list[Answers]] = [[] for _ in ROWS]
    roles = [("search", 0), *(("final", seed) for seed in SEEDS)]
    for (row, own), (role, seed) in itertools.product(enumerate(ROWS), roles):
        config = TrainConfig.from_dict({**own, "seed": seed}, base)
        folder.list_trial(config.id, row, role, 0)
        run = Run.create(folder.path / config.id, config)
        with contextlib.closing(train(Attempt.at(run, test=role == "final"))) as records:
            list(records)
        if role == "final":
            made = load_answers(run)
            assert made is not None
            answers[row].append(made)
    return folder, answers


@pytest.mark.parametrize("task", TASKS)
def test_a_sweep_is_compared_and_drawn(task: str, tmp_path: Path) -> None:
    folder, answers = trained(tmp_path, task)
    sweeps = read_sweeps([folder.path])
    table = sweep_table(sweeps, sweeps.records())
    name = TASKS[task]["select"].replace("validation_", "test_")
    own = [np.mean([one.summary()[name[5:]] for one in row]) for row in answers]
    assert table.frame[f"{name}_mean"].tolist() == pytest.approx(own)
    head = {"multilabel": "test mAP % ± seeds ± images", "regression": "test MAE ± seeds ± images"}
    assert head[task] in table.grid.header
    first, second = table.groups.groups
    assert first.interval is not None
    assert first.interval.low is not None
    assert 0 < first.interval.low < first.interval.mean  # an error, too, is not below 0
    assert second.comparison is not None  # about new images, too: they have scores of their own
    assert second.comparison.shown
    assert not [line for line in table.grid.footer if "test images" in line]

    page = render_report(folder)
    section = data(page)["answers"]
    rows = data(page)[section]["rows"]
    assert (section, len(rows)) == ({"multilabel": "labels", "regression": "numbers"}[task], 2)
    assert rows[0]["runs"] == len(SEEDS)
    assert "lr 0.003 is the best on validation" in texts(page)
    if task == "regression":
        target = np.concatenate([one.target for one in answers[0]])  # type: ignore[union-attr]
        assert sorted(rows[0]["target"]) == pytest.approx(sorted(target))
        assert rows[0]["mae"] == pytest.approx(own[0], rel=1e-3)
        return
    wanted = np.mean([one.by_class()["ap"] for one in answers[0]], axis=0)
    assert rows[0]["ap"] == pytest.approx(wanted, abs=1e-5)
    truth = answers[0][0].truth  # type: ignore[union-attr]
    assert rows[0]["support"] == truth.sum(0).tolist()
    for (low, high), ap in zip(rows[1]["interval"], rows[1]["ap"], strict=True):
        assert 0 <= low < ap < high <= 1
    shown = grouped_table(sweeps, sweeps.records(), show=["class_ap", "red_f1"])
    assert [one for one in shown.grid.header if "AP of" in one or "F1 of" in one] == [
        "AP of red %", "AP of green %", "AP of blue %", "F1 of red %",
    ]  # fmt: skip
    assert shown.frame["red_ap"].tolist()[0] == pytest.approx(wanted[0])
