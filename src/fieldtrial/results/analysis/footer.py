"""The lines below a table: what its comparisons say, how trials ended, what is left out."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from fieldtrial.fields.printable import counted
from fieldtrial.fields.scores import is_share
from fieldtrial.results.analysis.cost import account, cost_lines
from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.analysis.recipes.lines import recipe_lines
from fieldtrial.results.analysis.search_budget import unequal_search_lines
from fieldtrial.results.read.inputs import several_states
from fieldtrial.results.read.sweeps import SWEEP, Sweeps
from fieldtrial.results.read.trials import FAILED, RUN
from fieldtrial.results.read.wording import outcome_text, p_text, signed_text, span_text
from fieldtrial.results.verdicts.sequential import looks

MOST_NAMED = 8  # runs that cannot be read, beside the first


def footer(sweeps: Sweeps, groups: Groups, costs: pd.DataFrame) -> list[str]:
    """Return all lines below a table; costs: what `cost_of_trials` says of the sweeps' records."""
    return [
        *comparison_lines(groups),
        *search_lines(sweeps, groups),
        *seed_lines(sweeps, groups),
        *fold_lines(sweeps),
        *recipe_lines(groups.groups, lambda group: groups.names[group.number]),
        *groups.notes,
        *unequal_search_lines(groups, sweeps.searched, costs),
        *cost_lines(account(sweeps.trials, costs)),
    ]


def comparison_lines(groups: Groups) -> list[str]:
    """Return what the comparisons say, in a line for each family of groups that were compared."""
    lines = []
    for best in (group for group in groups.groups if group.mark == "best"):
        marks = Counter(group.mark for group in groups.groups if group.family == best.family)
        worse, better, level = marks["worse"], marks["better"], marks["not shown to differ"]
        found = [f"{worse} worse"] if worse else []
        found += [f"{better} better"] if better else []
        if level:
            found.append(
                f"no difference shown for {level}, which does not prove that there is none"
            )
        if found:
            lines.append(
                f"{groups.metric} compared with {groups.names[best.number]}, the best on"
                f" {groups.select}: {', '.join(found)}."
            )
    if groups.every_comparison:
        lines.append(_method(groups))
    lines += groups.unequal
    states = several_states((group.data, group.state) for group in groups.groups)
    for (dataset, *_), count in states.items():
        lines.append(
            f"{dataset}: rows were tested on {count} states or cuts of it, and are compared within"
            " each."
        )
    if one := groups.noise:
        unit = " points" if is_share(groups.metric) else ""
        lines.append(
            "The table's own noise: the last row is the first once more, with other proposals and"
            f" seeds, and differs by {signed_text(groups.metric, one.difference)}{unit}"
            f" ({span_text(groups.metric, one.low, one.high)}, {p_text(one.corrected_p)})."
        )
    for why, count in Counter(one.untested for one in groups.groups if one.untested).items():
        lines.append(f"{counted(count, 'row')} not compared: {why}.")
    if alike := [one for one in groups.groups if one.interval and one.interval.repeated]:
        lines.append(
            f"{counted(len(alike), 'row')} with identical runs, which count as one: seeds change"
            " nothing there."
        )
    if unscored := [one.unscored for one in groups.groups if one.unscored]:
        lines.append(
            f"{counted(len(unscored), 'row')} without what other test images would change, such as:"
            f" {unscored[0]}."
        )
    return lines


def search_lines(sweeps: Sweeps, groups: Groups) -> list[str]:
    """Return a line on the luck of the search, where no comparison takes it into account."""
    once = any(one.search and one.searches == 1 for one in sweeps.descriptions.values())
    if not (once and groups.every_comparison):
        return []
    searches = max(one.folds for one in sweeps.descriptions.values()) or 3
    return [
        "The comparisons are of the winners that were found. Each row was searched once: intervals"
        " and p leave out that another search might find other winners. `searches ="
        f" {searches}` includes it."
    ]


def seed_lines(sweeps: Sweeps, groups: Groups) -> list[str]:
    """Return lines on seeds that were given in rounds, or raised after results were there."""
    lines = []
    if groups.most_seeds:
        taken = sum(len(group.runs) for group in groups.groups)
        every = groups.most_seeds * sum(group.winner is not None for group in groups.groups)
        plan = ", ".join(map(str, looks(groups.most_seeds)))
        lines.append(
            f"Seeds until it is decided: {taken} final runs so far, instead of {every} with"
            f" {groups.most_seeds} for each row. All looks, after {plan} runs of a row, share the"
            " 5 %."
        )
    elif any(one.most_seeds > one.seeds for one in sweeps.descriptions.values()):
        lines.append(
            "Seeds were given where a sweep's own table was undecided. This table does not count"
            " those looks, so more than 5 % of differences shown may be false."
        )
    for name, description in sweeps.descriptions.items():
        if description.earlier_seeds:
            which = f"{name}: the" if len(sweeps.descriptions) > 1 else "The"
            was = ", then ".join(map(str, description.earlier_seeds))
            lines.append(
                f"{which} number of seeds was changed from {was} to {description.seeds} when there"
                " were final runs already. If that was because of a look at the table, more than"
                " 5 % of differences shown may be false; `seeds = until(most)` counts its looks."
            )
    return lines


