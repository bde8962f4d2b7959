"""What a reader of the table should beware of, and what a next sweep should change."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fieldtrial.disk.sweep_description import SearchDomain
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.printable import counted
from fieldtrial.fields.scores import score_text
from fieldtrial.power import Design
from fieldtrial.results.analysis.groups import Group
from fieldtrial.results.analysis.importance import Importance
from fieldtrial.results.analysis.quantities import mean_of_runs, of_winner
from fieldtrial.results.analysis.recipes.lines import warnings
from fieldtrial.results.analysis.statistics import estimate_mean
from fieldtrial.results.read.inputs import remarks_of
from fieldtrial.results.read.sweeps import SWEEP
from fieldtrial.results.read.wording import size_text, span_text
from fieldtrial.results.report.sentences import (
    Finding,
    finding,
    list_text,
    margin,
    metric_name,
    per_cent,
)
from fieldtrial.results.report.tested import ComparedRows
from fieldtrial.results.verdicts.crossed import FEWEST

PARTS = ("images", "seeds", "freedom")  # of what a comparison varies with
NEAR_END = 0.05  # of the searched range: a winner there may have wanted to go further
SMALL_SHARE = 0.05  # of the variance: not worth a word


def on_selection(tested: ComparedRows) -> Iterator[Finding]:
    """Say whether the winners of the search repeated the validation that they were chosen by.

    Their runs with fresh seeds have a validation of their own, on as many images of the same set.
    """
    select = tested.table.select
    gains: dict[int, float] = {}
    for row, group in tested.groups.items():
        if group.winner is None or group.finals["search"].nunique() > 1:
            continue  # several winners were chosen, each by a value of its own
        chosen, repeated = group.chosen_by(select), mean_of_runs(group, select)
        if chosen is not None and repeated is not None:
            gains[row] = (float(chosen) - repeated) * (1 if tested.mode == "max" else -1)
    if len(gains) < FEWEST:
        return
    mean, half, _ = estimate_mean(list(gains.values()))
    chosen_by = [float(tested.groups[row].chosen_by(select) or 0) for row in gains]
    little = margin(select, float(np.mean(chosen_by)))
    assert half is not None
    relation = "better" if mean > 0 else "worse"
    text = (
        f"On the average of {len(gains)} rows, the {metric_name(select)} that winners were chosen"
        f" by is {size_text(select, mean)} {relation} than that of their own runs with fresh seeds"
        f" (95 % interval {span_text(select, mean - half, mean + half)})."
    )
    most = max(gains, key=lambda row: gains[row])
    if gains[most] > max(2 * little, mean + half):
        group = tested.groups[most]
        figures = (group.chosen_by(select), mean_of_runs(group, select))
        first, then = (
            f"{score_text(select, float(one or 0))}{per_cent(select)}" for one in figures
        )
        text += f" The most for {tested.labels[most]}: {first}, then {then}."
    yield finding("caution" if mean > little else "open", text)


def on_data(folders: Mapping[str, SweepFolder], tested: ComparedRows) -> Iterator[Finding]:
    """Say what is to be known of the data: equal images, and files that were passed over.

    Each state of each data set is told once, as the first run that was tested on it wrote it down.
    """
    known = set[tuple[str, ...]]()
    for group in tested.groups.values():
        if (*group.data, group.state) in known or not len(group.finals):
            continue
        known.add((*group.data, group.state))
        sweep, trial = group.finals[[SWEEP, "trial"]].iloc[0]
        for remark in remarks_of(folders[sweep].run(str(trial))):
            is_neutral = remark.startswith("took ")
            yield finding("open" if is_neutral else "caution", f"{group.data[0]}: {remark}.")


def on_recipes(tested: ComparedRows) -> Iterator[Finding]:
    """Say where rows start from weights of different data, and where validation has few images."""
    groups = list(tested.groups.values())
    for line in warnings(groups, lambda group: tested.labels[group.number]):
        yield finding("caution", line)


def on_importance(importance: Importance, select: str) -> Iterator[Finding]:
    """Say how much of what the search trials reached each hyperparameter explains."""
    pairs = zip(importance.names, importance.fanova, strict=True)
    shares = [f"{name} {100 * share:.0f} %" for name, share in pairs if share >= SMALL_SHARE]
    if shares:
        what = f"Of the variance of the {metric_name(select)} among the search trials"
        yield finding(
            "open",
            f"{what}, each of these explains by itself: {list_text(shares)} (fANOVA).",
        )


def on_ends(groups: Sequence[Group], search: Mapping[str, SearchDomain]) -> Iterator[Finding]:
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
                yield finding(
                    "caution", f"{name}: {where}, {domain}; a wider search may find better."
                )


def _place(value: float, low: float, high: float, log: bool) -> float:
    """Return where in low..high a value is, from 0 to 1."""
    if log:
        low, high, value = math.log(low), math.log(high), math.log(max(value, low))
    return (value - low) / (high - low) if high > low else 0.5


def on_gaps(rows: Sequence[Group]) -> Iterator[Finding]:
    """Say which rows have no tests, or too few."""
    few = sum(one.scored is not None and not one.scored.suffices for one in rows)
    missing = sum(one.scored is None for one in rows)
    if 0 < missing < len(rows):
        have = "has" if missing == 1 else "have"
        yield finding(
            "caution",
            f"{missing} of {len(rows)} rows {have} no test result yet: all this is without them.",
        )
    if few:
        have = "has" if few == 1 else "have"
        needed = f"fewer than {FEWEST} runs with fresh seeds"
        if any(one.scored is not None and one.scored.folds for one in rows):
            needed = f"not all folds, or fewer than {FEWEST}"
        what = f"{few} of {counted(len(rows), 'row')} {have} {needed}"
        yield finding("caution", f"{what}: no difference can be shown there.")


def on_design(tested: ComparedRows) -> Iterator[Finding]:
    """Say which difference to the best this design can show, and what half of it takes."""
    for best in tested.best:
        others = list(tested.others(best).values())
        scored = tested.groups[best].scored
        if not others or scored is None:
            continue
        images, seeds, freedom = (
            float(np.median([getattr(one, name) for one in others])) for name in PARTS
        )
        design = Design(images, seeds, len(tested.table.every_comparison), freedom)
        difference, runs = design.detectable(), len(scored.values)
        if difference <= 0:
            continue
        count = 0 if scored.images is None else len(scored.images)
        units = "folds" if scored.folds else "searches" if scored.of_searches else "runs"
        on = f" and {count:,} test images" if count else ""
        text = (
            f"With as many {units} as now{on}, a true difference of"
            f" {size_text(tested.metric, difference)} to {tested.labels[best]} is shown in 80 % of"
            " cases."
        )
        ways = []
        if count and (times := design.images_for(difference / 2)):
            ways.append(f"about {times * count:,.0f} test images")
        has_further = not scored.is_deterministic and not scored.folds
        if has_further and (times := design.seeds_for(difference / 2)):
            ways.append(f"about {times * runs:,.0f} {units} of each row")
        if ways:
            text += f" Half of that takes {' or '.join(ways)}."
        elif count:
            more = "more images" if scored.folds else "more seeds and more test images"
            text += f" Half of that takes {more}."
        yield finding("open", text)
