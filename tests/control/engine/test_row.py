"""A row's search, record by record, with Ray Tune's searcher and scheduler."""

import math
from typing import Any

import pytest
from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.row import Row
from fieldtrial.control.engine.trial import Trial
from fieldtrial.sweep import Sweep

LR = {"lr": tune.loguniform(1e-4, 1e-1)}
EPOCHS = 10


def sweep(**fields: Any) -> Sweep:
    base = TrainConfig(epochs=EPOCHS)
    return Sweep(**{"base": base, "rows": [{"model": "cnn"}], "search": LR, "trials": 12, **fields})


def record(epoch: int, value: float) -> dict[str, Any]:
    return {"epoch": epoch, "validation_accuracy": value, "validation_loss": 1 - value}


def train(row: Row, trial: Trial, value: float, epochs: int = EPOCHS) -> Trial:
    """Tell the row the records of a trial with a constant accuracy, until it is stopped or ends."""
    trial.status = "running"
    for epoch in range(epochs + 1):
        trial.last_epoch = epoch
        if row.on_record(trial, record(epoch, value if epoch else 0.1)):
            break
    if epochs == EPOCHS:
        trial.status = "done"
        row.on_done(trial)
    return trial


def value_of(trial: Trial) -> float:
    return 1 - abs(math.log10(trial.config.lr) + 2) / 4


def train_at_value(row: Row) -> Trial:
    trial = row.propose()
    return train(row, trial, value_of(trial))


def search(row: int = 0, number: int = 0) -> list[TrainConfig]:
    """Return what a search of one of two rows proposes where all trials have one value."""
    one = Row(sweep(rows=[{"freeze": "none"}, {"freeze": "first:1"}]), row, number)
    return [train(one, one.propose(), 0.5).config for _ in range(8)]


def test_a_search_repeats_exactly() -> None:
    assert search() == search()
    assert len(set(search())) == 8


def test_rows_draw_the_same_first_candidates_and_then_learn_from_their_own() -> None:
    rates = [[config.lr for config in search(row)] for row in (0, 1)]
    assert rates[0] == rates[1], "rows whose results are equal get equal searches"
    one, two = (Row(sweep(rows=[{}, {"freeze": "first:1"}]), row) for row in (0, 1))
    good, poor = [], []
    for _ in range(12):
        good.append(train_at_value(one).config.lr)
        trial = two.propose()
        poor.append(train(two, trial, 1 - value_of(trial)).config.lr)
    assert good[:4] == poor[:4], "a third of the trials is random"
    assert good[4:] != poor[4:]


def test_a_further_search_shares_no_random_candidate_and_no_seed() -> None:
    first, second = search(), search(number=1)
    assert not {config.lr for config in first[:4]} & {config.lr for config in second[:4]}
    assert [config.lr for config in first[4:]] != [config.lr for config in second[4:]]
    assert ({config.seed for config in first}, {c.seed for c in second}) == ({0}, {1000})
    seeds = [
        [final.config.seed for final in made.add_finals()]
        for made in (Row(sweep(trials=1, seeds=2), 0, number) for number in (0, 1, 2))
        if train(made, made.propose(), 0.5)
    ]
    assert seeds == [[1, 2], [1001, 1002], [2001, 2002]]


def test_the_search_learns_from_what_it_hears() -> None:
    row = Row(sweep(trials=40, search={"lr": tune.loguniform(1e-9, 1e5)}), 0)
    values = [value_of(train_at_value(row)) for _ in range(40)]
    assert sum(values[10:]) / 30 > 0.4  # 0.12 at random


@pytest.mark.parametrize("epochs", [1, 4, 5, 6, 10, 52])
def test_no_trial_is_stopped_in_the_first_fifth_of_the_epochs(epochs: int) -> None:
    grace = math.ceil(epochs / 5)
    row = Row(sweep(base=TrainConfig(epochs=epochs), trials=9), 0)
    stops = []
    for quality in range(9, 0, -1):  # each worse than all before it
        trial = row.propose()
        for epoch in range(epochs + 1):
            trial.last_epoch = epoch
            if row.on_record(trial, record(epoch, quality / 10)):
                break
        stops.append(trial.stopped_at)
    assert set(stops) == ({None} if grace == epochs else {None, grace})


def test_the_better_half_goes_on() -> None:
    row = Row(sweep(), 0)
    stops = [train(row, row.propose(), value).stopped_at for value in (0.2, 0.4, 0.31, 0.3)]
    assert stops == [None, None, None, 2]  # the median was 0.2, then 0.3, then 0.31


