"""Groups of trials: their winner, marks and values; all that is left out is counted."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.analysis.footer import comparison_lines
from fieldtrial.results.analysis.grouping import group_trials
from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.read.sweeps import Sweeps, parse_conditions, read_sweeps

if TYPE_CHECKING:
    from tests.results.conftest import Written

TEST = "test_accuracy"


def grouped(
    sweeps: "Written | Sweeps", *fields: str, metric: str = TEST, within: tuple[str, ...] = ()
) -> Groups:
    read = sweeps if isinstance(sweeps, Sweeps) else read_sweeps([sweeps.folder.path])
    return group_trials(read, fields, metric, within)


def by_key(groups: Groups) -> dict[Any, Group]:
    return {
        group.key if len(group.key) > 1 else "".join(group.key): group for group in groups.groups
    }


def finals(written: "Written", row: int, tests: list[float], **fields: Any) -> None:
    for seed, test in enumerate(tests, 1):
        written.ended(row, "final", 0.3, test, seed=seed, **fields)


def describe(
    written: "Written", values: list[str], field: str = "optimizer", **changes: object
) -> SweepFolder:
    written.rows = [{field: value} for value in values]
    return written.describe(rows=written.rows, **changes)


def test_a_group_of_several_rows_has_the_best_of_their_winners(complete: "Written") -> None:
    groups = by_key(grouped(complete, "model"))
    assert list(groups) == ["cnn", "mlp"]
    winner = groups["cnn"].winner
    assert winner is not None
    assert (winner["freeze"], winner["validation_accuracy"]) == ("none", 0.90)
    assert sorted(groups["cnn"].values) == [100, 101, 102]
    interval = groups["cnn"].interval
    assert interval is not None
    assert interval.mean == pytest.approx(0.60)  # the search trials have 0.01 and 0.02
    assert interval.seeds == pytest.approx(4.302653 * 0.02 / 3**0.5, rel=1e-6)
    assert groups["cnn"].counts["final_left_out"] == 3
    assert "3 final runs left out: not of the present winner." in grouped(complete, "model").notes


def test_a_searched_field_can_group_and_what_was_not_tested_says_so(complete: "Written") -> None:
    groups = by_key(grouped(complete, "lr"))
    assert set(groups) == {"0.1", "0.01", "0.005", "0.0033333333333333335"}
    assert (groups["0.1"].interval, groups["0.1"].note) == (None, "final: 3 not started")
    assert len(groups["0.01"].values) == 3


def test_without_fields_all_is_one_group(complete: "Written") -> None:
    (group,) = grouped(complete).groups
    assert (group.key, len(group.trials), len(group.values)) == ((), 15, 3)


def test_a_named_winner_goes_before_a_better_trial(complete: "Written") -> None:
    named = complete.trial(0, lr=0.1)
    complete.folder.list_trial(named, 0, "winner")
    winner = by_key(grouped(complete, "model", "freeze"))["cnn", "none"].winner
    assert winner is not None
    assert winner["trial"] == named
    complete.folder.list_trial(None, 0, "winner")  # the sweep says that there is none
    assert by_key(grouped(complete, "model", "freeze"))["cnn", "none"].winner is None


def test_rows_without_trials_are_there(written: "Written") -> None:
    describe(written, ["sgd", "adamw"], trials=1)
    written.failed(0)
    groups = by_key(grouped(written, "optimizer"))
    assert groups["sgd"].note == "the only trial failed: diverged: the loss is nan at step 12"
    assert groups["adamw"].note == "not started"


def test_differences_are_marked(written: "Written") -> None:
    describe(written, ["sgd", "adam", "adamw", "rmsprop"])
    for row, (validation, tests) in enumerate(
        [
            (0.9, [0.90, 0.92, 0.91]),
            (0.8, [0.89, 0.93, 0.91]),
            (0.7, [0.70, 0.721, 0.709]),
            (0.6, [0.9, 0.92]),
        ]
    ):
        written.ended(row, validation=validation)
        finals(written, row, tests)
    groups = grouped(written, "optimizer")
    marks = {key: group.mark for key, group in by_key(groups).items()}
    assert marks == {
        "sgd": "best",
        "adam": "not shown to differ",
        "adamw": "worse",
        "rmsprop": "untested",
    }
    compared = by_key(groups)["adamw"].comparison
    assert compared is not None
    assert compared.difference == pytest.approx(0.71 - 0.91)
    assert compared.basis == "seeds"
    assert comparison_lines(groups)[:3] == [
        (
            "test_accuracy compared with sgd, the best on validation_accuracy: 1 worse,"
            " no difference shown for 1, which does not prove that there is none."
        ),
        (
            "2 comparisons of rows, as to other seeds on these test images: a false one in at most"
            " 5 % of tables, all together (max-t)."
        ),
        "1 row not compared: 2 of the 3 runs that a comparison needs.",
    ]
    assert {key: group.in_best_set for key, group in by_key(groups).items()} == {
        "sgd": True,
        "adam": True,
        "adamw": False,
        "rmsprop": None,
    }
    few = by_key(groups)["rmsprop"].interval
    assert few is not None
    assert (few.runs, few.seeds) == (2, None)


def test_one_that_is_better_on_test_than_the_best_on_validation_is_said(written: "Written") -> None:
    describe(written, ["sgd", "adam"])
    written.ended(0, validation=0.9)
    written.ended(1, validation=0.8)
    finals(written, 0, [0.70, 0.72, 0.71])
    finals(written, 1, [0.90, 0.921, 0.909])
    groups = grouped(written, "optimizer").groups
    assert [group.mark for group in groups] == ["best", "better"]
    assert [group.in_best_set for group in groups] == [False, True]


def test_less_loss_is_better(written: "Written") -> None:
    describe(written, ["sgd", "adam"], select="validation_loss")
    for row, loss in enumerate((0.2, 0.4)):
        written.ended(row, result={"validation_loss": loss})
        for seed in (1, 2, 3):
            written.ended(
                row, "final", 0.3, 0.9, {"test_loss": loss + 0.001 * seed**2 * (row + 1)}, seed=seed
            )
    groups = grouped(written, "optimizer", metric="test_loss").groups
    assert [group.mark for group in groups] == ["best", "worse"]


def test_only_what_was_tested_on_the_same_data_is_compared(written: "Written") -> None:
    describe(written, ["digits", "mnist"], "dataset")
    for row, test in enumerate((0.9, 0.5)):
        written.ended(row, validation=test)
        finals(written, row, [test, test + 0.01, test + 0.021])
    assert [group.mark for group in grouped(written, "dataset").groups] == ["untested", "untested"]
    with pytest.raises(
        ValueError,
        match=r"all: trials of dataset digits and mnist would be mixed; add dataset to --rows",
    ):
        grouped(written)


def test_comparisons_on_two_data_sets_are_corrected_for_both(written: "Written") -> None:
    rows = [(dataset, name) for dataset in ("digits", "mnist") for name in ("sgd", "adam")]
    written.rows = [{"dataset": dataset, "optimizer": name} for dataset, name in rows]
    written.describe(rows=written.rows)
    for row in range(len(rows)):
        written.ended(row, validation=0.9 - 0.1 * (row % 2))
        finals(written, row, [0.9, 0.92, 0.91] if row % 2 == 0 else [0.87, 0.90, 0.88])
    read = read_sweeps([written.folder.path])
    alone = read.where(parse_conditions(["dataset=digits"]))
    (one,), both = (
        [
            group.comparison
            for group in grouped(some, "dataset", "optimizer").groups
            if group.mark != "best"
        ]
        for some in (alone, read)
    )
    assert one is not None
    assert [found and found.corrected_p for found in both] == [
        pytest.approx(2 * one.corrected_p)
    ] * 2


def test_comparisons_stay_within_what_is_asked_for(complete: "Written") -> None:
    marks = [group.mark for group in grouped(complete, "model", "freeze").groups]
    assert marks == ["best", "worse", "worse"]
    marks = [group.mark for group in grouped(complete, "model", "freeze", within=("model",)).groups]
    assert marks == ["best", "worse", "untested"]  # the only mlp


def test_what_is_no_score_is_not_compared(complete: "Written") -> None:
    groups = grouped(complete, "model", metric="minutes").groups
    assert [group.mark for group in groups] == ["none", "none"]
    assert [group.interval and group.interval.mean for group in groups] == [pytest.approx(2.0)] * 2


def test_every_trial_that_is_in_no_group_is_counted(complete: "Written") -> None:
    complete.ended(None, "source", seed=7)
    (complete.ended(0, lr=0.5).path / "config.json").unlink()
    complete.folder.list_trial("0badcafe", 0, "search")
    complete.folder.list_trial(complete.trial(0, lr=0.1), 2, "search")
    complete.folder.list_trial(complete.trial(0, lr=0.01), 7, "search")
    by_hand = complete.folder.path / "by_hand"
    by_hand.mkdir()
    (by_hand / "config.json").write_text("{}")
    complete.ended(0, "final", 0.3, lr=0.01, seed=500)
    lines = "\n".join(grouped(complete, "model").notes)
    assert "1 trial left out: sources" in lines
    assert "1 trial left out: not in a sweep's list, such as by_hand." in lines
    assert "1 trial left out: of no row or search that the sweep has now." in lines
    assert "1 trial left out: unreadable, such as" in lines
    assert "config.json: no such file" in lines
    assert "1 trial left out: listed, and not yet begun." in lines
    assert "1 duplicate: the same trial in several rows or sweeps, counted once." in lines
    assert "1 final run left out: without a finite test_accuracy." in lines


def test_a_score_that_is_no_number_is_left_out(written: "Written") -> None:
    describe(written, ["sgd"], trials=1)
    bad = written.ended(0, validation=0.95, lr=0.5)
    result = bad.path / "result.json"
    result.write_text(result.read_text().replace("0.95", "null"))
    good = written.ended(0, validation=0.8, lr=0.1)
    finals(written, 0, [0.7, 0.8], lr=0.1)
    spoilt = written.ended(0, "final", 0.3, 0.75, lr=0.1, seed=9).path / "result.json"
    spoilt.write_text(spoilt.read_text().replace("0.75", "null"))
    groups = grouped(written, "optimizer")
    (group,) = groups.groups
    assert group.winner is not None
    assert (group.winner["trial"], sorted(group.values)) == (good.name, [1, 2])
    assert "1 final run left out: without a finite test_accuracy." in groups.notes


def test_several_sweeps_are_read_together(tmp_path: Path) -> None:
    from tests.results.conftest import Written

    first, second = Written(tmp_path / "runs" / "one"), Written(tmp_path / "runs" / "two")
    for written, row, validation in ((first, 0, 0.9), (second, 1, 0.8)):
        written.describe(seeds=2)
        written.ended(row, validation=validation)
        finals(written, row, [validation - 0.1, validation])
    run = second.ended(0, validation=0.9)  # the same trial as in the other sweep
    third = second.ended(0, "final", 0.3, 0.87, seed=3)
    sweeps = read_sweeps([first.folder.path, second.folder.path])
    assert sweeps.compared == ["model", "freeze"]
    groups = grouped(sweeps, "model", "freeze")
    cnn = by_key(groups)["cnn", "none"]
    assert cnn.values == {1: pytest.approx(0.8), 2: 0.9, 3: 0.87}
    assert {run.name, third.name} <= set(cnn.trials["trial"])
    assert "1 duplicate: the same trial in several rows or sweeps, counted once." in groups.notes
    apart = by_key(grouped(sweeps, "sweep", "freeze"))
    assert apart["two", "none"].values == {3: 0.87}
    assert len(apart["one", "none"].values) == 2


def test_each_sweep_is_held_to_its_own_number_of_seeds(tmp_path: Path) -> None:
    from tests.results.conftest import BASE, Written

    for name, dataset, seeds in (("a", "digits", 1), ("b", "mnist", 3)):
        written = Written(tmp_path / name)
        base = BASE.to_dict() | {"dataset": dataset}
        written.describe(base=base, rows=written.rows[:1], seeds=seeds, trials=1)
        written.ended(0, dataset=dataset, lr=0.1)
        written.ended(0, "final", 0.9, 0.8, dataset=dataset, lr=0.1, seed=1)
    groups = grouped(read_sweeps([tmp_path / "a", tmp_path / "b"]), "sweep", "freeze").groups
    assert [group.note for group in groups if group.winner] == ["", "final: 2 not started"]


def test_rows_that_conditions_exclude_are_not_shown_as_not_started(written: "Written") -> None:
    written.describe()
    written.ended(0, lr=0.1)
    chosen = read_sweeps([written.folder.path]).where(parse_conditions(["model=cnn"]))
    keys = [
        ("cnn", "none"),
        ("cnn", "all_but_head"),
    ]  # of the second, which the conditions admit, no trial has started
    assert [group.key for group in grouped(chosen, "model", "freeze").groups] == keys
    searched = read_sweeps([written.folder.path]).where(parse_conditions(["lr=0.1"]))
    assert [group.key for group in grouped(searched, "model", "freeze").groups] == keys[:1]


def test_a_condition_on_what_cannot_be_read_is_counted(complete: "Written") -> None:
    (complete.ended(0, lr=0.5).path / "config.json").write_text(
        '{"flux_capacitor": 1}'
    )  # of a future version
    chosen = read_sweeps([complete.folder.path]).where(parse_conditions(["model=cnn"]))
    line = "1 trial left out: without a config that can be read, so --where has no answer."
    assert line in grouped(chosen, "model").notes


def test_an_option_without_a_value_is_none(complete: "Written") -> None:
    sweeps = read_sweeps([complete.folder.path])
    assert [group.key for group in grouped(sweeps, "image_size", "patience").groups] == [
        ("none", "none")
    ]
    assert len(sweeps.where(parse_conditions(["patience=none"])).trials) == 15


@pytest.mark.parametrize("metric", ["test_accurracy", "outcome", "lr"])
def test_a_metric_that_is_not_there(complete: "Written", metric: str) -> None:
    with pytest.raises(
        ValueError, match=rf"--metric {metric}: no final run has it; there are: .*test_accuracy"
    ) as error:
        grouped(complete, "model", metric=metric)
    assert "lr" not in str(error.value).split(", ")
