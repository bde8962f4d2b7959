from dataclasses import replace
from typing import Any

import pytest
from ray import tune

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.smoke import smoke
from fieldtrial.disk.sweep_description import SearchDomain
from fieldtrial.sweep import Sweep, grid

BASE = TrainConfig(epochs=5)


def problems(**fields: Any) -> list[str]:
    """Return what is wrong with a sweep of these fields."""
    with pytest.raises(ConfigError) as caught:
        Sweep(**{"base": BASE, "rows": [{"model": "cnn"}], **fields})
    lines = str(caught.value).splitlines()
    assert all(line.startswith("sweep: ") for line in lines)
    return [line.removeprefix("sweep: ") for line in lines]


def test_the_last_field_of_a_grid_changes_fastest() -> None:
    assert grid(model=["cnn", "mlp"], batch_size=[16, 64]) == [
        {"model": "cnn", "batch_size": 16},
        {"model": "cnn", "batch_size": 64},
        {"model": "mlp", "batch_size": 16},
        {"model": "mlp", "batch_size": 64},
    ]


def test_all_problems_are_told_at_once() -> None:
    found = problems(
        rows=[{"optimizer": "adamax"}, {"dropuot": 0.1}, {"lr": 0.1}, {"seed": 3}],
        search={
            "lr": tune.loguniform(1e-4, 1e-1),
            "seed": tune.randint(0, 5),
            "momentum": tune.uniform(0.5, 2.0),
            "epsilon": {"grid_search": [1e-8]},
            "weight_decay": tune.sample_from(lambda _: 0.1),
            "filters": tune.choice([(32,), (1, 2)]),
            "batch_size": tune.uniform(16, 64),
            "epochs": tune.randint(0, 9),
            "activation": tune.choice([]),
            "learning_rate": tune.uniform(0, 1),
        },
        source={"classes": "9-3"},
        trials=0,
        seeds=-1,
        select="test_accuracy",
        searcher="bayes",
    )
    expected = [
        ("trials = 0", "at least 1"),
        ("searcher = 'bayes'", "must be gp or tpe"),
        ("seeds = -1", "at least 0"),
        ("select = 'test_accuracy'", "validation_accuracy, validation_loss"),
        (
            "row 0 (optimizer=adamax): optimizer = 'adamax'",
            "must be one of sgd, adam, adamw, rmsprop, adagrad, nadam",
        ),
        ("row 1 (dropuot=0.1): unknown field 'dropuot'", "did you mean 'dropout'"),
        ("row 3: seed", "`seeds` says"),
        ("search lr", "a row sets it too"),
        ("search seed", "a row sets it too"),
        ("search momentum = 2.0", "at most 0.9999"),
        ("search epsilon = {'grid_search'", "must be a domain: uniform"),
        ("search weight_decay", "must be a domain"),
        ("search filters = (1, 2)", "1 or 5 numbers"),
        ("search filters", "the source's weights fix it"),
        ("search batch_size = 16.0", "must be a whole number"),
        ("search epochs = 0", "at least 1"),
        ("search activation", "something to choose from"),
        ("search activation", "the source's weights fix it"),
        ("search: unknown field 'learning_rate'", "fields: dataset"),
        ("classes = '9-3'", "A-B with A below B"),
    ]
    for start, rule in expected:
        assert any(line.startswith(start) and rule in line for line in found), (start, rule, found)


def test_a_sweep_needs_rows() -> None:
    assert problems(rows=[]) == ["rows: there must be at least one"]


def test_a_seed_is_not_searched() -> None:
    assert "`seeds` says" in problems(search={"seed": tune.randint(0, 5)})[0]


def test_rows_and_search_leave_the_weights_to_the_source() -> None:
    assert (
        "neither rows nor search"
        in problems(source={"classes": "0-4"}, rows=[{"weights": "imagenet"}])[0]
    )
    assert (
        "neither rows nor search"
        in problems(source={}, search={"weights": tune.choice(["random"])})[0]
    )