@pytest.mark.parametrize(("searcher", "stop"), [("gp", 2), ("tpe", None)])
def test_a_trial_with_little_chance_is_stopped_where_halving_lets_it_go_on(
    searcher: Any, stop: int | None
) -> None:
    row = Row(sweep(searcher=searcher), 0)
    for value in (0.2, 0.2, 0.2, 0.9):
        assert train(row, row.propose(), value).stopped_at is None
    assert train(row, row.propose(), 0.2).stopped_at == stop, "as good as the median of the rung"


def test_a_poor_row_is_not_stopped_because_of_a_good_one() -> None:
    both = sweep(rows=[{"freeze": "none"}, {"freeze": "all_but_head"}])
    good, poor = Row(both, 0), Row(both, 1)
    for number in range(6):
        train(good, good.propose(), 0.9 + number / 100)
    assert [train(poor, poor.propose(), 0.2 + number / 100).stopped_at for number in range(6)] == [
        None
    ] * 6
    assert train(good, good.propose(), 0.2).stopped_at == 2


def test_a_loss_is_best_when_small() -> None:
    row = Row(sweep(select="validation_loss"), 0)
    trials = [train(row, row.propose(), value) for value in (0.2, 0.9, 0.5)]
    assert row.winner() is trials[1]
    assert trials[1].best == pytest.approx(0.1)
    assert trials[2].stopped_at == 2


def test_the_winner_is_among_those_trained_to_the_end() -> None:
    row = Row(sweep(trials=3), 0)
    assert row.winner() is None
    assert not row.complete
    whole, stopped, failed = (row.propose() for _ in range(3))
    train(row, whole, 0.5)
    train(row, stopped, 0.6)
    stopped.stopped_at = 4
    failed.status, failed.best = "failed", 0.99
    assert row.complete
    assert row.winner() is whole
    whole.status = "failed"
    assert row.winner() is stopped
    stopped.status = "failed"
    assert row.winner() is None
    assert row.add_finals() == []


def test_a_diverged_trial_is_told_as_a_bad_value_and_a_failed_one_is_not_told() -> None:
    outcomes = {}
    for kind in ("diverged", "failed"):
        row = Row(sweep(searcher="tpe"), 0)
        trial = train(row, row.propose(), 0.7, epochs=3)
        trial.status, trial.problem = "failed", f"{kind}: its reason"
        row.on_failed(trial)
        told = row._searcher.searcher._ot_study.trials[0]  # type: ignore[union-attr]
        outcomes[kind] = (told.state.name, told.value)
    assert outcomes == {"diverged": ("COMPLETE", 0.1), "failed": ("FAIL", None)}


def test_the_search_goes_elsewhere_after_divergence() -> None:
    row = Row(sweep(trials=40, search={"lr": tune.loguniform(1e-4, 1e4)}), 0)
    rates = []
    for _ in range(40):
        trial = row.propose()
        rates.append(trial.config.lr)
        if trial.config.lr > 1:
            train(row, trial, 0.9, epochs=1)  # a good start, then NaN
            trial.status, trial.problem = "failed", "diverged: loss is nan"
            row.on_failed(trial)
        else:
            train(row, trial, 0.3 + value_of(trial) / 2)
    assert sum(rate > 1 for rate in rates[:10]) >= 2
    assert sum(rate > 1 for rate in rates[10:]) <= 8  # 23 or more where it is not told


def test_tuples_are_chosen_from_as_they_are() -> None:
    domains = {
        "filters": tune.choice([(32,), [64, 32, 16, 8, 4]]),
        "augmentation": tune.choice([(), ("crop", "rotation")]),
        "betas": tune.choice([(0.9, 0.99), (0.8, 0.9)]),
        "gradient_clip": tune.choice([None, 1.0]),
    }
    row = Row(sweep(search=domains), 0)
    configs = [row.propose().config for _ in range(12)]
    assert {config.filters for config in configs} == {(32,), (64, 32, 16, 8, 4)}
    assert {config.augmentation for config in configs} == {(), ("crop", "rotation")}
    assert {config.betas for config in configs} == {(0.9, 0.99), (0.8, 0.9)}
    assert {config.gradient_clip for config in configs} == {None, 1.0}


def test_trials_proposed_at_the_same_time_differ() -> None:
    row = Row(
        sweep(search={"lr": tune.loguniform(1e-4, 1e-1), "weight_decay": tune.choice([0.0, 0.1])}),
        0,
    )
    assert len({row.propose().config for _ in range(12)}) == 12


