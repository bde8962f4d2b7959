"""What a table can show of a group beside its metric: cost, size, speed, the winner's fields."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from fieldtrial.config import FIELDS
from fieldtrial.fields.values import format_value
from fieldtrial.own.names import is_option
from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.analysis.recipes.lines import RECIPES, said
from fieldtrial.results.analysis.search_budget import SearchCost, search_costs
from fieldtrial.results.read.sweeps import SWEEP, Sweeps
from fieldtrial.results.read.trials import RUN
from fieldtrial.results.read.wording import few

Measure = Callable[[Group], float | str | None]
Place = tuple[str, str]  # of a trial: its sweep and its name
MOST_NAMES = 2  # runs in a cell
SPEEDS = ("images_per_second", "data_wait", "utilization")  # of trials, from their records
COST = ("device_hours", *SPEEDS, "energy_kwh")  # what a row's runs cost and how fast they were
ALWAYS = ("minutes",)  # measures that are known before the first trial has ended


def measures(
    sweeps: Sweeps, groups: Groups, records: pd.DataFrame, costs: pd.DataFrame
) -> dict[str, Measure]:
    """Return what can be asked of a group, by name; a measure is None where it is not known.

    records: the records of the sweeps' trials. costs: what `cost_of_trials` says of them.
    """

    @functools.cache
    def searches() -> dict[int, SearchCost]:
        return search_costs(groups.groups, costs)

    def mean(name: str) -> Measure:
        return lambda group: mean_of_runs(group, name)

    def winners(name: str) -> Measure:
        return lambda group: of_winner(group, name)

    def field(name: str) -> Measure:
        return lambda group: _field(group, name)

    def entry(name: str) -> Measure:
        return lambda group: said(group, name)

    def count(name: str) -> Measure:
        return lambda group: group.counts[name]

    def device_hours(group: Group) -> float:
        own = costs.reindex(places(group.trials))
        return float((own["device_hours"] + own["repeated_hours"]).sum())

    def search_cost(group: Group) -> str | None:
        cost = searches()[group.number]
        return str(cost) if cost.trials else None

    def per_parameter(group: Group) -> float | None:
        parameters = of_winner(group, "parameters")
        if not group.interval or not parameters:
            return None
        return group.interval.mean * 100 / (float(parameters) / 1e6)

    def share(group: Group) -> float | None:
        names = ("trainable_parameters", "parameters")
        trainable, total = (of_winner(group, name) for name in names)
        return float(trainable) / float(total) if trainable is not None and total else None

    def selecting(group: Group) -> float | str | None:
        is_by_hand = group.winner and group.winner["role"] == RUN
        return group.chosen_by(groups.select) if is_by_hand else of_winner(group, groups.select)

    numeric = (
        sweeps.trials.drop(columns=["row", "search", "winner"]).select_dtypes("number").columns
    )
    known = {str(name): mean(str(name)) for name in (*numeric, *ALWAYS) if name not in FIELDS}
    fields = (*FIELDS, *filter(is_option, map(str, sweeps.trials)))
    known |= {name: field(name) for name in fields if name not in groups.fields}
    known |= {name: winners(name) for name in ("flops", "trainable_parameters", "parameters")}
    known |= {groups.select: selecting, "runs": _names}
    known |= {name: entry(name) for name in RECIPES}
    known |= {"trainable_share": share, "device_hours": device_hours, "winner": winners("trial")}
    known |= {
        "search_cost": search_cost,
        "search_epochs": lambda group: searches()[group.number].epochs,
        "search_device_hours": lambda group: searches()[group.number].device_hours,
    }
    known |= _speed_measures(records)
    if "energy_kwh" not in known:  # of no trial
        known |= {"energy_kwh": lambda _: None}
    known |= {"trials": lambda group: group.trials["trial"].nunique()}
    known |= {name: count(name) for group in groups.groups[:1] for name in group.counts}
    if groups.metric.endswith("accuracy"):
        known |= {"accuracy_per_million_parameters": per_parameter}
    return known


def _names(group: Group) -> str:
    """Return the names of the group's tested runs, the first few if there are many."""
    runs = shown_runs(group)
    names = [str(name) for name in (runs if len(runs) else group.trials)["trial"]]
    return few(names, MOST_NAMES)


