"""The check of a sweep's rows before anything is started: data, models and freezing schemes.

It needs torch, which the control half does not import. So it is a command of the training half.
"""

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Set
from dataclasses import asdict, dataclass, replace
from typing import Any

from fieldtrial.config import FIELDS, ConfigError, TrainConfig
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.freezing_schemes import keeps_its_parameters
from fieldtrial.fields.printable import counted
from fieldtrial.fields.rules import RUN_PREFIX, is_mixed, keeps_images
from fieldtrial.installed.extras import has_extra, install_command
from fieldtrial.own.names import kind_of, own_of
from fieldtrial.processes import python
from fieldtrial.sweep import Sweep

COMMAND = python("-m", "fieldtrial.training.attempt.preflight")
# Passes per update: forward, backward for the activations, and backward for the weights.
PASSES_PER_UPDATE = 3
# Overhead of trials, which is most of their time for small models, a little more than measured on
# shared cores.
STEP_SECONDS = 0.00015  # per step and model tensor: calls of layers, backward passes, updates
KEPT_STEP_SECONDS = 0.01  # per step on kept features: they are read, the loss, the update
EPOCH_SECONDS = 0.02  # per epoch: a record and a checkpoint are written
PARAMETER_SECONDS = 3e-8  # per checkpoint and parameter that trains: three numbers at 400 MB/s
TRIAL_SECONDS = 0.01  # per trial and model tensor: the model is built, weights are read and written
ENOUGH_IMAGES = 3  # of a process: for batch normalisation and for triplets
NOT_CHECKED = (
    "torch is not installed here: the trials themselves find out what is wrong with data, models"
    f" and weights, and the cost is not known; {install_command('train')} has them checked first"
)
START_SECONDS = 15.0  # per worker: Python and torch are loaded


@dataclass(frozen=True)
class Size:
    """The size of a config's model and data; `flops` are those of one image's forward pass.

    tail_flops, tail_tensors: of the layers behind the frozen ones, or all. fits_cache: whether the
    output of the frozen ones can be kept for all epochs and trials.
    """

    parameters: int
    trainable_parameters: int
    tensors: int
    flops: int
    classes: int
    train_images: int
    validation_images: int
    test_images: int
    tail_flops: int
    tail_tensors: int
    fits_cache: bool


@dataclass(frozen=True)
class SweepSizes:
    """Of each row that is run, of its largest possible trial, and of each source by its id."""

    rows: list[Size]
    largest: list[Size]
    sources: dict[str, Size]


class Preflight:
    """The check of all rows and sources that are run now, in a process of its own.

    It starts at once. A context manager, which ends the process. Where torch is not installed it
    checks nothing.

    folder: the sweep's, whose trials' data and weights must be those of now; None: there is none.
    processes: of a trial. on_gpus: whether a trial runs on GPUs; None: if this machine has any.
    """

    def __init__(
        self,
        sweep: Sweep,
        processes: int,
        on_gpus: bool | None,
        folder: SweepFolder | None = None,
    ) -> None:
        def ask(config: TrainConfig, shapes_only: bool = False) -> _Question:
            return _Question.about(config, shapes_only, processes, on_gpus)

        smallest = [replace(row.config, batch_size=row.smallest_batch) for row in sweep.run_now]
        self._rows = list(map(ask, smallest))
        self._largest = [
            question if row.largest == row.config else ask(row.largest, shapes_only=True)
            for row, question in zip(sweep.run_now, self._rows, strict=True)
        ]
        sources = [row.source for row in sweep.run_now if row.source]
        self._sources = {source.id: ask(source) for source in sources}
        self._all = list(dict.fromkeys([*self._rows, *self._largest, *self._sources.values()]))
        self._process: subprocess.Popen[bytes] | None = None
        if not has_extra("train"):
            return
        with tempfile.TemporaryFile() as questions:  # a pipe could fill up before it is read
            questions.write(json.dumps(list(map(asdict, self._all)), default=dict).encode())
            questions.seek(0)
            # For the progress of downloads: the process's own stderr is read at its end only.
            terminal = os.dup(2)
            self._process = subprocess.Popen(
                [*COMMAND, *([str(folder.path)] if folder else [])],
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
        if self._process:
            self._process.kill()
            self._process.wait()

    def result(self) -> SweepSizes | None:
        """Wait for the check and return the sizes; None where nothing is checked.

        Raises:
            ConfigError: the problems of all rows at once.
        """
        if self._process is None:
            return None
        output, errors = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"the check of the rows failed:\n{errors.decode(errors='replace')}")
        answers: dict[_Question, dict[str, Any]] = dict(
            zip(self._all, json.loads(output), strict=True)
        )
        problems = [problem for answer in answers.values() for problem in answer.pop("problems")]
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)), where="sweep")
        sizes = {question: Size(**answer) for question, answer in answers.items()}
        return SweepSizes(
            [sizes[question] for question in self._rows],
            [sizes[question] for question in self._largest],
            {name: sizes[question] for name, question in self._sources.items()},
        )


def checking(sweep: Sweep) -> str:
    """Return what is waited for before the first line about a sweep."""
    return f"checking {counted(len(sweep.run_now), 'row')}: data, models and weights"