@pytest.mark.parametrize(
    ("field", "domain", "text"),
    [
        ("lr", tune.loguniform(1e-4, 0.1), "loguniform(0.0001, 0.1)"),
        ("lr", tune.uniform(1e-4, 0.1), "uniform(0.0001, 0.1)"),
        ("batch_size", tune.randint(1, 9), "uniform(1, 9)"),
        ("batch_size", tune.qrandint(8, 64, 8), "uniform(8, 64) in steps of 8"),
        ("batch_size", tune.qrandint(8, 64, 4), "uniform(8, 64) in steps of 4"),
        ("dropout", tune.quniform(0, 0.5, 0.1), "uniform(0, 0.5) in steps of 0.1"),
        ("filters", tune.choice([(32,), (32, 16, 8, 4, 2)]), "choice(32, 32,16,8,4,2)"),
        ("image_size", tune.choice([None, 32]), "choice(none, 32)"),
    ],
)
def test_the_description_tells_searches_apart(field: str, domain: Any, text: str) -> None:
    described = Sweep(base=BASE, rows=[{"model": "cnn"}], search={field: domain}).describe("x")
    assert {name: str(one) for name, one in described.search.items()} == {field: text}


def test_the_upper_end_of_steps_is_one_of_them() -> None:
    assert (
        "search batch_size"
        in problems(rows=[{"model": "cnn"}], search={"batch_size": tune.qrandint(-8, 8, 8)})[0]
    )
    assert (
        "search warmup_fraction = 2"
        in problems(search={"warmup_fraction": tune.qrandint(0, 2, 1)})[0]
    )


def test_the_description_is_plain_and_has_all_that_decides() -> None:
    rows: list[dict[str, object]] = [{"filters": (8,)}, {"model": "mlp"}]
    sweep = Sweep(
        base=BASE, rows=rows, source={"filters": (8,)}, select="validation_loss", trials=5, seeds=2
    )
    described = sweep.describe("name").to_json()
    assert described == {
        "name": "name",
        "base": replace(BASE, select="validation_loss").to_dict(),
        "rows": [{"filters": [8]}, {"model": "mlp"}],
        "search": {},
        "trials": 5,
        "seeds": 2,
        "finalists": 1,
        "searches": 1,
        "max_failures": 10,
        "select": "validation_loss",
        "mode": "min",
        "source": {"filters": [8]},
        "searcher": "gp",
        "deterministic": False,
        **{"aa": False, "pairs": False, "most_seeds": 2, "earlier_seeds": [], "row_labels": []},
        "cut": "content",
    }


def test_rows_of_one_architecture_start_from_one_source() -> None:
    rows = grid(model=["cnn", "mlp"], freeze=["none", "all_but_head"], batch_size=[16, 64])
    sweep = Sweep(base=BASE, rows=rows, source={"classes": "0-4", "lr": 0.5, "batch_size": 32})
    sources = [row.source for row in sweep.planned]
    assert len(set(sources)) == 2
    for number, source in enumerate(sources):
        assert source is not None
        assert (source.model, source.classes, source.lr, source.batch_size) == (
            rows[number]["model"],
            "0-4",
            0.5,
            32,
        )
        assert source.freeze == "none"
        assert sweep.planned[number].config.weights == f"run:{source.id}"
    assert Sweep(base=BASE, rows=rows).planned[0].source is None


def test_a_source_has_the_shape_of_the_rows_that_start_from_it() -> None:
    shape: dict[str, Any] = {
        "model": "cnn",
        "blocks": 2,
        "convolutions": 2,
        "padding": "valid",
        "batch_norm_after": "pool",
    }
    source = Sweep(base=BASE, rows=[shape], source={"classes": "0-4"}).planned[0].source
    assert source is not None
    assert {name: getattr(source, name) for name in shape} == shape