def test_without_a_search_a_row_has_one_trial() -> None:
    row = Row(sweep(search={}, trials=12, seeds=2), 0)
    trial = row.propose()
    assert trial.config == row.config
    train(row, trial, 0.5)
    assert row.complete
    assert [final.config.seed for final in row.add_finals()] == [1, 2]


def test_finals_are_the_winner_with_fresh_seeds() -> None:
    row = Row(sweep(base=TrainConfig(epochs=EPOCHS, seed=7), trials=2, seeds=3), 0)
    train(row, row.propose(), 0.4)
    winner = train(row, row.propose(), 0.6)
    finals = row.add_finals()
    assert [final.config.seed for final in finals] == [8, 9, 10]
    assert all(set(final.config.differences(winner.config)) == {"seed"} for final in finals)


def test_a_trial_of_a_lost_search_is_restored_with_its_tuples() -> None:
    domains = {"lr": tune.loguniform(1e-4, 1.0), "filters": tune.choice([(8,), (16,)])}
    row = Row(sweep(search=domains, trials=2, searcher="tpe"), 0)
    config = TrainConfig(epochs=EPOCHS, model="cnn", lr=0.01, filters=(16,))
    row.restore(config, {"outcome": "finished", "epochs": EPOCHS, "validation_accuracy": 0.7})
    (told,) = row._searcher.searcher._ot_study.trials  # type: ignore[union-attr]
    assert told.value == 0.7
    assert told.params["lr"] == 0.01
    assert row.trials[0].status == "done"
    assert row.propose().trial_id == "0-1"


CHOICES: dict[str, Any] = {
    "weight_decay": [0, 1e-4],
    "gradient_clip": [None, 1],
    "lr": ["1e-3", "1e-2"],
    "filters": ["8", [16, 16, 16, 16, 16]],
    "betas": ["0.9, 0.99", (0.8, 0.9)],
}


@pytest.mark.parametrize("searcher", ["gp", "tpe"])
def test_a_lost_search_knows_choices_however_they_are_written(searcher: Any) -> None:
    search = {name: tune.choice(values) for name, values in CHOICES.items()}
    told = []
    for number in range(2):
        row = Row(sweep(search=search, searcher=searcher), 0)
        values = {name: values[number] for name, values in CHOICES.items()}
        config = TrainConfig.from_dict(values, row.config)
        row.restore(config, {"outcome": "finished", "epochs": EPOCHS, "validation_accuracy": 0.7})
        assert TrainConfig.from_dict(row.trials[0].suggestion, row.config) == config
        made = row._searcher.searcher  # type: ignore[union-attr]
        known = (
            [curve.point for curve in made._curves.values()]
            if searcher == "gp"
            else [tuple(trial.params.values()) for trial in made._ot_study.trials]
        )
        assert len(known) == 1
        told += known
        row.propose()
    assert not any(one == other for one, other in zip(*told, strict=True))


@pytest.mark.parametrize("searcher", ["gp", "tpe"])
@pytest.mark.parametrize("field", ["optimizer", "lr"])
def test_a_lost_search_leaves_out_what_it_could_not_propose(searcher: Any, field: str) -> None:
    search = {"lr": tune.loguniform(1e-4, 1e-2), "optimizer": tune.choice(["sgd", "adam"])}
    row = Row(sweep(search=search, searcher=searcher), 0)
    values = {"lr": 1e-3, "optimizer": "adam"} | {field: {"optimizer": "adamw", "lr": 0.5}[field]}
    config = TrainConfig.from_dict(values, row.config)
    row.restore(config, {"outcome": "finished", "epochs": EPOCHS, "validation_accuracy": 0.7})
    row.restore(config, None)  # this one resumes
    train(row, row.trials[1], 0.6)
    assert [trial.best for trial in row.trials] == [0.7, 0.6]
    made = row._searcher.searcher  # type: ignore[union-attr]
    assert not (made._curves if searcher == "gp" else made._ot_study.trials)


def test_a_failed_trial_can_be_taken_back() -> None:
    row = Row(sweep(trials=1), 0)
    trial = train(row, row.propose(), 0.7, epochs=3)
    trial.status, trial.problem = "failed", "error: its reason"
    row.on_failed(trial)
    assert row.add_finals() == []
    row.reopen(trial)
    assert row.finals is None
    assert train(row, trial, 0.8) is row.winner()
