"""A sweep's trials and records -> the data of its report, as small as the page needs them."""

import base64
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fieldtrial.config import FIELDS, HINTS, is_field
from fieldtrial.disk.sweep_description import SearchDomain, SweepDescription
from fieldtrial.fields.choices import Criterion
from fieldtrial.fields.row_names import shortened
from fieldtrial.fields.scores import is_share
from fieldtrial.fields.task_metrics import metric_words
from fieldtrial.fields.values import format_value
from fieldtrial.own.names import is_option
from fieldtrial.results.analysis.groups import Groups
from fieldtrial.results.analysis.search_budget import drawn_values, expected_best
from fieldtrial.results.analysis.winner import test_metric
from fieldtrial.results.read.trials import CHOSEN_FROM, ENDED_WELL
from fieldtrial.results.read.wording import outcome_text

Column = dict[str, Any]

WIDE = 100  # a positive quantity that spans more than this ratio is drawn on a logarithmic axis
MOST_STEPS = 6  # numbers with no more values than this are choices, drawn at equal distances
DIGITS = 5  # significant ones, of numbers in the page
MISSING = 65535  # the code of a missing value; the others are 16-bit shares of the curve's range
CURVE_BYTES = 6_000_000  # of all curves in the page; beyond that, the last metrics are left out
CHOSEN_BY = tuple(one for one in typing.get_args(Criterion) if one != "validation_loss")
CURVES = (
    *CHOSEN_BY, "validation_loss", "train_loss", "train_accuracy", "lr",
    "gradient_norm", "update_ratio",
    "images_per_second", "data_wait", "utilization",
)  # fmt: skip
MEASURES = (
    *CHOSEN_BY, "validation_loss", "validation_auc",
    *(test_metric(one) for one in CHOSEN_BY), "test_loss", "train_accuracy", "train_loss",
    "best_epoch", "epochs_recorded", "minutes", "minutes_alone", "images_per_second", "parameters",
    "trainable_parameters", "flops", "energy_kwh",
)  # fmt: skip
# Rows in the figure of the search's budget; there are more lines than anybody reads.
MOST_LINES = 60
MOST_DRAWS = 40  # points of such a line
UNITS = {"flops": "per image", "data_wait": "of the time", "utilization": "of the peak rate"}


def hyperparameters(trials: pd.DataFrame, description: SweepDescription) -> list[str]:
    """Return the compared and searched fields that differ among the sweep's search trials."""
    names = dict.fromkeys(description.compared + list(description.search))
    search = trials[trials["role"].isin(CHOSEN_FROM)]
    return [
        name
        for name in names
        if name in search and search[name].dropna().map(format_value).nunique() > 1
    ]


def constants(trials: pd.DataFrame) -> dict[str, str]:
    """Return the fields that have the same value in all trials, with that value."""
    known = trials[trials["configuration"].notna()]
    names = [*FIELDS, *filter(is_option, map(str, known))]
    texts = {name: known[name].map(_text) for name in names} if len(known) else {}
    return {name: values.iloc[0] for name, values in texts.items() if values.nunique() == 1}


def columns(
    trials: pd.DataFrame, description: SweepDescription, created: Mapping[str, float]
) -> list[Column]:
    """Return the columns of the report's list of trials.

    created: trial -> when it began, in seconds since 1970.
    `values` of a column has one entry a trial, in the frame's order: a number or None in a number
    column, a place in `levels` in a category column.
    """
    rows = description.labels
    labels = [rows[row] if pd.notna(row) and 0 <= row < len(rows) else "–" for row in trials["row"]]
    same = constants(trials)
    compared = description.compared
    order = dict.fromkeys(
        [*compared, *description.search, *FIELDS, *filter(is_option, map(str, trials))]
    )
    fields = [name for name in order if name in trials and name not in same]
    select, known = description.select, trials["configuration"].notna()
    measures = dict.fromkeys([select, test_metric(select), *MEASURES])
    moments = [created.get(trial) for trial in trials["trial"]]
    return [
        category("trial", trials["trial"]),
        category("role", trials["role"]),
        category("outcome", map(outcome_text, trials["outcome"])),
        category("row", labels),
        *([_number("search", trials["search"])] if description.searches > 1 else []),
        *(
            _field(name, trials[name], known & (trials["role"] != "source"), description.search)
            for name in fields
        ),
        *(
            _number(name, trials[name])
            for name in measures
            if name in trials and trials[name].notna().any()
        ),
        {**_number("created", pd.Series(moments, dtype=float) * 1000, digits=13), "time": True},
    ]


