"""The data of trials that learn labels or a number: which images train, select and test."""

import functools
import itertools
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.schemas import Cut
from fieldtrial.processes import data_root
from fieldtrial.training.data.dataset import Wanted
from fieldtrial.training.data.image_store import store_root
from fieldtrial.training.data.labels.chosen import chosen_classes
from fieldtrial.training.data.labels.targets import Targets, read_targets
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.data.recipe import AnyRecipe
from fieldtrial.training.data.sets.registry import locate
from fieldtrial.training.data.splits import Indices, first_of

PARTS = ("train", "validation", "test")
BARS = 20  # in a picture of the numbers


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelData(Data):
    """Data whose images have any number of labels each; `labels` says nothing.

    Attributes:
        values: uint8 (n, labels), 1 where an image has a label. class_names has the labels' names.
    """

    values: NDArray[np.uint8]
    called: ClassVar[tuple[str, str]] = ("label", "labels")

    def targets(self, chosen: Indices) -> NDArray[np.float32]:
        """Return which labels the images `chosen` have, float32 (n, labels): 1 or 0."""
        return self.values[chosen].astype(np.float32)

    def count(self, chosen: Indices) -> Indices:
        """Return how many of the images `chosen` have each label, int64 (labels,)."""
        counts: Indices = self.values[chosen].sum(0, dtype=np.int64)
        return counts

    def caption(self, index: int) -> str:
        """Return the names of an image's labels."""
        own = np.flatnonzero(self.values[index])
        return ", ".join(self.class_names[number] for number in own) or "no label"


@dataclass(frozen=True, eq=False, kw_only=True)
class NumberData(Data):
    """Data whose images have a number each; `labels` says nothing.

    Attributes:
        numbers: float64 (n,), in their unit. class_names has the name of the number.
        mean_number, deviation: of the training images' numbers.
    """

    numbers: NDArray[np.float64]
    mean_number: float
    deviation: float
    called: ClassVar[tuple[str, str]] = ("number", "numbers")

    def targets(self, chosen: Indices) -> NDArray[np.float32]:
        """Return the numbers of the images `chosen`, standardised, float32 (n, 1).

        By the training images' mean and deviation, which are then 0 and 1.
        """
        standardised = (self.numbers[chosen] - self.mean_number) / self.deviation
        return standardised[:, None].astype(np.float32)

    def in_units(self, outputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return numbers in their unit, float64 (n,), from standardised ones, (n, 1)."""
        return outputs[:, 0].astype(np.float64) * self.deviation + self.mean_number

    def count(self, chosen: Indices) -> Indices:
        """Return how many images there are, int64 (1,)."""
        return np.array([len(chosen)], np.int64)

    def bars(self, chosen: Indices) -> tuple[tuple[str, ...], Indices]:
        """Return equal ranges of the numbers, and how many images of `chosen` are in each."""
        edges = np.linspace(self.numbers.min(), self.numbers.max(), BARS + 1)
        names = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(edges.tolist())]
        counts, _ = np.histogram(self.numbers[chosen], edges)
        return tuple(names), counts.astype(np.int64)

    def caption(self, index: int) -> str:
        """Return an image's number."""
        return f"{self.numbers[index]:.4g}"

    def learned_text(self) -> str:
        """Return which number there is, and its range, for people."""
        low, high = self.numbers.min(), self.numbers.max()
        return f"{self.classes_text()} ({self.class_names[0]}, {low:g} to {high:g})"

    def facts(self) -> dict[str, Any]:
        """Return what turns the network's output into the number's unit."""
        return {"target_mean": self.mean_number, "target_deviation": self.deviation}

    def as_learned(self, own: Data) -> "NumberData":
        """See Data: outputs of a network that `own` has trained mean what they do there."""
        assert isinstance(own, NumberData)
        return replace(self, mean_number=own.mean_number, deviation=own.deviation)


def load_labels(
    config: TrainConfig, image_size: int | None, cut: Cut, recipe: AnyRecipe | None
) -> LabelData:
    """Return the data of `config` with the labels that `classes` chooses.

    Images are decoded, cut and sampled as `load` does it, by strata; see `by_rarest_label`.

    Raises:
        ConfigError: as `load`; no labels; a label that no image has, or a part in which no image
            has a label.
    """
    data, targets, dataset = _load(config, image_size, cut, recipe, Wanted("multilabel"))
    chosen = chosen_classes(config.classes, dataset, targets.names)
    names = tuple(targets.names[number] for number in chosen)
    values = targets.values[:, chosen].astype(np.uint8)
    counts = {part: values[getattr(data, part)].sum(0) for part in PARTS}
    never = [name for name, count in zip(names, counts["train"], strict=True) if not count]
    nowhere = [name for name, count in zip(names, values.sum(0), strict=True) if not count]
    problems = [f"no image has {first_of(nowhere)}"] if nowhere else []
    remarks = list(data.remarks)
    # A rare label may lie in one part alone, in one fold or with one seed: such runs are no errors.
    if untaught := [name for name in never if name not in nowhere]:
        remarks.append(f"no training image has {first_of(untaught)}: this run does not learn it")
    for part in PARTS:
        lacking = [name for name, count in zip(names, counts[part], strict=True) if not count]
        if len(lacking) == len(names):
            problems.append(f"no {part} image has a label of {first_of(names)}")
        elif lacking and part != "train":
            remarks.append(
                f"no {part} image has {first_of(lacking)}: the mean average precision there is"
                " without it"
            )
    if problems:
        raise ConfigError([f"dataset = {config.dataset!r}: {problem}" for problem in problems])
    own = _known(data) | {"class_names": names, "remarks": tuple(remarks)}
    return LabelData(**own, values=values)


def load_numbers(
    config: TrainConfig, image_size: int | None, cut: Cut, recipe: AnyRecipe | None
) -> NumberData:
    """Return the data of `config` with the numbers of the column `target`.

    Images are decoded, cut and sampled as `load` does it, by strata; see `by_quantile`.

    Raises:
        ConfigError: as `load`; no such numbers, or all training images have the same one.
    """
    wanted = Wanted("regression", config.target)
    data, targets, _ = _load(config, image_size, cut, recipe, wanted)
    numbers = targets.values[:, 0].astype(np.float64)
    own = numbers[data.train]
    if own.min() == own.max():
        raise ConfigError(
            [
                f"dataset = {config.dataset!r}: all {len(own):,} training images have the same"
                f" {targets.names[0]}, {own[0]:g}"
            ]
        )
    known = _known(data) | {"class_names": targets.names, "numbers": numbers}
    return NumberData(**known, mean_number=float(own.mean()), deviation=float(own.std()))


def _load(
    config: TrainConfig,
    image_size: int | None,
    cut: Cut,
    recipe: AnyRecipe | None,
    wanted: Wanted,
) -> tuple[Data, Targets, str]:
    """Return the images, the targets of all of them, and the data set's name with its path."""
    every = replace(config, classes="all", images_per_class=None)
    data = load(every, image_size, cut, recipe, wanted)
    return data, _targets(store_root() / data.store), locate(config.dataset, data_root())


@functools.lru_cache(maxsize=16)
def _targets(folder: Path) -> Targets:
    return read_targets(folder)


def _known(data: Data) -> dict[str, Any]:
    return {item.name: getattr(data, item.name) for item in fields(Data)}
