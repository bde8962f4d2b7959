"""What sweep.json may hold: what is written is read, in any version, and the rest is refused."""

import json
from typing import Any

import pytest

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.sweep_description import SearchDomain, SweepDescription

DOMAINS = {
    "lr": SearchDomain("loguniform", 1e-5, 0.1),
    "dropout": SearchDomain("uniform", 0, 0.5, 0.1),
    "batch_size": SearchDomain("uniform", 8, 64, 8),
    "filters": SearchDomain("choice", choices=("32", "32,16,8,4,2")),
    "freeze": SearchDomain("choice", choices=("none", "pattern:a, b")),
}
WHOLE = SweepDescription(
    name="x",
    base=TrainConfig(epochs=3, select="validation_loss"),
    rows=({"model": "mlp"}, {"filters": (8, 16, 32, 64, 128), "lr": 1.0}),
    search=DOMAINS,
    trials=4,
    seeds=2,
    finalists=3,
    searches=2,
    select="validation_loss",
    source={"classes": "0-4", "filters": (8,)},
    max_failures=10,
    deterministic=True,
)


def read(values: object) -> SweepDescription:
    return SweepDescription.from_json(json.loads(json.dumps(values)), "runs/x/sweep.json")


def problems(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(WHOLE.to_json() | changes)
    lines = str(caught.value).splitlines()
    assert all(line.startswith("runs/x/sweep.json: ") for line in lines)
    return "\n".join(line.removeprefix("runs/x/sweep.json: ") for line in lines)


def test_what_is_written_is_read() -> None:
    assert read(WHOLE.to_json()) == WHOLE


def test_what_follows_from_it() -> None:
    assert (WHOLE.mode, WHOLE.compared) == ("min", ["model", "filters", "lr"])
    assert (WHOLE.trials_per_search, read(WHOLE.to_json() | {"search": {}}).trials_per_search) == (
        4,
        1,
    )
    assert WHOLE.cells(0) == ("mlp", "32", "0.001")
    assert WHOLE.labels == ["model=mlp", "filters=8,16,32,64,128 lr=1.0"]
    alike = read(WHOLE.to_json() | {"rows": [{"model": "cnn", "lr": 1}, {"model": "mlp", "lr": 2}]})
    assert alike.labels == ["cnn · 1.0", "mlp · 2.0"]
    assert [config.epochs for config in alike.row_configs] == [3, 3]


def test_earlier_versions_are_read() -> None:
    """They wrote domains as texts, knew fewer fields, and had no finalists or further searches."""
    earlier = WHOLE.to_json() | {"search": {name: str(one) for name, one in DOMAINS.items()}}
    for name in (
        "mode",
        "source",
        "max_failures",
        "finalists",
        "searches",
        "deterministic",
        "searcher",
    ):
        del earlier[name]
    del earlier["base"]["precision"]
    found = read(earlier)
    assert {name: str(one) for name, one in found.search.items()} == earlier["search"]
    for name in ("lr", "dropout", "batch_size", "filters"):
        assert found.search[name] == DOMAINS[name]
    assert (found.base, found.rows) == (WHOLE.base, WHOLE.rows)
    assert (found.source, found.max_failures, found.deterministic) == (None, None, False)
    assert (found.finalists, found.searches, found.searcher) == (1, 1, "tpe")
    texts = {"lr": "loguniform((1e-05, 0.1))", "epochs": "quantized((2, 9))"}  # of the first one
    first = read(earlier | {"search": texts})
    assert str(first.search["lr"]) == "loguniform(1e-05, 0.1)"
    assert str(first.search["epochs"]) == "uniform(2, 9)"


@pytest.mark.parametrize("values", [None, [], "x", 3])
def test_what_is_no_object(values: object) -> None:
    with pytest.raises(ConfigError, match=r"sweep\.json: must be a JSON object that describes"):
        read(values)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"sweep\.json: lacks base, search, trials, seeds, sel"):
        read({"name": "x", "rows": []})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("name", 3, 'name = 3: must be text, in quotes: "3"'),
        ("base", None, "base = None: must be an object of config fields"),
        ("base", {"flux": 1}, "base: unknown field 'flux'"),
        ("base", {"epochs": [1]}, "base: epochs = [1]: must be a whole number"),
        ("rows", [], "rows = []: must be a list of at least one row"),
        ("rows", {"model": "cnn"}, "rows = {'model': 'cnn'}: must be a list"),
        ("rows", [{"model": "cnn"}, 3], "row 1 = 3: must be an object of config fields"),
        ("rows", [{}, {"optimizer": "adamax"}], "row 1: optimizer = 'adamax': must be one of sgd"),
        ("search", ["lr"], "search = ['lr']: must be an object of fields"),
        ("search", {"flux": "uniform(0, 1)"}, "unknown field 'flux'"),
        ("search", {"lr": "uniform(0, e)"}, "search lr = 'uniform(0, e)': must be uniform or"),
        ("search", {"lr": {"kind": "normal"}}, "search lr = {'kind': 'normal'}: must be uniform"),
        ("search", {"lr": {"kind": "uniform", "low": 0, "high": 10**400}}, "search lr = {'kind'"),
        ("search", {"lr": {"kind": "choice", "choices": [1]}}, "or choice with choices"),
        ("trials", 0, "trials = 0: must be at least 1"),
        ("trials", 2.5, "trials = 2.5: must be a whole number"),
        ("seeds", "3", "seeds = '3': must be a whole number"),
        ("select", ["validation_loss"], "must be one of validation_accuracy, validation_loss"),
        ("source", "x", "source = 'x': must be an object of config fields"),
        ("source", {"epochs": 1.5}, "source: epochs = 1.5: must be a whole number"),
        ("max_failures", -1, "max_failures = -1: must be at least 0"),
        ("finalists", 0, "finalists = 0: must be at least 1"),
        ("searches", None, "searches = None: must be a whole number"),
        ("deterministic", 1, "deterministic = 1: must be true or false"),
    ],
)
def test_what_cannot_be_is_refused_with_its_rule(name: str, value: object, message: str) -> None:
    assert message in problems(**{name: value})


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(trials=0, rows=[{"flux": 1}], search={"lr": 3}).splitlines()) == 3
