"""What the table says: of simulated sweeps whose answer is known."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fieldtrial.disk.sweep_description import SearchDomain
from fieldtrial.fields.choices import Criterion
from fieldtrial.fields.task_metrics import MODES
from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.analysis.importance import Importance
from fieldtrial.results.analysis.judging import judge
from fieldtrial.results.report.findings import findings
from fieldtrial.results.report.tested import ComparedRows
from fieldtrial.results.verdicts.crossed import Runs

NO_IMPORTANCE = Importance([], [], [], "")
SPREAD = 0.01

Effects = dict[str, dict[str, float]]
Finding = dict[str, str]


def make_group(
    number: int,
    key: tuple[str, ...],
    tests: dict[int, float],
    data: tuple[str, ...] = (),
    repeated: dict[str, float] | None = None,
    **winner: Any,
) -> Group:
    repeated = repeated or {}
    known = {"outcome": "finished", "trial": f"winner {number}", "parameters": 1, **winner}
    known |= {"configuration": str(number), "search": 0}
    trials = pd.DataFrame([{"role": "search", "minutes": 1.0, "epoch_minutes": 1.0, **known}])
    finals = pd.DataFrame(
        [
            {"trial": str(seed), "search": 0, "minutes": 1.0, "epoch_minutes": 1.0, **repeated}
            for seed in tests
        ]
    )
    scored = Runs(np.array(list(tests.values())))
    return Group(number, key, trials, known, finals, finals, tests, data, scored)


def compared(
    groups: list[Group], fields: Sequence[str], labels: list[str], select: Criterion
) -> ComparedRows:
    metric, mode = select.replace("validation", "test"), MODES[select]
    table = Groups(tuple(fields), metric, select, mode, groups, [])
    return ComparedRows(judge(table, with_fields=True), labels)


def simulate(
    effects: dict[str, dict[str, float]], seeds: int = 5, chance: int = 0, **changes: Any
) -> list[dict[str, str]]:
    """Return the findings of a sweep over all combinations of `effects`, added to 0.5."""
    random = np.random.default_rng(chance)
    rows = [
        dict(zip(effects, values, strict=True)) for values in itertools.product(*effects.values())
    ]
    groups = []
    for number, row in enumerate(rows):
        true = 0.5 + sum(effects[name][value] for name, value in row.items())
        groups.append(
            make_group(
                number,
                tuple(row.values()),
                dict(enumerate(true + random.normal(0, changes.get("spread", SPREAD), seeds))),
                (row.get("dataset", "digits"),),
                {"validation_accuracy": true},
                parameters=1000 * (number + 1),
                validation_accuracy=true + changes.get("flattery", 0.0),
                **changes.get("winner", {}),
            )
        )
    labels = [" · ".join(row.values()) for row in rows]
    return findings(
        compared(groups, list(effects), labels, "validation_accuracy"),
        changes.get("importance", NO_IMPORTANCE),
        changes.get("searched", {}),
    )


def said(found: list[Finding], start: str) -> Finding:
    return next(finding for finding in found if finding["text"].startswith(start))


EFFECTS: Effects = {
    "model": {"cnn": 0.2, "mlp": 0.0},
    "freeze": {"none": 0.0, "first:1": 0.0, "first:2": 0.0},
    "optimizer": {"sgd": 0.0, "adamw": 0.0},
}


def test_a_difference_that_is_there_is_shown_with_its_size() -> None:
    found = said(simulate(EFFECTS), "model")
    assert found["kind"] == "shown"
    assert found["text"].startswith(("model: cnn is 20.", "model: cnn is 19."))
    assert "points above mlp (6 pairs of otherwise equal rows, interval +" in found["text"]
    assert "p < 0.0001" in found["text"]


def test_no_difference_is_said_where_none_is_shown() -> None:
    found = said(simulate(EFFECTS), "optimizer")
    assert found["kind"] == "open"
    assert "no difference between" in found["text"]


def test_false_alarms_are_few_over_many_sweeps_in_all_sentences_together() -> None:
    nothing = {name: dict.fromkeys(levels, 0.0) for name, levels in EFFECTS.items()}
    false = [
        any(one["kind"] == "shown" for one in simulate(nothing, chance=chance))
        for chance in range(60)
    ]
    assert np.mean(false) <= 0.1  # 5 % of 60 are 3; more than 6 are met once in 30 times


def test_many_values_of_a_field_are_one_sentence() -> None:
    models = {"a": 0.3, "b": 0.2, "c": 0.1, "d": 0.1, "e": 0.3}
    found = said(simulate({"model": models, "optimizer": {"sgd": 0, "adamw": 0}}), "model: in")
    assert found["kind"] == "shown"
    assert "a is the best on validation. It is better than b, c, d, by " in found["text"]
    assert found["text"].endswith(" No difference is shown to e.")


def test_the_best_row_is_compared_with_all_others() -> None:
    best = simulate(EFFECTS, chance=1)[0]
    assert best["kind"] == "shown"
    assert best["text"].startswith("cnn · ")
    assert "It is better than 6 of 11 others, by " in best["text"]
    assert re.search(
        r"No difference is shown to cnn · .* One new run of cnn · \S+ · \w+ would beat one"
        r" of it on these images with a chance of \d+ % \(\d+ to \d+ %\)\.$",
        best["text"],
    )


def test_what_is_not_shown_to_differ_is_not_recommended_for_its_cost() -> None:
    """A mean that is far lower, in so few runs that nothing is shown."""
    found = simulate({"model": {"cnn": 0.0, "mlp": 0.01}}, seeds=3)
    assert found[0]["kind"] == "open"
    cost = said(found, "No cheaper row is shown")
    assert cost["text"] == "No cheaper row is shown to be less than 1 point worse than mlp."


def test_what_is_shown_to_be_no_worse_is_told_with_what_it_saves() -> None:
    effects: Effects = {"model": {"cnn": 0.0, "mlp": 0.0002, "vit": 0.0004}}
    found = said(simulate(effects, chance=3, spread=0.001), "Shown to be less than 1 point worse")
    assert found["kind"] == "shown"
    assert re.search(
        r"than vit: cnn needs 1,000 parameters instead of 3,000"
        r" \([+−]?0\.\d+ points, interval −0\.\d+ to [+−]?0\.\d+\)",
        found["text"],
    )


@pytest.mark.parametrize(("alone", "saves"), [(None, True), (0.1, True), (9.8, False)])
def test_what_a_row_had_of_others_for_nothing_makes_it_not_cheap(
    alone: float | None, saves: bool
) -> None:
    random, groups = np.random.default_rng(3), []
    for number, (true, minutes, from_nothing) in enumerate(
        ((0.5, 0.1, alone), (0.5004, 10.0, None if alone is None else 10.0))
    ):
        times = {"minutes": 20.0, "epoch_minutes": minutes, "validation_accuracy": true}
        times |= {} if from_nothing is None else {"minutes_alone": from_nothing}
        tests = dict(enumerate(true + random.normal(0, 0.001, 5)))
        groups.append(
            make_group(number, (str(number),), tests, repeated=times, validation_accuracy=true)
        )
    rows = compared(groups, ["model"], ["probe", "whole"], "validation_accuracy")
    text = " ".join(one["text"] for one in findings(rows, NO_IMPORTANCE, {}))
    unit = "minutes in epochs" if alone is None else "minutes alone, from nothing,"
    assert (f"probe needs 0.1 {unit} instead of 10" in text) == saves, text


def test_the_smaller_loss_is_the_better_one() -> None:
    tests = [{seed: 0.5 + 0.3 * row + 0.01 * seed for seed in range(3)} for row in range(2)]
    groups = [
        make_group(number, (model,), own, validation_loss=min(own.values()))
        for number, (model, own) in enumerate(zip(("cnn", "mlp"), tests, strict=True))
    ]
    rows = compared(groups, ["model"], ["cnn", "mlp"], "validation_loss")
    best = findings(rows, NO_IMPORTANCE, {})[0]["text"]
    assert best.startswith(
        "cnn is the best on validation: test loss 0.5100 (95 % interval 0.4858 to 0.5355; n = 3)."
        " It is better than the other row, by 0.3 (p"
    )


def test_the_best_on_validation_may_be_worse_on_test() -> None:
    groups = [
        make_group(0, ("cnn",), {0: 0.5, 1: 0.51, 2: 0.52}, validation_accuracy=0.9),
        make_group(1, ("mlp",), {0: 0.7, 1: 0.71, 2: 0.72}, validation_accuracy=0.8),
    ]
    rows = compared(groups, ["model"], ["cnn", "mlp"], "validation_accuracy")
    best = findings(rows, NO_IMPORTANCE, {})[0]["text"]
    assert "cnn is the best on validation" in best
    assert "It is worse than mlp, by 20.0 points" in best
    assert [group.in_best_set for group in rows.table.groups] == [False, True]


def test_rows_are_compared_with_those_tested_on_the_same_data() -> None:
    effects: Effects = {"dataset": {"easy": 0.4, "hard": 0.0}, "model": {"cnn": 0.05, "mlp": 0.0}}
    found = [one["text"] for one in simulate(effects)]
    assert found[0].startswith("easy · cnn is the best on validation")
    assert found[1].startswith("hard · cnn is the best on validation")
    assert all(re.search(r"better than the other row, by [45]\.", text) for text in found[:2])
    assert not [text for text in found if text.startswith("dataset")]


def test_what_winners_were_chosen_by_is_compared_with_their_own_runs() -> None:
    searched = {"lr": SearchDomain("loguniform", 0.0001, 0.1)}
    found = said(simulate(EFFECTS, flattery=0.05, searched=searched), "On the average")
    assert found["kind"] == "caution"
    assert (
        "of 12 rows, the validation accuracy that winners were chosen by is 5.0 points better"
        in (found["text"])
    )
    level = said(simulate(EFFECTS, flattery=0.0, searched=searched), "On the average")
    assert level["kind"] == "open"


def test_nothing_is_said_of_a_choice_where_nothing_was_searched() -> None:
    assert not [one for one in simulate(EFFECTS) if one["text"].startswith("On the average")]


@pytest.mark.parametrize(("lr", "end"), [(1.1e-4, "lower"), (0.09, "upper"), (1e-2, None)])
def test_winners_at_the_end_of_the_search_are_told(lr: float, end: str | None) -> None:
    searched = {"lr": SearchDomain("loguniform", 0.0001, 0.1)}
    found = simulate(EFFECTS, searched=searched, winner={"lr": lr})
    told = [one["text"] for one in found if one["text"].startswith("lr: ")]
    assert [text for text in told if f"at the {end} end" in text] == told
    assert len(told) == (end is not None)


@pytest.mark.parametrize(("epochs", "end"), [(1, "lower"), (3, None), (4, "upper")])
def test_the_upper_bound_of_whole_numbers_is_not_among_them(epochs: int, end: str | None) -> None:
    """Of tune.randint(1, 5), 4 is the largest."""
    searched = {"epochs": SearchDomain("uniform", 1, 5)}
    found = simulate(EFFECTS, searched=searched, winner={"epochs": epochs})
    told = [one["text"] for one in found if one["text"].startswith("epochs: ")]
    assert [text for text in told if f"at the {end} end" in text] == told
    assert len(told) == (end is not None)


def test_rows_with_few_runs_are_told_apart() -> None:
    texts = [one["text"] for one in simulate(EFFECTS, seeds=2)]
    assert texts[0] == "No row can be compared, so nothing can be said of them."
    assert (
        "12 of 12 rows have fewer than 3 runs with fresh seeds: no difference can be"
        " shown there." in texts
    )


def test_the_importance_is_told() -> None:
    importance = Importance(["lr", "dropout"], [0.9, 0.01], [0.5, 0.0], "")
    text = said(simulate(EFFECTS, importance=importance), "Of the variance")["text"]
    assert text.endswith("each of these explains by itself: lr 90 % (fANOVA).")


def test_what_this_design_can_show_is_said() -> None:
    """Rows of a spread of one point, five runs each: 2.8 standard errors and more."""
    text = said(simulate(EFFECTS), "With as many runs as now")["text"]
    size = re.search(r"a true difference of (\d\.\d) points to cnn · \S+ · \w+ is shown", text)
    assert size
    assert 1.8 <= float(size[1]) <= 3.0  # 2.8 · √(2 · 1² / 5) = 1.8, before any correction
    assert re.search(r"Half of that takes about \d\d runs of each row\.$", text)
