"""Metrics of tasks: their words, and which of them may choose."""

from dataclasses import replace

import pytest

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.fields.choices import TaskName
from fieldtrial.fields.scores import is_share, score_with_unit
from fieldtrial.fields.task_metrics import CHOOSING, METRICS, MODES, criteria, metric_words
from fieldtrial.sweep import Sweep


@pytest.mark.parametrize(("name", "words", "share"), [
    ("validation_accuracy", "validation accuracy", True), ("test_map50", "test mAP at 0.5", True),
    ("initial_test_macro_f1", "initial test macro f1", True), ("train_loss", "train loss", False),
    ("auc", "auc", False), ("train_f1", "train f1", True),
    ("minutes_alone", "minutes alone", False),
])  # fmt: skip
def test_metrics_have_words_and_units(name: str, words: str, share: bool) -> None:
    assert (metric_words(name), is_share(name)) == (words, share)


def test_scores_are_read_in_their_unit() -> None:
    assert score_with_unit("test_map", 0.5) == "50.00 %"
    assert (MODES["validation_map50"], MODES["validation_loss"]) == ("max", "min")


def test_errors_in_units_have_four_digits_whatever_their_size() -> None:
    assert score_with_unit("test_mae", 0.00012345) == "0.0001234"
    assert score_with_unit("test_rmse", 12345.678) == "1.235e+04"
    assert score_with_unit("test_r2", 0.98765) == "0.9877"


def test_whatever_may_choose_is_a_metric_with_words() -> None:
    for task, names in CHOOSING.items():
        assert set(names) <= METRICS.keys()
        assert criteria(task)[0] == f"validation_{names[0]}"


def test_what_selects_is_one_of_the_tasks_metrics() -> None:
    why = "because task = classification"
    choices = "must be one of validation_accuracy, validation_loss"
    with pytest.raises(ConfigError) as error:
        TrainConfig(select="validation_map", lr=-1.0)
    assert f"select = 'validation_map': {choices}, last, {why}" in error.value.problems
    assert len(error.value.problems) == 2
    with pytest.raises(ConfigError) as error:
        Sweep(
            base=TrainConfig(),
            rows=[{"task": "classification"}],
            trials=1,
            seeds=1,
            select="validation_map50",
        )
    assert f"sweep: select = 'validation_map50': {choices}, {why}" in str(error.value)
    assert "row 0: task is not a row's field; `base` says it for all rows" in str(error.value)


@pytest.mark.parametrize(
    ("task", "first"),
    [
        ("classification", "validation_accuracy"),
        ("multilabel", "validation_map"),
        ("regression", "validation_mae"),
        ("detection", "validation_map"),
    ],
)
def test_each_task_has_a_metric_that_chooses_by_default(task: TaskName, first: str) -> None:
    base = TrainConfig(task=task)
    assert base.select == TrainConfig.from_dict({"task": task}).select == first
    assert replace(TrainConfig(), task=task).select == first
    named = TrainConfig.from_dict({"task": task, "select": first})
    assert (base, base.id) == (named, named.id)
    assert Sweep(base=base, rows=[{}]).select == first


def test_one_select_in_the_base_is_enough() -> None:
    base = TrainConfig(task="regression", select="validation_r2")
    sweep = Sweep(base=base, rows=[{}])
    assert (sweep.select, sweep.mode) == ("validation_r2", "max")
    last = Sweep(base=replace(base, select="last"), rows=[{}])
    assert (last.select, last.base.select) == ("validation_mae", "last")
    other = Sweep(base=base, rows=[{}], select="validation_loss")
    assert (other.select, other.planned[0].config.select) == ("validation_loss",) * 2
    with pytest.raises(ConfigError, match="select = 'validation_accuracy': must be one of"):
        Sweep(base=base, rows=[{}], select="validation_accuracy")
    assert replace(sweep, trials=3).select == "validation_r2"


def test_ids_of_classification_stay() -> None:
    assert TrainConfig().id == TrainConfig(select="validation_accuracy").id == "44136fa3"
