"""Groups of a table -> their intervals, comparisons and marks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fieldtrial.results.analysis.groups import DATA, FieldComparison, Group, Groups, Key, Mark
from fieldtrial.results.analysis.winner import best_index
from fieldtrial.results.verdicts.comparisons import (
    Comparison,
    compare,
    compare_in_looks,
    may_be_best,
)
from fieldtrial.results.verdicts.crossed import FEWEST, Runs, Values
from fieldtrial.results.verdicts.estimates import estimate
from fieldtrial.results.verdicts.sequential import hold_contest, looks

COMPARED_METRICS = ("test_", "validation_")  # those of which it is known whether more is better
ALONE = "there is no other row to compare it with"
MOST_LEVELS = 12  # of a field that is compared; with more, they are too many to be told apart
FEWEST_CONTEXTS = 2  # pairs of otherwise equal groups that a comparison of two values needs


def estimate_groups(table: Groups) -> Groups:
    """Return the table with intervals alone: nothing is compared."""
    groups = [_estimated(one, table.metric) if one.scored else one for one in table.groups]
    return replace(table, groups=groups)


def judge(table: Groups, within: Sequence[str] = (), with_fields: bool = False) -> Groups:
    """Return the table with intervals, comparisons and marks.

    A family has the same data and the same values of the fields `within`. In it, each group is
    compared with the one that is best on validation, which is not chosen by the metric: the largest
    of many test results would be too good. `with_fields` compares the values of each field too, in
    the same family.
    """
    if not table.metric.startswith(COMPARED_METRICS):
        return estimate_groups(table)
    families: dict[Key, list[Group]] = {}
    for group in table.groups:
        if group.scored is not None:
            values = (group.key[table.fields.index(name)] for name in within)
            family = (*group.data, *values)
            families.setdefault(family, []).append(replace(group, family=family))
    judged: dict[int, Group] = {}
    compared: list[FieldComparison] = []
    noise: Comparison | None = None
    for groups in families.values():
        found, of_fields, of_twins = _judge_family(groups, table, len(families), with_fields)
        compared += of_fields
        noise = of_twins or noise
        judged |= {group.number: group for group in found}
    return replace(
        table,
        groups=[judged.get(group.number, group) for group in table.groups],
        compared_fields=compared,
        noise=noise,
    )


def _scored(group: Group) -> Runs:
    assert group.scored is not None
    return group.scored


def _estimated(group: Group, metric: str) -> Group:
    return replace(group, interval=estimate(_scored(group), metric))


def _judge_family(
    groups: Sequence[Group], table: Groups, families: int, with_fields: bool
) -> tuple[list[Group], list[FieldComparison], Comparison | None]:
    """Return the groups with intervals and verdicts, the comparisons of fields, and of twins."""
    groups = [
        replace(
            _estimated(group, table.metric),
            untested=_why_untested(group),
            given=_runs_to_begin(group, table),
        )
        for group in groups
    ]
    best = _best(groups, table)
    tested = [group for group in groups if not group.untested]
    others = [group for group in tested if group is not best]
    if best is None or best.untested or not others:
        why = ALONE if best else "there is no winner"
        if best and best.untested:
            why = f"the best on validation cannot be tested: {best.untested}"
        untested = [
            replace(group, mark="untested", untested=group.untested or why) for group in groups
        ]
        return untested, [], None
    place = {group.number: number for number, group in enumerate(tested)}
    weights = np.zeros((len(others), len(tested)))
    for number, group in enumerate(others):
        weights[number, place[group.number]], weights[number, place[best.number]] = 1, -1
    of_fields = _field_weights(tested, table) if with_fields else []
    of_twins = _twin_weights(place, best, table)
    together = np.concatenate([weights, *(row[None] for *_, row in of_fields), of_twins])
    scored = [_scored(group) for group in tested]
    given: dict[int, int] = {}
    if table.most_seeds is None:
        found = compare(scored, together, families)
    else:
        contest = hold_contest(
            [group.stages for group in tested],
            [group.ended for group in tested],
            together,
            place[best.number],
            table.most_seeds,
            families,
        )
        found = compare_in_looks(contest, scored, together)
        given = {group.number: runs for group, runs in zip(tested, contest.given, strict=True)}
    known = {group.number: one for group, one in zip(others, found, strict=False)}
    differences = {place[number]: one for number, one in known.items()}
    unbeaten = may_be_best(len(tested), place[best.number], differences, table.sign)
    noise = found[-1] if len(of_twins) else _noise_of(known, best, table)
    marked = [
        replace(
            group,
            mark=_mark(group, best, known, table.sign),
            comparison=known.get(group.number),
            in_best_set=place[group.number] in unbeaten if group.number in place else None,
            given=given.get(group.number, group.given),
        )
        for group in groups
    ]
    compared = [
        FieldComparison(best.data, name, value, other, one, int(np.count_nonzero(row)) // 2)
        for (name, value, other, row), one in zip(of_fields, found[len(others) :], strict=False)
    ]
    return marked, compared, noise


def _twin_weights(place: dict[int, int], best: Group, table: Groups) -> Values:
    """Return the contrast of a row that was run twice, (1, rows).

    There is none, (0, rows), where one of both is the best: then it is a comparison of rows.
    """
    twins = table.twins
    if twins is None or best.number in twins or not place.keys() >= set(twins):
        return np.zeros((0, len(place)))
    weights = np.zeros((1, len(place)))
    first, second = (place[number] for number in twins)
    weights[0, second], weights[0, first] = 1, -1
    return weights


def _noise_of(known: dict[int, Comparison], best: Group, table: Groups) -> Comparison | None:
    """Return the second twin minus the first, where one of them is the best."""
    if table.twins is None or best.number not in table.twins:
        return None
    first, second = table.twins
    if best.number == first:
        return known.get(second)
    one = known.get(first)
    return one and one.reversed()


def _runs_to_begin(group: Group, table: Groups) -> int | None:
    """Return how many runs a row with failed ones needs for a first look of several."""
    if table.most_seeds is None or not group.stages or group.stages[0].suffices:
        return None
    return next((runs for runs in looks(table.most_seeds) if runs > group.ended), None)


def _why_untested(group: Group) -> str:
    scored = group.stages[0] if group.stages else _scored(group)
    if scored.suffices:
        return ""
    if scored.is_deterministic:
        return "seeds change nothing there, and predictions are missing"
    units = "searches" if scored.of_searches else "runs"
    return f"{len(scored.values)} of the {FEWEST} {units} that a comparison needs"


def _best(groups: Sequence[Group], table: Groups) -> Group | None:
    """Return the group that is best on validation."""
    known = [group for group in groups if group.winner]
    outcomes = [(group.winner or {})["outcome"] for group in known]
    scores = [group.chosen_by(table.select) for group in known]
    number = best_index(outcomes, scores, table.mode)
    return None if number is None else known[number]


def _mark(group: Group, best: Group, known: dict[int, Comparison], sign: int) -> Mark:
    if group is best:
        return "best"
    comparison = known.get(group.number)
    if comparison is None:
        return "untested"
    if not comparison.shown:
        return "not shown to differ"
    return "better" if comparison.difference * sign > 0 else "worse"


def _field_weights(groups: Sequence[Group], table: Groups) -> list[tuple[str, str, str, Values]]:
    """Return the contrasts of fields' values: the field, both values, and weights of the groups.

    Each value is compared with that whose groups have the best mean of `select`, in groups that
    differ in no other field.
    """
    found = []
    for place, name in enumerate(table.fields):
        levels: dict[str, dict[Key, int]] = {}
        for number, group in enumerate(groups):
            context = (*group.key[:place], *group.key[place + 1 :])
            levels.setdefault(group.key[place], {}).setdefault(context, number)
        if name in DATA or not 2 <= len(levels) <= MOST_LEVELS:
            continue
        chosen = {
            value: float(np.mean([groups[n].chosen_by(table.select) for n in own.values()]))
            for value, own in levels.items()
        }
        other = (max if table.mode == "max" else min)(chosen, key=lambda one: chosen[one])
        for value, own in levels.items():
            shared = [context for context in own if context in levels[other]]
            if value == other or len(shared) < FEWEST_CONTEXTS:
                continue
            row = np.zeros(len(groups))
            for context in shared:
                row[own[context]], row[levels[other][context]] = 1 / len(shared), -1 / len(shared)
            found.append((name, value, other, row))
    return found
