"""Metrics of multi-label classification: the numbers are those of scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch.nn import functional

from fieldtrial.metrics_of import labels


def answers(images: int = 60, count: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return truths, each label at least once, and logits, some of them equal."""
    random = np.random.default_rng(seed)
    truth = (random.random((images, count)) < random.uniform(0.1, 0.6, count)).astype(np.uint8)
    truth[:count] |= np.eye(count, dtype=np.uint8)
    logit = (random.normal(size=truth.shape) + truth).round(1)
    return truth, logit.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_the_metrics_are_those_of_scikit_learn(seed: int) -> None:
    truth, logit = answers(seed=seed)
    assert len(np.unique(logit[:, 0])) < len(logit)  # there are equals
    every = [average_precision_score(truth[:, n], logit[:, n]) for n in range(truth.shape[1])]
    assert labels.label_average_precision(truth, logit) == pytest.approx(every, rel=1e-12)
    found = logit > 0
    assert labels.label_f1(truth, logit) == pytest.approx(f1_score(truth, found, average=None))
    assert labels.summary(truth, logit) == pytest.approx(
        {
            "map": average_precision_score(truth, logit, average="macro"),
            "macro_f1": f1_score(truth, found, average="macro"),
            "micro_f1": f1_score(truth, found, average="micro"),
        }
    )


def test_the_loss_is_torchs_summed_over_labels() -> None:
    truth, logit = answers()
    logit[0] = [90, -90, 200, -200]  # where exp would overflow
    expected = functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logit).double(), torch.from_numpy(truth).double(), reduction="none"
    )
    found = labels.cross_entropy(truth, logit)
    assert found == pytest.approx(expected.sum(1).numpy(), rel=1e-12)


def test_a_label_that_no_image_has_has_no_average_precision() -> None:
    truth, logit = answers()
    truth[:, 1] = 0
    every = labels.label_average_precision(truth, logit)
    assert np.isnan(every).tolist() == [False, True, False, False]
    assert labels.mean_average_precision(truth, logit) == pytest.approx(np.nanmean(every))
    assert labels.label_f1(truth, np.full_like(logit, -1))[1] == 0
    assert np.isnan(labels.mean_average_precision(truth * 0, logit))
