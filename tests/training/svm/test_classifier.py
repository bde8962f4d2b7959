"""Support vector machines on features: they work, on every kernel and scaling, and features are
computed once.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.pipeline
import sklearn.preprocessing
import sklearn.svm
import torch
from scipy.special import softmax

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.analysis.statistics import estimate_mean
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.training.attempt.svm_grid import ROWS, fit_grid
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing import feature_cache as frozen_features
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.loop.inference import MAX_IMAGES
from fieldtrial.training.svm import penultimate as features_module
from fieldtrial.training.svm.classifier import _machine
from fieldtrial.training.svm.penultimate import features

SOURCE: dict[str, Any] = {
    "model": "cnn",
    "filters": [16, 32, 64],
    "blocks": 3,
    "dense_width": [64],
    "batch_size": 32,
}
TARGET: dict[str, Any] = {**SOURCE, "classes": "5-9", "weights": "run:source"}


def run_to_its_end(path: Path, attempt: int = 1, **fields: Any) -> Run:
    run = Run.create(path, TrainConfig.from_dict(fields))
    list(train(Attempt.at(run, number=attempt, test=True)))
    return run


def train_source_and_probe(path: Path, seed: int) -> float:
    """Train a network on the digits 0-4 and its linear probe on 5-9; return the test accuracy."""
    run_to_its_end(path / "source", **SOURCE, classes="5", epochs=8, lr=0.003, seed=seed)
    probe = run_to_its_end(
        path / "probe", **TARGET, freeze="all_but_head", epochs=15, lr=0.01, seed=seed
    )
    return float((probe.result() or {})["test_accuracy"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a network that has learned the digits 0-4, and a linear probe of it."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("runs")
    train_source_and_probe(path, seed=0)
    return path


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the number of images is added whenever features are computed."""
    counts: list[int] = []
    compute = features_module._compute

    def count(network: Any, data: Any, indices: Any, *rest: Any) -> Any:
        counts.append(len(indices))
        return compute(network, data, indices, *rest)

    monkeypatch.setattr(features_module, "_compute", count)
    return counts


def test_all_machines_reach_nine_tenths_of_a_linear_probe(
    tmp_path: Path, computed: list[int]
) -> None:
    """The mean over seeds does, with its 95 % interval; how well one training does is chance."""
    probes: list[float] = []
    ratios: dict[str, list[float]] = {str(row): [] for row in ROWS}
    for seed in range(3):
        path = tmp_path / f"seed-{seed}"
        probes.append(train_source_and_probe(path, seed))
        base = TrainConfig.from_dict({**TARGET, "weights": str(path / "source"), "seed": seed})
        machines = SweepFolder(path / "machines")
        fit_grid(base, machines, World())
        for row in ROWS:
            config = TrainConfig.from_dict({**row, "classifier": "svm", "epochs": 1}, base)
            accuracy = (machines.run(config.id).result() or {})["test_accuracy"]
            ratios[str(row)].append(accuracy / probes[-1])
    assert len(computed) == 6  # per seed: the images to train and select on, and the test images
    assert len(ratios) == 9
    for values, bound in ((probes, 0.5), *((values, 0.9) for values in ratios.values())):
        mean, half_width, _ = estimate_mean(values)
        assert half_width is not None
        assert mean - half_width >= bound, (probes, ratios)
    assert len({tuple(values) for values in ratios.values()}) > 4  # scaling and kernel are at work

    listed = machines.trials()
    fit_grid(base, machines, World())  # does nothing twice
    assert (machines.trials(), len(computed)) == (listed, 6)
    with pytest.raises(ValueError, match="holds another sweep"):
        fit_grid(TrainConfig(), machines, World())


@pytest.mark.parametrize("scaling", ["none", "standard", "min_max"])
def test_a_machine_is_scikit_learns_scaled_by_the_training_images_alone(
    folder: Path, scaling: str
) -> None:
    fields = {**TARGET, "classifier": "svm", "svm_scaling": scaling, "svm_penalty": 0.3}
    run = run_to_its_end(folder / f"linear {scaling}", **fields)
    data, network = open_trial(run.config(), run)
    # The very features that the trial has kept: recomputed in other batches, they would round
    # differently, and images near a boundary would change sides.
    known = np.union1d(data.train, data.validation)
    kept, tested = (features(network, data, index, Attempt.at(run)) for index in (known, data.test))
    assert kept is not None
    scaler = {
        "none": sklearn.preprocessing.FunctionTransformer(),
        "standard": sklearn.preprocessing.StandardScaler(),
        "min_max": sklearn.preprocessing.MinMaxScaler(),
    }[scaling]
    machine = sklearn.pipeline.make_pipeline(scaler, sklearn.svm.SVC(kernel="linear", C=0.3))
    machine.fit(kept[np.searchsorted(known, data.train)], data.labels[data.train])
    expected = softmax(machine.decision_function(tested), axis=1)
    result = run.result() or {}
    assert (result["outcome"], result["epochs"], result["trainable_parameters"]) == (
        "finished",
        1,
        0,
    )
    assert [record["epoch"] for record in run.records()] == [1]
    predictions = load_predictions(run)
    assert predictions.index.tolist() == data.test.tolist()
    assert predictions.probability == pytest.approx(expected, abs=1e-6)
    assert predictions.summary()["accuracy"] == result["test_accuracy"]
    assert result["train_images"] == len(data.train)