def curves(trials: pd.DataFrame, records: pd.DataFrame, select: str) -> dict[str, Any]:
    """Return the learning curves of the trials, with 16 bits a value.

    curve: the number of each trial's curve. first: the place of each curve's first value; a last
    entry says where the last curve ends. start: the first epoch of each curve.
    epoch: the epoch of each value as base64 of int32, empty where no epoch is missing.
    metrics: `data` is base64 of uint16 codes from `low` to `high`, of the logarithm if `log`.
    left_out: the metrics that CURVE_BYTES had no room for.
    """
    order = {trial: place for place, trial in enumerate(trials["trial"].drop_duplicates())}
    place = records["trial"].map(order)
    known = (
        records[place.notna()]
        .assign(place=place[place.notna()].astype(int))
        .sort_values(["place", "epoch"])
    )
    counts = (
        np.bincount(known["place"], minlength=len(order))
        if len(known)
        else np.zeros(len(order), int)
    )
    first = np.concatenate([[0], np.cumsum(counts)])
    epochs = known["epoch"].to_numpy(int)
    whole = bool((np.diff(epochs)[np.diff(known["place"]) == 0] == 1).all())
    present = [
        name
        for name in dict.fromkeys([select, *CURVES])
        if name in known and known[name].notna().any()
    ]
    most = max(1, int(CURVE_BYTES / max(1, 2.7 * len(known))))
    return {
        "curve": [order[trial] for trial in trials["trial"]],
        "first": first.tolist(),
        "start": [
            int(epochs[place]) if count else 0
            for place, count in zip(first[:-1], counts, strict=True)
        ],
        "epoch": "" if whole else _base64(epochs.astype("<i4")),
        "metrics": [_curve(name, known[name]) for name in present[:most]],
        "left_out": [label(name) for name in present[most:]],
    }


def budget(groups: Groups, labels: Sequence[str]) -> dict[str, Any]:
    """Return the expected best validation of each row by the number of search trials.

    lines: of the rows with two trials or more that count, the best first: label, trials (numbers of
    them) and best, in per cent where the metric is a share. left_out: such rows beyond MOST_LINES.
    """
    select, mode = groups.select, groups.mode
    drawn = {group.number: drawn_values(group, select, mode) for group in groups.groups}
    rows = {row: own for row, own in drawn.items() if own.budget > 1}
    ends = {row: expected_best(own.values, [own.budget], mode)[0] for row, own in rows.items()}
    order = sorted(rows, key=lambda row: ends[row], reverse=mode == "max")
    scale, lines = 100 if is_share(select) else 1, []
    for row in order[:MOST_LINES]:
        drawn_from, total = rows[row]
        draws = np.unique(np.linspace(1, total, min(total, MOST_DRAWS)).round().astype(int))
        values = expected_best(drawn_from, draws.tolist(), mode)
        shown = [_short(scale * value, DIGITS) for value in values]
        lines.append({"label": labels[row], "trials": draws.tolist(), "best": shown})
    return {"lines": lines, "left_out": len(rows) - len(lines)}


def created(records: pd.DataFrame) -> dict[str, float]:
    """Return when each trial began to write its first record, in seconds since 1970."""
    if records.empty or "time" not in records:
        return {}
    begun = records["time"] - records.get("seconds", pd.Series(0.0, records.index)).fillna(0.0)
    earliest = begun.groupby(records["trial"]).min()
    return {str(trial): float(moment) for trial, moment in earliest.items() if np.isfinite(moment)}


def label(name: str) -> str:
    """Return the name on an axis: a field's flag, or a measure in words with its unit."""
    if is_field(name):
        return name
    unit = "%" if is_share(name) else UNITS.get(name.removesuffix("_recorded"), "")
    words = metric_words(name.removesuffix("_recorded"))
    for written, read in (("flops", "FLOPs"), ("auc", "AUC"), ("kwh", "kWh")):
        words = words.replace(written, read)
    return f"{words} ({unit})" if unit else words


