"""Options of own parts: fields in configs, ids, flags, rows and searches; checked by the source."""

import json
import pickle
from pathlib import Path

import pytest

from fieldtrial.command_line import job_parser, open_run, typed_config
from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.admitted import admit
from fieldtrial.control.changes import with_rows, with_settings
from fieldtrial.control.engine.row import Row
from fieldtrial.control.smoke import smoke
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.effects import has_effect
from fieldtrial.flags import add_flags
from fieldtrial.own.project import TRUSTED, enter_project, trusted
from fieldtrial.parts.typed import with_types
from fieldtrial.search_domains import Domain, choice, quniform, randint, uniform
from fieldtrial.sweep import Sweep, grid
from tests.own.projects import RAN, make_project

NET = {"model": "nets:Net"}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_project(tmp_path / "project")
    enter_project(folder / "sweeps" / "first.py")
    monkeypatch.setenv(TRUSTED, "")
    monkeypatch.chdir(folder)
    return folder


def test_an_option_is_a_field() -> None:
    config = TrainConfig.from_dict({**NET, "model.width": 2, "lr": 0.1})
    assert config.options == {"model.width": 2}
    assert config.options_of("model") == {"width": 2}
    assert getattr(config, "model.width") == 2
    assert getattr(config, "model.depth") is None
    assert not hasattr(config, "width")
    assert config == TrainConfig(model="nets:Net", options={"model.width": 2}, lr=0.1)
    assert config.differences(TrainConfig(lr=0.1)) == {
        "model": ("nets:Net", "cnn"), "model.width": (2, None)
    }  # fmt: skip
    assert pickle.loads(pickle.dumps(config)) == config


def test_ids_depend_on_options_and_on_nothing_new_without() -> None:
    one, other = (TrainConfig.from_dict({**NET, "model.width": width}) for width in (1, 2))
    assert len({one.id, other.id, TrainConfig(model="nets:Net").id}) == 3
    assert one != other
    assert TrainConfig(options={}).id == "44136fa3"  # as it was before there were options
    assert "options" not in TrainConfig().to_dict()
    again = TrainConfig.from_dict(json.loads(json.dumps(one.to_dict())))
    assert (again, again.id, hash(again)) == (one, one.id, hash(one))


