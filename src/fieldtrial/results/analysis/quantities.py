"""What can be said of a group of trials beside its metric: cost, size, speed, and its winner's
fields.
"""

from collections.abc import Callable, Sequence

import pandas as pd
from pandas.api.types import is_scalar

from fieldtrial.config import FIELDS
from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.read.sweeps import SWEEP, Sweeps

Measure = Callable[[Group], float | str | None]


def measures(
    sweeps: Sweeps, groups: Groups, costs: pd.DataFrame, speeds: "pd.Series[float]"
) -> dict[str, Measure]:
    """Return what can be asked of a group, by name; a measure is None where it is not known.

    costs: what `cost_of_trials` says; speeds: images per second of each trial (see
    `speed_of_trials`).
    """

    def runs(group: Group) -> pd.DataFrame:
        """The winner's runs with fresh seeds, or the winner itself before there are any."""
        return (
            group.finals
            if len(group.finals)
            else group.trials[group.trials["trial"] == _of_winner(group, "trial")]
        )

    def mean(name: str) -> Measure:
        return lambda group: _mean(runs(group)[name])

    def winners(name: str) -> Measure:
        return lambda group: _of_winner(group, name)

    def places(trials: pd.DataFrame) -> pd.MultiIndex:
        return pd.MultiIndex.from_frame(trials[[SWEEP, "trial"]].drop_duplicates())

    def device_hours(group: Group) -> float:
        own = costs.reindex(places(group.trials))
        return float((own["device_hours"] + own["repeated_hours"]).sum())

    def per_parameter(group: Group) -> float | None:
        parameters = _of_winner(group, "parameters")
        return (
            group.estimate.mean * 100 / (float(parameters) / 1e6)
            if group.estimate and parameters
            else None
        )

    def share(group: Group) -> float | None:
        trainable, total = (
            _of_winner(group, "trainable_parameters"),
            _of_winner(group, "parameters"),
        )
        return float(trainable) / float(total) if trainable is not None and total else None

    numeric = sweeps.trials.drop(columns=["row", "winner"]).select_dtypes("number").columns
    known: dict[str, Measure] = {
        str(name): mean(str(name)) for name in numeric if name not in FIELDS
    }
    known |= {
        name: winners(name)
        for name in (*FIELDS, groups.select, "flops")
        if name not in groups.fields
    }
    known |= {
        "trainable_parameters": winners("trainable_parameters"),
        "parameters": winners("parameters"),
    }
    known |= {"trainable_share": share, "device_hours": device_hours, "winner": winners("trial")}
    known |= {"images_per_second": lambda group: _mean(speeds.reindex(places(runs(group))))}
    known |= {"trials": lambda group: group.trials["trial"].nunique()}
    if groups.metric.endswith("accuracy"):
        known |= {"accuracy_per_million_parameters": per_parameter}
    return known


def speed_of_trials(records: pd.DataFrame) -> "pd.Series[float]":
    """Return the images per second of each trial (sweep, trial): the median over its epochs with
    training.
    """
    if "images_per_second" not in records:
        return pd.Series(dtype=float, index=pd.MultiIndex.from_arrays([[], []]))
    trained = records[records["epoch"] > 0]
    return trained.groupby([SWEEP, "trial"], observed=True)["images_per_second"].median()


def _mean(values: "pd.Series[float]") -> float | None:
    known = values.dropna().astype(float)
    return float(known.mean()) if len(known) else None


def _of_winner(group: Group, name: str) -> float | str | None:
    value = (group.winner or {}).get(name)
    return None if is_scalar(value) and pd.isna(value) else value


def require(names: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError with the choices unless all `names` are among `known`."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"--show {','.join(unknown)}: unknown; there are: {', '.join(known)}")
