"""Support vector machines on the features of a network: a trial that is fitted instead of trained,
in one epoch.
"""

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from fieldtrial import metrics
from fieldtrial.config import Kernel, Scaling, TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.fit import describe, open_trial, peak_memory_mb
from fieldtrial.training.scoring.evaluation import summarise
from fieldtrial.training.scoring.predictions import Predictions, Split
from fieldtrial.training.svm.penultimate import features

KERNELS: dict[Kernel, dict[str, Any]] = {
    "linear": {"kernel": "linear"},
    "rbf": {"kernel": "rbf"},
    "cubic": {"kernel": "poly", "degree": 3, "coef0": 1.0},
}
# of sklearn.preprocessing; a FunctionTransformer leaves everything as it is
SCALERS: dict[Scaling, str] = {
    "none": "FunctionTransformer",
    "standard": "StandardScaler",
    "min_max": "MinMaxScaler",
}
MOST_ITERATIONS = (
    1_000_000  # of the solver for a pair of classes, seconds: on some features it would never end
)
Decide = Callable[[NDArray[np.float32]], NDArray[np.float64]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fitted trial leaves: its one record and, in the first process, its result and its
    predictions.
    """

    record: Record
    result: dict[str, Any]
    predictions: dict[Split, Predictions]


def fit_svm(
    config: TrainConfig, run: Run, world: World, splits: tuple[Split, ...], accumulate: int = 1
) -> Fitted:
    """Fit the support vector machine of `config` on the training images' features, and return how
    well it does.

    It is scikit-learn's SVC: one machine for each pair of classes (Cortes & Vapnik 1995), with the
    kernels x·y, exp(-g|x-y|²) and (g x·y + 1)³, where g is the inverse of the features' total
    variance. Scaling is fitted on the training images alone. A machine has no probabilities: what
    is called so is the softmax of its one-vs-rest decision values, which is not calibrated, and the
    loss is the cross-entropy of that. Where the solver has not converged after MOST_ITERATIONS, the
    machine is used as it is then, and the log says so. All processes compute features, in batches
    cut into `accumulate` pieces, the first one fits; it keeps no weights.
    """
    started = time.perf_counter()
    data, network = open_trial(config, run)
    network.to(world.device)
    known = np.union1d(
        data.train, data.validation
    )  # the same for all seeds, so that they share what is computed
    given = features(network, data, known, config, world, accumulate)
    tested = (
        features(network, data, data.test, config, world, accumulate) if "test" in splits else None
    )
    facts = {**describe(network, data), "trainable_parameters": 0}
    if given is None:
        return Fitted(world.broadcast({}), {}, {})
    rows = {
        name: given[np.searchsorted(known, getattr(data, name))] for name in ("train", "validation")
    }
    decide = _machine(config, rows["train"], data.labels[data.train])
    train = _predictions(decide, rows["train"], data, data.train)
    predictions: dict[Split, Predictions] = {
        "validation": _predictions(decide, rows["validation"], data, data.validation)
    }
    if tested is not None:
        predictions["test"] = _predictions(decide, tested, data, data.test)
    scores = summarise(data, predictions)
    seconds = time.perf_counter() - started
    memory = peak_memory_mb(world)
    record = {
        "epoch": 1,
        "step": 1,
        "train_loss": train.loss,
        "train_accuracy": metrics.accuracy(train.label, train.probability),
        "validation_loss": scores["validation_loss"],
        "validation_accuracy": scores["validation_accuracy"],
        "seconds": seconds,
        "peak_memory_mb": memory,
        "best_epoch": 1,
    }
    result = {
        "outcome": "finished",
        "reason": "fitted",
        "epochs": 1,
        "best_epoch": 1,
        **scores,
        **facts,
    }
    result |= {"minutes": seconds / 60, "peak_memory_mb": memory}
    return Fitted(world.broadcast(record), result, predictions)


def _machine(config: TrainConfig, rows: NDArray[np.float32], labels: Indices) -> Decide:
    """Return the decision values, (n, classes), of the machine of `config` fitted on `rows`, as a
    function of rows.
    """
    from sklearn import preprocessing  # late: of the worker's trials, few are machines
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import SVC

    scaling = getattr(preprocessing, SCALERS[config.svm_scaling])().fit(rows)
    scaled = scaling.transform(rows)
    # scikit-learn's own gamma takes differences between the features' means for variance, and may
    # be far too small
    gamma = 1 / (float(scaled.var(axis=0, dtype=np.float64).sum()) or 1.0)
    machine = SVC(
        C=config.svm_penalty, gamma=gamma, max_iter=MOST_ITERATIONS, **KERNELS[config.svm_kernel]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # is said below, with how many
        machine.fit(scaled, labels)
    if unended := int((machine.n_iter_ >= MOST_ITERATIONS).sum()):
        pairs = f"{unended} of {len(machine.n_iter_)} pairs of classes"
        log.warning(
            "the %s kernel with scaling %s has not converged for %s",
            config.svm_kernel,
            config.svm_scaling,
            pairs,
        )

    def decide(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = machine.decision_function(scaling.transform(rows))
        return (
            np.stack([-values, values], axis=1) if values.ndim == 1 else values
        )  # two classes: the second's alone

    return decide


def _predictions(
    decide: Decide, rows: NDArray[np.float32], data: Data, index: Indices
) -> Predictions:
    label, probability = data.labels[index], softmax(decide(rows), axis=1).astype(np.float32)
    return Predictions(index, label, probability, metrics.log_loss(label, probability))
