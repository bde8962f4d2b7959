"""The budget of each row's search: what was spent, if it is fair, and what half would have found.

The expected best validation of n trials is due to J. Dodge, S. Gururangan, D. Card, R. Schwartz,
N. A. Smith: Show Your Work: Improved Reporting of Experimental Results, EMNLP 2019. Their estimator
draws with replacement and is biased: R. Tang et al., Showing Your Work Doesn't Always Work,
ACL 2020, whose unbiased one is computed here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from fieldtrial.disk.sweep_description import Mode
from fieldtrial.fields.printable import counted
from fieldtrial.fields.scores import is_share, score_text
from fieldtrial.fields.task_metrics import metric_words
from fieldtrial.panel.terminal import format_hours
from fieldtrial.results.analysis.groups import Group, Groups, Key
from fieldtrial.results.read.sweeps import SWEEP
from fieldtrial.results.read.trials import ENDED_WELL, FAILED

CHOOSING = ("search", "finalist")  # roles of the trials that choose a winner
MUCH_MORE = 2  # times what another row's search had: worth a warning
FEWEST_TRIALS = 4  # of a row: half of fewer is a single trial
ROUNDING = 1e-9  # relative: expected values closer than this are equal


class SearchCost(NamedTuple):
    """What a group's search has had: trials of any outcome, their epochs and device-hours.

    The runs of finalists, which decide between the best trials, are in epochs and device-hours.
    Epochs that were repeated after a restart count once in epochs, and in device-hours as often as
    they ran. epoch_hours are those of the device-hours that passed in epochs.
    """

    trials: int
    epochs: int
    device_hours: float
    epoch_hours: float = 0.0

    def __str__(self) -> str:
        """Return the cost for people, beginning with the number that a table is sorted by."""
        epochs, trials = counted(self.epochs, "epoch"), counted(self.trials)
        return f"{format_hours(self.device_hours)} h, {epochs}, {trials}"


def search_costs(groups: Sequence[Group], costs: pd.DataFrame) -> dict[int, SearchCost]:
    """Return what the search of each group has cost, by the group's number.

    costs: what `cost_of_trials` said. A trial that groups share counts in each of them.
    """
    nothing = {group.number: SearchCost(0, 0, 0.0) for group in groups}
    if not groups:
        return nothing
    trials = {group.number: group.count("search") for group in groups}
    columns = [pd.concat([group.trials[name] for group in groups]) for name in (SWEEP, "trial")]
    roles = np.concatenate([group.trials["role"] for group in groups])
    own = costs.reindex(pd.MultiIndex.from_arrays(columns)).fillna(0.0)
    spent = pd.DataFrame(
        {
            "number": np.repeat([g.number for g in groups], [len(g.trials) for g in groups]),
            "epochs": own["last_epoch"].to_numpy(),
            "device_hours": (own["device_hours"] + own["repeated_hours"]).to_numpy(),
            "epoch_hours": (own["epoch_hours"] + own["repeated_hours"]).to_numpy(),
        }
    )
    sums = spent[np.isin(roles, CHOOSING)].groupby("number").sum()
    return nothing | {
        int(number): SearchCost(int(trials[number]), int(epochs), float(hours), float(in_epochs))
        for number, epochs, hours, in_epochs in zip(
            sums.index, sums["epochs"], sums["device_hours"], sums["epoch_hours"], strict=True
        )
    }


def unequal_search_lines(groups: Groups, searched: Sequence[str], costs: pd.DataFrame) -> list[str]:
    """Return lines on the searches that had more than twice as much as another: epochs, hours.

    searched: the fields that the sweeps search. Only groups are set against each other whose search
    is over and has a winner, on the same data with the same settings. Groups that the search itself
    has made, by the values of a searched field, are not. Hours are those in epochs: the start of a
    worker is charged to its first trial, whichever row that is of.
    """
    if not searched or {*groups.fields} & {*searched}:
        return []
    known = search_costs(groups.groups, costs)
    families: dict[Key, list[Group]] = {}
    for group in groups.groups:
        expected = (group.expected, group.count("finalist"))
        is_over = all(
            group.count(role, *ENDED_WELL, *FAILED) >= number
            for role, number in zip(CHOOSING, expected, strict=True)
        )
        if group.winner and is_over:
            families.setdefault((*group.data, str(group.alike)), []).append(group)
    lines = []
    if pair := _furthest_apart(families, {one: cost.epochs for one, cost in known.items()}):
        more, less = (
            f"{_fields(groups, group)} for {counted(known[group.number].epochs, 'epoch')} in"
            f" {counted(known[group.number].trials)}"
            for group in pair
        )
        lines.append(
            f"Unequal searches: {more}, {less}, which is less than half of the epochs. A row that"
            " is searched longer has an unfair advantage."
        )
    if pair := _furthest_apart(families, {one: cost.epoch_hours for one, cost in known.items()}):
        more, less = (
            f"{format_hours(known[group.number].epoch_hours)} device-hours in epochs for"
            f" {_fields(groups, group)}"
            for group in pair
        )
        lines.append(
            f"Unequal cost of the searches: {more}, {less}, which is less than half. For as many"
            " device-hours, the cheaper row could have been searched longer."
        )
    return lines


def _furthest_apart(
    families: Mapping[Key, Sequence[Group]], spent: Mapping[int, float]
) -> tuple[Group, Group] | None:
    """Return the two groups of a family with the largest ratio, if that is much, most first."""
    pairs = []
    for family in families.values():
        ranked = sorted(family, key=lambda group: spent[group.number])
        least, most = ranked[0], ranked[-1]
        low, high = spent[least.number], spent[most.number]
        if high > MUCH_MORE * low:
            pairs.append((high / low if low else math.inf, most, least))
    if not pairs:
        return None
    _, most, least = max(pairs, key=lambda pair: pair[0])
    return most, least


def _fields(groups: Groups, group: Group) -> str:
    pairs = zip(groups.fields, group.key, strict=True)
    text = " ".join(f"{name}={value}" for name, value in pairs) or "all"
    is_again = groups.twins is not None and group.number == groups.twins[1]
    return f"{text} again" if is_again else text


class Drawn(NamedTuple):
    """The validation of a row's search trials, and how many of them a search of the row has."""

    values: list[float]
    budget: int