def trial_hours(
    sweep: Sweep, sizes: SweepSizes, teraflops: float, workers: int
) -> tuple[list[float], float]:
    """Return upper bounds on the hours of each row that is run, and of all sources, on one trial's
    devices.

    They assume the largest trials that the search may propose, no early stopping, and that each
    worker computes the features of frozen layers once for each row, where they can be kept, and
    each trial those of its cached views. They leave out starts of workers, augmentation, waits
    for data, and the fitting of support vector machines.

    teraflops: what a trial's devices sustain in training, in 1e12 operations a second.
    workers: how many there are.
    """
    rows = []
    for row, size in zip(sweep.run_now, sizes.largest, strict=True):
        size, keeps = _as_frozen(size, row.config, {*sweep.search})
        if row.config.test_flips or "test_flips" in sweep.search:
            validation, test = 2 * size.validation_images, 2 * size.test_images
            size = replace(size, validation_images=validation, test_images=test)
        seconds = _seconds(size, keeps, row.most_epochs, row.smallest_batch, teraflops)
        tested = sweep.searches * sweep.most_seeds
        further = tested * size.flops * size.test_images
        if keeps:
            images = size.train_images + size.validation_images
            filled = min(workers, sweep.runs_per_row)
            further += filled * images * (size.flops - size.tail_flops)
            if row.config.augmentation:  # each seed has views of its own
                views = min(row.config.cached_views, row.most_epochs) * size.train_images
                further += sweep.runs_per_row * views * (size.flops - size.tail_flops)
        rows.append((sweep.runs_per_row * seconds + further / (teraflops * 1e12)) / 3600)
    configs = {row.source.id: row.source for row in sweep.planned if row.source}
    sources = [
        _seconds(size, False, configs[name].epochs, configs[name].batch_size, teraflops)
        for name, size in sizes.sources.items()
    ]
    return rows, sum(sources) / 3600


def _as_frozen(size: Size, config: TrainConfig, searched: Set[str]) -> tuple[Size, bool]:
    """Return the size, and whether features are kept; as if nothing was frozen where a search
    decides that.
    """
    if "freeze" in searched:
        return replace(size, tail_flops=size.flops, tail_tensors=size.tensors), False
    may_change = searched & {
        "augmentation", "cached_views", "mixup", "cutmix", "test_flips", "strategy",
    }  # fmt: skip
    has_views = config.cached_views and not is_mixed(config)  # kept for all epochs
    is_fixed = keeps_images(replace(config, augmentation=()) if has_views else config)
    is_fixed = is_fixed and not (config.strategy == "zero3" or may_change)
    return size, size.fits_cache and is_fixed


def _seconds(size: Size, keeps: bool, epochs: int, batch_size: int, teraflops: float) -> float:
    """Return the seconds of a trial: its operations and its overhead.

    keeps: whether the output of the frozen layers is there before.
    """
    # Of the validation images: in each epoch, before training, and once for as many training
    # images; at the end once more, by the whole network.
    evaluations = epochs + 2
    frozen = 0 if keeps else size.flops - size.tail_flops
    updates = epochs * size.train_images * (frozen + PASSES_PER_UPDATE * size.tail_flops)
    scores = evaluations * (frozen + size.tail_flops) + size.flops
    operations = updates + size.validation_images * scores
    training, validation = (
        math.ceil(count / batch_size) for count in (size.train_images, size.validation_images)
    )
    batches = epochs * training + evaluations * validation
    step = size.tensors * STEP_SECONDS
    each = size.tail_tensors * STEP_SECONDS + KEPT_STEP_SECONDS if keeps else step
    overhead = batches * each + validation * step + size.tensors * TRIAL_SECONDS
    numbers = (size.parameters + 2 * size.trainable_parameters) / 3  # the optimiser's are the rest
    overhead += (epochs + 1) * (EPOCH_SECONDS + numbers * PARAMETER_SECONDS)
    return operations / (teraflops * 1e12) + overhead


@dataclass(frozen=True)
class _Question:
    """A config to check: whether it can be built, or only what follows from its shapes."""

    config: TrainConfig
    shapes_only: bool
    processes: int
    on_gpus: bool | None

    @classmethod
    def about(
        cls, config: TrainConfig, shapes_only: bool, processes: int, on_gpus: bool | None
    ) -> "_Question":
        """Return a question without fields that change nothing, so that each is asked once."""
        relevant = {
            n: v
            for n, v in config.to_dict().items()
            if n in FIELDS and FIELDS[n].metadata["group"] in ("data", "model")
        }
        # Parts of one's own are tried out before anything is started, with their options.
        relevant |= {kind: getattr(config, kind) for kind in config.own_parts}
        shapes_only = shapes_only and not own_of(config.model)  # which may need more than these
        if shapes_only:
            relevant |= {"freeze": "none", "weights": "random"}
        elif config.weights.startswith(RUN_PREFIX):
            relevant["weights"] = "random"  # the source is not trained yet
        # The batch size matters only where a process gets too few images; see require_micro_batch.
        relevant["batch_size"] = min(config.batch_size, ENOUGH_IMAGES * processes)
        relevant |= {"seed": config.seed, "loss": config.loss, "select": config.select}
        relevant["options"] = {
            n: v for n, v in config.options.items() if own_of(relevant.get(kind_of(n)))
        }
        if config.cached_views or not keeps_its_parameters(config.freeze):
            relevant |= {"epochs": config.epochs, "strategy": config.strategy}
        return cls(TrainConfig.from_dict(relevant), shapes_only, processes, on_gpus)
