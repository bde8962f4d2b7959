"""Looks at a sweep's rows before anything is started: is the data there, is there such a model, can
it be frozen so.

The looking needs torch, which the control half does not import, so the training half does it as a
command.
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
# An update costs its forward pass three times: forward, and backward for the activations and for
# the weights.
PASSES_PER_UPDATE = 3
# What trials cost beside their operations, which is most of it for small models: a little more than
# on shared cores.
# for each of the model's tensors: calls of layers and of their backward passes, and updates
STEP_SECONDS = 0.00015
EPOCH_SECONDS = 0.02  # a record and a checkpoint are written,
PARAMETER_SECONDS = 3e-8  # which holds three numbers for each parameter: 400 MB a second
TRIAL_SECONDS = (
    0.01  # for each of the model's tensors: it is built, its weights are read and written
)
START_SECONDS = 15.0  # of a worker: Python, and torch, which it imports


@dataclass(frozen=True)
class Facts:
    """What a config comes to: parameters, tensors of them, operations of an image's forward pass,
    classes, images.
    """

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
    """What a sweep comes to: of each row, of each row's largest possible trial, and of each source
    by its id.
    """

    rows: list[Facts]
    largest: list[Facts]
    sources: dict[str, Facts]


class Preflight:
    """The check of all rows and sources, under way in a process of its own until `result` is asked
    for.

    A context manager, at whose end the process has ended too.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._rows = [_Question.about(row.config) for row in sweep.planned]
        self._largest = [_Question.about(row.largest, shapes_only=True) for row in sweep.planned]
        sources = [row.source for row in sweep.planned if row.source]
        self._sources = {source.id: _Question.about(source) for source in sources}
        self._all = list(dict.fromkeys([*self._rows, *self._largest, *self._sources.values()]))
        with (
            tempfile.TemporaryFile() as questions
        ):  # a pipe would fill up before the other side reads
            questions.write(json.dumps([asdict(question) for question in self._all]).encode())
            questions.seek(0)
            terminal = os.dup(
                2
            )  # for the progress of downloads: its own stderr is only read when it has failed
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
        """Wait, and return the facts.

        Raises:
            ConfigError: what would fail, every row's problems at once.
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
    """Return the hours on one trial's devices of each row and of all sources, at most, without
    starts of workers.

    At most: the largest trial that the search may propose, every time, and nothing stopped early;
    what frozen layers make of the images counts in each epoch, though it may be computed once. Not
    counted are augmentation, waits for data, and the fitting of support vector machines.

    teraflops: what a trial's devices sustain in training, 1e12 operations a second.
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
    """Return what a trial takes: operations, and what there is beside them."""
    looks = (
        epochs + 3
    )  # at the validation images: before training too, at as many training images, and at the end
    images = epochs * PASSES_PER_UPDATE * fact.train_images + looks * fact.validation_images
    training, validation = (
        math.ceil(count / batch_size) for count in (fact.train_images, fact.validation_images)
    )
    batches = epochs * training + looks * validation
    beside = fact.tensors * (batches * STEP_SECONDS + TRIAL_SECONDS)
    beside += (epochs + 1) * (EPOCH_SECONDS + fact.parameters * PARAMETER_SECONDS)
    return images * fact.flops / (teraflops * 1e12) + beside


@dataclass(frozen=True)
class _Question:
    """What is asked about a config: all that building it shows, or only what follows from its
    shapes.
    """

    config: TrainConfig
    shapes_only: bool = False

    @classmethod
    def about(cls, config: TrainConfig, shapes_only: bool = False) -> "_Question":
        """Return the question with only what data and model depend on, so that equal ones are asked
        once.
        """
        relevant = {
            n: v
            for n, v in config.to_dict().items()
            if FIELDS[n].metadata["group"] in ("data", "model")
        }
        if shapes_only:
            relevant |= {"freeze": "none", "weights": "random"}
        elif config.weights.startswith(RUN_PREFIX):
            relevant["weights"] = "random"  # a source's are yet to be trained
        single = min(
            config.batch_size, 2
        )  # all that matters of it: batches of one image cannot be normalised
        return cls(
            TrainConfig.from_dict(relevant | {"seed": config.seed, "batch_size": single}),
            shapes_only,
        )
