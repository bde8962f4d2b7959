"""What the table says, in sentences computed from the runs, with effect sizes and p-values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fieldtrial.disk.sweep_description import SearchDomain
from fieldtrial.fields.printable import counted
from fieldtrial.results.analysis.groups import FieldComparison, Key
from fieldtrial.results.analysis.importance import Importance
from fieldtrial.results.analysis.quantities import mean_of_runs, of_winner
from fieldtrial.results.analysis.search_budget import budget_findings
from fieldtrial.results.read.wording import p_text, signed_text, size_text, span_text
from fieldtrial.results.report.cautions import (
    on_design,
    on_ends,
    on_gaps,
    on_importance,
    on_recipes,
    on_selection,
)
from fieldtrial.results.report.sentences import (
    Finding,
    difference_text,
    finding,
    interval_text,
    list_text,
    margin,
    mean_text,
    metric_name,
    points,
    short,
    sizes_text,
)
from fieldtrial.results.report.tested import ComparedRows
from fieldtrial.results.verdicts.comparisons import Comparison

MOST_TOLD = 3  # of a field's values that are told one by one
MUCH_LESS = 0.9  # of the cost: a row that needs more than this is not worth a word


def findings(
    tested: ComparedRows, importance: Importance, search: Mapping[str, SearchDomain]
) -> list[Finding]:
    """Return what the table says: the text of each sentence and its kind.

    search: the domains that were searched. The kind is shown (a difference), open (none is shown,
    or nothing is compared) or caution.
    """
    return [
        *_on_best(tested),
        *_on_pairs(tested),
        *_on_cheapest(tested),
        *_on_fields(tested),
        *_on_noise(tested),
        *(on_selection(tested) if search else ()),
        *on_importance(importance, tested.table.select),
        *on_ends(tested.table.groups, search),
        *budget_findings(tested.table, tested.labels),
        *on_gaps(tested.table.groups),
        *on_recipes(tested),
        *on_design(tested),
    ]


def _on_best(tested: ComparedRows) -> Iterator[Finding]:
    """Say which row is best on validation, and how its test stands to those of the others."""
    if not tested.best:
        why = "can be compared" if tested.groups else "has been tested yet"
        yield finding("caution", f"No row {why}, so nothing can be said of them.")
    for best in tested.best:
        others, metric = tested.others(best), tested.metric
        name = tested.labels[best]
        text = f"{name} is the best on validation: {metric_name(metric)}"
        interval = tested.interval(best)
        text += f" {mean_text(metric, interval)} ({interval_text(metric, interval)})."
        if not others:
            yield finding("open", f"{text} There is no other row to compare it with.")
            continue
        shown = {row: one for row, one in others.items() if one.shown}
        if not shown:
            of = "to the other row" if len(others) == 1 else f"to any of the {len(others)} others"
            closest = _on_closest(tested, others)
            yield finding("open", f"{text} No difference {of} is shown.{closest}")
            continue
        sign = tested.table.sign
        worse = [one for one in shown.values() if sign * one.difference < 0]
        better = {row: one for row, one in shown.items() if sign * one.difference > 0}
        if worse:
            of = "the other row" if len(others) == 1 else f"{_of(len(worse), len(others))} others"
            text += f" It is better than {of}, by {sizes_text(metric, worse)}."
        if better:
            named = list_text([tested.labels[row] for row in better])
            text += f" It is worse than {named}, by {sizes_text(metric, list(better.values()))}."
        if level := {row: one for row, one in others.items() if row not in shown}:
            named = list_text([tested.labels[row] for row in level])
            text += f" No difference is shown to {named}.{_on_closest(tested, level)}"
        yield finding("shown", text)


def _of(some: int, every: int) -> str:
    return f"all {every}" if some == every else f"{some} of {every}"


def _on_closest(tested: ComparedRows, level: Mapping[int, Comparison]) -> str:
    """Say what the best of the rows that are not shown to differ may have for itself."""
    row, one = next(iter(level.items()))
    low, chance, high = (one.chance_low, one.chance, one.chance_high)
    if tested.table.sign < 0:
        low, chance, high = 1 - high, 1 - chance, 1 - low
    where = "these images" if one.basis == "seeds" else "new images"
    return (
        f" One new run of {tested.labels[row]} would beat one of it on {where} with a chance of"
        f" {100 * chance:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)."
    )


def _on_pairs(tested: ComparedRows) -> Iterator[Finding]:
    """Say how many of all pairs of rows are shown to differ."""
    if pairs := [one.comparison for one in tested.table.compared_pairs]:
        shown = [one for one in pairs if one.shown]
        text = f"Of {counted(len(pairs), 'pair')} of rows, {len(shown) or 'none'}"
        text += f" {'is' if len(shown) < 2 else 'are'} shown to differ"
        sizes = f", by {sizes_text(tested.metric, shown)}" if shown else ""
        yield finding("shown" if shown else "open", f"{text}{sizes}.")


def _on_cheapest(tested: ComparedRows) -> Iterator[Finding]:
    """Say which row costs least of those that are shown to be no worse than the best.

    That no difference is shown does not make two rows equal. A row is no worse where the whole
    interval of its difference to the best lies above -`margin`.
    """
    costs: dict[str, dict[int, Any]] = {
        "parameters": {row: of_winner(one, "parameters") for row, one in tested.groups.items()},
        **_minutes(tested),
    }
    for best in tested.best:
        found, cheaper = [], 0
        others, sign = tested.others(best), tested.table.sign
        most_loss = margin(tested.metric, tested.interval(best).mean)
        level = {row: one for row, one in others.items() if _loss(one, sign) < most_loss}
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
                    f"{tested.labels[least]} needs {short(cost[least])} {unit} instead of"
                    f" {short(cost[best])} ({difference_text(tested.metric, one)})"
                )
        size = size_text(tested.metric, most_loss).replace("1.0 points", "1 point")
        if found:
            text = f"Shown to be less than {size} worse than {tested.labels[best]}:"
            yield finding("shown", f"{text} {'; '.join(found)}.")
        elif cheaper:
            text = f"No cheaper row is shown to be less than {size} worse than"
            yield finding("open", f"{text} {tested.labels[best]}.")


def _minutes(tested: ComparedRows) -> dict[str, dict[int, Any]]:
    """Return the minutes that a run of each row takes alone, from nothing, if all rows know them.

    What a row had of others for nothing, such as features, does not make it cheap. Otherwise, they
    are those in epochs, which runs of earlier versions know too.
    """
    groups = tested.groups.items()
    if all("minutes_alone" in one.finals for _, one in groups):
        alone = {row: mean_of_runs(one, "minutes_alone") for row, one in groups}
        if None not in alone.values():
            return {"minutes alone, from nothing,": alone}
    return {"minutes in epochs": {row: mean_of_runs(one, "epoch_minutes") for row, one in groups}}


def _loss(one: Comparison, sign: int) -> float:
    """Return by how much a row may be worse than the best, at most."""
    return -one.low if sign > 0 else one.high


def _on_fields(tested: ComparedRows) -> Iterator[Finding]:
    """Say how the values of the compared fields differ, in rows that are alike in all else."""
    fields: dict[tuple[Key, str], list[FieldComparison]] = {}
    for one in tested.table.compared_fields:
        fields.setdefault((one.data, one.name), []).append(one)
    several = len({data for data, _ in fields}) > 1
    for (data, field), found in fields.items():
        name = f"{field} on {' '.join(data)}" if several else field
        if len(found) <= MOST_TOLD:
            for one in found:
                yield _on_value(name, one, tested)
        else:
            yield _on_values(name, found, tested)


def _on_value(name: str, one: FieldComparison, tested: ComparedRows) -> Finding:
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
        return finding("shown", f"{name}: {first} is {size} {relation} {second} ({evidence}).")
    mean = f"{signed_text(metric, difference)}{points(metric)} for {first}"
    text = f"{name}: no difference between {first} and {second} is shown"
    return finding("open", f"{text} ({mean}; {evidence}).")


def _on_noise(tested: ComparedRows) -> Iterator[Finding]:
    """Say what a row that was run twice differs from itself by."""
    if one := tested.table.noise:
        text = "The first row, run once more with other proposals and seeds, differs by"
        text += f" {difference_text(tested.metric, one)}: the table's own noise."
        yield finding("caution" if one.shown else "open", text)


def _on_values(name: str, found: Sequence[FieldComparison], tested: ComparedRows) -> Finding:
    """Say how many values of a field are shown to differ from the one best on validation."""
    sign, other = tested.table.sign, found[0].other
    text = f"{name}: in otherwise equal rows, {other} is the best on validation."
    worse = [one for one in found if one.comparison.shown and sign * one.comparison.difference < 0]
    better = [one for one in found if one.comparison.shown and sign * one.comparison.difference > 0]
    level = [one.value for one in found if not one.comparison.shown]
    if worse:
        sizes = sizes_text(tested.metric, [one.comparison for one in worse])
        text += f" It is better than {list_text([one.value for one in worse])}, by {sizes}."
    if better:
        sizes = sizes_text(tested.metric, [one.comparison for one in better])
        text += f" It is worse than {list_text([one.value for one in better])}, by {sizes}."
    if level:
        text += f" No difference is shown to {list_text(level)}."
    return finding("shown" if worse or better else "open", text)
