"""Looks at a sweep's rows before anything is started: is the data there, is there such a model, can it be frozen so.

The looking needs torch, which the control half does not import, so the training half does it as a command.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

from fieldtrial.config import FIELDS, RUN_PREFIX, ConfigError, TrainConfig
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


@dataclass(frozen=True)
class Findings:
    """What a sweep comes to: of each row, of each row's largest possible trial, and of each source by its id."""

    rows: list[Facts]
    largest: list[Facts]
    sources: dict[str, Facts]


class Preflight:
    """The check of all rows and sources, under way in a process of its own until `result` is asked for.

    A context manager, at whose end the process has ended too.
    """

    def __init__(self, sweep: Sweep) -> None:
        numbers = range(len(sweep.rows))
        self._rows = [_Question.about(sweep.row_config(number)) for number in numbers]
        self._largest = [_Question.about(sweep.largest_config(number), shapes_only=True) for number in numbers]
        sources = [source for number in numbers if (source := sweep.source_config(number))]
        self._sources = {source.id: _Question.about(source) for source in sources}
        self._all = list(dict.fromkeys([*self._rows, *self._largest, *self._sources.values()]))
        with tempfile.TemporaryFile() as questions:  # a pipe would fill up before the other side reads
            questions.write(json.dumps([asdict(question) for question in self._all]).encode())
            questions.seek(0)
            terminal = os.dup(2)  # for the progress of downloads: its own stderr is only read when it has failed
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
        answers: dict[_Question, dict[str, Any]] = dict(zip(self._all, json.loads(output), strict=True))
        problems = [problem for answer in answers.values() for problem in answer.pop("problems")]
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)), where="sweep")
        facts = {question: Facts(**answer) for question, answer in answers.items()}
        return Findings(
            [facts[question] for question in self._rows],
            [facts[question] for question in self._largest],
            {name: facts[question] for name, question in self._sources.items()},
        )


def device_hours(sweep: Sweep, findings: Findings, teraflops: float) -> tuple[list[float], float]:
    """Return the hours on one trial's devices of each row and of all sources, at most.

    At most: the largest trial that the search may propose, every time, and nothing stopped early.

    teraflops: what a trial's devices sustain in training, 1e12 operations a second.
    """
    rows = []
    for number, fact in enumerate(findings.largest):
        operations = (sweep.trials_per_row + sweep.seeds) * _operations(fact, sweep.most_epochs(number))
        rows.append(operations + sweep.seeds * fact.flops * fact.test_images)
    configs = [sweep.source_config(number) for number in range(len(sweep.rows))]
    epochs = {config.id: config.epochs for config in configs if config}
    sources = sum(_operations(fact, epochs[name]) for name, fact in findings.sources.items())
    scale = teraflops * 1e12 * 3600
    return [operations / scale for operations in rows], sources / scale


def _operations(fact: Facts, epochs: int) -> int:
    return epochs * fact.flops * (PASSES_PER_UPDATE * fact.train_images + fact.validation_images)


@dataclass(frozen=True)
class _Question:
    """What is asked about a config: all that building it shows, or only what follows from its shapes."""

    config: TrainConfig
    shapes_only: bool = False

    @classmethod
    def about(cls, config: TrainConfig, shapes_only: bool = False) -> "_Question":
        """Return the question with only what data and model depend on, so that equal ones are asked once."""
        relevant = {n: v for n, v in config.to_dict().items() if FIELDS[n].metadata["group"] in ("data", "model")}
        if shapes_only:
            relevant |= {"freeze": "none", "weights": "random"}
        elif config.weights.startswith(RUN_PREFIX):
            relevant["weights"] = "random"  # a source's are yet to be trained
        single = min(config.batch_size, 2)  # all that matters of it: batches of one image cannot be normalised
        return cls(TrainConfig.from_dict(relevant | {"seed": config.seed, "batch_size": single}), shapes_only)
