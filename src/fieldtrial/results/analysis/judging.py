"""Groups of a table -> their intervals, comparisons and marks."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from string import ascii_lowercase

import numpy as np

from fieldtrial.results.analysis.groups import (
    FieldComparison,
    Group,
    Groups,
    Key,
    Mark,
    PairComparison,
)
from fieldtrial.results.analysis.winner import best_index
from fieldtrial.results.read.inputs import several_states
from fieldtrial.results.read.settings import DATA
from fieldtrial.results.verdicts.comparisons import (
    Comparison,
    compare,
    compare_in_looks,
    may_be_best,
)
from fieldtrial.results.verdicts.crossed import FEWEST, Runs
from fieldtrial.results.verdicts.estimates import estimate
from fieldtrial.results.verdicts.folds import Values
from fieldtrial.results.verdicts.sequential import hold_contest, looks

COMPARED_METRICS = ("test_", "validation_")  # those of which it is known whether more is better
ALONE = "there is no other row to compare it with"
MOST_LEVELS = 12  # of a field that is compared; with more, they are too many to be told apart
FEWEST_CONTEXTS = 2  # pairs of otherwise equal groups that a comparison of two values needs


@dataclass(frozen=True)
class _Judged:
    """What was found of a family: see `Groups`."""

    groups: list[Group]
    fields: list[FieldComparison] = field(default_factory=list)
    noise: Comparison | None = None
    pairs: list[PairComparison] = field(default_factory=list)


def estimate_groups(table: Groups) -> Groups:
    """Return the table with intervals alone: nothing is compared."""
    groups = [_estimated(one, table.metric) if one.scored else one for one in table.groups]
    return replace(table, groups=groups)


def judge(table: Groups, within: Sequence[str] = (), with_fields: bool = False) -> Groups:
    """Return the table with intervals, comparisons and marks.

    A family has the same data in one state, the same settings beside the table's fields, and the
    same values of the fields `within`. In it, each group is compared with the one that is best on
    validation, which is not chosen by the metric: the largest of many test results would be too
    good. With `table.all_pairs` each is compared with each.
    `with_fields` compares the values of each field too, in the same family.
    """
    if not table.metric.startswith(COMPARED_METRICS):
        return estimate_groups(table)
    families: dict[Key, list[Group]] = {}
    several = several_states((group.data, group.state) for group in table.groups)
    for group in table.groups:
        if group.scored is not None:
            values = (group.key[table.fields.index(name)] for name in within)
            state = group.state if group.data in several else ""
            family = (*group.data, state, str(group.alike), *values)
            families.setdefault(family, []).append(replace(group, family=family))
    found = [
        _judge_family(groups, table, len(families), with_fields) for groups in families.values()
    ]
    judged = {group.number: group for one in found for group in one.groups}
    return replace(
        table,
        groups=[judged.get(group.number, group) for group in table.groups],
        compared_fields=[field for one in found for field in one.fields],
        compared_pairs=[pair for one in found for pair in one.pairs],
        noise=next((one.noise for one in found if one.noise), None),
    )


def _scored(group: Group) -> Runs:
    assert group.scored is not None
    return group.scored


def _estimated(group: Group, metric: str) -> Group:
    return replace(group, interval=estimate(_scored(group), metric))


def _judge_family(
    groups: Sequence[Group], table: Groups, families: int, with_fields: bool
) -> _Judged:
    """Return the groups with intervals and verdicts, and the comparisons that were made."""
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
    if best is None or best.untested or len(tested) < 2:
        why = ALONE if best else "there is no winner"
        if best and best.untested:
            why = f"the best on validation cannot be tested: {best.untested}"
        untested = [
            replace(group, mark="untested", untested=group.untested or why) for group in groups
        ]
        return _Judged(untested)
    place = {group.number: number for number, group in enumerate(tested)}
    with_best = [(number, best.number) for number in place if number != best.number]
    asked = with_best
    if table.all_pairs:
        rest = (number for number in place if number != best.number)
        asked = [*with_best, *itertools.combinations(rest, 2)]
    twins = _twins_beside(asked, place, table)
    weights = _pair_weights([*asked, *twins], place)
    of_fields = _field_weights(tested, table) if with_fields else []
    together = np.concatenate([weights, *(row[None] for *_, row in of_fields)])
    undecided = asked if table.pairs_contested else with_best
    contested = [(place[first], place[second]) for first, second in undecided]
    found, given = _compare(tested, together, contested, table.most_seeds, families)
    pairs = dict(zip([*asked, *twins], found, strict=False))
    pairs |= {(second, first): one.reversed() for (first, second), one in pairs.items()}
    known = {number: pairs[number, best.number] for number in place if number != best.number}
    may_win = _may_be_best(best.number, known, pairs, table.sign)
    letters = _letters(tested, pairs, table.sign) if table.all_pairs else {}
    marked = [
        replace(
            group,
            mark=_mark(group, best, known, table.sign),
            comparison=known.get(group.number),
            in_best_set=group.number in may_win if group.number in place else None,
            letters=letters.get(group.number, ""),
            given=given.get(group.number, group.given),
        )
        for group in groups
    ]
    compared = [
        FieldComparison(best.data, name, value, other, one, int(np.count_nonzero(row)) // 2)
        for (name, value, other, row), one in zip(of_fields, found[len(weights) :], strict=True)
    ]
    first, second = table.twins or (-1, -1)
    every = [PairComparison(*pair, pairs[pair]) for pair in asked] if table.all_pairs else []
    return _Judged(marked, compared, pairs.get((second, first)), every)


def _compare(
    tested: Sequence[Group],
    weights: Values,
    contested: Sequence[tuple[int, int]],
    most_seeds: int | None,
    families: int,
) -> tuple[list[Comparison], dict[int, int]]:
    """Return the comparisons of `weights`, and how many runs each group should have, by number.

    contested: the pairs of groups, by their places, that these get more runs for; their contrasts
    are the first. Nothing is said of runs where each group gets the same.
    """
    scored = [_scored(group) for group in tested]
    if most_seeds is None:
        return compare(scored, weights, families), {}
    stages, ended = [group.stages for group in tested], [group.ended for group in tested]
    contest = hold_contest(stages, ended, weights, contested, most_seeds, families)
    given = {group.number: runs for group, runs in zip(tested, contest.given, strict=True)}
    return compare_in_looks(contest, scored, weights), given


def _twins_beside(
    asked: Sequence[tuple[int, int]], place: Mapping[int, int], table: Groups
) -> list[tuple[int, int]]:
    """Return the pair of a row that was run twice, if it is none of those that are `asked`."""
    if table.twins is None or not place.keys() >= set(table.twins):
        return []
    first, second = table.twins
    return [] if {(first, second), (second, first)} & set(asked) else [(second, first)]


def _pair_weights(pairs: Sequence[tuple[int, int]], place: Mapping[int, int]) -> Values:
    """Return the contrasts of pairs of groups: (pairs, rows)."""
    weights = np.zeros((len(pairs), len(place)))
    for number, (first, second) in enumerate(pairs):
        weights[number, place[first]], weights[number, place[second]] = 1, -1
    return weights


def _may_be_best(
    best: int, known: dict[int, Comparison], pairs: Mapping[tuple[int, int], Comparison], sign: int
) -> set[int]:
    """Return the numbers of the groups that no comparison shows to be beaten."""
    beaten = {first for (first, _), one in pairs.items() if one.shown and sign * one.difference < 0}
    return may_be_best(best, known, sign) - beaten


def _letters(
    tested: Sequence[Group], pairs: Mapping[tuple[int, int], Comparison], sign: int
) -> dict[int, str]:
    """Return letters by the groups' numbers: two share one exactly where no difference is shown.

    A letter stands for groups among which none is shown to differ, as many as there are. The best
    mean has the first letter (H.-P. Piepho, "An algorithm for a letter-based representation of
    all-pairwise comparisons", Journal of Computational and Graphical Statistics 13, 2004).
    """
    import networkx  # late: few tables have letters, and it takes a tenth of a second

    ranked = sorted(tested, key=lambda group: -sign * float(_scored(group).values.mean()))
    rank = {group.number: number for number, group in enumerate(ranked)}
    alike = networkx.Graph((pair for pair, one in pairs.items() if not one.shown))
    alike.add_nodes_from(rank)
    cliques = sorted(sorted(map(rank.__getitem__, one)) for one in networkx.find_cliques(alike))
    return {
        number: "".join(_letter(n) for n, clique in enumerate(cliques) if place in clique)
        for number, place in rank.items()
    }


def _letter(number: int) -> str:
    """Return a, b, ..., z, and then a1, b1, ..., z1, a2, ..."""
    again, letter = divmod(number, len(ascii_lowercase))
    return ascii_lowercase[letter] + (str(again) if again else "")


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
    if scored.folds and not scored.folds.are_all:
        return f"{len(scored.values)} of {scored.folds.count} folds: a comparison needs all"
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