def test_smoke_is_tiny_and_keeps_every_row() -> None:
    whole = Sweep(
        base=TrainConfig(
            dataset="folder:/none", image_size=224, classes="3", weights="imagenet", epochs=90
        ),
        rows=grid(activation=["relu", "gelu"], image_size=[224, 448]),
        search={
            "epochs": tune.choice([50, 90]),
            "filters": tune.choice([(64,), (8,)]),
            "lr": tune.uniform(0.1, 0.2),
        },
        trials=50,
        seeds=5,
    )
    sweep = smoke(whole)
    assert len(sweep.rows) == 4
    assert (sweep.trials, sweep.seeds) == (1, 1)
    for planned, row in zip(sweep.planned, whole.rows, strict=True):
        config = planned.config
        assert (config.dataset, config.classes, config.weights, config.epochs) == (
            "digits",
            "2",
            "random",
            1,
        )
        assert (config.image_size, config.images_per_class) == (32, 8)
        assert config.activation == row["activation"]
        assert planned.most_epochs == 1
    described = sweep.describe("smoke").search
    assert described == {
        "filters": SearchDomain("choice", choices=("8",)),
        "lr": SearchDomain("uniform", 0.1, 0.2),
    }


def test_smoke_gives_every_model_images_that_it_takes() -> None:
    sweep = Sweep(
        base=TrainConfig(dataset="cifar10"), rows=grid(model=["resnet18", "timm:xception"])
    )
    assert [row.config.image_size for row in smoke(sweep).planned] == [32, 96]


def test_smoke_of_a_small_variant_of_other_data_is_its_own() -> None:
    base = TrainConfig(dataset="cifar10", classes="5", images_per_class=500)
    sweep = Sweep(
        base=base,
        rows=grid(train_fraction=[0.001, 1.0]),
        search={"images_per_class": tune.choice([500])},
    )
    tiny = smoke(sweep)
    configs = [row.config for row in tiny.planned]
    assert {(config.train_fraction, config.images_per_class) for config in configs} == {(1.0, 8)}
    assert tiny.describe("smoke").search == {}


def test_smoke_keeps_the_classes_of_embedded_data() -> None:
    sweep = Sweep(
        base=TrainConfig(classes="5-9"),
        rows=[{"model": "cnn"}],
        source={"classes": "0-4", "epochs": 50},
    )
    (row,) = smoke(sweep).planned
    assert row.source is not None
    assert (row.source.classes, row.source.epochs) == ("0-4", 1)
    assert (row.config.classes, row.config.image_size) == ("5-9", None)


def test_rows_with_different_fields_have_a_cell_in_each_column() -> None:
    sweep = Sweep(base=BASE, rows=[{"freeze": "first:1"}, {"model": "mlp", "dense_width": (8, 4)}])
    assert sweep.compared == ["freeze", "model", "dense_width"]
    assert [row.cells for row in sweep.planned] == [
        ("first:1", "cnn", "256"),
        ("none", "mlp", "8,4"),
    ]


def test_the_longest_trial_is_known_when_epochs_are_searched() -> None:
    searched = Sweep(base=BASE, rows=[{}], search={"epochs": tune.randint(2, 31)})
    assert searched.planned[0].most_epochs == 30
    assert Sweep(base=BASE, rows=[{"epochs": 9}]).planned[0].most_epochs == 9


def test_the_failures_that_a_sweep_bears_grow_with_it() -> None:
    rows = [{"batch_size": size} for size in range(1, 61)]
    assert Sweep(base=BASE, rows=rows[:1]).most_failures == 10
    assert Sweep(base=BASE, rows=rows, seeds=3).most_failures == 24
    assert Sweep(base=BASE, rows=rows, max_failures=0).most_failures == 0
    assert smoke(Sweep(base=BASE, rows=rows, max_failures=0)).most_failures == 120
    with pytest.raises(ConfigError, match="max_failures = -1: must be at least 0"):
        Sweep(base=BASE, rows=rows, max_failures=-1)


