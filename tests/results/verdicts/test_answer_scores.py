"""Scores on images of labels and numbers: pseudo-values are what leaving one image out gives."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, r2_score, root_mean_squared_error

from fieldtrial.fields.task_metrics import CHOOSING
from fieldtrial.results.read.answers import StoredLabels, StoredNumbers
from fieldtrial.results.verdicts.answer_scores import KINDS
from tests.metrics_of.test_labels import answers

Metric = Callable[[np.ndarray, np.ndarray], float]


def mean_average_precision(truth: np.ndarray, logit: np.ndarray) -> float:
    own = [number for number in range(truth.shape[1]) if truth[:, number].any()]
    return float(np.mean([average_precision_score(truth[:, n], logit[:, n]) for n in own]))


def f1(average: str) -> Metric:
    return lambda truth, logit: float(f1_score(truth, logit > 0, average=average, zero_division=0))


def left_out(metric: Metric, truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Return the pseudo-values by computing the metric without each image."""
    images, whole = np.arange(len(truth)), metric(truth, answer)
    without = [metric(truth[images != one], answer[images != one]) for one in images]
    return len(images) * whole - (len(images) - 1) * np.array(without)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("name", "metric"),
    [("map", mean_average_precision), ("macro_f1", f1("macro")), ("micro_f1", f1("micro"))],
)
def test_those_of_labels(name: str, metric: Metric, seed: int) -> None:
    truth, logit = answers(images=25, seed=seed)
    truth[:, 3] = 0
    truth[7, 3] = 1  # without this image, nobody has the label
    made = StoredLabels(np.arange(25), truth, logit, tuple("abcd"))
    found = KINDS[StoredLabels][name][0](made)
    np.testing.assert_allclose(found, left_out(metric, truth, logit), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "metric"), [("rmse", root_mean_squared_error), ("r2", r2_score)])
def test_those_of_numbers(name: str, metric: Metric) -> None:
    random = np.random.default_rng(0)
    target = random.normal(5, 2, 30)
    value = target + random.normal(0, 1, 30)
    made = StoredNumbers(np.arange(30), target, value, 2.0, ("size",))
    found = KINDS[StoredNumbers][name][0](made)
    np.testing.assert_allclose(found, left_out(metric, target, value), rtol=1e-9, atol=1e-9)
    errors = KINDS[StoredNumbers]["mae"][0](made)
    assert errors.mean() == pytest.approx(made.summary()["mae"])
    assert KINDS[StoredNumbers]["loss"][0](made) == pytest.approx(((value - target) / 2) ** 2)


def test_images_have_a_score_for_whatever_chooses() -> None:
    for task, kind in (("multilabel", StoredLabels), ("regression", StoredNumbers)):
        assert KINDS[kind].keys() == set(CHOOSING[task])  # type: ignore[index]