def test_options_go_with_their_part() -> None:
    base = TrainConfig.from_dict({**NET, "model.width": 2})
    assert TrainConfig.from_dict({"lr": 0.1}, base).options == {"model.width": 2}
    assert TrainConfig.from_dict({"model": "cnn"}, base).options == {}
    assert TrainConfig.from_dict({"model": "nets:Field"}, base).options == {}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"model.width": 2}, "model.width = 2: model = 'cnn' takes no options; only your own"),
        ({"modle.width": 2}, "unknown field 'modle.width'"),
        ({**NET, "model.width": {}}, "model.width = {}: must be a number, a text, true, false"),
        ({**NET, "options": [1]}, "options = [1]: must be a table of options"),
        ({**NET, "options": {"width": 1}}, "options 'width': must be PART.NAME, where PART is"),
        ({**NET, "model.width": float("nan")}, "model.width = nan: must be finite"),
        ({"model": "a b:c"}, "model = 'a b:c': must be a model's name, or package.module:name"),
        ({"optimizer": "adm"}, "nadam, or package.module:name of your own code"),
        ({"metrics": "auc"}, "metrics = 'auc': must be package.module:name of your own code"),
    ],
)
def test_what_no_config_can_have(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(fields)
    assert problem in str(caught.value)


def test_flags_have_the_types_of_the_callable(project: Path) -> None:
    parser = job_parser(None)
    add_flags(parser)
    flags = ["--model", "nets:Field", "--model.depth", "3", "--model.sizes=1,2", "--lr", "0.1"]
    config = typed_config(TrainConfig.from_flags(parser.parse_args(flags)))
    assert config.options == {"model.depth": 3, "model.sizes": (1, 2)}
    assert trusted() == {"nets:Field"}
    again = job_parser(None)
    add_flags(again)
    assert typed_config(TrainConfig.from_flags(again.parse_args(config.to_flags()))) == config
    with pytest.raises(SystemExit):
        job_parser(None).parse_args(["--model.depth", "3"])  # of a command without fields
    assert not (project / RAN).exists()


def test_all_problems_with_options_at_once() -> None:
    config = TrainConfig.from_dict(
        {"model": "nets:Field", "model.kind": "c", "model.width": 1, "loss": "lacking:focal"}
    )
    with pytest.raises(ConfigError) as caught:
        with_types(config)
    first, *others = caught.value.problems
    assert first.startswith("loss = 'lacking:focal': no module lacking; looked in ")
    assert others == [
        "model.kind = 'c': must be one of plain, gated",
        "model.width = 1: unknown option; nets:Field takes depth, kind, sizes, note",
        "model.depth: nets:Field needs it",
    ]


def test_a_sweep_compares_and_searches_options(project: Path) -> None:
    sweep = Sweep(
        base=TrainConfig(model="nets:Net", options={"model.rate": 1}),
        rows=[{"model.width": "2"}, {"model.width": 4}],
        search={"lr": uniform(0.1, 0.2)},
    )
    assert sweep.base.options == {"model.rate": 1.0}
    assert sweep.compared == ["model.width"]
    assert [row.cells for row in sweep.planned] == [("2",), ("4",)]
    assert [row.label for row in sweep.planned] == ["model.width=2", "model.width=4"]
    assert with_rows(sweep, ["model.width=4"]).run_only == frozenset({1})
    changed = with_settings(sweep, {"model.rate": "0.25"})
    assert [row.config.options["model.rate"] for row in changed.planned] == [0.25, 0.25]
    described = sweep.describe("x")
    again = SweepDescription.from_json(json.loads(json.dumps(described.to_json())), "here")
    assert [one.id for one in again.row_configs] == [row.config.id for row in sweep.planned]
    assert not (project / RAN).exists()


def test_rows_may_have_own_parts_or_none() -> None:
    rows = grid(model=["nets:Net"], **{"model.width": [1, 2]})
    rows.append({"model": "cnn"})
    sweep = Sweep(base=TrainConfig(), rows=rows)
    assert [row.cells for row in sweep.planned] == [
        ("nets:Net", "1"), ("nets:Net", "2"), ("cnn", "none")
    ]  # fmt: skip
    described = sweep.describe("x")
    assert [config.id for config in described.row_configs] == [
        row.config.id for row in sweep.planned
    ]
    assert has_effect("model.width", sweep.planned[0].config)
    assert not has_effect("model.width", sweep.planned[2].config)
    assert smoke(sweep).planned[1].config.options == {"model.width": 2}
    admit(sweep)
    assert trusted() == {"nets:Net"}


def test_searched_options_are_proposed_with_their_types() -> None:
    sweep = Sweep(
        base=TrainConfig(model="nets:Field", options={"model.depth": 2}),
        rows=[{}],
        search={"model.sizes": choice(["1,2", [3]]), "model.kind": choice(["plain", "gated"])},
        trials=4,
    )
    row = Row(sweep, 0)
    proposed = [row.propose().config.options for _ in range(4)]
    assert {one["model.sizes"] for one in proposed} == {(1, 2), (3,)}
    assert all(with_types(trial.config) == trial.config for trial in row.trials)
    restored = Row(sweep, 0)
    restored.restore(row.trials[0].config, None)
    assert restored.trials[0].suggestion == row.trials[0].suggestion


@pytest.mark.parametrize(
    ("models", "search", "problem"),
    [
        (
            ["nets:build", "nets:Net"],
            {"model.plain": choice([1])},
            "row 1 (model=nets:Net): unknown option; nets:Net takes width, rate",
        ),
        (["nets:Net"], {"model.width": uniform(1, 2)}, "row 0 (model=nets:Net): must be a whole"),
        (["nets:Net"], {"model.width": choice(["a"])}, "row 0 (model=nets:Net): must be a whole"),
        (["nets:Net"], {"model.rate": randint(1, 3)}, "must be of numbers, such as quniform"),
        (["nets:Net", "cnn"], {"model.width": choice([1])}, "row 1 (model=cnn): has no effect"),
        (["nets:Net"], {"loss.gamma": choice([1])}, "loss = cross_entropy takes no options"),
        (["nets:Net"], {"modle.x": choice([1])}, "unknown field 'modle.x'"),
    ],
)
def test_searches_that_no_row_can_have(
    models: list[str], search: dict[str, Domain], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Sweep(base=TrainConfig(), rows=grid(model=models), search=search)
    assert problem in str(caught.value)


def test_a_searched_option_may_be_required_and_a_missing_one_is_said() -> None:
    base = TrainConfig(model="nets:Field")
    assert Sweep(base=base, rows=[{}], search={"model.depth": randint(1, 4)}).planned
    with pytest.raises(ConfigError, match=r"row 0 .*: model\.depth: nets:Field needs it"):
        Sweep(base=base, rows=[{}], search={"lr": quniform(0.1, 0.2, 0.1)})


def test_a_strangers_run_is_opened_with_trust_alone(project: Path, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "theirs", TrainConfig.from_dict({**NET, "metrics": "a.b:f1"}))
    with pytest.raises(ValueError, match="theirs: its config names code") as caught:
        open_run(run.path, is_trusted=False)
    assert "(model = nets:Net, metrics = a.b:f1); --trust runs it" in str(caught.value)
    assert trusted() == frozenset()
    assert open_run(run.path, is_trusted=True).config().own_parts == {
        "model": ("nets:Net",), "metrics": ("a.b:f1",)
    }  # fmt: skip
    assert trusted() == {"nets:Net", "a.b:f1"}
    plain = Run.create(tmp_path / "plain", TrainConfig())
    assert open_run(plain.path, is_trusted=False)
    assert not (project / RAN).exists()
