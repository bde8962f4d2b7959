"""Learning curves of a row's trials, as a Gaussian process takes them in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fieldtrial.control.engine.proposals.gaussian import Points

MOST_TRIALS = 72  # that a model has values of: a proposal's cost does not grow with a row
MOST_RUNNING = 32  # beside those: the newest that run, and may have no value yet
# Added to distances from the best value before their logarithm: differences below it count little.
SOFTNESS = 0.3


@dataclass(slots=True)
class Curve:
    """What is known of a trial.

    point: its configuration in the unit cube. columns: the same as kernels compare it. epochs: how
    many it trains. values: epoch -> the best value so far, where more is better, at the rungs and
    at the newest epoch. running: whether it has not ended.
    """

    point: list[float]
    columns: list[float]
    epochs: int
    values: dict[int, float] = field(default_factory=dict)
    running: bool = True

    def add(self, epoch: int, value: float, rungs: Sequence[int]) -> None:
        """Add the newest epoch's value. Of the epochs before it, the rungs are kept."""
        self.values = {known: self.values[known] for known in self.values if known in rungs}
        self.values[epoch] = value

    def end(self, epoch: int, value: float) -> None:
        """Set the value that the trial ended with.

        It is lower than earlier ones if the trial diverged: then these are forgotten, because its
        configuration is no good.
        """
        if any(value < earlier for earlier in self.values.values()):
            self.values = {}
        self.values[epoch] = value

    @property
    def is_whole(self) -> bool:
        """Whether the value at its last epoch is known."""
        return max(self.values, default=0) >= self.epochs

    @property
    def last(self) -> float:
        """The newest value."""
        return self.values[max(self.values)]


def rungs(epochs: int, first: int) -> tuple[int, ...]:
    """Return the epochs of which a curve's values are kept: those at which trials are compared.

    These are the first rung, doubled again and again.
    """
    return tuple(
        first * 2**doubling for doubling in range(int(math.log2(max(epochs / first, 1))) + 1)
    )


def chosen(curves: Sequence[Curve], asked: Curve | None = None) -> list[Curve]:
    """Return at most MOST_TRIALS curves: half of them the best ones, the others evenly spread.

    The one that is asked about comes last, if there is one.
    """
    if asked is not None:
        return [*chosen([curve for curve in curves if curve is not asked]), asked]
    if len(curves) <= MOST_TRIALS:
        return list(curves)
    order = sorted(range(len(curves)), key=lambda number: -curves[number].last)
    best, rest = order[: MOST_TRIALS // 2], sorted(order[MOST_TRIALS // 2 :])
    spread = np.linspace(0, len(rest) - 1, MOST_TRIALS - len(best)).round().astype(int)
    return [curves[number] for number in sorted([*best, *(rest[one] for one in spread)])]


def to_points(curves: Sequence[Curve]) -> Points:
    """Return the values of curves on a scale for a Gaussian process: mean 0, variance 1."""
    trial = [number for number, curve in enumerate(curves) for _ in curve.values]
    time = [_time(epoch, curve.epochs) for curve in curves for epoch in curve.values]
    values = np.array([value for curve in curves for value in curve.values.values()])
    return Points(
        np.array([curve.columns for curve in curves]),
        np.array(trial),
        np.array(time),
        _scaled(values, np.array([curve.last for curve in curves])),
    )


def _time(epoch: int, epochs: int) -> float:
    return 1.0 if epoch >= epochs else math.log(epoch) / math.log(epochs)


def _scaled(values: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return minus the logarithm of the distance from the best value, standardised.

    Poor configurations are poor in many ways, far from each other, and that is not what a search
    is about: differences among the good ones count more. The distance is measured in that of the
    upper quartile.
    """
    top = values.max()
    unit = top - np.quantile(last, 0.75)
    unit = unit if unit > 0 else max(top - values.min(), np.finfo(float).tiny)
    near = -np.log(SOFTNESS + np.minimum((top - values) / unit, 1e6))
    return np.asarray((near - near.mean()) / max(near.std(), 1e-9))
