"""Ensembles: their arithmetic, their members, and the splits that they refuse to mix."""

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.run import Run
from fieldtrial.results.analysis.ensemble import combine, lines, winners
from fieldtrial.results.read.answers import load_answers
from fieldtrial.results.read.predictions import load_predictions, logarithm
from fieldtrial.results.table.ensembles import means
from tests.results.conftest import Written

LABEL = [0, 1, 2, 2]
ANSWERS = [
    [[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.0, 0.4, 0.6], [0.4, 0.3, 0.3]],
    [[0.4, 0.6, 0.0], [0.6, 0.4, 0.0], [0.0, 0.4, 0.6], [0.1, 0.6, 0.3]],
    [[0.4, 0.6, 0.0], [0.0, 1.0, 0.0], [0.9, 0.0, 0.1], [0.0, 0.1, 0.9]],
]


def member(
    path: Path, number: int = 0, config: dict[str, Any] | None = None, **changes: Any
) -> Run:
    run = Run.create(path, TrainConfig.from_dict({"classes": "3", **(config or {})}))
    run.write_result({"outcome": "finished", "class_names": ["a", "b", "c"]})
    arrays = {
        "index": np.arange(4),
        "label": np.array(LABEL),
        "log_probability": logarithm(np.array(ANSWERS[number], np.float32)),
    }
    write_arrays(run.predictions_path("test"), **{**arrays, **changes})
    return run


def test_the_mean_and_the_majority_of_three(tmp_path: Path) -> None:
    runs = [member(tmp_path / str(number), number) for number in range(3)]
    ensemble = combine(runs)
    assert ensemble.mean.probability == pytest.approx(np.mean(ANSWERS, axis=0), rel=1e-6)
    assert ensemble.mean.predicted.tolist() == [0, 1, 2, 2]
    # of three different votes for the last image, the mean decides
    assert ensemble.vote is not None
    assert ensemble.vote.predicted.tolist() == [1, 0, 2, 2]
    scores = ensemble.scores()
    assert list(scores) == [*(str(run.path) for run in runs), "mean", "vote"]
    assert [scores[str(run.path)]["accuracy"] for run in runs] == [0.5, 0.25, 0.5]
    assert scores["vote"]["log_loss"] is None
    own = ensemble.mean.probability[np.arange(4), LABEL].astype(float)
    assert scores["mean"]["log_loss"] == pytest.approx(-np.log(own).mean(), rel=1e-6)


def test_the_mean_of_sure_answers_ranks_as_exact_arithmetic_does(tmp_path: Path) -> None:
    # what is missing to a probability of 1, of two members for four images
    missing = [["1e-12", "3e-10", "1e-14", "1e-20"], ["3e-11", "1e-13", "1e-19", "1e-14"]]
    runs = []
    for number, given in enumerate(missing):
        logs = [[float(-Decimal(one)), math.log(float(one)), -200.0] for one in given]
        runs.append(member(tmp_path / str(number), log_probability=np.array(logs, np.float32)))
    found = combine(runs).mean.log_probability
    exact = [float((Decimal(a) + Decimal(b)) / 2) for a, b in zip(*missing, strict=True)]
    assert -found[:, 0] == pytest.approx(exact, rel=1e-5, abs=0)
    assert np.exp(found[:, 1].astype(float)) == pytest.approx(exact, rel=1e-5, abs=0)
    assert found[:, 2] == pytest.approx(-200.0)


def test_labels_and_numbers_have_a_mean_too(tmp_path: Path) -> None:
    logits = [
        np.array([[40.0, -90.0, 0.5]], np.float32),
        np.array([[1.0, -80.0, -0.5]], np.float32),
    ]
    numbers = [np.array([1.0]), np.array([4.0])]
    one = {"index": np.zeros(1, np.int64)}
    labelled, measured = list[Run](), list[Run]()
    for number, (logit, value) in enumerate(zip(logits, numbers, strict=True)):
        for kind, arrays in (
            ("labels", {"truth": np.ones((1, 3), np.uint8), "logit": logit}),
            ("number", {"target": np.array([2.0]), "value": value, "deviation": np.ones(1)}),
        ):
            run = member(tmp_path / f"{kind}{number}")
            run.predictions_path("test").unlink()
            write_arrays(run.predictions_path("test"), **one, **arrays)
            (labelled if kind == "labels" else measured).append(run)
    made = combine(labelled)
    odds = [math.log(p / (1 - p)) for p in ((1 + 1 / (1 + math.exp(-1))) / 2, 0.5)]
    assert made.mean.logit[0] == pytest.approx([odds[0], -80 - math.log(2), odds[1]], rel=1e-4)
    assert made.vote is None
    assert list(made.scores()) == [*(str(run.path) for run in labelled), "mean"]
    assert lines(made.scores())[0] == "  mAP %  macro F1 %  micro f1 %"
    measure = combine(measured)
    measure.write(Run(tmp_path / "together"))
    stored = load_answers(Run(tmp_path / "together"))
    assert stored is not None
    assert stored.answer.tolist() == [2.5]
    assert (Run(tmp_path / "together").result() or {})["test_mae"] == 0.5
    assert means([Run(tmp_path / "together")] * 3, [measure] * 3) == [
        "mean: MAE 0.5 ± 0 for new seeds (n=3)"
    ]
    with pytest.raises(ValueError, match="do not share a test split"):
        combine([labelled[0], measured[0]])