def test_a_row_with_a_field_that_has_no_effect_is_refused_with_the_rows_that_are_one_model() -> (
    None
):
    found = problems(rows=grid(optimizer=["sgd", "adamw"], momentum=[0.9, 0.0]))
    assert found == [
        "row 3 (optimizer=adamw momentum=0.0): momentum = 0.0 has no effect: it needs optimizer ="
        " sgd or rmsprop, classifier = softmax; row 2 (optimizer=adamw momentum=0.9), row 3"
        " (optimizer=adamw momentum=0.0) are one model"
    ]
    found = problems(rows=grid(model=["resnet18"], kernel_size=[(5,)]))
    assert found == [
        "row 0 (model=resnet18 kernel_size=5): kernel_size = 5 has no effect: it needs model = cnn"
    ]


def test_many_rows_that_are_one_model_are_not_all_named() -> None:
    found = problems(rows=grid(optimizer=["adamw"], step_epochs=range(1, 7)))
    assert len(found) == 6
    assert all(line.endswith("step_epochs=3) and 3 more are one model") for line in found)


def test_what_the_base_sets_makes_no_row_different() -> None:
    base = TrainConfig(momentum=0.5, kernel_size=(5,), classifier="svm")
    assert Sweep(base=base, rows=grid(model=["mlp", "resnet18"], momentum=[0.5])).planned


def test_a_searched_field_must_have_an_effect_in_every_row() -> None:
    momentum = {"momentum": tune.uniform(0.0, 0.9)}
    assert problems(rows=grid(optimizer=["sgd", "adamw"]), search=momentum) == [
        "search momentum: has no effect in row 1 (optimizer=adamw): it needs optimizer = sgd or"
        " rmsprop, classifier = softmax"
    ]
    assert Sweep(base=BASE, rows=grid(optimizer=["sgd", "rmsprop"]), search=momentum).planned


def test_a_field_may_need_a_value_that_the_search_chooses_in_some_trials() -> None:
    search = {
        "optimizer": tune.choice(["adamw", "sgd"]),
        "nesterov": tune.choice([False, True]),
        "blocks": tune.randint(1, 4),
    }
    base = TrainConfig(momentum=0.0)
    rows = grid(momentum=[0.5, 0.9], filter_growth=[1.0, 2.0])
    assert Sweep(base=base, rows=rows, search=search).planned
    assert [line[:34] for line in problems(base=base, search=search)] == [
        "search nesterov: has no effect in "
    ]


def test_lists_and_tuples_may_stand_in_one_choice() -> None:
    search = {"filters": tune.choice([(32,), [64, 32, 16, 8, 4]])}
    sweep = Sweep(base=BASE, rows=[{}], search=search)
    assert sweep.planned[0].largest.filters == (64, 32, 16, 8, 4)
    assert smoke(sweep).planned[0].largest.filters == (32,)


def test_a_smoke_leaves_out_what_its_smallest_values_make_idle() -> None:
    search = {"blocks": tune.choice([3, 1]), "filter_growth": tune.choice([1.0, 2.0])}
    whole = Sweep(base=BASE, rows=[{"model": "cnn"}], search=search)
    assert list(smoke(whole).search) == ["blocks"]


@pytest.mark.parametrize(("name", "text"), [("model", "cnn"), ("batch_size", "32")])
def test_a_choice_of_letters_is_refused_in_a_line(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Sweep(base=TrainConfig(), rows=[{}], search={name: tune.choice(text)})
    assert caught.value.problems == [
        f"search {name} = choice({text!r}): would be taken letter by letter; must be a list, such"
        f" as choice([{text!r}])"
    ]
    Sweep(base=TrainConfig(), rows=[{}], search={"classes": tune.choice(["5", "9"])})
