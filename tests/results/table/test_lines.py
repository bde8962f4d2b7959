"""What a line of the table is called, and the columns and the line that come from elsewhere."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import f1_score

from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.run import Run
from fieldtrial.results.analysis.ensemble import Ensemble, combine, winners
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.results.read.sweeps import read_sweeps
from fieldtrial.results.report.build import render_report
from fieldtrial.results.table.ensembles import means
from fieldtrial.results.table.tables import grouped_table
from tests.results.cells import TEST, cell, column, footer, own_table, row
from tests.results.report.test_build import data

if TYPE_CHECKING:
    from tests.results.conftest import Written

WEIGHTS = "/data/models/torch"
CLASSES = ["bee", "ant", "wasp"]


def write_answers(run: Run, seed: int) -> None:
    """Write predictions for 30 images, and the result that follows from them."""
    chance = np.random.default_rng(seed)
    label = np.arange(30) % 3
    probability = chance.dirichlet([1, 1, 1], 30).astype(np.float32)
    probability[np.arange(30), label] += 0.3
    probability /= probability.sum(1, keepdims=True)
    arrays = {"index": np.arange(30), "label": label, "probability": probability}
    write_arrays(run.predictions_path("test"), **arrays)
    right = float((probability.argmax(1) == label).mean())
    known = run.result() or {}
    run.write_result(known | {"test_accuracy": right, "class_names": CLASSES})


@pytest.fixture
def answered(complete: "Written") -> "Written":
    """The complete sweep, with predictions of its final runs."""
    for number, entry in enumerate(complete.folder.trials()):
        if entry["role"] == "final":
            write_answers(complete.folder.run(entry["trial"]), number)
    return complete


def test_what_all_rows_share_is_said_once(written: "Written") -> None:
    files = [f"{WEIGHTS}/squeezenet1_0.pth", f"{WEIGHTS}/other.pth"]
    shared: dict[str, Any] = {"model": "squeezenet1_0", "freeze": "all_but_head"}
    rows: list[dict[str, Any]] = [shared | {"weights": file} for file in files]
    written.rows = rows
    written.describe(rows=rows, search={}, seeds=3)
    for number in range(2):
        written.ended(number)
        for seed in range(1, 4):
            written.ended(number, "final", test=0.5 + number / 10 + seed / 100, seed=seed)
    table = own_table(written.folder)
    assert list(table.grid.header)[:2] == ["weights", "validation accuracy %"]
    assert column(written, "weights") == ["squeezenet1_0.pth", "other.pth"]
    assert table.grid.caption.startswith(
        "All rows: model=squeezenet1_0 freeze=all_but_head. Paths of weights are below"
        f" {WEIGHTS}/. The winner"
    )
    assert "compared with squeezenet1_0.pth, the best on" in footer(written)
    assert row(written)["weights"] == files[0], "machines get all"
    assert [one["label"] for one in data(render_report(written.folder))["estimates"]] == [
        "other.pth",
        "squeezenet1_0.pth",
    ]


def test_a_row_is_called_by_its_label(complete: "Written") -> None:
    complete.describe(row_labels=["ours", "", "baseline"])
    assert column(complete, "row") == ["ours", "cnn · all_but_head", "baseline"]
    assert row(complete)["label"] == "ours"
    assert "compared with ours, the best on" in footer(complete)
    page = render_report(complete.folder)
    names = [one["label"] for one in data(page)["estimates"]]
    assert names == ["ours", "cnn · all_but_head", "baseline"]


def test_training_is_that_of_the_kept_epoch(complete: "Written") -> None:
    assert "train accuracy %" not in own_table(complete.folder).grid.header
    for number, seed in enumerate((100, 101, 102)):
        run = complete.folder.run(complete.trial(0, lr=0.01, seed=seed))
        with run.recorder(2) as writer:  # the kept epoch is the second
            for epoch in (1, 2, 3):
                accuracy = 0.1 * epoch + 0.01 * number
                record = {"train_loss": 1 / epoch, "train_accuracy": accuracy, "seconds": 1.0}
                writer.write({"epoch": epoch, **record})
    assert column(complete, "train accuracy %") == ["21.00", "–", "–"]
    assert cell(complete, "train loss") == "0.5000"
    assert row(complete)["train_accuracy"] == pytest.approx(0.21)
    listed = data(render_report(complete.folder))
    assert {"train_accuracy", "train_loss"} <= set(listed["listed"])


def test_each_class_has_its_f1(answered: "Written") -> None:
    sweeps = read_sweeps([answered.folder.path])
    table = grouped_table(sweeps, sweeps.records(), show=["class_f1"])
    heads = ["F1 of bee %", "F1 of ant %", "F1 of wasp %"]
    assert [head for head in table.grid.header if head.startswith("F1")] == heads
    runs = [answered.folder.run(answered.trial(0, lr=0.01, seed=seed)) for seed in (100, 101, 102)]
    made = [load_predictions(run) for run in runs]
    wanted = np.mean([f1_score(one.label, one.predicted, average=None) for one in made], axis=0)
    found = [table.frame[f"{name}_f1"].iloc[0] for name in CLASSES]
    assert found == pytest.approx(wanted)
    place = list(table.grid.header).index(heads[1])
    assert table.grid.rows[0][place].text == f"{100 * wanted[1]:.2f}"
    assert data(render_report(answered.folder))["classes"]["rows"][0]["f1"]


def test_an_ensemble_that_is_always_right_has_an_interval_of_its_images(
    tmp_path: Path, answered: "Written"
) -> None:
    """After three images in a row, Wilson's interval ends at 1 / (1 + t²/3), t with 3 degrees."""
    stored, made = list[Run](), list[Ensemble[Any]]()
    for number, runs in enumerate(winners(answered.folder)):
        for run in runs:
            wrong = 0.1 - 0.02 * number  # for each of two classes: no two runs answer alike
            right = np.float32(np.where(np.eye(3) > 0, 1 - 2 * wrong, wrong))
            answers = {"index": np.arange(3), "label": np.arange(3), "probability": right}
            write_arrays(run.predictions_path("test"), **answers)
        made.append(combine(runs))
        stored.append(Run(tmp_path / str(number)))
        made[-1].write(stored[-1])
    quantile = scipy.stats.t.ppf(0.975, 3)
    low = 1 / (1 + quantile**2 / 3)
    printed, _ = means(stored, made)
    wanted = rf"mean: accuracy 100\.00 % ± 0\.00 for new seeds ± {100 * (1 - low):.2f} for new"
    assert re.match(wanted, printed)


