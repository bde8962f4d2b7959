"""Space: the searched fields as points of a unit cube, and back."""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fieldtrial.search_domains import Choice, Domain, Range, with_texts

DIGITS = 8  # of a number that is proposed
MOST_LISTED = 512  # points of a space that are all candidates


class Numbers:
    """A field of numbers: from low to high, perhaps in steps, perhaps on a logarithmic scale."""

    columns = 1

    def __init__(self, domain: Range) -> None:
        self._whole, self._log = domain.is_whole, domain.is_log
        self._low, self._high = domain.ends
        self._step = domain.step or (1 if domain.is_whole else None)
        # Every step has an equal share of the scale, those at the ends too.
        half = (self._step or 0) / 2
        ends = [self._low - half, self._high + half]
        if self._log:
            ends = [math.log(max(ends[0], self._low / 2)), math.log(ends[1])]
        self._ends = tuple(ends)
        self.choices = (
            None if self._step is None else int((self._high - self._low) / self._step + 1e-6) + 1
        )

    def value(self, unit: float) -> float | int:
        """Return the value at a place from 0 to 1."""
        number = float(self._numbers(np.array([unit]))[0])
        if self._whole:
            return round(number)
        # 0.3 instead of 3 * 0.1, and 0.0001 instead of what its logarithm becomes again.
        return min(max(float(f"{number:.{DIGITS}g}"), self._low), self._high)

    def unit(self, value: Any) -> float:
        """Return the place of a value, from 0 to 1."""
        return float(self._places(np.array([float(value)]))[0])

    def snapped(self, unit: np.ndarray) -> np.ndarray:
        """Return the places of the values at places, [n, 1]."""
        places = unit if self._step is None else self._places(self._numbers(unit))
        return places[:, None]

    def _numbers(self, unit: np.ndarray) -> np.ndarray:
        start, end = self._ends
        numbers = start + unit * (end - start)
        numbers = np.exp(numbers) if self._log else numbers
        if self._step is not None:
            numbers = self._low + np.rint((numbers - self._low) / self._step) * self._step
        return np.clip(numbers, self._low, self._high)

    def _places(self, numbers: np.ndarray) -> np.ndarray:
        start, end = self._ends
        if end <= start:
            return np.full(len(numbers), 0.5)
        numbers = np.clip(numbers, self._low, self._high)
        return ((np.log(numbers) if self._log else numbers) - start) / (end - start)

    def place(self, choice: int) -> float:
        """Return the place of one of `choices`."""
        return self.unit(self._low + choice * (self._step or 0))


class Choices:
    """A field with a choice of values. Three or more numbers are a scale of equal steps; others
    have no order, and a column each.
    """

    def __init__(self, domain: Choice) -> None:
        self._values = list(domain.categories)
        numbers = [type(value) in (int, float) for value in self._values]
        self._is_scale = all(numbers) and len(set(self._values)) > 2
        if self._is_scale:
            self._values = sorted(self._values)
        self.choices = len(self._values)
        self.columns = 1 if self._is_scale else self.choices

    def value(self, unit: float) -> Any:
        """Return the value at a place from 0 to 1."""
        return self._values[min(int(unit * self.choices), self.choices - 1)]

    def unit(self, value: Any) -> float:
        """Return the place of a value, from 0 to 1."""
        return self.place(self._values.index(value))

    def snapped(self, unit: np.ndarray) -> np.ndarray:
        """Return the columns of the values at places, [n, columns]."""
        chosen = np.minimum((unit * self.choices).astype(int), self.choices - 1)
        if self._is_scale:
            return np.asarray((chosen + 0.5) / self.choices)[:, None]
        return np.asarray(np.eye(self.choices)[chosen] * math.sqrt(0.5))

    def place(self, choice: int) -> float:
        """Return the place of one of `choices`."""
        return (choice + 0.5) / self.choices


class Space:
    """The fields of a search, each with a place from 0 to 1.

    fields: their names. field_of_column: the number of the field that a column of `columns` is of.
    """

    def __init__(self, search: Mapping[str, Domain]) -> None:
        self.fields = list(search)
        self._axes = [
            Choices(domain) if isinstance(domain, Choice) else Numbers(domain)
            for domain in map(with_texts, search.values())
        ]
        self.field_of_column = np.repeat(
            np.arange(len(self._axes)), [axis.columns for axis in self._axes]
        )

    def values(self, point: Sequence[float]) -> dict[str, Any]:
        """Return the values at a point of the cube. Lists and tuples are given as texts."""
        return {
            name: axis.value(float(unit))
            for name, axis, unit in zip(self.fields, self._axes, point, strict=True)
        }

    def point(self, values: Mapping[str, Any]) -> np.ndarray:
        """Return the point of the cube of given values. Raises ValueError if one is no choice."""
        return np.array(
            [axis.unit(values[name]) for name, axis in zip(self.fields, self._axes, strict=True)]
        )

    def columns(self, points: np.ndarray) -> np.ndarray:
        """Return what a kernel compares: points [n, fields] as columns [n, columns].

        All places of a value have the same columns, so that a kernel never sees a difference
        which no trial could have (Garrido-Merchán and Hernández-Lobato 2020).
        """
        return np.concatenate(
            [axis.snapped(points[:, number]) for number, axis in enumerate(self._axes)], 1
        )

    def sequence(self, seed: int, number: int) -> np.ndarray:
        """Return a point of a low-discrepancy sequence, [1, fields] (R_d of Roberts 2018).

        The sequence is moved by a random distance, which the seed decides.
        """
        dimensions = len(self.fields)
        ratio = 2.0
        for _ in range(32):  # the root of x^(d+1) = x + 1: its powers are far from all fractions
            ratio = (1 + ratio) ** (1 / (dimensions + 1))
        steps = ratio ** -np.arange(1, dimensions + 1)
        shift = np.random.default_rng(seed).random(dimensions)
        return np.asarray((shift + (number + 1) * steps) % 1.0)[None]

    def near(
        self, centres: np.ndarray, count: int, width: float, generator: np.random.Generator
    ) -> np.ndarray:
        """Return points near some points, [count, fields]: some of their fields are moved.

        width: factor of how far; each point's own is between a hundredth and a half of the cube.
        """
        base = centres[generator.integers(len(centres), size=count)]
        far = width * 10 ** generator.uniform(-2, -0.3, size=(count, 1))
        is_moved = generator.random(base.shape) < max(0.3, 2 / base.shape[1])
        moved = np.clip(base + far * generator.standard_normal(base.shape), 0, 1)
        drawn = generator.random(base.shape)
        moved = np.where(self.is_choice, np.where(drawn < 0.5, 2 * drawn, base), moved)
        return np.where(is_moved, moved, base)

    @functools.cached_property
    def is_choice(self) -> np.ndarray:
        """Which fields have no order, so that a near value is any other one."""
        return np.array([isinstance(axis, Choices) and axis.columns > 1 for axis in self._axes])

    @functools.cached_property
    def all_points(self) -> np.ndarray | None:
        """Every point, [n, fields], if the space has few enough; else None."""
        counts = [axis.choices for axis in self._axes]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts) or math.prod(known) > MOST_LISTED:
            return None
        places = [
            [axis.place(choice) for choice in range(count)]
            for axis, count in zip(self._axes, known, strict=True)
        ]
        return np.array(list(itertools.product(*places)))