def fold_lines(sweeps: Sweeps) -> list[str]:
    """Return lines on what folds are, and on what their test images had to do with the search."""
    known = sweeps.descriptions.values()
    lines = [
        f"{folds} folds: each image is tested once, by a run that has not trained on it. Intervals"
        " and p count in that the runs share images to train on (C. Nadeau, Y. Bengio 2003)."
        for folds in sorted({one.folds for one in known} - {0})
    ]
    if shared := [one for one in known if one.folds and one.search and not one.searches_folds]:
        lines.append(
            "The search saw what fold 0 is not tested on, and so images that other folds test:"
            " expect a little less on new images, and less still in rows with larger searches."
            f" `searches = {shared[0].folds}` searches in each fold by itself, and leaves that out."
        )
    return lines


def _method(groups: Groups) -> str:
    """Return what was tested, and against which error."""
    fields, rows = len(groups.compared_fields), len(groups.row_comparisons)
    every = groups.every_comparison
    which = " (every pair)" if groups.all_pairs else ""
    parts = [f"{counted(rows, 'comparison')} of rows{which}"] if rows else []
    parts += [f"{fields} of fields' values"] if fields else []
    parts += ["one of a row with itself"] if len(every) > rows + fields else []
    basis = Counter(one.basis for one in every)
    texts = {
        "seeds and images": "other seeds and other test images",
        "seeds and unpaired images": "other seeds and other test images, unpaired",
        "seeds": "other seeds on these test images",
        "folds": "other seeds, and other images to train and to test on",
    }
    most = [f"{texts[name]} ({count})" for name, count in basis.items()]
    about = texts[next(iter(basis))] if len(basis) == 1 else ", ".join(most)
    return (
        f"{' and '.join(parts)}, as to {about}: a false one in at most 5 % of tables, all together"
        " (max-t)."
    )


def outcome_lines(sweeps: Sweeps, groups: Sequence[Group], metric: str) -> list[str]:
    """Return lines on how the sweeps' trials ended, and which runs do not count in their group."""
    trials = sweeps.trials
    lines = [_count_all(trials), *_remarks(trials)]
    if metric == sweeps.select and (trials["role"] == RUN).any():
        lines.append(
            f"Compared by {metric}, which also chose each run's epoch: expect less on new images."
            " fieldtrial train --test tests a run."
        )
    once = trials.drop_duplicates("trial")
    failed = once[once["outcome"].isin(FAILED)]
    for kind, part in failed.groupby("error_kind"):
        first = part.iloc[0]
        what, others = "failed", list[str]()
        if kind == "unreadable":
            what, others = "left out", part["trial"].iloc[1 : 1 + MOST_NAMED].tolist()
        lines.append(
            f"{counted(len(part))} {what}: {kind}, such as {first['trial']}:"
            f" {first['error_message']}{'; and ' if others else ''}{', '.join(others)}"
        )
    for name, description in sweeps.descriptions.items():
        errors = int(((failed[SWEEP] == name) & (failed["error_kind"] != "diverged")).sum())
        if errors and description.max_failures is not None:
            which = f"{name}: " if len(sweeps.descriptions) > 1 else ""
            lines.append(
                f"{which}{counted(errors)} failed, not counting diverged ones; the sweep stops"
                f" after {description.max_failures}."
            )
    runs = sum(int((group.runs["outcome"] == "finished").sum()) for group in groups)
    apart = sum(group.apart for group in groups)
    if apart:
        lines.append(
            f"{counted(apart, 'final run')} left out: of other data, initial weights or code than"
            " the winner's."
        )
    if without := runs - apart - sum(len(group.finals) for group in groups):
        lines.append(f"{counted(without, 'final run')} left out: without a finite {metric}.")
    if earlier := sum(group.counts["final_left_out"] for group in groups):
        lines.append(f"{counted(earlier, 'final run')} left out: not of the present winner.")
    if repeated := sum(group.repeated for group in groups):
        lines.append(
            f"{counted(repeated, 'duplicate')}: a search proposed a configuration again, which ran"
            " once."
        )
    return lines


def _count_all(trials: pd.DataFrame) -> str:
    parts = []
    for role, group in trials.groupby("role", sort=False):
        counts = group["outcome"].value_counts()
        ends = ", ".join(f"{count} {outcome_text(name)}" for name, count in counts.items())
        parts.append(f"{len(group)} {'of no sweep' if role == RUN else str(role)} ({ends})")
    return f"Trials: {', '.join(parts)}." if parts else "No trial has been started."


def _remarks(trials: pd.DataFrame) -> list[str]:
    """Return lines on the trials that were not run as they were asked to."""
    lines = []
    stopped = trials[(trials["role"] == "search") & (trials["outcome"] == "stopped")]
    if count := stopped["trial"].nunique():
        lines.append(f"{counted(count)} stopped early: ranked by the best epoch before the stop.")
    accumulated = trials.loc[trials["accumulate"].notna(), "trial"].drop_duplicates()
    if len(accumulated):
        lines.append(
            f"{counted(len(accumulated))} ran with gradient accumulation, because a whole batch did"
            f" not fit into memory: {', '.join(accumulated)}."
        )
    return lines
