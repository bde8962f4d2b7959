"""A sweep's rows: who the winner is, what its final runs say, and why something is missing."""

from typing import TYPE_CHECKING

import pytest

from tests.results.cells import TEST, cell, column, footer, row

if TYPE_CHECKING:
    from tests.results.conftest import Written


def test_validation_is_the_winners_and_test_is_the_final_runs(complete: "Written") -> None:
    first = row(complete)
    assert first["validation_accuracy"] == 0.90  # the final runs have 0.3
    assert first["test_accuracy_mean"] == pytest.approx(
        0.60
    )  # the search trials have 0.01 and 0.02
    assert first["test_accuracy_half_width_seeds"] == pytest.approx(
        4.302653 * 0.02 / 3**0.5, rel=1e-6
    )
    assert first["n"] == 3
    assert first["winner"] == complete.trial(0, lr=0.01)
    assert first["minutes"] == pytest.approx(2.0)  # of the final runs: 1, 2 and 3


def test_the_winner_is_chosen_by_validation_not_by_test(written: "Written") -> None:
    written.describe()
    written.ended(0, validation=0.8, test=0.9, lr=0.1)
    best = written.ended(0, validation=0.9, test=0.1, lr=0.2)
    assert row(written)["winner"] == best.name


def test_a_final_run_is_never_the_winner(complete: "Written") -> None:
    complete.ended(0, "final", validation=0.99, test=0.61, lr=0.01, seed=103)
    assert row(complete)["validation_accuracy"] == 0.90
    assert row(complete)["n"] == 4


def test_a_trial_trained_to_the_end_goes_before_a_better_one_that_was_stopped(
    written: "Written",
) -> None:
    written.describe()
    stopped = written.ended(
        0, validation=0.9, result={"outcome": "stopped", "reason": "stop file"}, lr=0.1
    )
    assert row(written)["winner"] == stopped.name
    finished = written.ended(0, validation=0.8, lr=0.2)
    assert row(written)["winner"] == finished.name


def test_the_winner_that_the_sweep_named_is_the_winner(written: "Written") -> None:
    written.describe()
    first = written.ended(0, validation=0.8, lr=0.1)
    second = written.ended(0, validation=0.9, lr=0.2)
    written.ended(0, "final", 0.3, 0.6, lr=0.1, seed=1)
    assert (row(written)["winner"], row(written)["n"]) == (second.name, 0)
    written.folder.list_trial(first.name, 0, "winner")
    named = row(written)
    assert (named["winner"], named["validation_accuracy"], named["lr"], named["n"]) == (
        first.name,
        0.8,
        0.1,
        1,
    )
    assert "2 search (2 finished), 1 final (1 finished)." in footer(
        written
    )  # naming it is no trial of its own
    written.folder.list_trial(second.name, 0, "winner")  # the search went on
    assert row(written)["winner"] == second.name


def test_a_search_that_proposed_a_trial_again_is_complete(written: "Written") -> None:
    written.describe(trials=4, seeds=0)
    run = written.ended(0, lr=0.1)
    assert row(written)["note"] == "1 of 4 searched"
    written.folder.list_trial(run.name, 0, "winner")
    assert row(written)["note"] == "no final runs asked for"
    assert "3 duplicates: a search proposed a configuration again" in footer(written)
    written.running(0, lr=0.2)
    assert row(written)["note"] == "1 of 4 searched"
    assert "duplicate" not in footer(written)


def test_a_search_that_goes_on_after_a_winner_was_named_is_not_over(written: "Written") -> None:
    written.describe(trials=2, seeds=0)
    first = written.ended(0, validation=0.9, lr=0.1)
    written.ended(0, lr=0.2)
    written.folder.list_trial(first.name, 0, "winner")
    written.describe(trials=20, seeds=0)  # the sweep was given more trials, and was interrupted
    written.ended(0, lr=0.3)
    assert (row(written)["note"], row(written)["winner"]) == ("3 of 20 searched", first.name)
    assert "duplicate" not in footer(written)
    written.folder.list_trial(first.name, 0, "winner")  # and went on, to the same winner
    assert row(written)["note"] == "no final runs asked for"
    assert "17 duplicates: a search proposed a configuration again" in footer(written)


def test_a_search_that_is_over_without_a_winner_says_why(written: "Written") -> None:
    written.describe(trials=4)
    for lr in (0.1, 0.2, 0.3):  # the fourth was a duplicate
        written.failed(0, lr=lr)
    assert cell(written, TEST) == "3 of 4 searched, 3 failed"
    written.folder.list_trial(None, 0, "winner")
    assert cell(written, TEST) == "all 3 trials failed: diverged: the loss is nan at step 12"
    assert (cell(written, "validation accuracy %"), row(written)["n"]) == ("–", 0)
    assert "1 duplicate: a search proposed a configuration again" in footer(written)
    assert "Trials: 3 search (3 failed)." in footer(written)  # naming none is no trial
    written.ended(0, lr=0.4)
    written.folder.list_trial(written.trial(0, lr=0.4), 0, "winner")  # a failed one was tried again
    assert row(written)["winner"] == written.trial(0, lr=0.4)


