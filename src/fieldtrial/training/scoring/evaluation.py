"""Scores of weights: a trial's at its end, and those of a run again, also before its training or on
other images.
"""

from dataclasses import replace
from typing import Any

import torch

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.source import ModelSource, build
from fieldtrial.training.models.weights import read_state
from fieldtrial.training.scoring.predictions import Predictions, Split, predict

SPLITS: tuple[Split, ...] = ("validation", "test")
Scores = dict[str, Any]


def score_state(
    config: TrainConfig,
    run: Run,
    world: World,
    state: dict[str, torch.Tensor],
    splits: tuple[Split, ...],
    accumulate: int = 1,
) -> tuple[dict[Split, Predictions], Scores]:
    """Return, to all processes, what the network of `config` with the weights in `state` says of
    `splits`.

    The second result is what result.json says of it; see `summarise`.
    """
    source = ModelSource.of(config, run.path)
    data = load(config, source.image_size)
    network = _with_state(source, data, run, state)
    predictions = _predict(network, data, config.batch_size, world, splits, accumulate)
    return predictions, summarise(data, predictions)


def summarise(data: Data, predictions: dict[Split, Predictions]) -> Scores:
    """Return the class names, and metrics such as test_auc for each split that was predicted."""
    scores: Scores = {"class_names": list(data.class_names)}
    for split, made in predictions.items():
        scores |= made.scores(split)
    return scores


def evaluate_run(
    run: Run, world: World, splits: tuple[Split, ...] = SPLITS, initial: bool = False
) -> Scores:
    """Evaluate a trial that has ended well again on its own images; return, to all processes, the
    scores.

    What result.json lacks of them is added there, and the predictions are stored. `initial` asks
    for the weights that
    the trial started from, with a fresh last layer, instead of those that it kept: the names then
    begin with initial_.

    Raises:
        ValueError: the run has not ended well, or its weights are damaged or not of its config.
    """
    config, result = _ended(run, world)
    data, network = open_trial(config, run) if initial else open_ended(run, world)
    predictions = _predict(
        network, data, config.batch_size, world, splits, result.get("accumulate", 1)
    )
    prefix = "initial_" if initial else ""
    scores = {
        name if name == "class_names" else prefix + name: v
        for name, v in summarise(data, predictions).items()
    }
    if world.is_main:
        for split, made in predictions.items():
            made.write(run.predictions_path(prefix + split))
        run.write_result(scores | result)
    return scores


def evaluate_elsewhere(run: Run, world: World, dataset: str, split: Split = "test") -> Scores:
    """Evaluate a trial that has ended well on another data set of the same classes; return the
    scores to all processes.

    They are added to the run's evaluations, under "DATASET SPLIT". The images get the size and the
    normalisation of those that the trial was trained on.

    Raises:
        ValueError: as `evaluate_run`; or the data set has other classes, or cannot be used.
    """
    own, network = open_ended(run, world)
    config, result = _ended(run, world)
    whole = replace(
        config, dataset=dataset, classes="all", train_fraction=1.0, images_per_class=None
    )
    other = load(whole, own.image_size)
    if other.class_names != own.class_names:
        theirs, known = (", ".join(data.class_names[:10]) for data in (other, own))
        raise ConfigError(
            [f"dataset = {dataset!r}: its classes are {theirs}; the run knows {known}"]
        )
    if other.channels not in (1, taken := network.mean.shape[1]):
        channels = f"its images have {other.channels} channels, the model takes {taken}"
        raise ConfigError([f"dataset = {dataset!r}: {channels}"])
    predictions = _predict(
        network, other, config.batch_size, world, (split,), result.get("accumulate", 1)
    )
    scores = summarise(other, predictions)
    if world.is_main:
        run.write_evaluation(f"{dataset} {split}", scores)
    return scores


def open_ended(run: Run, world: World) -> tuple[Data, Network]:
    """Return the images of a trial that has ended well, and its network, on the CPU, with the
    weights that it kept.

    Raises:
        ValueError: the run has not ended well, or its weights are damaged or not of its config.
    """
    config, _ = _ended(run, world)
    source = ModelSource.of(config, run.path)
    data = load(config, source.image_size)
    return data, _with_state(source, data, run, read_state(run.weights_path))


def _ended(run: Run, world: World) -> tuple[TrainConfig, dict[str, Any]]:
    config, result = run.config(), world.broadcast(run.result())
    if result is None or not run.weights_path.exists():
        kept = "keeps no weights" if result else "has not ended well"
        raise ValueError(f"{run.path} {kept}, so there is nothing to evaluate")
    return config, result


def _predict(
    network: Network,
    data: Data,
    batch_size: int,
    world: World,
    splits: tuple[Split, ...],
    accumulate: int = 1,
) -> dict[Split, Predictions]:
    network.to(world.device)
    return {split: predict(network, data, split, batch_size, world, accumulate) for split in splits}


def _with_state(
    source: ModelSource, data: Data, run: Run, state: dict[str, torch.Tensor]
) -> Network:
    """Return the model of `source` with the weights in `state`. Raises ValueError if another's."""
    network = build(source.drawn(), data.shape, data.mean, data.std)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{run.path}: its weights are not of its config: {' '.join(str(error).split())}"
        ) from None
    return network
