"""Groups of trials -> the cells of a table for people, and a frame for machines."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fieldtrial.config import FIELDS
from fieldtrial.fields.values import format_value
from fieldtrial.panel import format_hours
from fieldtrial.results.analysis.groups import Group, Groups, Key
from fieldtrial.results.analysis.quantities import Measure
from fieldtrial.results.analysis.statistics import FEWEST
from fieldtrial.results.read.wording import is_share
from fieldtrial.results.table.render import MARK, NOTHING, Cell, Grid

LONGEST_NOTE = 80
BETWEEN = " · "  # the values of a pivoted column
COUNTS = ("parameters", "trainable_parameters", "flops", "trials", "search_epochs")
HEADERS = {
    "trainable_parameters": "trainable",
    "trainable_share": "trainable %",
    "device_hours": "device-hours",
    "search_device_hours": "search device-hours",
}
SCORES = ("validation_", "test_")


@dataclass(frozen=True)
class Layout:
    """Where the groups stand: the last `columns` of their fields across, the others down.

    shown: further measures; those up to the metric that selects stand before the table's metric.
    counted: measures for machines alone.
    """

    groups: Groups
    columns: int
    shown: Mapping[str, Measure]
    counted: Mapping[str, Measure]

    @property
    def down(self) -> tuple[str, ...]:
        """The fields whose values stand at the left."""
        return self.groups.fields[: len(self.groups.fields) - self.columns]

    @property
    def across(self) -> tuple[str, ...]:
        """The fields whose values stand at the top."""
        return self.groups.fields[len(self.down) :]

    def grid(self, title: str, searched: Sequence[str], footer: Sequence[str]) -> Grid:
        """Return the table for people; `searched` fields are explained in its caption."""
        before, after = self._beside()
        metric = self.groups.metric
        makers: list[tuple[str, Callable[[Group], Cell]]] = [
            *((_head(name), _cell_maker(name, measure)) for name, measure in before.items()),
            (header(metric), lambda group: _metric_cell(group, metric)),
            *((_head(name), _cell_maker(name, measure)) for name, measure in after.items()),
        ]
        across = list(dict.fromkeys(self._key_across(group) for group in self.groups.groups))
        rows = [
            [
                *map(Cell, next(iter(line.values())).key[: len(self.down)]),
                *(
                    make(line[key]) if key in line else Cell(NOTHING)
                    for key in across
                    for _, make in makers
                ),
            ]
            for line in self._lines().values()
        ]
        heads = [_column_name(key, name, len(makers)) for key in across for name, _ in makers]
        caption = self._caption([name for name in searched if name in self.shown])
        return Grid(title, caption, [*self.down, *heads], len(self.down), rows, footer)

    def frame(self) -> pd.DataFrame:
        """Return the table for machines: full precision, a column for each number of a cell."""
        rows = []
        for line in self._lines().values():
            first = next(iter(line.values()))
            row: dict[str, Any] = dict(zip(self.down, first.key, strict=False))
            for key, group in line.items():
                numbers = self._numbers(group)
                row |= {_column_name(key, name, len(numbers)): numbers[name] for name in numbers}
            rows.append(row)
        return pd.DataFrame(rows, dtype=object)

    def _lines(self) -> dict[Hashable, dict[Key, Group]]:
        """Return the groups of each line, by their key across.

        Without columns each group has a line of its own, also one of several with the same key.
        """
        lines: dict[Hashable, dict[Key, Group]] = {}
        for group in self.groups.groups:
            line = group.key[: len(self.down)] if self.columns else group.number
            lines.setdefault(line, {})[self._key_across(group)] = group
        return lines

    def _key_across(self, group: Group) -> Key:
        return group.key[len(self.down) :]

    def _beside(self) -> tuple[Mapping[str, Measure], Mapping[str, Measure]]:
        """Return what is shown before and after the metric, which stands beside its validation."""
        names = list(self.shown)
        select = self.groups.select
        place = names.index(select) + 1 if select in names else 0
        before = {name: self.shown[name] for name in names[:place]}
        return before, {name: self.shown[name] for name in names[place:]}

    def _numbers(self, group: Group) -> dict[str, Any]:
        before, after = self._beside()
        metric, estimate, comparison = self.groups.metric, group.estimate, group.comparison
        return {
            **{name: measure(group) for name, measure in before.items()},
            f"{metric}_mean": estimate and estimate.mean,
            f"{metric}_half_width_95": estimate and estimate.half_width,
            "n": len(group.values),
            "mark": group.mark,
            "difference_from_best": comparison and -comparison.difference,
            "corrected_p": comparison and comparison.corrected_p,
            **{name: measure(group) for name, measure in after.items()},
            "winner": group.winner and group.winner["trial"],
            **{name: measure(group) for name, measure in self.counted.items()},
            "note": group.note,
        }

    def _caption(self, searched: Sequence[str]) -> str:
        """Return how the numbers of the table came about."""
        groups, unit = self.groups, "cell" if self.columns else "row"
        across = f"Across: {BETWEEN.join(self.across)}. " if self.columns else ""
        tuned = f"{', '.join(searched)}: searched, the winner's value. " if searched else ""
        marks = (
            f" Bold, {MARK}: the best on validation, and those not shown to be worse on test."
            if any(group.mark == "best" for group in groups.groups)
            else ""
        )
        return (
            f"{across}{tuned}The winner of a {unit} has the best {groups.select}. {groups.metric}"
            " is the mean of its runs with fresh seeds ± half of the 95 % t interval, and n their"
            f" number. With fewer than {FEWEST} there is no interval.{marks}"
        )


def order(groups: Iterable[Group], fields: Sequence[str], searched: Sequence[str]) -> list[Group]:
    """Return the groups in order: searched fields by size, others as their values come up."""
    known = list(groups)
    ranks = []
    for place, name in enumerate(fields):
        values = list(dict.fromkeys(group.key[place] for group in known))
        if name in searched:
            values.sort(key=_size)
        ranks.append({value: rank for rank, value in enumerate(values)})
    return sorted(
        known, key=lambda group: [rank[value] for rank, value in zip(ranks, group.key, strict=True)]
    )


def header(metric: str) -> str:
    """Return a metric's name for people, with its unit."""
    return metric.replace("_", " ") + (" %" if is_share(metric) else "")