def test_no_trial_is_the_winner_if_the_sweep_says_so(written: "Written") -> None:
    written.describe()
    written.failed(0, lr=0.1)
    written.ended(0, lr=0.2, result={"outcome": "stopped", "reason": "stop file", "epochs": 0})
    written.folder.list_trial(None, 0, "winner")
    written.folder.list_trial(None, 1, "winner")
    assert row(written)["winner"] is None
    assert cell(written, TEST) == "none of 2 trials can be the winner, 1 failed"
    assert cell(written, TEST, 1) == "none of 0 trials can be the winner, 0 failed"


def test_a_row_whose_source_failed_says_why(written: "Written") -> None:
    written.describe(rows=[*written.rows, {"model": "mlp", "freeze": "first:1"}])
    failed = written.failed(None, "source", model="mlp", classes="5")
    message = f"its source {failed.name} failed: diverged: the loss is nan at step 12"
    assert cell(written, TEST, 3) == message
    good = written.ended(None, "source", model="cnn", classes="5")
    assert column(written, TEST) == ["not started", "not started", message, message]
    written.running(0, weights=f"run:{good.name}")
    assert cell(written, TEST) == "0 of 2 searched"


def test_ties_go_to_the_trial_that_was_listed_first(written: "Written") -> None:
    written.describe()
    first = written.ended(0, validation=0.8, lr=0.3)
    written.ended(0, validation=0.8, lr=0.1)
    assert row(written)["winner"] == first.name


def test_the_loss_can_select(written: "Written") -> None:
    written.describe(select="validation_loss")
    written.ended(0, validation=0.9, result={"validation_loss": 0.7}, lr=0.1)
    best = written.ended(0, validation=0.8, result={"validation_loss": 0.6}, lr=0.2)
    for seed, loss in enumerate((0.5, 0.6, 0.7)):
        written.ended(
            0, "final", 0.3, 0.9, {"test_loss": loss, "validation_loss": 9.0}, lr=0.2, seed=seed + 1
        )
    first = row(written)
    assert (first["winner"], first["validation_loss"]) == (best.name, 0.6)
    assert first["test_loss_mean"] == pytest.approx(0.6)
    assert "test_accuracy_mean" not in first
    assert cell(written, "validation loss") == "0.6000"
    assert cell(written, "test loss") == "0.6000 ± 0.2484 (n=3)"


def test_final_runs_of_an_earlier_winner_are_left_out_and_counted(complete: "Written") -> None:
    complete.describe(trials=3)
    complete.ended(0, validation=0.95, lr=0.05)
    complete.ended(0, "final", 0.3, 0.7, lr=0.05, seed=100)
    first = row(complete)
    assert (first["lr"], first["n"], first["test_accuracy_mean"]) == (0.05, 1, 0.7)
    assert first["final_left_out"] == 3
    assert "3 final runs left out: not of the present winner" in footer(complete)


@pytest.mark.parametrize(("name", "text"), [("config.json", None), ("result.json", "{")])
def test_a_final_run_that_cannot_be_read_is_called_so(
    complete: "Written", name: str, text: str | None
) -> None:
    entries = complete.folder.trials()
    final = next(one["trial"] for one in entries if (one["role"], one["row"]) == ("final", 0))
    path = complete.folder.run(final).path / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert (row(complete)["n"], row(complete)["final_left_out"]) == (2, 0)
    assert cell(complete, TEST).endswith("(n=2, 1 unreadable)")
    below = footer(complete)
    assert f"1 trial left out: unreadable, such as {final}: {path}" in below
    assert "not of the present winner" not in below


def test_an_early_stopped_trial_can_win_but_not_be_a_final_run(written: "Written") -> None:
    stopped = {"outcome": "stopped", "reason": "stop file"}
    written.describe()
    best = written.ended(0, validation=0.8, result=stopped, lr=0.1)
    written.ended(0, validation=0.7, result=stopped, lr=0.2)
    written.ended(0, "final", 0.3, 0.6, lr=0.1, seed=1)
    written.ended(0, "final", 0.3, 0.7, lr=0.1, seed=2)
    written.ended(0, "final", 0.3, 0.1, stopped, lr=0.1, seed=3)
    assert row(written)["winner"] == best.name
    assert cell(written, TEST) == "65.00 (n=2, 1 stopped early)"
    assert "2 trials stopped early" in footer(written)


def test_trials_that_rows_share_are_counted(complete: "Written") -> None:
    complete.folder.list_trial(complete.trial(0, lr=0.01), 2, "search")
    assert row(complete, 2)["validation_accuracy"] == 0.90
    assert "1 duplicate: rows share a trial" in footer(complete)


def test_trials_of_no_row_are_counted(complete: "Written") -> None:
    complete.describe(rows=[{"model": "cnn", "freeze": "none"}])
    complete.ended(None, "source", seed=7)
    lines = footer(complete)
    assert column(complete, "model") == ["cnn"]
    assert "10 trials left out: of no row or search that the sweep has now" in lines
    assert "6 search (6 finished), 9 final (9 finished), 1 source (1 finished)" in lines


def test_trials_that_accumulated_gradients_are_named_once(written: "Written") -> None:
    written.describe()
    written.ended(0, lr=0.1)
    assert "accumulation" not in footer(written)
    first = written.ended(0, lr=0.2, result={"accumulate": 2})
    other = written.ended(1, lr=0.2, result={"accumulate": 8, "outcome": "stopped"})
    written.folder.list_trial(first.name, 1, "search")
    assert (
        "2 trials ran with gradient accumulation, because a whole batch did not fit into memory:"
        f" {first.name}, {other.name}." in footer(written)
    )