def ended(trials: pd.DataFrame, select: str) -> pd.DataFrame:
    """Return the search trials that ended well, with a finite value of the selecting metric."""
    if select not in trials:
        return trials.iloc[:0]
    known = np.isfinite(pd.to_numeric(trials[select], errors="coerce").astype(float))
    well: pd.DataFrame = trials[
        trials["role"].isin(CHOSEN_FROM) & trials["outcome"].isin(ENDED_WELL) & known
    ]
    return well


def _field(
    name: str,
    values: "pd.Series[Any]",
    known: "pd.Series[bool]",
    search: Mapping[str, SearchDomain],
) -> Column:
    """Return a field's column: numbers, or texts where the field is none in a `known` trial.

    steps: the values that the known trials have, if these are few.
    """
    hint, domain = HINTS.get(name), search.get(name)
    if hint is None:  # an option
        is_number = all(type(value) in (int, float) for value in values[known])
    else:
        kinds = {hint, *typing.get_args(hint)}
        is_number = bool(kinds & {int, float}) and typing.get_origin(hint) is not tuple
    if not is_number or (values.isna() & known).any():
        texts = values.map(_text)
        return {**category(name, texts.map(shortened(texts))), "field": True}
    column = _number(name, values)
    steps = sorted({value for value, counts in zip(column["values"], known, strict=True) if counts})
    few = {"steps": steps} if len(steps) <= MOST_STEPS else {}
    return {
        **column,
        **few,
        "field": True,
        "log": domain.kind == "loguniform" if domain else column["log"],
    }


def _text(value: Any) -> str:
    return "–" if isinstance(value, float) and np.isnan(value) else format_value(value)


def _number(name: str, values: "pd.Series[Any]", digits: int = DIGITS) -> Column:
    numbers = pd.to_numeric(values, errors="coerce").astype(float).to_numpy()
    finite = numbers[np.isfinite(numbers)]
    return {
        "name": name,
        "label": label(name),
        "kind": "number",
        "whole": bool(len(finite) and (finite == np.round(finite)).all()),
        "log": bool(len(finite) and finite.min() > 0 and finite.max() > WIDE * finite.min()),
        "scale": 100 if is_share(name) else 1,
        "values": [_short(float(number), digits) for number in numbers],
    }


def _short(number: float, digits: int) -> float | int | None:
    if not np.isfinite(number):
        return None
    if float(number).is_integer() and abs(number) < 2**53:
        return int(number)
    return float(f"{number:.{digits}g}")


def category(name: str, values: Iterable[Any]) -> Column:
    """Return a column of texts: each once in `levels`, and for each trial the place of its own."""
    codes, levels = pd.factorize(pd.Series([str(value) for value in values], dtype=object))
    return {
        "name": name,
        "label": label(name),
        "kind": "category",
        "levels": list(levels),
        "values": codes.tolist(),
    }


def _curve(name: str, values: "pd.Series[Any]") -> dict[str, Any]:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
    finite = numbers[np.isfinite(numbers)]
    log = bool(len(finite) and finite.min() > 0 and finite.max() > WIDE * finite.min())
    scaled = (
        np.log10(numbers, where=numbers > 0, out=np.full_like(numbers, np.nan)) if log else numbers
    )
    low, high = _range(scaled[np.isfinite(scaled)])
    share = np.where(np.isfinite(scaled), (scaled - low) / (high - low), np.nan)
    codes = np.where(np.isfinite(share), np.round(share * (MISSING - 1)), MISSING).astype("<u2")
    return {
        "name": name,
        "label": label(name),
        "scale": 100 if is_share(name) else 1,
        **{"low": low, "high": high, "log": log, "data": _base64(codes)},
    }


def _range(values: Sequence[float] | np.ndarray[Any, Any]) -> tuple[float, float]:
    low, high = (float(np.min(values)), float(np.max(values))) if len(values) else (0.0, 1.0)
    if high > low:
        return low, high
    return low, low + (1.0 if low + 1.0 > low else abs(low))  # the next float may be farther off


def _base64(values: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()
