"""Support vector machines on a network's features: a trial that is fitted, not trained."""

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldtrial import metrics
from fieldtrial.command_line import say
from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record
from fieldtrial.fields.choices import Kernel, Scaling
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.inputs.facts import facts_of
from fieldtrial.training.inputs.record import result_entries
from fieldtrial.training.inputs.settle import settle
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.loop.fit import open_trial, peak_memory_mb
from fieldtrial.training.scoring.evaluation import metrics_of
from fieldtrial.training.svm.penultimate import features
from fieldtrial.training.tasks.classification.predictions import ClassScores

KERNELS: dict[Kernel, dict[str, Any]] = {
    "linear": {"kernel": "linear"},
    "rbf": {"kernel": "rbf"},
    "cubic": {"kernel": "poly", "degree": 3, "coef0": 1.0},
}
# Classes of sklearn.preprocessing; a FunctionTransformer leaves everything as it is.
SCALERS: dict[Scaling, str] = {
    "none": "FunctionTransformer",
    "standard": "StandardScaler",
    "min_max": "MinMaxScaler",
}
# Of the solver for a pair of classes, a few seconds: on some features it would never end.
MAX_ITERATIONS = 1_000_000
Decide = Callable[[NDArray[np.float32]], NDArray[np.float64]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fitted trial leaves: its one record and, on rank 0, the rest.

    Attributes:
        scored: the answers for each split.
        metrics: of the answers.
        facts: the other entries of result.json.
    """

    record: Record
    scored: dict[Split, ClassScores]
    metrics: dict[str, Any]
    facts: dict[str, Any]


def fit_svm(attempt: Attempt) -> Fitted:
    """Fit a support vector machine on the training images' features; return how well it does.

    It is scikit-learn's SVC: one machine for each pair of classes (Cortes & Vapnik 1995), with the
    kernels x·y, exp(-g|x-y|²) and (g x·y + 1)³, where g is the inverse of the features' total
    variance. Scaling is fitted on the training images alone.

    A machine has no probabilities. What is called so is the softmax of its one-vs-rest decision
    values, which is not calibrated, and the loss is the cross-entropy of that. If the solver has
    not converged after MAX_ITERATIONS, the machine is used as it then is, and the log says so.

    All processes compute features; rank 0 fits. No weights are kept.
    """
    started = time.perf_counter()
    world = attempt.world
    data, network = open_trial(attempt.config, attempt.run)
    inputs, _ = settle(attempt.run, attempt.config, (data, network), world)
    if world.is_rank_0:
        say("\n".join(data.summary(attempt.config.dataset)))
    network.to(world.device)
    # All images to train or select on: the same for all seeds, so that these share the features.
    known = np.union1d(data.train, data.validation)
    rows = features(network, data, known, attempt)
    test_rows = features(network, data, data.test, attempt) if attempt.test else None
    counts = {**facts_of(network, data), "trainable_parameters": 0, **result_entries(inputs)}
    if rows is None:
        return Fitted(world.broadcast({}), {}, {}, {})
    train_rows, validation_rows = (
        rows[np.searchsorted(known, index)] for index in (data.train, data.validation)
    )
    decide = _machine(attempt.config, train_rows, data.labels[data.train])
    train = _score(decide, train_rows, data, data.train)
    scored: dict[Split, ClassScores] = {
        "validation": _score(decide, validation_rows, data, data.validation)
    }
    if test_rows is not None:
        scored["test"] = _score(decide, test_rows, data, data.test)
    metrics_by_name = metrics_of(attempt.config, data, scored)
    measured = {
        "seconds": time.perf_counter() - started,
        **attempt.clock.entries(),
        "peak_memory_mb": peak_memory_mb(world),
    }
    record = {
        "epoch": 1,
        "step": 1,
        "train_loss": train.loss,
        "train_accuracy": metrics.accuracy(train.label, train.log_probability),
        "validation_loss": metrics_by_name["validation_loss"],
        "validation_accuracy": metrics_by_name["validation_accuracy"],
        **measured,
        "best_epoch": 1,
    }
    facts = {
        "outcome": "finished",
        "reason": "fitted",
        "epochs": 1,
        "best_epoch": 1,
        **counts,
        "epoch_minutes": measured["seconds"] / 60,
        "peak_memory_mb": measured["peak_memory_mb"],
    }
    return Fitted(world.broadcast(record), scored, metrics_by_name, facts)


def _machine(config: TrainConfig, rows: NDArray[np.float32], labels: Indices) -> Decide:
    """Return the machine fitted on `rows`: a function of rows to decision values (n, classes)."""
    from sklearn import preprocessing
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import SVC

    scaling = getattr(preprocessing, SCALERS[config.svm_scaling])().fit(rows)
    scaled = scaling.transform(rows)
    # scikit-learn's own gamma counts differences between the features' means as variance, and may
    # be far too small.
    gamma = 1 / (float(scaled.var(axis=0, dtype=np.float64).sum()) or 1.0)
    machine = SVC(
        C=config.svm_penalty, gamma=gamma, max_iter=MAX_ITERATIONS, **KERNELS[config.svm_kernel]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # logged below, with how many
        machine.fit(scaled, labels)
    if unconverged := int((machine.n_iter_ >= MAX_ITERATIONS).sum()):
        pairs = f"{unconverged} of {len(machine.n_iter_)} pairs of classes"
        log.warning(
            "the %s kernel with scaling %s has not converged for %s",
            config.svm_kernel,
            config.svm_scaling,
            pairs,
        )

    def decide(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = machine.decision_function(scaling.transform(rows))
        # For two classes, the decision values are those of the second alone.
        return np.stack([-values, values], axis=1) if values.ndim == 1 else values

    return decide


def _score(decide: Decide, rows: NDArray[np.float32], data: Data, index: Indices) -> ClassScores:
    label, log_probability = data.labels[index], metrics.log_probabilities(decide(rows))
    return ClassScores(index, label, log_probability, metrics.log_loss(label, log_probability))