def test_features_are_what_the_last_layer_gets(folder: Path) -> None:
    run = Run(folder / "probe")
    data, network = open_trial(run.config(), run)
    network.eval()
    given = features(network, data, data.test, Attempt.at(run))
    assert given is not None
    assert given.dtype == np.float32
    with torch.no_grad():
        logits = network(torch.from_numpy(data.images[data.test]))
        again = network.get_submodule(network.head)(torch.from_numpy(given))
    assert torch.allclose(logits, again, atol=1e-5)


def test_maps_are_averaged_and_other_weights_have_other_features(
    tmp_path: Path, computed: list[int]
) -> None:
    attempt = Attempt(
        Run(tmp_path), TrainConfig(model="torchvision:squeezenet1_1", image_size=32, classes="2")
    )
    data, network = open_trial(attempt.config, attempt.run)
    few = data.test[:6]
    first = features(network, data, few, attempt)
    assert first is not None
    assert first.shape == (6, 512)
    with torch.no_grad():
        network.get_submodule(network.head).weight.zero_()  # type: ignore[operator]
        features(network, data, few, attempt)
        assert computed == [6]  # the last layer is not what they are computed with
        next(network.model.parameters()).mul_(2)
    second = features(network, data, few, attempt)
    assert second is not None
    assert not np.allclose(first, second)
    features(network, data, few[1:], attempt)
    assert computed == [6, 6, 5]


def test_damaged_features_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELDTRIAL_CACHE", str(tmp_path))
    attempt = Attempt(Run(tmp_path), TrainConfig(model="mlp", classes="2"))
    data, network = open_trial(attempt.config, attempt.run)
    features(network, data, data.test, attempt)
    (kept,) = (tmp_path / "penultimate").glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:-9])
    with pytest.raises(ValueError, match="not whole features") as error:
        features(network, data, data.test, attempt)
    assert str(kept) in str(error.value)


def test_kept_features_that_have_been_unused_for_longest_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    monkeypatch.setenv("FIELDTRIAL_CACHE", str(tmp_path))
    attempt = Attempt(Run(tmp_path), TrainConfig(model="mlp", classes="2", dense_width=(64,)))
    data, network = open_trial(attempt.config, attempt.run)
    size = 10 * 64 * 4  # bytes of the features of ten images
    monkeypatch.setattr(frozen_features, "MOST_BYTES_TOGETHER", 4 * size)
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / "frozen.npy", np.zeros(size, np.uint8))
    os.utime(tmp_path / "features" / "frozen.npy", (0, 1))
    for age, start in enumerate((0, 10)):
        features(network, data, data.test[start : start + 10], attempt)
        for kept in (tmp_path / "penultimate").glob("*.npy"):
            os.utime(kept, (0, 100 - age))
    features(network, data, data.test[:10], attempt)  # has just been used
    features(network, data, data.test[20:30], attempt)
    assert not list((tmp_path / "features").glob("*.npy"))
    assert computed == [10, 10, 10]
    features(network, data, data.test[30:40], attempt)
    features(network, data, data.test[:10], attempt)
    assert computed == [10] * 4
    features(network, data, data.test[10:20], attempt)
    assert computed == [10] * 5


def test_features_are_computed_in_parts_where_batches_did_not_fit_into_memory(
    new_run: Callable[..., Run], batch_sizes: list[int]
) -> None:
    run = new_run(model="mlp", classes="2", classifier="svm", dense_width=(9,))
    list(train(Attempt.at(run, accumulation=8)))
    assert 1 < max(batch_sizes) <= MAX_IMAGES // 8
    assert (run.result() or {})["accumulate"] == 8


def test_two_classes_and_unscaled_features_of_an_untrained_network(
    new_run: Callable[..., Run],
) -> None:
    """Their means differ far more than their values do: with scikit-learn's own gamma, everything
    is of one class.
    """
    for kernel in ("rbf", "cubic"):
        run = new_run(kernel, model="cnn", classes="2", classifier="svm", svm_kernel=kernel)
        list(train(Attempt.at(run)))
        assert (run.result() or {})["validation_accuracy"] > 0.9, kernel
        assert not run.predictions_path("test").exists()
        assert "test_accuracy" not in (run.result() or {})


def test_a_machine_that_does_not_converge_ends_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chance = np.random.default_rng(
        0
    )  # features that hardly vary, as those of random weights: kernels of 1e19
    rows = (0.3 + 1e-4 * chance.standard_normal((200, 64))).astype(np.float32)
    decide = _machine(
        TrainConfig(classifier="svm", svm_kernel="cubic", epochs=1), rows, np.arange(200) % 3
    )
    assert np.isfinite(decide(rows)).all()
    assert re.search(
        "the cubic kernel with scaling none has not converged for [123] of 3 pairs", caplog.text
    )