def drawn_values(group: Group, select: str, mode: Mode) -> Drawn:
    """Return the validation of the search's trials, by `select`, as far as they can be drawn.

    Of a row with several searches, all trials are drawn from, as many as one search has. A trial
    that was stopped early has its best so far. One that diverged has the worst value of the group.
    One that failed otherwise or has not ended is not drawn.
    """
    search = group.trials["role"] == "search"
    ended = group.trials.loc[search & group.trials["outcome"].isin(ENDED_WELL), select]
    kinds = group.trials.get("error_kind", pd.Series(dtype=object))
    values = pd.to_numeric(ended, errors="coerce").astype(float).to_numpy()
    finite = [float(value) for value in values if math.isfinite(value)]
    if not finite:
        return Drawn([], 0)
    lost = len(values) - len(finite) + int((search & (kinds == "diverged")).sum())
    drawn = finite + [min(finite) if mode == "max" else max(finite)] * lost
    searches = group.trials.get("search", pd.Series(0, group.trials.index))[search].nunique()
    return Drawn(drawn, len(drawn) // searches)


def expected_best(values: Sequence[float], draws: Sequence[int], mode: Mode) -> list[float]:
    """Return the mean of the best of n of the `values`, over all choices of n, for each n in draws.

    Of N sorted values, the i-th is the largest in C(i - 1, n - 1) of C(N, n) choices. The mean is
    unbiased if the trials were drawn independently of each other. Each n is from 1 to N.
    """
    sign = 1 if mode == "max" else -1
    ordered = np.sort(sign * np.asarray(values, dtype=float))
    place, n = np.arange(1, len(ordered) + 1), np.asarray(draws)[:, None]
    ways = _log_choices(place - 1, n - 1) - _log_choices(np.asarray(len(ordered)), n)
    best: np.ndarray[Any, Any] = sign * (np.exp(ways) @ ordered)
    return [float(value) for value in best]


def _log_choices(of: np.ndarray[Any, Any], n: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the logarithm of how many choices of `n` there are, -inf where there is none."""
    logarithm: np.ndarray[Any, Any] = (
        special.gammaln(of + 1) - special.gammaln(n + 1) - special.gammaln(of - n + 1)
    )
    return logarithm


def budget_findings(groups: Groups, labels: Sequence[str]) -> list[dict[str, str]]:
    """Return a sentence, text and kind, on whether half of the trials had found the same best row.

    labels: of the groups, by number. There is a sentence for each of the data that two groups with
    a winner or more were searched on, if each has four trials that count, see `drawn_values`.
    """
    families: dict[Key, list[Group]] = {}
    for group in groups.groups:
        if group.winner:
            families.setdefault(group.data, []).append(group)
    found = []
    for family in families.values():
        drawn = [drawn_values(group, groups.select, groups.mode) for group in family]
        if len(family) > 1 and min(own.budget for own in drawn) >= FEWEST_TRIALS:
            names = [labels[group.number] for group in family]
            finding = _on_half(names, drawn, groups.select, groups.mode)
            if any(_has_better_stopped(group, groups.select, groups.mode) for group in family):
                finding["text"] += " Trials that were stopped early count here."
            found.append(finding)
    return found


def _has_better_stopped(group: Group, select: str, mode: Mode) -> bool:
    """Return whether a trial that was stopped early was better than the winner: another row may
    then seem to be the best.
    """
    stopped = (group.trials["role"] == "search") & (group.trials["outcome"] == "stopped")
    values = pd.to_numeric(group.trials.loc[stopped, select], errors="coerce").dropna()
    sign, chosen = (1 if mode == "max" else -1), float((group.winner or {})[select])
    return bool((sign * values.astype(float) > sign * chosen).any())


def _on_half(
    names: Sequence[str], drawn: Sequence[Drawn], select: str, mode: Mode
) -> dict[str, str]:
    sign = 1 if mode == "max" else -1
    half, full = np.array(
        [expected_best(values, [budget // 2, budget], mode) for values, budget in drawn]
    ).T
    best_of_half, best = (
        np.flatnonzero(np.isclose(one, sign * (sign * one).max(), rtol=ROUNDING, atol=0))
        for one in (half, full)
    )
    same = [place for place in best_of_half if place in best]
    first, other = int((same or best_of_half)[0]), int(best[0])
    start = f"With half of the trials, {names[first]}"
    if same:
        level = len(best) - 1
        shared = f", as for {counted(level, 'other row')}" if level else ""
        text = (
            f"{start} would have been expected to have the best {_words(select)} too"
            f" ({_score(half[first], select)}; with all of them, {_score(full[first], select)}"
            f"{shared})."
        )
    else:
        text = (
            f"{start} instead of {names[other]} would have been expected to have the"
            f" best {_words(select)} ({_score(half[first], select)} and"
            f" {_score(half[other], select)}; with all of them, {_score(full[first], select)} and"
            f" {_score(full[other], select)}). More trials may change the order again."
        )
    return {"kind": "open" if same else "caution", "text": text + _on_pairs(half, full)}


def _on_pairs(half: np.ndarray[Any, Any], full: np.ndarray[Any, Any]) -> str:
    """Return how many pairs of rows half of the trials had put in the other order."""
    one, other = np.triu_indices(len(full), k=1)
    if len(one) == 1:
        return ""  # of two rows, all has been said

    def order(values: np.ndarray[Any, Any]) -> Any:
        level = np.isclose(values[one], values[other], rtol=ROUNDING, atol=0)
        return np.where(level, 0, np.sign(values[one] - values[other]))

    turned = int((order(half) * order(full) < 0).sum())
    many = f"{turned:,}" if turned else "None"
    return f" {many} of the {len(one):,} pairs of rows would have stood in the other order."


def _words(select: str) -> str:
    return metric_words(select)


def _score(value: float, select: str) -> str:
    return score_text(select, value) + (" %" if is_share(select) else "")