def test_it_is_stored_as_a_run_is(tmp_path: Path) -> None:
    ensemble = combine([member(tmp_path / str(number), number) for number in range(3)])
    ensemble.write(Run(tmp_path / "together"))
    stored = load_predictions(Run(tmp_path / "together"))
    assert np.array_equal(stored.probability, ensemble.mean.probability)
    assert stored.class_names == ("a", "b", "c")
    result = Run(tmp_path / "together").result() or {}
    assert result["members"] == [str(tmp_path / str(number)) for number in range(3)]
    assert result["test_accuracy"] == ensemble.mean.summary()["accuracy"]
    assert result["scores"] == ensemble.scores()


def test_it_takes_no_trials_place_and_no_member_twice(tmp_path: Path) -> None:
    runs = [member(tmp_path / str(number), number) for number in range(3)]
    kept = runs[0].result()
    with pytest.raises(ValueError, match="0 holds a trial, whose result would be lost"):
        combine(runs[1:]).write(runs[0])
    assert runs[0].result() == kept
    with pytest.raises(ValueError, match=r"given twice, which would count double: .*/1$"):
        combine([*runs, Run(tmp_path / "." / "2" / ".." / "1")])
    combine(runs).write(Run(tmp_path / "together"))
    combine(runs).write(Run(tmp_path / "together"))  # its own folder may be written again


@pytest.mark.parametrize(
    ("config", "changes", "difference"),
    [
        ({"dataset": "mnist"}, {}, "dataset 'digits' against 'mnist'"),
        ({"classes": "3-5"}, {}, "classes '3' against '3-5'"),
        ({}, {"index": np.array([0, 1, 2, 9])}, "other images, first in place 3: 3 against 9"),
        ({}, {"label": np.array([0, 1, 2, 1])}, "other labels of 1 image"),
        (
            {},
            {
                "index": np.arange(2),
                "label": np.array([0, 1]),
                "log_probability": np.log(np.full((2, 3), 1 / 3, np.float32)),
            },
            "number of images 4 against 2",
        ),
    ],
)
def test_mixed_splits_are_refused_in_one_line(
    tmp_path: Path, config: dict[str, Any], changes: dict[str, Any], difference: str
) -> None:
    runs = [
        member(tmp_path / "one"),
        member(tmp_path / "two", 1),
        member(tmp_path / "odd", 2, config, **changes),
    ]
    with pytest.raises(ValueError, match="do not share a test split") as error:
        combine(runs)
    assert (
        str(error.value)
        == f"{runs[0].path} and {runs[2].path} do not share a test split: {difference}"
    )


def test_other_class_names_are_refused(tmp_path: Path) -> None:
    runs = [member(tmp_path / "one"), member(tmp_path / "two", 1)]
    runs[1].write_result({"outcome": "finished", "class_names": ["a", "b", "x"]})
    with pytest.raises(ValueError, match="class names 'a, b, c' against 'a, b, x'"):
        combine(runs)
    with pytest.raises(ValueError, match="needs two runs or more"):
        combine(runs[:1])


def test_the_winners_of_a_sweep_are_grouped_by_their_seeds(complete: Written) -> None:
    groups = winners(complete.folder)
    assert len(groups) == 3
    for number, group in enumerate(groups):
        assert [run.config().seed for run in group] == [100 + number] * 3
        assert [run.config().model for run in group] == ["cnn", "cnn", "mlp"]
        assert [run.config().lr for run in group] == [0.01, 0.005, pytest.approx(0.01 / 3)]


def test_a_seed_that_failed_in_a_row_is_in_no_ensemble(complete: Written) -> None:
    first, middle, last = winners(complete.folder)
    (middle[1].path / "result.json").unlink()
    assert [[run.config().seed for run in group] for group in winners(complete.folder)] == [
        [100] * 3,
        [102] * 3,
    ]
    for run in (first[0], last[0]):
        (run.path / "result.json").unlink()
    with pytest.raises(ValueError, match="no seed in common"):
        winners(complete.folder)


def test_a_row_without_a_tested_winner_is_named(written: Written) -> None:
    folder = written.describe()
    written.ended(0, validation=0.9, lr=0.01)
    with pytest.raises(
        ValueError, match="no tested run of the winner of row 0, 1, 2: end the sweep first"
    ):
        winners(folder)


def test_runs_over_other_states_of_the_data_are_no_members(tmp_path: Path) -> None:
    runs = [member(tmp_path / str(number), number) for number in range(2)]
    for run, digest in zip(runs, ("1a2b", "3c4d"), strict=True):
        run.write_result({**(run.result() or {}), "data_digest": digest})
    with pytest.raises(ValueError, match="digest of the data '1a2b' against '3c4d'"):
        combine(runs)
