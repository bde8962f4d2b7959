"""Metrics against scikit-learn's own, and in the cases that it leaves open."""

import math

import numpy as np
import pytest
import sklearn.metrics
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax
from statsmodels.stats.proportion import proportion_confint

from fieldtrial import metrics


@pytest.fixture(params=[(120, 2), (150, 5), (200, 12)])
def answers(request: pytest.FixtureRequest) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return labels and probabilities, many of them equal to others, that are better
    than chance.
    """
    count, classes = request.param
    random = np.random.default_rng(classes)
    label = np.arange(count) % classes
    votes = random.multinomial(6, np.full(classes, 1 / classes), count) + 2 * (
        label[:, None] == np.arange(classes)
    )
    return label, (votes / votes.sum(1, keepdims=True)).astype(np.float32)


def test_they_are_scikit_learns(answers: tuple[NDArray[np.int64], NDArray[np.float32]]) -> None:
    label, probability = answers
    predicted, classes = probability.argmax(1), probability.shape[1]
    own = label[:, None] == np.arange(classes)
    assert 1 / classes < metrics.accuracy(label, probability) < 1
    assert metrics.accuracy(label, probability) == sklearn.metrics.accuracy_score(label, predicted)
    assert metrics.macro_f1(label, probability) == pytest.approx(
        sklearn.metrics.f1_score(label, predicted, average="macro"), rel=1e-12
    )
    areas = [
        sklearn.metrics.roc_auc_score(own[:, number], probability[:, number])
        for number in range(classes)
    ]
    assert metrics.class_auc(label, probability) == pytest.approx(areas, rel=1e-12)
    assert metrics.auc(label, probability) == pytest.approx(np.mean(areas), rel=1e-12)
    matrix = metrics.confusion_matrix(label, probability)
    assert matrix[1, 0] == ((label == 1) & (predicted == 0)).sum()
    assert metrics.class_accuracy(label, probability) == pytest.approx(
        np.diag(matrix) / np.bincount(label)
    )
    for (false, true), area in zip(metrics.roc_curves(label, probability), areas, strict=True):
        assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
        assert sklearn.metrics.auc(false, true) == pytest.approx(area, rel=1e-12)
    assert metrics.summary(label, probability).keys() == {
        "accuracy",
        "macro_f1",
        "auc",
        *(["top5_accuracy"] if classes > 5 else []),
    }


def test_top5_is_scikit_learns_and_only_where_it_says_something() -> None:
    random = np.random.default_rng(0)
    label, probability = random.integers(0, 30, 100), random.dirichlet(np.ones(30), 100)
    expected = sklearn.metrics.top_k_accuracy_score(label, probability, k=5, labels=np.arange(30))
    assert 0.05 < expected < 0.5
    assert metrics.top5_accuracy(label, probability) == expected
    assert metrics.top5_accuracy(label % 5, probability[:, :5]) is None
    assert (
        metrics.top5_accuracy(np.array([4, 5]), np.full((2, 6), 1 / 6)) == 0.5
    )  # equals are not all in front


def test_a_class_without_images_spoils_nothing() -> None:
    label = np.array([0, 0, 1, 1])
    probability = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
    assert metrics.class_accuracy(label, probability)[:2].tolist() == [0.5, 1.0]
    assert math.isnan(metrics.class_accuracy(label, probability)[2])
    assert metrics.macro_f1(label, probability) == pytest.approx((2 / 3 + 4 / 5) / 3)
    assert math.isnan(metrics.class_auc(label, probability)[2])
    assert metrics.auc(label, probability) == pytest.approx(0.875)
    assert [len(false) > 1 for false, _ in metrics.roc_curves(label, probability)] == [
        True,
        True,
        False,
    ]
    with pytest.raises(ValueError, match="all images are of one class"):
        metrics.auc(np.zeros(4, np.int64), probability)


@pytest.mark.parametrize(("right", "count"), [(0, 3), (5, 12), (612, 1000), (50, 50)])
def test_the_interval_of_a_share_is_statsmodels(right: int, count: int) -> None:
    low, high = metrics.wilson(right / count, count)
    expected = proportion_confint(right, count, method="wilson")
    assert (low, high) == pytest.approx(expected, abs=1e-12)
    assert -1e-12 < low < high < 1 + 1e-12
    wider = metrics.wilson(right / count, count, 2.5758293035489004)
    assert wider == pytest.approx(proportion_confint(right, count, 0.01, "wilson"), abs=1e-12)


def test_log_loss_is_scikit_learns_cross_entropy() -> None:
    label, probability = np.array([0, 1, 1]), np.array([[0.5, 0.5], [0.75, 0.25], [1e-9, 1]])
    expected = sklearn.metrics.log_loss(label, probability)
    assert metrics.log_loss(label, np.log(probability)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("classes", "spread"), [(2, 12), (10, 30), (8, 45)])
def test_sure_answers_are_ranked_as_their_logits_are(classes: int, spread: float) -> None:
    random = np.random.default_rng(classes)
    label = np.arange(300) % classes
    logits = (spread * random.standard_normal((300, classes))).astype(np.float32)
    logits[np.arange(300), label] += spread / 2
    exact = logits.astype(np.float64)
    own = label[:, None] == np.arange(classes)
    areas = [
        # The odds of a class rise with its probability, and have no ends where they are equal.
        sklearn.metrics.roc_auc_score(
            own[:, number],
            exact[:, number] - logsumexp(np.delete(exact, number, axis=1), axis=1),
        )
        for number in range(classes)
    ]
    found = metrics.log_probabilities(logits)
    assert found.dtype == np.float32
    assert metrics.class_auc(label, found) == pytest.approx(areas, abs=2e-5)
    rounded = softmax(logits, axis=1)
    assert max(abs(metrics.class_auc(label, rounded) - areas)) > 1e-4
    expected = sklearn.metrics.top_k_accuracy_score(label, exact, k=5) if classes > 5 else None
    assert metrics.top5_accuracy(label, found) == expected
    assert np.exp(found.astype(np.float64)).sum(1) == pytest.approx(1, abs=1e-6)


def test_logits_without_bounds_have_finite_logarithms() -> None:
    most = np.finfo(np.float32).max
    found = metrics.log_probabilities(np.array([[most, -most, 0], [1, 1, 1]], np.float32))
    assert found[0] == pytest.approx([0, -most, -most])
    assert found[1] == pytest.approx(-math.log(3))
