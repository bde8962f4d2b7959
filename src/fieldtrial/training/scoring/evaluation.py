"""Metrics of a trial's weights: at its end, or of a finished run again, also on other images."""

from collections.abc import Mapping
from typing import Any

import torch

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import SMALL_IS_BETTER
from fieldtrial.fields.scores import number_with_unit
from fieldtrial.fields.task_metrics import metric_words
from fieldtrial.own.digest import digests
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.recipe import recorded
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.feature_cache import for_split
from fieldtrial.training.inputs.origin import description
from fieldtrial.training.inputs.record import FILES, cut_of, data_inputs, inputs_of, known_inputs
from fieldtrial.training.inputs.settle import differences, file_problems, size_problems
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.models.kept import built
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.source import ModelSource
from fieldtrial.training.models.weights import read_state
from fieldtrial.training.parts.metrics import own_metrics, small_is_better
from fieldtrial.training.tasks.interface import ScoredSplit, WithArrays
from fieldtrial.training.tasks.registry import task_of

SPLITS: tuple[Split, ...] = ("validation", "test")
NO_SCORES = ("class_names", "data_digest", SMALL_IS_BETTER)  # what is found beside scores
EVALUATED = ("model", "dataset", "metrics")  # kinds of own parts that answers depend on
Metrics = dict[str, Any]


def score_state(
    attempt: Attempt, state: dict[str, torch.Tensor]
) -> tuple[dict[Split, ScoredSplit], Metrics]:
    """Score the weights in `state`: return, to all processes, the answers and their metrics."""
    data, network = _open(attempt.config, attempt.run, state)
    return score_splits(attempt, network, data)


def score_splits(
    attempt: Attempt, network: Network, data: Data
) -> tuple[dict[Split, ScoredSplit], Metrics]:
    """Score `network` as it is: return, to all processes, the answers and their metrics.

    network, data: features may take the place of images; see `with_features`.
    """
    scored = _score(network, data, attempt, attempt.splits)
    return scored, metrics_of(attempt.config, data, scored)


def metrics_of(config: TrainConfig, data: Data, scored: Mapping[Split, ScoredSplit]) -> Metrics:
    """Return the class names, and metrics such as test_auc for each split that was scored.

    Own metrics are among them, and the names of those whose small values are the good
    ones.
    """
    found: Metrics = {"class_names": list(data.class_names)}
    if names := small_is_better(config):
        found[SMALL_IS_BETTER] = names
    for split, answers in scored.items():
        found |= answers.metrics(split)
        if config.metrics:
            assert isinstance(answers, WithArrays)
            own = own_metrics(config, *answers.arrays())
            found |= {f"{split}_{name}": value for name, value in own.items()}
    return found


def evaluate_run(
    run: Run, world: World, splits: tuple[Split, ...] = SPLITS, initial: bool = False
) -> Metrics:
    """Evaluate a finished run again on its own images; return, to all processes, the metrics.

    Metrics that result.json lacks are added there, and the predictions are stored. `initial`
    evaluates the weights that the trial started from, with a fresh last layer, instead of those
    that it kept: the names then begin with initial_.

    Raises:
        ValueError: the run has not ended well, or its weights are damaged or not of its config; or
            the images, or the weights before, are not those that it began with. Nothing is written.
    """
    attempt, result = _finished(run, world)
    data, network = open_trial(attempt.config, run) if initial else open_finished(run, world)
    if initial:
        _require_same(attempt, result, data, network)
    scored = _score(network, data, attempt, splits)
    prefix = "initial_" if initial else ""
    found = {
        name if name in NO_SCORES else prefix + name: value
        for name, value in metrics_of(attempt.config, data, scored).items()
    }
    if world.is_rank_0:
        for split, answers in scored.items():
            answers.write(run.predictions_path(prefix + split))
        run.write_result(found | result)
    return found


def evaluate_elsewhere(run: Run, world: World, dataset: str, split: Split = "test") -> Metrics:
    """Evaluate a finished run on another data set of the same classes; return the metrics to all.

    They are added to the run's evaluations, under "DATASET SPLIT". Classes that the run has chosen
    by their names are chosen there too. Images get the size and the
    normalisation of those that the trial was trained on.

    Raises:
        ValueError: as `evaluate_run`; or the data set has other classes, or cannot be used.
    """
    attempt, _ = _finished(run, world)
    own, network = _open(attempt.config, run, read_state(run.weights_path))
    whole = {
        "dataset": dataset,
        "classes": attempt.config.classes if "," in attempt.config.classes else "all",
        "train_fraction": 1.0,
        "images_per_class": None,
        "deduplicate": False,
        "augmentation": (),
    }
    if dataset != attempt.config.dataset:  # another one is tested on its own test images
        whole |= {"folds": 0, "fold": 0}
    without = TrainConfig.from_dict(whole, attempt.config)
    other = task_of(without).load(without, own.image_size, own.cut, own.recipe)
    if other.class_names != own.class_names:
        theirs, known = (", ".join(data.class_names[:10]) for data in (other, own))
        raise ConfigError(
            [f"dataset = {dataset!r}: its classes are {theirs}; the run knows {known}"]
        )
    if other.channels not in (1, taken := network.mean.shape[1]):
        channels = f"its images have {other.channels} channels, the model takes {taken}"
        raise ConfigError([f"dataset = {dataset!r}: {channels}"])
    scored = _score(network, other.as_learned(own), attempt, (split,))
    found = metrics_of(attempt.config, other, scored)
    found["data_digest"] = other.digest
    if world.is_rank_0:
        run.write_evaluation(f"{dataset} {split}", found)
    return found


