"""A sweep over folds in its table: what stands for seeds, what is said, and what is missing."""

import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.results.report.answers.classes import class_row
from fieldtrial.results.report.build import write_report
from fieldtrial.results.status import read_standing
from fieldtrial.results.table.command import main as table
from tests.results.conftest import BASE, CLASSES

if TYPE_CHECKING:
    import pytest

    from tests.results.conftest import Written

IMAGES = 120
FOLDS = np.random.default_rng(0).permutation(IMAGES) % 3


def tell(written: "Written", row: int, fold: int, share: float) -> Run:
    """Write the run that tests a fold, right for about a share of its images."""
    index = np.flatnonzero(np.equal(FOLDS, fold))
    chance = np.random.default_rng([row, fold])
    label = index % len(CLASSES)
    guess = np.where(chance.random(len(index)) < share, label, (label + 1) % len(CLASSES))
    probability = np.full((len(index), len(CLASSES)), 0.1)
    probability[np.arange(len(index)), guess] = 0.8
    value = float((guess == label).mean())
    facts = {"class_names": list(CLASSES), "test_images": len(index), "data_digest": "one"}
    fields = {"lr": 0.1, "folds": 3, "fold": fold, "seed": 1 + fold}
    run = written.ended(row, "final", share, value, facts, **fields)
    np.savez(
        run.predictions_path("test"), index=index, label=label, log_probability=np.log(probability)
    )
    return run


def finals(written: "Written") -> list[str]:
    """Return the final runs of the first row."""
    listed = written.folder.trials()
    return [str(one["trial"]) for one in listed if (one["role"], one["row"]) == ("final", 0)]


def sweep(written: "Written") -> None:
    written.describe(base=replace(BASE, folds=3).to_dict(), trials=1)
    for row, share in enumerate((0.95, 0.6, 0.9)):
        written.ended(row, validation=share, result={"data_digest": "one"}, lr=0.1, folds=3)


def test_a_table_over_folds(written: "Written", capsys: "pytest.CaptureFixture[str]") -> None:
    sweep(written)
    for row, share in enumerate((0.95, 0.6, 0.9)):
        for fold in range(3 - (row == 2)):
            tell(written, row, fold, share)
    path = str(written.folder.path)
    assert table([path, "--format", "markdown"]) == 0
    shown = capsys.readouterr().out.replace("\\`", "`")
    assert "test accuracy % ± folds ± images" in shown
    assert shown.count("(n=3 folds)") == 2
    assert "not tested: 2 of 3 folds: a comparison needs all" in shown
    assert re.search(r"\| +worse, p .* 0\.\d", shown)
    assert (
        "1 comparison of rows, as to other seeds, and other images to train and to test on" in shown
    )
    assert "3 folds: each image is tested once, by a run that has not trained on it." in shown
    assert "`searches = 3` searches in each fold by itself, and leaves that out." in shown
    assert "left out" not in shown.replace("leaves that out", "")  # no fold is of other data
    write_report(written.folder)
    page = written.folder.report_path.read_text()
    assert "and 3 folds for each" in page
    runs = [load_predictions(written.folder.run(name)) for name in finals(written)]
    drawn = class_row(runs)
    assert drawn
    assert all(low < high for low, high in drawn["interval"])
    few = class_row(runs[:2])
    assert few
    assert few["interval"] == [None] * len(CLASSES)
    standing = read_standing(written.folder)
    assert standing.repeated == "folds"
    assert [row.seeds for row in standing.rows] == [3, 3, 3]


def test_runs_by_hand_over_folds_are_one_row(
    written: "Written", capsys: "pytest.CaptureFixture[str]"
) -> None:
    sweep(written)
    hand = written.folder.path.parent / "hand"
    for fold in range(3):
        run = tell(written, 0, fold, 0.9)
        config = replace(TrainConfig(epochs=3), folds=3, fold=fold)
        own = Run.create(hand / f"fold-{fold}", config)
        own.write_result(run.result() or {})
        shutil.copy(run.predictions_path("test"), own.predictions_path("test"))
    assert table([str(hand), "--format", "markdown"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("(n=3 folds)") == 1
