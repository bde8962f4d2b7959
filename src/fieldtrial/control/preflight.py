"""Looks at a sweep's rows before anything is started: is the data there, is there such a model, can it be frozen so.

The looking needs torch, which the control half does not import, so the training half does it as a command.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

from fieldtrial.config import FIELDS, ConfigError, TrainConfig
from fieldtrial.control.sweep import Sweep

COMMAND = [sys.executable, "-m", "fieldtrial.training.prepare"]
# An update costs its forward pass three times: forward, and backward for the activations and for the weights.
PASSES_PER_UPDATE = 3


@dataclass(frozen=True)
class Facts:
    """What a row's config comes to: parameters, operations of one image's forward pass, classes, images per split."""

    parameters: int
    trainable_parameters: int
    flops: int
    classes: int
    train_images: int
    validation_images: int
    test_images: int


class Preflight:
    """The check of all rows and sources, under way in a process of its own until `result` is asked for.

    A context manager, at whose end the process has ended too.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._configs = [_unsourced(sweep.row_config(number)) for number in range(len(sweep.rows))]
        sources = [sweep.source_config(number) for number in range(len(sweep.rows))]
        self._all = list(dict.fromkeys(_buildable(c) for c in [*self._configs, *sources] if c is not None))
        self._process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdin
        self._process.stdin.write(json.dumps([config.to_dict() for config in self._all]).encode())
        self._process.stdin.close()
        self._process.stdin = None

    def __enter__(self) -> "Preflight":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def result(self) -> list[Facts]:
        """Wait, and return the facts of each row.

        Raises:
            ConfigError: what would fail, every row's problems at once.
        """
        output, errors = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"the check of the rows failed:\n{errors.decode(errors='replace')}")
        answers: dict[TrainConfig, dict[str, Any]] = dict(zip(self._all, json.loads(output), strict=True))
        problems = [problem for answer in answers.values() for problem in answer["problems"]]
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)), where="sweep")
        facts = {
            config: Facts(**{k: v for k, v in answer.items() if k != "problems"}) for config, answer in answers.items()
        }
        return [facts[_buildable(config)] for config in self._configs]


def device_hours(sweep: Sweep, facts: list[Facts], teraflops: float) -> list[float]:
    """Return for each row the hours on one trial's devices, at most: without any early stopping.

    teraflops: what a trial's devices sustain in training, 1e12 operations a second.
    """
    hours = []
    for number, fact in enumerate(facts):
        epoch = fact.flops * (PASSES_PER_UPDATE * fact.train_images + fact.validation_images)
        runs = sweep.trials_per_row + sweep.seeds
        hours.append(runs * sweep.most_epochs(number) * epoch / (teraflops * 1e12) / 3600)
    return hours


def _unsourced(config: TrainConfig) -> TrainConfig:
    """Return the config without the weights of a source that is yet to be trained."""
    return replace(config, weights="random") if config.weights.startswith("run:") else config


def _buildable(config: TrainConfig) -> TrainConfig:
    """Return the config with only what the data and the model depend on, so that each is looked at once."""
    relevant = {n: v for n, v in config.to_dict().items() if FIELDS[n].metadata["group"] in ("data", "model")}
    return TrainConfig.from_dict(relevant | {"seed": config.seed})
