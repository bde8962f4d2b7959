"""Sweeps as frames for a notebook: trials, epochs, rows, the table for people and its verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.printable import counted
from fieldtrial.fields.values import format_value
from fieldtrial.results.read.sweeps import Sweeps, parse_conditions, read_sweeps
from fieldtrial.results.table.tables import Table, grouped_table, pairs_frame, sweep_table


@dataclass(frozen=True)
class Loaded:
    """Sweeps, and runs of no sweep, that were read together.

    sweeps: what the frames are made of.
    """

    sweeps: Sweeps

    @property
    def trials(self) -> pd.DataFrame:
        """A row for each trial: its sweep, row and role, its fields, outcome and metrics.

        `results.read.trials.load` says what each column is. Accuracies are fractions.
        """
        return self.sweeps.trials

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """A row for each epoch of each trial; see `results.read.records.load_records`."""
        return self.sweeps.records()

    @cached_property
    def made(self) -> Table:
        """The table that `fieldtrial table` makes without further flags."""
        make = sweep_table if self.is_one else grouped_table
        return make(self.sweeps, self.epochs)

    @property
    def rows(self) -> pd.DataFrame:
        """A row for each row of the table, at full precision: what table.csv has."""
        return self.made.frame

    @property
    def is_one(self) -> bool:
        """Whether this is a single sweep."""
        return len(self.sweeps.folders) == 1

    @property
    def description(self) -> SweepDescription:
        """What the only sweep is. Raises ValueError where there are several."""
        if not self.is_one:
            names = ", ".join(self.sweeps.folders)
            raise ValueError(f"a figure is of one sweep; load one of {names}")
        return self.sweeps.only

    @property
    def folder(self) -> SweepFolder:
        """The folder of the only sweep."""
        (folder,) = self.sweeps.folders.values()
        return folder

    def __repr__(self) -> str:
        names = ", ".join(self.sweeps.folders)
        return f"<{names}: {counted(len(self.trials))}, {counted(len(self.rows), 'row')}>"


Folders = Path | str | Sequence[Path | str]
Source = Loaded | Folders  # what all functions for notebooks take
Names = str | Sequence[str]  # a list, or a text such as "model,freeze"


def load(*paths: Folders) -> Loaded:
    """Return what is in the folders, or lists of them: sweeps, runs of no sweep, or folders with
    such in them.

    Raises:
        ValueError: there is neither in one of them; `read_sweeps` has the other cases.
    """
    folders = [one for own in paths for one in ([own] if isinstance(own, Path | str) else own)]
    if not folders:
        raise ValueError("load: needs a sweep's folder, such as runs/NAME")
    return Loaded(read_sweeps(folders))


def loaded(source: Source) -> Loaded:
    """Return what `load` returned, or of a path or a list of paths what it would."""
    return source if isinstance(source, Loaded) else load(source)


def table(
    source: Source,
    *,
    rows: Names = (),
    columns: Names = (),
    metric: str | None = None,
    where: Mapping[str, object] | Names | None = None,
    within: Names = (),
    show: Names = (),
    pairs: bool = False,
    cost: bool = False,
) -> pd.DataFrame:
    """Return the table for people, cells as texts. The arguments are the flags of the command.

    rows, columns, within, show: lists of names, or texts as a command line has them, "model,lr".
    where: {field: a value, or a list of values one of which a trial must have}; or texts such as
        "model=mlp", one or a list.
    `attrs["caption"]` says how the numbers came about, and `attrs["notes"]` has the lines below.

    Raises:
        ValueError: fields or metrics that are not there.
    """
    own = loaded(source)
    chosen = own.sweeps.where(_conditions(where or {}))
    if own.is_one and not (rows or columns or metric or where or within or show):
        made = own.made
        if pairs or cost:
            made = sweep_table(own.sweeps, own.epochs, pairs, cost)
    else:
        texts = {"rows": rows, "columns": columns, "within": within, "show": show}
        wanted = {name: _names(one) for name, one in texts.items()}
        made = grouped_table(
            chosen, chosen.records(), metric=metric, **wanted, all_pairs=pairs, cost=cost
        )
    grid = made.grid
    cells = [[cell.marked for cell in row] for row in grid.rows]
    frame: pd.DataFrame = pd.DataFrame(cells, columns=list(grid.header))
    frame.attrs = {"caption": grid.caption, "notes": list(grid.footer)}
    return frame


def verdicts(source: Source, *, pairs: bool = False) -> pd.DataFrame:
    """Return how rows compare: each with the best on validation or, with `pairs`, every two.

    verdict: best, better, worse, not shown to differ, untested or none; `untested` says why.
    difference: the mean of `row` minus that of `other`, in the metric's unit; low and high are the
    ends of its interval. p is by itself, corrected_p for all comparisons together. The other
    columns are those of `results.verdicts.comparisons.Comparison`.
    """
    own = loaded(source)
    made = own.made
    if pairs and not made.groups.all_pairs:
        make = sweep_table if own.is_one else grouped_table
        made = make(own.sweeps, own.epochs, all_pairs=True)
    if pairs:
        return pairs_frame(made)
    names, groups = made.groups.names, made.groups.groups
    best = {group.family: names[group.number] for group in groups if group.mark == "best"}
    found = []
    for group in groups:
        compared = asdict(group.comparison) if group.comparison else {}
        shown = {"shown": group.comparison.shown} if group.comparison else {}
        about = {"row": names[group.number], "other": best.get(group.family) if compared else None}
        told = {"verdict": group.mark, "untested": group.untested}
        found.append({**about, **told, **compared, **shown})
    return pd.DataFrame(found)


def _names(given: Names) -> Sequence[str]:
    if not isinstance(given, str):
        return given
    return [name.strip() for name in given.split(",") if name.strip()]


def _conditions(where: Mapping[str, object] | Names) -> dict[str, list[object]]:
    if not isinstance(where, Mapping):
        return parse_conditions([where] if isinstance(where, str) else where)
    texts = []
    for name, given in where.items():
        values = given if isinstance(given, list | tuple | set) else [given]
        texts += [f"{name}={format_value(value)}" for value in values]
    return parse_conditions(texts)
