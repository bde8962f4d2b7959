"""The check of a sweep's rows before anything is started: data, models and freezing schemes.

It needs torch, which the control half does not import. So it is a command of the training half.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

from fieldtrial.config import FIELDS, ConfigError, TrainConfig
from fieldtrial.rules import RUN_PREFIX
from fieldtrial.sweep import Sweep

COMMAND = [sys.executable, "-m", "fieldtrial.training.attempt.preflight"]
# Passes per update: forward, backward for the activations, and backward for the weights.
PASSES_PER_UPDATE = 3
# Overhead of trials, which is most of their time for small models, a little more than measured on
# shared cores.
STEP_SECONDS = 0.00015  # per step and model tensor: calls of layers, backward passes, updates
EPOCH_SECONDS = 0.02  # per epoch: a record and a checkpoint are written
PARAMETER_SECONDS = 3e-8  # per checkpoint and parameter: three numbers at 400 MB/s
TRIAL_SECONDS = 0.01  # per trial and model tensor: the model is built, weights are read and written
START_SECONDS = 15.0  # per worker: Python and torch are loaded


@dataclass(frozen=True)
class Facts:
    """The size of a config's model and data; `flops` are those of one image's forward pass."""

    parameters: int
    trainable_parameters: int
    tensors: int
    flops: int
    classes: int
    train_images: int
    validation_images: int
    test_images: int


@dataclass(frozen=True)
class Findings:
    """The facts of each row, of each row's largest possible trial, and of each source by its id."""

    rows: list[Facts]
    largest: list[Facts]
    sources: dict[str, Facts]


class Preflight:
    """The check of all rows and sources, in a process of its own that starts at once.

    A context manager, which ends the process.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._rows = [_Question.about(row.config) for row in sweep.planned]
        self._largest = [_Question.about(row.largest, shapes_only=True) for row in sweep.planned]
        sources = [row.source for row in sweep.planned if row.source]
        self._sources = {source.id: _Question.about(source) for source in sources}
        self._all = list(dict.fromkeys([*self._rows, *self._largest, *self._sources.values()]))
        with tempfile.TemporaryFile() as questions:  # a pipe could fill up before it is read
            questions.write(json.dumps([asdict(question) for question in self._all]).encode())
            questions.seek(0)
            # For the progress of downloads: the process's own stderr is read at its end only.
            terminal = os.dup(2)
            self._process = subprocess.Popen(
                COMMAND,
                stdin=questions,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[terminal],
                env=os.environ | {"FIELDTRIAL_PROGRESS": str(terminal)},
            )
            os.close(terminal)

    def __enter__(self) -> "Preflight":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def result(self) -> Findings:
        """Wait for the check and return the facts.

        Raises:
            ConfigError: the problems of all rows at once.
        """
        output, errors = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"the check of the rows failed:\n{errors.decode(errors='replace')}")
        answers: dict[_Question, dict[str, Any]] = dict(
            zip(self._all, json.loads(output), strict=True)
        )
        problems = [problem for answer in answers.values() for problem in answer.pop("problems")]
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)), where="sweep")
        facts = {question: Facts(**answer) for question, answer in answers.items()}
        return Findings(
            [facts[question] for question in self._rows],
            [facts[question] for question in self._largest],
            {name: facts[question] for name, question in self._sources.items()},
        )


def trial_hours(sweep: Sweep, findings: Findings, teraflops: float) -> tuple[list[float], float]:
    """Return upper bounds on the hours of each row, and of all sources, on one trial's devices.

    They assume the largest trials that the search may propose, no early stopping, and no feature
    cache. They leave out starts of workers, augmentation, waits for data, and the fitting of
    support vector machines.

    teraflops: what a trial's devices sustain in training, in 1e12 operations a second.
    """
    rows = []
    for row, fact in zip(sweep.planned, findings.largest, strict=True):
        seconds = _seconds(fact, row.most_epochs, row.smallest_batch, teraflops)
        tests = sweep.seeds * fact.flops * fact.test_images / (teraflops * 1e12)
        rows.append(((sweep.trials_per_row + sweep.seeds) * seconds + tests) / 3600)
    configs = {row.source.id: row.source for row in sweep.planned if row.source}
    sources = [
        _seconds(fact, configs[name].epochs, configs[name].batch_size, teraflops)
        for name, fact in findings.sources.items()
    ]
    return rows, sum(sources) / 3600


def _seconds(fact: Facts, epochs: int, batch_size: int, teraflops: float) -> float:
    """Return the seconds of a trial: its operations and its overhead."""
    # Of the validation images: in each epoch, before training, at the end, and once for as many
    # training images.
    evaluations = epochs + 3
    images = epochs * PASSES_PER_UPDATE * fact.train_images
    images += evaluations * fact.validation_images
    training, validation = (
        math.ceil(count / batch_size) for count in (fact.train_images, fact.validation_images)
    )
    batches = epochs * training + evaluations * validation
    overhead = fact.tensors * (batches * STEP_SECONDS + TRIAL_SECONDS)
    overhead += (epochs + 1) * (EPOCH_SECONDS + fact.parameters * PARAMETER_SECONDS)
    return images * fact.flops / (teraflops * 1e12) + overhead


@dataclass(frozen=True)
class _Question:
    """A config to check: whether it can be built, or only what follows from its shapes."""

    config: TrainConfig
    shapes_only: bool = False

    @classmethod
    def about(cls, config: TrainConfig, shapes_only: bool = False) -> "_Question":
        """Return a question without fields that change nothing, so that each is asked once."""
        relevant = {
            n: v
            for n, v in config.to_dict().items()
            if FIELDS[n].metadata["group"] in ("data", "model")
        }
        if shapes_only:
            relevant |= {"freeze": "none", "weights": "random"}
        elif config.weights.startswith(RUN_PREFIX):
            relevant["weights"] = "random"  # the source is not trained yet
        # The batch size only matters if it is 1, which batch normalisation refuses.
        single = min(config.batch_size, 2)
        return cls(
            TrainConfig.from_dict(relevant | {"seed": config.seed, "batch_size": single}),
            shapes_only,
        )
