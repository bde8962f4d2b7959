"""The trials of a sweep as figures need them: the report's columns, ranked, coloured and named."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.fields.scores import number_with_unit
from fieldtrial.results.notebook.loaded import Loaded, Source, loaded
from fieldtrial.results.notebook.style import LONGEST, SERIES, scaled, shown
from fieldtrial.results.read.trials import CHOSEN_FROM
from fieldtrial.results.report import data
from fieldtrial.results.report.data import Column


class Coloured(NamedTuple):
    """Trials of one colour: their places, and the value that they share."""

    name: str
    colour: str
    places: list[int]


@dataclass(frozen=True)
class DrawnTrials:
    """A sweep's search trials, or its runs where it has no search.

    frame: of the trials, numbered from 0. columns: what `results.report.data.columns` makes of it.
    """

    source: Loaded
    frame: pd.DataFrame
    columns: dict[str, Column]

    @classmethod
    def of(cls, source: Source) -> "DrawnTrials":
        """Return those of the only sweep. Raises ValueError where there are several."""
        own = loaded(source)
        description = own.description
        chosen = own.trials[own.trials["role"].isin(CHOSEN_FROM)]
        frame = (chosen if len(chosen) else own.trials).reset_index(drop=True)
        begun = data.created(own.epochs)
        found = data.columns(frame, description, begun)
        return cls(own, frame, {column["name"]: column for column in found})

    @property
    def description(self) -> SweepDescription:
        """What the sweep is."""
        return self.source.description

    @cached_property
    def result(self) -> Column | None:
        """The column of the metric that chooses the winner; None before any trial has it."""
        return self.columns.get(self.description.select)

    @property
    def sign(self) -> int:
        """1 where more of that metric is better, else -1."""
        return 1 if self.description.mode == "max" else -1

    @cached_property
    def hyperparameters(self) -> list[str]:
        """The compared and searched fields that differ among the trials."""
        return data.hyperparameters(self.frame, self.description)

    def with_values(self, *columns: Column | None) -> list[int]:
        """Return the places of the trials that have a value in each of the columns."""
        if any(column is None for column in columns):
            return []
        known = [column["values"] for column in columns if column]
        return [
            place
            for place in range(len(self.frame))
            if all(values[place] is not None for values in known)
        ]

    def coloured(self, places: list[int], by: str) -> Iterator[Coloured]:
        """Yield the trials by colour: the most frequent values have their own.

        by: row, outcome, role or a field.

        Raises:
            ValueError: the trials have no such column.
        """
        if by not in self.columns:
            known = ", ".join(name for name in self.columns if name != "trial")
            raise ValueError(f"colour = {by!r}: must be one of {known}")
        texts = [self.text(self.columns[by], place) for place in range(len(self.frame))]
        frequent = [name for name, _ in Counter(texts).most_common()]
        own = len(SERIES) if len(frequent) <= len(SERIES) else len(SERIES) - 1
        for name, colour in zip(frequent[:own], SERIES, strict=False):
            if found := [place for place in places if texts[place] == name]:
                yield Coloured(name, colour, found)
        if found := [place for place in places if texts[place] in frequent[own:]]:
            yield Coloured(f"{len(frequent) - own} others", SERIES[-1], found)

    def text(self, column: Column, place: int) -> str:
        """Return a trial's value in a column as text."""
        value = column["values"][place]
        if column["kind"] == "category":
            return str(column["levels"][value])
        return "–" if value is None else number_with_unit(column["name"], value)

    def label(self, place: int) -> str:
        """Return what is said of a trial under the pointer."""
        searched = [name for name in self.description.search if name in self.columns]
        fields = " ".join(f"{name}={self.text(self.columns[name], place)}" for name in searched)
        lines = [self.text(self.columns[name], place) for name in ("trial", "row")]
        reached = self.result and f"{self.result['label']}: {self.text(self.result, place)}"
        lines += [fields, reached or "", self.text(self.columns["outcome"], place)]
        return "<br>".join(shown(line, 90) for line in lines if line)

    def points(self, x: Any, y: Column, places: list[int], by: str) -> list[dict[str, Any]]:
        """Return traces of a point for each trial; x: a column, or place -> position."""
        traces = []
        for group in self.coloured(places, by):
            stopped = [self.text(self.columns["outcome"], one) for one in group.places]
            symbols = ["circle-open" if "early" in one else "circle" for one in stopped]
            at = map(x, group.places) if callable(x) else scaled(x, group.places)
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": shown(group.name, LONGEST),
                    "x": list(at),
                    "y": scaled(y, group.places),
                    "text": [self.label(place) for place in group.places],
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {"color": group.colour, "size": 7, "symbol": symbols},
                }
            )
        return traces
