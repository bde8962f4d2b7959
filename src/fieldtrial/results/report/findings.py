"""What the table says, in sentences computed from the runs, with effect sizes and p-values."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fieldtrial.disk.sweep_description import SearchDomain
from fieldtrial.results.analysis.budget import budget_findings
from fieldtrial.results.analysis.groups import Group
from fieldtrial.results.analysis.importance import Importance
from fieldtrial.results.analysis.quantities import mean_of_runs, of_winner
from fieldtrial.results.analysis.statistics import Comparison, estimate_mean, estimate_seeds
from fieldtrial.results.read.wording import is_share
from fieldtrial.results.report.comparisons import FieldComparisons, RowComparisons, compare_fields
from fieldtrial.results.report.data import label

MOST_NAMED = 4
MOST_PAIRS = 3  # of a field's values that are told one by one
NEAR_END = 0.05  # of the searched range: a winner there may have wanted to go further
MUCH_LESS = 0.9  # of the cost: a row that needs more than this is not worth a word
SMALL_SHARE = 0.05  # of the variance: not worth a word
Finding = dict[str, str]


def findings(
    tested: RowComparisons, importance: Importance, search: Mapping[str, SearchDomain]
) -> list[Finding]:
    """Return what the table says: the text of each sentence and its kind.

    search: the domains that were searched. The kind is shown (a difference), open (none is shown,
    or nothing is compared) or caution.
    """
    return [
        *_on_best(tested),
        *_on_cheapest(tested),
        *(finding for field in compare_fields(tested) for finding in _on_field(field, tested)),
        *_on_selection(tested),
        *_on_importance(importance, tested.table.select),
        *_on_ends(tested.table.groups, search),
        *budget_findings(tested.table, tested.labels),
        *_on_gaps(tested.table.groups),
    ]


def _on_best(tested: RowComparisons) -> Iterator[Finding]:
    """Say which row is best on validation, and how its test stands to those of the others."""
    if not tested.best:
        why = "can be compared" if tested.groups else "has been tested yet"
        yield _finding("caution", f"No row {why}, so nothing can be said of them.")
    for best in tested.best:
        others, values = tested.others(best), list(tested.groups[best].values.values())
        text = f"{tested.labels[best]} is the best on validation: {_name(tested.metric)} "
        text += f"{estimate_text(values, tested.metric)} (n = {len(values)})."
        sign = 1 if tested.mode == "max" else -1
        shown = {row: one for row, one in others.items() if one.shown}
        better = [one for one in shown.values() if sign * one.difference > 0]
        worse = {row: one for row, one in shown.items() if sign * one.difference < 0}
        if not others:
            yield _finding("open", f"{text} There is no other row to compare it with.")
            continue
        if not shown:
            yield _finding(
                "open", f"{text} No difference to any of the {len(others)} other rows is shown."
            )
            continue
        if better:
            text += (
                f" It is better than {len(better)} of {len(others)} other rows, by"
                f" {_sizes(better, tested.metric)}."
            )
        if worse:
            named = _named([tested.labels[row] for row in worse])
            text += f" It is worse than {named}, by {_sizes(list(worse.values()), tested.metric)}."
        if level := [tested.labels[row] for row in others if row not in shown]:
            text += f" No difference is shown to {_named(level)}."
        yield _finding("shown", text)


def _on_cheapest(tested: RowComparisons) -> Iterator[Finding]:
    """Say which row costs least of those that have not been shown to be worse than the best."""
    costs: dict[str, dict[int, Any]] = {
        "parameters": {row: of_winner(one, "parameters") for row, one in tested.groups.items()},
        "minutes of training": {
            row: mean_of_runs(one, "minutes") for row, one in tested.groups.items()
        },
    }
    for best in tested.best:
        found = []
        level = sorted(tested.set_off & tested.others(best).keys())
        for unit, cost in costs.items():
            known = [row for row in level if cost[row] is not None]
            least = min(known, key=lambda row, cost=cost: cost[row], default=best)  # type: ignore[misc]
            if not cost[best] or cost[least] >= MUCH_LESS * cost[best]:
                continue
            difference = tested.mean(least) - tested.mean(best)
            found.append(
                f"{tested.labels[least]} needs {_short(cost[least])} {unit} instead of"
                f" {_short(cost[best])} (mean {_size(difference, tested.metric, signed=True)})"
            )
        if found:
            yield _finding("open", f"Of the rows not shown to be worse, {', and '.join(found)}.")


def _on_field(field: FieldComparisons, tested: RowComparisons) -> Iterator[Finding]:
    """Say how the values of a compared field differ, in rows that are alike in all else."""
    if len(field.pairs) <= MOST_PAIRS:
        for first, second, comparison in field.pairs:
            yield _on_pair(field.name, first, second, comparison, tested)
        return
    best_first = sorted(
        field.means, key=lambda level: field.means[level], reverse=tested.mode == "max"
    )
    text = f"{field.name}, best first: {', '.join(best_first)}. "
    shown = [one for _, _, one in field.pairs if one.shown]
    open_pairs = [f"{first} and {second}" for first, second, one in field.pairs if not one.shown]
    if not shown:
        yield _finding(
            "open",
            f"{text}In otherwise equal rows, no difference between any two is shown.",
        )
        return
    text += (
        f"In otherwise equal rows, {len(shown)} of {len(field.pairs)} differences are shown, of "
    )
    text += f"{_sizes(shown, tested.metric)}" + (
        f"; none between {_named(open_pairs)}." if open_pairs else "."
    )
    yield _finding("shown", text)


def _on_pair(
    name: str, first: str, second: str, one: Comparison, tested: RowComparisons
) -> Finding:
    """Say whether two values of a field differ; the better one stands first."""
    difference, half = one.difference, one.half_width or 0.0
    if (difference > 0) != (tested.mode == "max"):
        first, second, difference = second, first, -difference
    interval = f"95 % interval {_span(difference - half, difference + half, tested.metric)}"
    evidence = (
        f"{one.n} pairs of otherwise equal rows, {interval}, corrected p {_p(one.corrected_p)}"
    )
    if one.shown:
        relation = "above" if tested.mode == "max" else "below"
        return _finding(
            "shown",
            f"{name}: {first} is {_size(abs(difference), tested.metric)} {relation} {second}"
            f" ({evidence}).",
        )
    mean = f"{_size(difference, tested.metric, signed=True)} for {first}"
    return _finding(
        "open", f"{name}: no difference between {first} and {second} is shown ({mean}; {evidence})."
    )


def _on_selection(tested: RowComparisons) -> Iterator[Finding]:
    """Say by how much choosing the best on validation flatters it."""
    select, metric = tested.table.select, tested.metric
    chosen = {row: of_winner(group, select) for row, group in tested.groups.items()}
    known = {row: float(value) for row, value in chosen.items() if value is not None}
    if len(known) < 3:
        return
    estimate = estimate_mean([value - tested.mean(row) for row, value in known.items()])
    half = estimate.half_width or 0.0
    interval = f"95 % interval {_span(estimate.mean - half, estimate.mean + half, metric)}"
    size = f"{_size(abs(estimate.mean), metric)} {'above' if estimate.mean > 0 else 'below'}"
    text = (
        f"On the average of {len(known)} rows, the {_name(select)} that winners were chosen"
        f" by is {size} their {_name(metric)} with fresh seeds ({interval}):"
    )
    if abs(estimate.mean) <= half:
        yield _finding("open", f"{text} no selection bias is shown.")
    elif (estimate.mean > 0) == (tested.mode == "max"):
        yield _finding("caution", f"{text} validation is optimistic; read the test column.")
    else:
        yield _finding("open", f"{text} test is the easier of the two.")


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
    few = sum(0 < len(row.values) < 3 for row in rows)
    missing = sum(not row.values for row in rows)
    if 0 < missing < len(rows):
        yield _finding(
            "caution",
            f"{missing} of {len(rows)} rows have no test result yet and are in none of this.",
        )
    if few:
        what = f"{few} of {len(rows)} rows have fewer than three runs with fresh seeds"
        yield _finding("caution", f"{what}: of those no difference can be shown.")


def _finding(kind: str, text: str) -> Finding:
    return {"kind": kind, "text": text}


def estimate_text(values: Sequence[float], metric: str) -> str:
    """Return the mean ± half of its 95 % interval, if there is one, in the metric's unit."""
    mean, half, _ = estimate_seeds(values)
    scale, digits, unit = (100, 2, " %") if is_share(metric) else (1, 4, "")
    interval = "" if half is None else f" ± {scale * half:.{digits}f}"
    return f"{scale * mean:.{digits}f}{interval}{unit}"


