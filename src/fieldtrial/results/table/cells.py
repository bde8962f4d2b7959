"""Groups of trials -> the cells of a table for people, and a frame for machines."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fieldtrial.config import is_field
from fieldtrial.fields.row_names import BETWEEN
from fieldtrial.fields.scores import is_share, score_text
from fieldtrial.fields.task_metrics import metric_words
from fieldtrial.fields.values import format_value
from fieldtrial.panel.terminal import format_hours
from fieldtrial.results.analysis.groups import Group, Groups, Key
from fieldtrial.results.analysis.quantities import Measure
from fieldtrial.results.read.trials import RUN
from fieldtrial.results.read.wording import p_text, signed_text, span_text
from fieldtrial.results.table.left import Left
from fieldtrial.results.table.render import MARK, NOTHING, Cell, Grid
from fieldtrial.results.verdicts.comparisons import Comparison
from fieldtrial.results.verdicts.crossed import FEWEST

LONGEST_NOTE = 80
COUNTS = ("parameters", "trainable_parameters", "flops", "trials", "search_epochs")
HEADERS = {
    "trainable_parameters": "trainable",
    "trainable_share": "trainable %",
    "minutes_alone": "alone",
    "device_hours": "device-hours",
    "search_device_hours": "search device-hours",
    "images_per_second": "images/s",
    "data_wait": "data wait %",
    "utilization": "utilization %",
    "energy_kwh": "kWh",
}
SCORES = ("train_", "validation_", "test_")
OF_CLASS = {"_f1": "F1", "_ap": "AP"}  # after a class's name: what is known of it
ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Layout:
    """Where the groups stand: the last `columns` of their fields across, the others down.

    shown: further measures; those up to the metric that selects stand before the table's metric.
    counted: measures for machines alone. ensemble: of the rows' winners, which has a last line.
    """

    groups: Groups
    columns: int
    shown: Mapping[str, Measure]
    counted: Mapping[str, Measure]
    ensemble: Group | None = None

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
        metric, left = self.groups.metric, self._left()
        makers: list[tuple[str, Callable[[Group], Cell]]] = [
            *((_head(name), _cell_maker(name, measure)) for name, measure in before.items()),
            (self._metric_head(), lambda group: _metric_cell(group, metric)),
            *(self._verdict_makers() if self._has_verdicts() else ()),
            *((_head(name), _cell_maker(name, measure)) for name, measure in after.items()),
        ]
        across = list(dict.fromkeys(self._key_across(group) for group in self.groups.groups))
        rows = [
            [
                *map(Cell, left.texts(next(iter(line.values())))),
                *(
                    make(line[key]) if key in line else Cell(NOTHING)
                    for key in across
                    for _, make in makers
                ),
            ]
            for line in self._lines().values()
        ]
        if self.ensemble:
            texts = [ENSEMBLE, *[NOTHING] * (len(left.heads) - 1 + len(makers))]
            last = [*map(Cell, texts)]
            last[len(left.heads) + len(before)] = _metric_cell(self.ensemble, metric)
            rows.append(last)
        heads = [_column_name(key, name, len(makers)) for key in across for name, _ in makers]
        caption = self._caption([name for name in searched if name in self.shown])
        return Grid(title, caption, [*left.heads, *heads], len(left.heads), rows, footer)

    def frame(self) -> pd.DataFrame:
        """Return the table for machines: full precision, a column for each number of a cell."""
        rows = []
        for line in self._lines().values():
            first = next(iter(line.values()))
            named = {"label": self.groups.names[first.number]} if self.groups.has_labels else {}
            row: dict[str, Any] = named | dict(zip(self.down, first.key, strict=False))
            for key, group in line.items():
                numbers = self._numbers(group)
                row |= {_column_name(key, name, len(numbers)): numbers[name] for name in numbers}
            rows.append(row)
        if self.ensemble:
            empty: dict[str, Any] = dict.fromkeys(rows[0]) | {self.down[0]: ENSEMBLE}
            rows.append(empty | self._interval_numbers(self.ensemble))
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

    def _left(self) -> Left:
        return Left(
            self.groups, self.down, [next(iter(line.values())) for line in self._lines().values()]
        )

    def _key_across(self, group: Group) -> Key:
        return group.key[len(self.down) :]

    def _beside(self) -> tuple[Mapping[str, Measure], Mapping[str, Measure]]:
        """Return what is shown before and after the metric, which stands beside its validation."""
        names = list(self.shown)
        first = [name for name in (self.groups.select, "runs") if name in names]
        place = names.index(first[0]) + 1 if first else 0
        before = {name: self.shown[name] for name in names[:place]}
        return before, {name: self.shown[name] for name in names[place:]}

    def _has_verdicts(self) -> bool:
        """Whether the groups' verdicts have columns: not where groups stand across."""
        return not self.columns and any(group.mark != "none" for group in self.groups.groups)

    def _verdict_makers(self) -> Iterator[tuple[str, Callable[[Group], Cell]]]:
        metric = self.groups.metric
        unit = " (points)" if is_share(metric) else ""
        yield f"to the best{unit}", lambda group: Cell(_difference_text(group, metric))
        yield "verdict", lambda group: Cell(_verdict_text(group))
        if self.groups.compared_pairs:
            yield "letters", lambda group: Cell(group.letters or NOTHING)

    def _is_of_winners(self) -> bool:
        """Whether what was tested is the winners themselves, not runs with fresh seeds."""
        tested = [one for one in self.groups.groups if one.winner and len(one.finals)]
        own = [one.finals["trial"] == (one.winner or {})["trial"] for one in tested]
        return bool(tested) and all(is_own.all() for is_own in own)

    def _metric_head(self) -> str:
        intervals = [group.interval for group in self.groups.groups if group.interval]
        has_both = any(one.images is not None for one in intervals)
        runs = "folds" if any(one.folds for one in intervals) else "seeds"
        return header(self.groups.metric) + (f" ± {runs} ± images" if has_both else "")

    def _numbers(self, group: Group) -> dict[str, Any]:
        before, after = self._beside()
        comparison = group.comparison
        return {
            **{name: measure(group) for name, measure in before.items()},
            **self._interval_numbers(group),
            "mark": group.mark,
            "in_best_set": group.in_best_set,
            **({"letters": group.letters} if self.groups.compared_pairs else {}),
            "difference_to_best": comparison and comparison.difference,
            "difference_low": comparison and comparison.low,
            "difference_high": comparison and comparison.high,
            "p": comparison and comparison.p,
            "corrected_p": comparison and comparison.corrected_p,
            "chance_to_beat_best": comparison and _chance(comparison, self.groups.sign),
            "basis": comparison and comparison.basis,
            "untested": group.untested,
            **{name: measure(group) for name, measure in after.items()},
            "winner": group.winner and group.winner["trial"],
            **{name: measure(group) for name, measure in self.counted.items()},
            "note": group.note,
        }

    def _interval_numbers(self, group: Group) -> dict[str, Any]:
        metric, interval = self.groups.metric, group.interval
        return {
            f"{metric}_mean": interval and interval.mean,
            f"{metric}_low": interval and interval.low,
            f"{metric}_high": interval and interval.high,
            f"{metric}_half_width_seeds": interval and interval.seeds,
            f"{metric}_half_width_images": interval and interval.images,
            "n": interval.runs if interval else 0,
            "identical_runs": interval.repeated if interval else 0,
        }

    def _caption(self, searched: Sequence[str]) -> str:
        """Return how the numbers of the table came about."""
        groups, unit = self.groups, "cell" if self.columns else "row"
        across = f"Across: {BETWEEN.join(self.across)}. " if self.columns else ""
        tuned = f"{', '.join(searched)}: searched, the winner's value. " if searched else ""
        intervals = [group.interval for group in groups.groups if group.interval]
        parts, has_folds = "", any(one.folds for one in intervals)
        if any(one.seeds is not None for one in intervals):
            parts = f", ± what other {'folds' if has_folds else 'seeds'} would change"
        if any(one.images is not None for one in intervals):
            parts += ", ± what other test images would change"
        parts += (
            f" (half of a 95 % interval{' each' if 'images' in parts else ''})" if parts else ""
        )
        is_by_hand = any(group.winner and group.winner["role"] == RUN for group in groups.groups)
        has_finalists = any(group.count("finalist") for group in groups.groups)
        finalists = " of the finalists, in their runs with fresh seeds" if has_finalists else ""
        marks = (
            f" Bold, {MARK}: no comparison shows it to be beaten, so it may be the best."
            if any(group.in_best_set for group in groups.groups)
            else ""
        )
        verdicts = (
            " To the best: the mean minus that of the best on validation. Its interval and p are"
            " right for all comparisons together."
            if self._has_verdicts() and groups.every_comparison
            else ""
        )
        letters = (
            " Letters: rows that share one are not shown to differ."
            if self._has_verdicts() and groups.compared_pairs
            else ""
        )
        # Runs by hand have the seeds that they were given, and are chosen by what is averaged.
        fresh = "" if is_by_hand else " with fresh seeds"
        fresh += ", one for each fold" if has_folds else ""
        runs = (
            "that of the winner's own run"
            if self._is_of_winners()
            else f"the mean of its runs{fresh}{parts}, and n their number."
            f" With fewer than {FEWEST}, unless all are identical, there is no interval"
        )
        return (
            f"{self._left().shared}{across}{tuned}The winner of a {unit} has the best"
            f" {groups.select}{finalists}. {groups.metric} is {runs}."
            f"{marks}{verdicts}{letters}"
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
    return metric_words(metric) + (" %" if is_share(metric) else "")


def _head(name: str) -> str:
    if is_field(name):
        return name
    if (what := OF_CLASS.get(name[-3:])) and not name.startswith(SCORES):
        return f"{what} of {name[:-3]} %"
    return HEADERS.get(name, header(name) if name.startswith(SCORES) else name.replace("_", " "))


def _column_name(key: Key, name: str, several: int) -> str:
    return BETWEEN.join(key) + (f": {name}" if several > 1 else "") if key else name


def _cell_maker(name: str, measure: Measure) -> Callable[[Group], Cell]:
    return lambda group: Cell(_text(name, measure(group)))


def _metric_cell(group: Group, metric: str) -> Cell:
    note = group.note if len(group.note) <= LONGEST_NOTE else group.note[: LONGEST_NOTE - 1] + "…"
    interval = group.interval
    if interval is None:
        return Cell(note or "no final runs")
    halves = (half for half in (interval.seeds, interval.images) if half is not None)
    parts = "".join(f" ± {score_text(metric, half)}" for half in halves)
    alike = f", {interval.repeated + 1} identical" if interval.repeated else ""
    remarks = "".join(f", {part.removeprefix('final: ')}" for part in note.split("; ") if part)
    unit = " folds" if interval.folds else " searches" if interval.of_searches else ""
    count = f"{interval.runs}{unit}"
    text = f"{score_text(metric, interval.mean)}{parts} (n={count}{alike}{remarks})"
    return Cell(text, bool(group.in_best_set))


def _difference_text(group: Group, metric: str) -> str:
    """Return a group's difference to the best, with its interval."""
    one = group.comparison
    if one is None:
        return NOTHING
    return f"{signed_text(metric, one.difference)} ({span_text(metric, one.low, one.high)})"


def _verdict_text(group: Group) -> str:
    """Return how a group stands to the best, and the corrected p."""
    if group.mark == "none":
        return NOTHING
    if group.mark == "best":
        return "best on validation" + ("" if group.in_best_set else ", beaten on test")
    if group.comparison is None:
        return f"not tested: {group.untested}"
    return f"{group.mark}, {p_text(group.comparison.corrected_p)}"


def _chance(comparison: Comparison, sign: int) -> float:
    return comparison.chance if sign > 0 else 1 - comparison.chance


def _text(name: str, value: Any) -> str:
    if value is None:
        return NOTHING
    if name in COUNTS:
        return f"{int(value):,}"
    if name in ("minutes", "epoch_minutes", "minutes_alone"):
        return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
    if name.endswith("device_hours"):
        return format_hours(value)
    if name.endswith("_share") or name in ("data_wait", "utilization"):
        return f"{100 * value:.3g}"
    if isinstance(value, float):
        is_score = not is_field(name) and (name.startswith(SCORES) or is_share(name))
        return score_text(name, value) if is_score else f"{value:.3g}"
    return format_value(value)


def _size(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