def format_metric(metric: str, value: float) -> str:
    """Return a score: shares in per cent."""
    return f"{100 * value:.2f}" if is_share(metric) else f"{value:.4f}"


def _head(name: str) -> str:
    if name in FIELDS:
        return name
    return HEADERS.get(name, header(name) if name.startswith(SCORES) else name.replace("_", " "))


def _column_name(key: Key, name: str, several: int) -> str:
    return BETWEEN.join(key) + (f": {name}" if several > 1 else "") if key else name


def _cell_maker(name: str, measure: Measure) -> Callable[[Group], Cell]:
    return lambda group: Cell(_text(name, measure(group)))


def _metric_cell(group: Group, metric: str) -> Cell:
    note = group.note if len(group.note) <= LONGEST_NOTE else group.note[: LONGEST_NOTE - 1] + "…"
    estimate = group.estimate
    if estimate is None:
        return Cell(note or "no final runs")
    half = estimate.half_width
    interval = "" if half is None else f" ± {format_metric(metric, half)}"
    remarks = "".join(f", {part.removeprefix('final: ')}" for part in note.split("; ") if part)
    text = f"{format_metric(metric, estimate.mean)}{interval} (n={estimate.n}{remarks})"
    return Cell(text, group.is_set_off)


def _text(name: str, value: Any) -> str:
    if value is None:
        return NOTHING
    if name in COUNTS:
        return f"{int(value):,}"
    if name == "minutes":
        return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
    if name.endswith("device_hours"):
        return format_hours(value)
    if name.endswith("_share"):
        return f"{100 * value:.3g}"
    if isinstance(value, float):
        is_score = name.startswith(SCORES) and name not in FIELDS
        return format_metric(name, value) if is_score else f"{value:.3g}"
    return format_value(value)


def _size(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