def _speed_measures(records: pd.DataFrame) -> dict[str, Measure]:
    """Return the means of how fast a group's runs were; nothing is computed before one is asked."""

    @functools.cache
    def speeds() -> pd.DataFrame:
        return speed_of_trials(records)

    @functools.cache
    def speeds_of(name: str) -> dict[Place, float]:
        return by_place(speeds()[name])

    def speed(name: str) -> Measure:
        return lambda group: mean_by_place(group, speeds_of(name))

    return {name: speed(name) for name in SPEEDS}


def speed_of_trials(records: pd.DataFrame) -> pd.DataFrame:
    """Return how fast each trial (sweep, trial) was, from its epochs with training.

    images_per_second, utilization: medians over the epochs. data_wait: the share of all training
    time. What was not recorded is NaN.
    """
    where = [SWEEP, "trial"]
    trained = records.loc[records["epoch"] > 0, where].copy()
    for name in SPEEDS:
        trained[name] = records[name].astype(float) if name in records else float("nan")
    # Epochs train on equally many images: their training times are as the time of an image.
    trained["time"] = (1 / trained["images_per_second"]).where(trained["data_wait"].notna())
    trained["waited"] = trained["time"] * trained["data_wait"]
    each = trained.groupby(where, observed=True)
    found = each[["images_per_second", "utilization"]].median()
    sums = each[["time", "waited"]].sum()
    return found.assign(data_wait=sums["waited"] / sums["time"].where(sums["time"] > 0))


def mean_of_runs(group: Group, name: str) -> float | None:
    """Return the mean over the group's final runs, or the winner's value before there are any."""
    return _mean(shown_runs(group)[name])


def by_place(values: "pd.Series[float]") -> dict[Place, float]:
    """Return what is known of values whose index is (sweep, trial).

    For a group's few runs, a dictionary takes a hundredth of the time of `reindex`.
    """
    known = values.dropna()
    return dict(zip(known.index.tolist(), known.astype(float).tolist(), strict=True))


def mean_by_place(group: Group, values: Mapping[Place, float]) -> float | None:
    """Return the same mean of values that are found by (sweep, trial)."""
    runs = shown_runs(group)
    places = dict.fromkeys(zip(runs[SWEEP], runs["trial"], strict=True))
    known = [values[place] for place in places if place in values]
    return float(np.mean(known)) if known else None


def places(trials: pd.DataFrame) -> pd.MultiIndex:
    """Return where trials are found: (sweep, trial), each once."""
    return pd.MultiIndex.from_frame(trials[[SWEEP, "trial"]].drop_duplicates())


def of_winner(group: Group, name: str) -> float | str | None:
    """Return a value of the group's winner, None if there is none."""
    return (group.winner or {}).get(name)


def shown_runs(group: Group) -> pd.DataFrame:
    """Return the group's final runs, or its winner before there are any."""
    if len(group.finals):
        return group.finals
    return group.trials[group.trials["trial"] == of_winner(group, "trial")]


def _mean(values: "pd.Series[float]") -> float | None:
    known = values.dropna().astype(float)
    return float(known.mean()) if len(known) else None


def _field(group: Group, name: str) -> float | str | None:
    """Return the winner's value of a field: a number, or a text of a command line."""
    if group.winner is None:
        return None
    value = group.winner.get(name)
    return value if type(value) in (int, float) else format_value(value)


def require(names: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError with the choices unless all `names` are among `known`."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"--show {','.join(unknown)}: unknown; there are: {', '.join(known)}")
