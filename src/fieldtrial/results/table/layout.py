"""Groups of trials -> the cells of a table for people, or a frame for machines; rows by rows, or
pivoted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from fieldtrial.results.analysis.groups import SET_OFF, Group, Groups, Key
from fieldtrial.results.analysis.quantities import Measure
from fieldtrial.results.analysis.statistics import FEWEST
from fieldtrial.results.table.formats import (
    MARK,
    NOTHING,
    Cell,
    Grid,
    format_count,
    format_metric,
    format_minutes,
    format_short,
    header,
)

LONGEST_NOTE = 80
BETWEEN = " · "  # the values of a pivoted column
COUNTS = ("parameters", "trainable_parameters", "flops", "trials")
HEADERS = {
    "trainable_parameters": "trainable",
    "trainable_share": "trainable %",
    "device_hours": "device-hours",
}


def lay_out(
    groups: Groups, columns: int, shown: Mapping[str, Measure], title: str, footer: Sequence[str]
) -> Grid:
    """Return the table for people: the last `columns` of the groups' fields across, `shown` beside
    the metric.
    """
    left = len(groups.fields) - columns
    texts: list[tuple[str, Callable[[Group], Cell]]] = [
        (_name(name), _cell_maker(name, measure)) for name, measure in shown.items()
    ]
    place = next(
        (i + 1 for i, name in enumerate(shown) if name == groups.select), 0
    )  # the test beside its validation
    texts.insert(place, (header(groups.metric), lambda group: _metric_cell(group, groups.metric)))
    by_key = {group.key: group for group in groups.groups}
    down = list(dict.fromkeys(key[:left] for key in by_key))
    across = list(dict.fromkeys(key[left:] for key in by_key))
    heads = [_column_name(key, name, len(texts)) for key in across for name, _ in texts]
    rows = [
        [
            *map(Cell, key),
            *(
                make(by_key[key + other]) if key + other in by_key else Cell(NOTHING)
                for other in across
                for _, make in texts
            ),
        ]
        for key in down
    ]
    fields = groups.fields[:left]
    return Grid(
        title, _caption(groups, groups.fields[left:]), [*fields, *heads], left, rows, footer
    )


def to_frame(groups: Groups, columns: int, shown: Mapping[str, Measure]) -> pd.DataFrame:
    """Return the table for machines: full precision, and a column for each number that a cell is
    made of.
    """
    left = len(groups.fields) - columns
    lines: dict[Key, dict[str, Any]] = {}
    for group in groups.groups:
        line = lines.setdefault(
            group.key[:left], dict(zip(groups.fields[:left], group.key, strict=False))
        )
        estimate, comparison = group.estimate, group.comparison
        numbers = {
            f"{groups.metric}_mean": estimate and estimate.mean,
            f"{groups.metric}_half_width_95": estimate and estimate.half_width,
            "n": len(group.values),
            "mark": group.mark,
            "difference_from_best": comparison and -comparison.difference,
            "corrected_p": comparison and comparison.corrected_p,
            **{name: measure(group) for name, measure in shown.items()},
            "winner": group.winner and group.winner["trial"],
            "note": group.note,
        }
        line |= {
            _column_name(group.key[left:], name, len(numbers)): value
            for name, value in numbers.items()
        }
    return pd.DataFrame(list(lines.values()), dtype=object)


def order(groups: Iterable[Group], fields: Sequence[str], searched: Sequence[str]) -> list[Group]:
    """Return the groups with the values of a searched field in order of size, of others as they
    first come up.
    """
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


def say_comparisons(groups: Groups) -> list[str]:
    """Return what the comparisons say, in a line for each family of groups that were compared."""
    lines = []
    for best in (group for group in groups.groups if group.mark == "best"):
        pairs = [
            group
            for group in groups.groups
            if group.comparison and group.comparison.first == best.key
        ]
        tested = [group for group in pairs if group.mark != "untested"]
        worse, better, equal = (
            sum(g.mark == mark for g in tested) for mark in ("worse", "better", SET_OFF[1])
        )
        paired = sum(1 for group in tested if group.comparison and group.comparison.paired)
        tests = [f"{paired} paired by seed"] if paired else []
        tests += [f"{len(tested) - paired} by Welch's test"] if paired < len(tested) else []
        where = " ".join(
            f"{name}={value}" for name, value in zip(groups.fields, best.key, strict=True)
        )
        found = [f"{worse} worse"] if worse else []
        found += [f"{better} better"] if better else []
        found += (
            [f"no difference shown for {equal}, which does not prove that there is none"]
            if equal
            else []
        )
        lines.append(
            f"{groups.metric} compared with {where}, the best on {groups.select}:"
            f" {', '.join(found)} (t tests, {', '.join(tests)}; Holm-corrected for {len(tested)},"
            " at 5 %)."
        )
    if few := [group for group in groups.groups if group.mark == "untested"]:
        lines.append(f"{len(few)} not compared: a comparison needs {FEWEST} seeds on both sides.")
    return lines


def _caption(groups: Groups, columns: Sequence[str]) -> str:
    across = f"Across: {BETWEEN.join(columns)}. " if columns else ""
    marks = (
        f"Set off (bold, {MARK}): the best on validation, and those from which no difference is"
        " shown. "
        if any(group.mark == "best" for group in groups.groups)
        else ""
    )
    return (
        f"{across}Each group's winner has the best {groups.select}; {groups.metric} is the mean of"
        " its runs with fresh seeds ± half of the 95 % t interval, n of them; with fewer than"
        f" {FEWEST} there is no interval. {marks}"
    ).strip()


def _column_name(key: Key, name: str, several: int) -> str:
    return BETWEEN.join(key) + (f": {name}" if several > 1 else "") if key else name


def _cell_maker(name: str, measure: Measure) -> Callable[[Group], Cell]:
    return lambda group: Cell(_text(name, measure(group)))


def _metric_cell(group: Group, metric: str) -> Cell:
    note = group.note if len(group.note) <= LONGEST_NOTE else group.note[: LONGEST_NOTE - 1] + "…"
    estimate = group.estimate
    if estimate is None:
        return Cell(note or "no final runs")
    interval = (
        "" if estimate.half_width is None else f" ± {format_metric(metric, estimate.half_width)}"
    )
    remarks = "".join(f", {part.removeprefix('final: ')}" for part in note.split("; ") if part)
    text = f"{format_metric(metric, estimate.mean)}{interval} (n={estimate.n}{remarks})"
    return Cell(text, group.mark in SET_OFF)


def _name(name: str) -> str:
    return HEADERS.get(
        name, header(name) if name.startswith(("validation_", "test_")) else name.replace("_", " ")
    )


def _text(name: str, value: Any) -> str:
    if value is None:
        return NOTHING
    if name in COUNTS:
        return format_count(int(value))
    if name == "minutes":
        return format_minutes(value)
    if name.endswith("_share"):
        return f"{100 * value:.3g}"
    if name.startswith(("validation_", "test_")) and isinstance(value, float):
        return format_metric(name, value)
    return format_short(value)


def _size(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