def evaluate_again(
    run: Run, world: World, split: str, initial: bool = False, dataset: str | None = None
) -> list[str]:
    """Evaluate a finished run as `evaluate_run` or, with `dataset`, as `evaluate_elsewhere` does.

    Return a line for each metric.

    Raises:
        ValueError: as those; or `split` is neither validation nor test; or both `initial` and
            `dataset` are given.
    """
    if split not in SPLITS:
        raise ValueError(f"--split {split}: must be {' or '.join(SPLITS)} for a run")
    if initial and dataset:
        raise ValueError("--initial: not with --dataset")
    chosen: Split = "test" if split == "test" else "validation"
    scores = (
        evaluate_elsewhere(run, world, dataset, chosen)
        if dataset
        else evaluate_run(run, world, (chosen,), initial)
    )
    return [
        f"{metric_words(name)} {number_with_unit(name, value)}"
        for name, value in scores.items()
        if name not in NO_SCORES
    ]


def open_finished(run: Run, world: World) -> tuple[Data, Network]:
    """Return the images of a finished run, and its network, on the CPU, with the weights it kept.

    Raises:
        ValueError: the run has not ended well, or its weights are damaged or not of its config; or
            the images are not those that it was trained on.
    """
    attempt, result = _finished(run, world)
    data, network = _open(attempt.config, run, read_state(run.weights_path))
    _require_same(attempt, result, data, None)
    return data, network


def _require_same(attempt: Attempt, result: Metrics, data: Data, network: Network | None) -> None:
    """Raise ConfigError unless data and initial weights (None: any) are those of the run."""
    run, config = attempt.run, attempt.config
    known = known_inputs(run)
    if known is None:
        problems = size_problems(result, data, config)
    elif network is None:
        own = {name: value for name, value in known.items() if name not in FILES}
        now = data_inputs(data)
        now["own"] = digests({kind: config.own_parts.get(kind, ()) for kind in EVALUATED})
        problems = differences(own, now, config)
    else:
        problems = differences(known, inputs_of(config, data, network), config)
    if problems:
        raise ConfigError(problems)


def _finished(run: Run, world: World) -> tuple[Attempt, dict[str, Any]]:
    """Return the attempt that finished the run, and its result."""
    config, result = run.config(), world.broadcast(run.result())
    if result is None or not run.weights_path.exists():
        problem = "keeps no weights" if result else "has not ended well"
        raise ValueError(f"{run.path} {problem}, so there is nothing to evaluate")
    number, accumulation = result.get("attempt", 1), result.get("accumulate", 1)
    return Attempt(run, config, world, number, accumulation), result


def _score(
    network: Network, data: Data, attempt: Attempt, splits: tuple[Split, ...]
) -> dict[Split, ScoredSplit]:
    network.to(attempt.world.device)
    task = task_of(attempt.config)
    return {
        split: task.score(*for_split(network, data, split, attempt.clock), split, attempt)
        for split in splits
    }


def _open(config: TrainConfig, run: Run, state: dict[str, torch.Tensor]) -> tuple[Data, Network]:
    """Return the images of `config`, and its network with the weights in `state`, on the CPU.

    Raises:
        ValueError: the weights are not those of such a network, or a file describes it otherwise
            than when the run began.
    """
    source = ModelSource.of(config, run.path)
    # The files that the trial started from no longer matter, and may be gone.
    recipe, size = recorded(run) or (source.recipe, source.image_size)
    without = TrainConfig.from_dict({"augmentation": ()}, config)
    data = task_of(config).load(without, size, cut_of(run, config), recipe)
    network = built(source.drawn(), data)
    known: Mapping[str, Any] = known_inputs(run) or {}
    if problems := file_problems("model", known, description(network), config):
        raise ConfigError(problems)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{run.path}: its weights are not of its config: {' '.join(str(error).split())}"
        ) from None
    return data, network
