"""Scores on images: their mean is the metric, and pseudo-values are what leaving one out gives."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, roc_auc_score

from fieldtrial import metrics
from fieldtrial.results.verdicts.image_scores import SCORES


def answers(images: int = 40, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    label = np.concatenate([np.arange(classes), random.integers(0, classes, images - classes)])
    probability = random.dirichlet(np.ones(classes), images)
    probability[np.arange(images), label] += 0.3 * random.random(images)
    probability = (probability / probability.sum(1, keepdims=True)).round(2)
    return label, (probability / probability.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("name", "classes"), [("accuracy", 4), ("top5_accuracy", 8), ("loss", 4)])
def test_the_mean_of_the_scores_is_the_metric(name: str, classes: int) -> None:
    label, probability = answers(classes=classes)
    values = {**metrics.summary(label, probability), "loss": log_loss(label, probability)}
    scored = np.log(np.maximum(probability, np.finfo(np.float32).eps))
    assert SCORES[name][0](label, scored).mean() == pytest.approx(values[name], rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["macro_f1", "auc"])
def test_pseudo_values_are_those_of_leaving_each_image_out(name: str, seed: int) -> None:
    label, probability = answers(seed=seed)
    classes = np.arange(probability.shape[1])

    def metric(kept: np.ndarray) -> float:
        own, given = label[kept], probability[kept]
        if name == "macro_f1":
            guess = given.argmax(1)
            return float(f1_score(own, guess, labels=classes, average="macro", zero_division=0))
        areas = [
            roc_auc_score(own == number, given[:, number])
            for number in classes
            if 0 < (own == number).sum() < len(own)
        ]
        return float(np.mean(areas))

    images = np.arange(len(label))
    whole = metric(images)
    expected = [
        len(images) * whole - (len(images) - 1) * metric(images[images != left]) for left in images
    ]
    np.testing.assert_allclose(SCORES[name][0](label, probability), expected, rtol=1e-5, atol=1e-6)


def test_a_class_of_one_image_and_equal_probabilities_are_no_trouble() -> None:
    label = np.array([0, 0, 1, 2, 2])
    probability = np.full((5, 3), 1 / 3, np.float32)
    assert np.isfinite(SCORES["auc"][0](label, probability)).all()
    assert np.isfinite(SCORES["macro_f1"][0](label, probability)).all()
    with pytest.raises(ValueError, match="all images are of one class"):
        SCORES["auc"][0](np.zeros(5, np.int64), probability)