def test_the_ensemble_of_the_winners_is_the_last_line(answered: "Written") -> None:
    assert "Ensemble" not in footer(answered)
    values, stored, made = [], list[Run](), list[Ensemble[Any]]()
    for number, runs in enumerate(winners(answered.folder), start=1):
        ensemble = combine(runs)
        stored.append(answered.folder.run(f"ensemble-{number}"))
        made.append(ensemble)
        ensemble.write(stored[-1])
        values.append(float((ensemble.mean.predicted == ensemble.mean.label).mean()))
    table = own_table(answered.folder)
    last = [one.text for one in table.grid.rows[-1]]
    assert last[:2] == ["ensemble", "–"]
    assert f"{100 * np.mean(values):.2f} ± " in last[list(table.grid.header).index(_head(table))]
    assert "the mean probability of the 3 rows' winners" in footer(answered)
    assert table.frame["test_accuracy_mean"].iloc[-1] == pytest.approx(np.mean(values))
    assert table.frame["row"].isna().tolist() == [False] * 3 + [True]
    drawn = data(render_report(answered.folder))["estimates"][-1]
    assert (drawn["label"], drawn["marked"]) == ("ensemble", False)
    assert drawn["mean"] == pytest.approx(100 * np.mean(values), abs=1e-3)
    printed, vote = means(stored, made)
    cell_text = last[list(table.grid.header).index(_head(table))]
    mean, seeds, images = re.findall(r"[\d.]+", cell_text)[:3]
    said = f"mean: accuracy {mean} % ± {seeds} for new seeds ± {images} for new images (n=3)"
    assert printed == said, "as in the table"
    votes = [float((one.vote.predicted == one.vote.label).mean()) for one in made if one.vote]
    assert vote == f"vote: accuracy {100 * np.mean(votes):.2f} % (n=3, no interval)"
    answered.describe(rows=[*answered.rows, {"model": "resnet18"}])
    assert "3 ensembles left out" in footer(answered)  # they are not of all rows
    answered.describe()
    for seed in (100, 101, 102):  # other winners
        answered.ended(0, validation=0.99, lr=0.05)
        answered.ended(0, "final", 0.3, 0.5, lr=0.05, seed=seed)
    assert "3 ensembles left out: not of the present final runs" in footer(answered)
    assert own_table(answered.folder).grid.rows[-1][0].text == "mlp"


def _head(table: Any) -> str:
    return next(str(head) for head in table.grid.header if head.startswith(TEST))


def test_fields_without_an_axis_are_named(written: "Written") -> None:
    fields: dict[str, list[Any]] = {
        "dropout": [0.0, 0.5], "weight_decay": [0.0, 0.1], "momentum": [0.5, 0.9],
        "epsilon": [1e-8, 1e-4], "batch_size": [16, 32], "kernel_size": [(3,), (5,)],
        "filters": [(8,), (16,)], "batch_norm": [True, False], "activation": ["relu", "tanh"],
        "label_smoothing": [0.0, 0.1], "lr": [0.001, 0.1],
    }  # fmt: skip
    search = {
        name: f"choice({', '.join(_text(one) for one in ends)})" for name, ends in fields.items()
    }
    rows: list[dict[str, Any]] = [{"model": "cnn"}]
    written.rows = rows
    written.describe(rows=rows, search=search, trials=24, seeds=0)
    chance = np.random.default_rng(0)
    for number in range(24):
        chosen = {name: ends[int(chance.integers(2))] for name, ends in fields.items()}
        best = chosen["lr"] == 0.001
        written.ended(0, validation=0.5 + 0.3 * best + number / 1e4, seed=number, **chosen)
    drawn = data(render_report(written.folder))
    assert len(drawn["hyperparameters"]) == 11
    assert "lr" in drawn["parallel"], "the last field of all, and the one that matters"
    (left_out,) = drawn["parallelLeftOut"]
    assert left_out == drawn["importance"]["names"][-1]
    assert {*drawn["parallel"], left_out} == {*fields, "validation_accuracy"}
    order = drawn["importance"]
    correlations = dict(zip(order["names"], order["correlation"], strict=True))
    assert correlations["lr"] < -0.8
    assert [name for name, value in correlations.items() if value is None] == ["activation"]


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return str(value[0])
    return str(value).lower() if isinstance(value, bool) else str(value)
