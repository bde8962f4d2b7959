"""The two tables that there are: of a sweep's rows, and of trials grouped by any field."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

import pandas as pd

from fieldtrial.results.analysis.cost import cost_of_trials
from fieldtrial.results.analysis.footer import footer
from fieldtrial.results.analysis.grouping import group_rows, group_trials
from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.analysis.quantities import COST, measures, require
from fieldtrial.results.analysis.recipes.lines import differing
from fieldtrial.results.analysis.winner import default_metric
from fieldtrial.results.read.sweeps import Sweeps, check_field
from fieldtrial.results.read.trials import RUN
from fieldtrial.results.table.cells import Layout, order
from fieldtrial.results.table.ensembles import stored_ensemble
from fieldtrial.results.table.further import (
    OF_CLASSES,
    OF_TRAINING,
    class_measures,
    spelled_out,
    training_measures,
)
from fieldtrial.results.table.render import Grid
from fieldtrial.results.verdicts.comparisons import Comparison

SEARCH_COST = "search_cost"  # a text, for people
OF_SEARCH = ("search_epochs", "search_device_hours")  # the same as numbers, for machines
BESIDE = ("trainable_parameters", "parameters", "minutes")  # the metric, where nothing is pivoted
WHERE_KNOWN = OF_TRAINING  # beside these, if any row has them
ALONE = "minutes_alone"


@dataclass(frozen=True)
class Table:
    """A table: `grid` is for people, `frame` for machines, `groups` what both are made of.

    ensemble: of the winners of a sweep's rows, None where none is stored.
    """

    groups: Groups
    grid: Grid
    frame: pd.DataFrame
    ensemble: Group | None = None


def sweep_table(
    sweeps: Sweeps, records: pd.DataFrame, all_pairs: bool = False, cost: bool = False
) -> Table:
    """Return the own table of the only sweep in `sweeps`: a line for each of its rows.

    all_pairs: whether every pair is compared, also where the sweep asks for the best alone.
    cost: whether people are shown COST, too, as far as it is known; machines always are.
    """
    groups = group_rows(sweeps, all_pairs)
    counts = [name for group in groups.groups[:1] for name in group.counts]
    counted = [*counts, *OF_SEARCH]
    names = [*_beside(sweeps, groups), *([SEARCH_COST] if sweeps.searched else [])]
    ensemble, lines = stored_ensemble(sweeps, groups)
    table = _make(
        sweeps, groups, records, names, counted=counted, ensemble=ensemble, lines=lines, cost=cost
    )
    frame = table.frame.drop(columns=SEARCH_COST, errors="ignore")
    rows = [*range(len(groups.groups)), *([None] if ensemble else [])]
    numbers = pd.Series(rows, index=frame.index, dtype="Int64")
    frame.insert(0, "row", numbers)
    return replace(table, grid=replace(table.grid, title=sweeps.only.name), frame=frame)


def grouped_table(
    sweeps: Sweeps,
    records: pd.DataFrame,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    metric: str | None = None,
    within: Sequence[str] = (),
    show: Sequence[str] = (),
    all_pairs: bool = False,
    cost: bool = False,
) -> Table:
    """Return the table with the values of the fields `rows` down and those of `columns` across.

    metric: what the cells give; by default the test result. show: further columns.
    within: only groups with equal values of these fields are compared. Where neither rows nor
    columns are asked for, these are also the fields in which the sweeps differ as a whole.
    all_pairs: each with each, not only with the best. cost: whether COST is shown, too, as far as
    it is known.

    Raises:
        ValueError: fields or metrics that are not there.
    """
    for name in (*rows, *columns, *within):
        check_field(name)
    columns = list(dict.fromkeys(columns))
    chosen = rows or ([] if columns else sweeps.compared)
    grouped_by = (*(name for name in dict.fromkeys(chosen) if name not in columns), *columns)
    if not rows and not columns:  # what sweeps differ in as a whole was not asked to be compared
        within = list(dict.fromkeys((*within, *sweeps.unequal)))
    if outside := [name for name in within if name not in grouped_by]:
        raise ValueError(f"--within {','.join(outside)}: must be among --rows and --columns")
    groups = group_trials(sweeps, grouped_by, metric or default_metric(sweeps), within, all_pairs)
    groups = replace(groups, groups=order(groups.groups, grouped_by, sweeps.searched))
    names = show or ([] if columns else _beside(sweeps, groups))
    return _make(sweeps, groups, records, names, len(columns), cost=cost)


def pairs_frame(table: Table) -> pd.DataFrame:
    """Return the comparisons of every pair of rows, full precision; none if these are not compared.

    `difference` is the mean of `row` minus that of `other`; low and high are its interval's ends.
    """
    groups = table.groups.names
    return pd.DataFrame(
        [
            (groups[one.first], groups[one.second], *astuple(one.comparison), one.comparison.shown)
            for one in table.groups.compared_pairs
        ],
        columns=["row", "other", *(one.name for one in fields(Comparison)), "shown"],
    )


def _beside(sweeps: Sweeps, groups: Groups) -> list[str]:
    """Return what a table shows beside its metric by default."""
    searched = (name for name in sweeps.searched if name not in groups.fields)
    names = ["runs"] if (sweeps.trials["role"] == RUN).any() else []
    names += [name for name in differing(groups.groups) if name not in groups.fields]
    names += [groups.select] if groups.select != groups.metric else []
    alone = [ALONE] if ALONE in sweeps.trials else []  # not of earlier versions
    return list(dict.fromkeys((*names, *searched, *BESIDE, *alone, *WHERE_KNOWN)))


def _make(
    sweeps: Sweeps,
    groups: Groups,
    records: pd.DataFrame,
    names: Sequence[str],
    columns: int = 0,
    counted: Sequence[str] = (),
    ensemble: Group | None = None,
    lines: Sequence[str] = (),
    cost: bool = False,
) -> Table:
    costs = cost_of_trials(records, sweeps.trials)
    of_classes = class_measures(sweeps)
    known = measures(sweeps, groups, records, costs) | training_measures(sweeps, records)
    names = [
        name
        for name in spelled_out(names, list(of_classes))
        if name not in WHERE_KNOWN or name in known
    ]
    require([name for name in names if name not in of_classes], [*known, *OF_CLASSES])
    of_cost = [
        name for name in COST if any(known[name](group) is not None for group in groups.groups)
    ]
    names += [name for name in of_cost if cost and name not in names]
    counted = [*counted, *(name for name in of_cost if counted and name not in names)]
    known = of_classes | known
    shown, of_machines = ({name: known[name] for name in wanted} for wanted in (names, counted))
    layout = Layout(groups, columns, shown, of_machines, ensemble)
    title = " and ".join(sweeps.folders)
    grid = layout.grid(title, sweeps.searched, [*footer(sweeps, groups, costs), *lines])
    return Table(groups, grid, layout.frame(), ensemble)
