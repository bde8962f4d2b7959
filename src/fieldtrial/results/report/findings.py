"""What the table says, in sentences computed from the runs, with effect sizes and p-values."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fieldtrial.disk.sweep_description import SearchDomain
from fieldtrial.results.analysis.groups import FieldComparison, Group
from fieldtrial.results.analysis.importance import Importance
from fieldtrial.results.analysis.quantities import mean_of_runs, of_winner
from fieldtrial.results.analysis.statistics import estimate_mean
from fieldtrial.results.read.wording import (
    counted,
    is_share,
    p_text,
    score_text,
    signed_text,
    size_text,
    span_text,
)
from fieldtrial.results.report.data import label
from fieldtrial.results.report.tested import ComparedRows
from fieldtrial.results.verdicts.comparisons import Comparison
from fieldtrial.results.verdicts.crossed import FEWEST
from fieldtrial.results.verdicts.estimates import Interval

MOST_NAMED = 4
MOST_TOLD = 3  # of a field's values that are told one by one
NEAR_END = 0.05  # of the searched range: a winner there may have wanted to go further
MUCH_LESS = 0.9  # of the cost: a row that needs more than this is not worth a word
MARGIN = 0.01  # of the metric: a row that is shown to lose less than this is no worse
SMALL_SHARE = 0.05  # of the variance: not worth a word
Finding = dict[str, str]


def findings(
    tested: ComparedRows, importance: Importance, search: Mapping[str, SearchDomain]
) -> list[Finding]:
    """Return what the table says: the text of each sentence and its kind.

    search: the domains that were searched. The kind is shown (a difference), open (none is shown,
    or nothing is compared) or caution.
    """
    return [
        *_on_best(tested),
        *_on_cheapest(tested),
        *_on_fields(tested),
        *(_on_selection(tested) if search else ()),
        *_on_importance(importance, tested.table.select),
        *_on_ends(tested.table.groups, search),
        *_on_gaps(tested.table.groups),
    ]


def _on_best(tested: ComparedRows) -> Iterator[Finding]:
    """Say which row is best on validation, and how its test stands to those of the others."""
    if not tested.best:
        why = "can be compared" if tested.groups else "has been tested yet"
        yield _finding("caution", f"No row {why}, so nothing can be said of them.")
    for best in tested.best:
        others, metric = tested.others(best), tested.metric
        name = tested.labels[best]
        text = f"{name} is the best on validation: {_name(metric)}"
        interval = tested.interval(best)
        text += f" {mean_text(metric, interval)} ({interval_text(metric, interval)})."
        if not others:
            yield _finding("open", f"{text} There is no other row to compare it with.")
            continue
        shown = {row: one for row, one in others.items() if one.shown}
        if not shown:
            of = "to the other row" if len(others) == 1 else f"to any of the {len(others)} others"
            closest = _on_closest(tested, others)
            yield _finding("open", f"{text} No difference {of} is shown.{closest}")
            continue
        sign = tested.table.sign
        worse = [one for one in shown.values() if sign * one.difference < 0]
        better = {row: one for row, one in shown.items() if sign * one.difference > 0}
        if worse:
            of = "the other row" if len(others) == 1 else f"{_of(len(worse), len(others))} others"
            text += f" It is better than {of}, by {_sizes(metric, worse)}."
        if better:
            named = _named([tested.labels[row] for row in better])
            text += f" It is worse than {named}, by {_sizes(metric, list(better.values()))}."
        if level := {row: one for row, one in others.items() if row not in shown}:
            named = _named([tested.labels[row] for row in level])
            text += f" No difference is shown to {named}.{_on_closest(tested, level)}"
        yield _finding("shown", text)


def _of(some: int, every: int) -> str:
    return f"all {every}" if some == every else f"{some} of {every}"


def _on_closest(tested: ComparedRows, level: Mapping[int, Comparison]) -> str:
    """Say what the best of the rows that are not shown to differ may have for itself."""
    row, one = next(iter(level.items()))
    low, chance, high = (one.chance_low, one.chance, one.chance_high)
    if tested.table.sign < 0:
        low, chance, high = 1 - high, 1 - chance, 1 - low
    return (
        f" One new run of {tested.labels[row]} would beat one of it on new images with a chance of"
        f" {100 * chance:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)."
    )


def _on_cheapest(tested: ComparedRows) -> Iterator[Finding]:
    """Say which row costs least of those that are shown to be no worse than the best.

    That no difference is shown does not make two rows equal. A row is no worse where the whole
    interval of its difference to the best lies above -MARGIN.
    """
    costs: dict[str, dict[int, Any]] = {
        "parameters": {row: of_winner(one, "parameters") for row, one in tested.groups.items()},
        "minutes of training": {
            row: mean_of_runs(one, "minutes") for row, one in tested.groups.items()
        },
    }
    for best in tested.best:
        found, cheaper = [], 0
        others, sign = tested.others(best), tested.table.sign
        level = {row: one for row, one in others.items() if _loss(one, sign) < MARGIN}
        for unit, cost in costs.items():
            if not cost[best]:
                continue
            much = MUCH_LESS * cost[best]
            cheaper += sum(
                cost[row] is not None and cost[row] < much and not one.shown
                for row, one in others.items()
            )
            known = {row: cost[row] for row in level if cost[row] is not None and cost[row] < much}
            if known:
                least = min(known, key=lambda row, known=known: float(known[row]))  # type: ignore[misc]
                one = others[least]
                found.append(
                    f"{tested.labels[least]} needs {_short(cost[least])} {unit} instead of"
                    f" {_short(cost[best])} ({_difference(tested.metric, one)})"
                )
        margin = size_text(tested.metric, MARGIN).replace("1.0 points", "1 point")
        if found:
            text = f"Shown to be less than {margin} worse than {tested.labels[best]}:"
            yield _finding("shown", f"{text} {'; '.join(found)}.")
        elif cheaper:
            text = f"No cheaper row is shown to be less than {margin} worse than"
            yield _finding("open", f"{text} {tested.labels[best]}.")


def _loss(one: Comparison, sign: int) -> float:
    """Return by how much a row may be worse than the best, at most."""
    return -one.low if sign > 0 else one.high


def _on_fields(tested: ComparedRows) -> Iterator[Finding]:
    """Say how the values of the compared fields differ, in rows that are alike in all else."""
    fields: dict[str, list[FieldComparison]] = {}
    for one in tested.table.compared_fields:
        fields.setdefault(one.name, []).append(one)
    for name, found in fields.items():
        if len(found) <= MOST_TOLD:
            for one in found:
                yield _on_value(one, tested)
        else:
            yield _on_values(name, found, tested)


def _on_value(one: FieldComparison, tested: ComparedRows) -> Finding:
    """Say whether two values of a field differ; the better one stands first."""
    metric, sign, comparison = tested.metric, tested.table.sign, one.comparison
    first, second = one.value, one.other
    low, difference, high = comparison.low, comparison.difference, comparison.high
    if sign * difference < 0:
        first, second = second, first
        low, difference, high = -high, -difference, -low
    evidence = (
        f"{one.pairs} pairs of otherwise equal rows, interval {span_text(metric, low, high)},"
        f" {p_text(comparison.corrected_p)}"
    )
    if comparison.shown:
        relation = "above" if sign > 0 else "below"
        size = size_text(metric, difference)
        return _finding("shown", f"{one.name}: {first} is {size} {relation} {second} ({evidence}).")
    mean = f"{signed_text(metric, difference)}{_unit(metric)} for {first}"
    text = f"{one.name}: no difference between {first} and {second} is shown"
    return _finding("open", f"{text} ({mean}; {evidence}).")


def _on_values(name: str, found: Sequence[FieldComparison], tested: ComparedRows) -> Finding:
    """Say how many values of a field are shown to differ from the one best on validation."""
    sign, other = tested.table.sign, found[0].other
    text = f"{name}: in otherwise equal rows, {other} is the best on validation."
    worse = [one for one in found if one.comparison.shown and sign * one.comparison.difference < 0]
    better = [one for one in found if one.comparison.shown and sign * one.comparison.difference > 0]
    level = [one.value for one in found if not one.comparison.shown]
    if worse:
        sizes = _sizes(tested.metric, [one.comparison for one in worse])
        text += f" It is better than {_named([one.value for one in worse])}, by {sizes}."
    if better:
        sizes = _sizes(tested.metric, [one.comparison for one in better])
        text += f" It is worse than {_named([one.value for one in better])}, by {sizes}."
    if level:
        text += f" No difference is shown to {_named(level)}."
    return _finding("shown" if worse or better else "open", text)


def _on_selection(tested: ComparedRows) -> Iterator[Finding]:
    """Say whether the winners of the search repeated the validation that they were chosen by.

    Their runs with fresh seeds have a validation of their own, on as many images of the same set.
    """
    select = tested.table.select
    gains: dict[int, float] = {}
    for row, group in tested.groups.items():
        chosen, repeated = of_winner(group, select), mean_of_runs(group, select)
        if chosen is not None and repeated is not None:
            gains[row] = (float(chosen) - repeated) * (1 if tested.mode == "max" else -1)
    if len(gains) < FEWEST:
        return
    mean, half, _ = estimate_mean(list(gains.values()))
    assert half is not None
    relation = "better" if mean > 0 else "worse"
    text = (
        f"On the average of {len(gains)} rows, the {_name(select)} that winners were chosen by is"
        f" {size_text(select, mean)} {relation} than that of their own runs with fresh seeds (95 %"
        f" interval {span_text(select, mean - half, mean + half)})."
    )
    most = max(gains, key=lambda row: gains[row])
    if gains[most] > max(2 * MARGIN, mean + half):
        group = tested.groups[most]
        figures = [of_winner(group, select), mean_of_runs(group, select)]
        first, then = (
            f"{score_text(select, float(one or 0))}{_percent(select)}" for one in figures
        )
        text += f" The most for {tested.labels[most]}: {first}, then {then}."
    yield _finding("caution" if mean > MARGIN else "open", text)


def _on_importance(importance: Importance, select: str) -> Iterator[Finding]:
    pairs = zip(importance.names, importance.fanova, strict=True)
    shares = [f"{name} {100 * share:.0f} %" for name, share in pairs if share >= SMALL_SHARE]
    if shares:
        what = f"Of the variance of the {_name(select)} among the search trials"
        yield _finding(
            "open",
            f"{what}, each of these explains by itself: {', '.join(shares[:MOST_NAMED])} (fANOVA).",
        )


def _on_ends(groups: Sequence[Group], search: Mapping[str, SearchDomain]) -> Iterator[Finding]:
    """Say where winners lie at the end of what was searched."""
    for name, domain in search.items():
        low, high = domain.low, domain.high
        if low is None or high is None:
            continue
        found = [of_winner(group, name) for group in groups]
        values = [value for value in found if isinstance(value, int | float)]
        if domain.step is None and all(isinstance(value, int) for value in values):
            high -= 1  # Ray Tune's upper bounds of whole numbers are exclusive
        shares = [_place(value, low, high, domain.kind == "loguniform") for value in values]
        near = {
            "lower": [s for s in shares if s < NEAR_END],
            "upper": [s for s in shares if s > 1 - NEAR_END],
        }
        for end, there in near.items():
            if len(there) >= max(2, 0.2 * len(values)):
                where = (
                    f"{len(there)} of {len(values)} rows have their winner at the {end} end of what"
                    " was searched"
                )
                yield _finding(
                    "caution", f"{name}: {where}, {domain}; a wider search may find better."
                )


def _place(value: float, low: float, high: float, log: bool) -> float:
    """Return where in low..high a value is, from 0 to 1."""
    if log:
        low, high, value = math.log(low), math.log(high), math.log(max(value, low))
    return (value - low) / (high - low) if high > low else 0.5


def _on_gaps(rows: Sequence[Group]) -> Iterator[Finding]:
    few = sum(one.scored is not None and not one.scored.suffices for one in rows)
    missing = sum(one.scored is None for one in rows)
    if 0 < missing < len(rows):
        have = "has" if missing == 1 else "have"
        yield _finding(
            "caution",
            f"{missing} of {len(rows)} rows {have} no test result yet: all this is without them.",
        )
    if few:
        have = "has" if few == 1 else "have"
        what = f"{few} of {counted(len(rows), 'row')} {have} fewer than {FEWEST} different runs"
        yield _finding("caution", f"{what} with fresh seeds: no difference can be shown there.")


def _finding(kind: str, text: str) -> Finding:
    return {"kind": kind, "text": text}


def mean_text(metric: str, interval: Interval) -> str:
    """Return the mean with its unit."""
    return f"{score_text(metric, interval.mean)}{_percent(metric)}"


def interval_text(metric: str, interval: Interval) -> str:
    """Return the 95 % interval, if there is one, and the number of runs."""
    if interval.low is None or interval.high is None:
        return f"n = {interval.runs}"
    ends = f"{score_text(metric, interval.low)} to {score_text(metric, interval.high)}"
    return f"95 % interval {ends}{_percent(metric)}; n = {interval.runs}"


def _name(metric: str) -> str:
    return label(metric).removesuffix(" (%)")


def _percent(metric: str) -> str:
    return " %" if is_share(metric) else ""


def _unit(metric: str) -> str:
    return " points" if is_share(metric) else ""


def _named(texts: Sequence[str]) -> str:
    shown = ", ".join(texts[:MOST_NAMED])
    return shown + (f" and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else "")


def _difference(metric: str, one: Comparison) -> str:
    difference = f"{signed_text(metric, one.difference)}{_unit(metric)}"
    return f"{difference}, interval {span_text(metric, one.low, one.high)}"


def _sizes(metric: str, shown: Sequence[Comparison]) -> str:
    """Return the smallest and the largest of the differences, and the largest p."""
    ordered = sorted(abs(one.difference) for one in shown)
    least, most = (size_text(metric, size) for size in (ordered[0], ordered[-1]))
    span = most if least == most else f"{least.removesuffix(' points')} to {most}"
    p = p_text(max(one.corrected_p for one in shown))
    return f"{span} ({p if len(shown) == 1 else p.replace('=', '≤')})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2g}"