def _name(metric: str) -> str:
    return label(metric).removesuffix(" (%)")


def _named(texts: Sequence[str]) -> str:
    shown = ", ".join(texts[:MOST_NAMED])
    return shown + (f" and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else "")


def _sizes(shown: Sequence[Comparison], metric: str) -> str:
    sizes = [abs(one.difference) for one in shown]
    least, most = (_number(size, metric, signed=False) for size in (min(sizes), max(sizes)))
    unit = " points" if is_share(metric) else ""
    span = f"{least}{unit}" if least == most else f"{least} to {most}{unit}"
    return f"{span} (corrected p {_p(max(one.corrected_p or 0.0 for one in shown), '≤')})"


def _size(value: float, metric: str, signed: bool = False) -> str:
    return _number(value, metric, signed) + (" points" if is_share(metric) else "")


def _span(low: float, high: float, metric: str) -> str:
    return f"{_number(low, metric, signed=True)} to {_number(high, metric, signed=True)}"


def _number(value: float, metric: str, signed: bool) -> str:
    text = f"{100 * value:.1f}" if is_share(metric) else f"{value:.3g}"
    text = text.removeprefix("-") if re.fullmatch(r"-0(\.0+)?", text) else text
    return (f"+{text}" if signed and value > 0 else text).replace("-", "−")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2g}"


def _p(value: float | None, sign: str = "=") -> str:
    return "unknown" if value is None else "< 0.0001" if value < 0.0001 else f"{sign} {value:.2g}"
