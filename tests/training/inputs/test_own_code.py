"""A trial depends on the code of its own parts, as it does on its data."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.files import write_json
from fieldtrial.disk.run import Record, Run
from fieldtrial.own.digest import code_digest
from fieldtrial.own.project import TRUSTED, enter_project
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.scoring.evaluation import evaluate_run
from tests.job_commands import Job
from tests.own.projects import forget_code

PART = "settled_nets:net"  # imported once in this process, whatever its file becomes
NETS = """
from settled_layers import hidden
from torch import nn

def net(shape, width: int = 4):
    return nn.Sequential(nn.Flatten(), *hidden(shape, width), nn.Linear(width, shape.classes))
"""
LAYERS = """
from torch import nn

def hidden(shape, width):
    return nn.Linear(shape.channels * shape.image_size**2, width), nn.ReLU()
"""
OTHER = f"{LAYERS}\nANOTHER = 1\n"


def edit(project: Path, text: str) -> None:
    """Change what the part imports; the next process digests it anew."""
    (project / "settled_layers.py").write_text(text)
    forget_code()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project" / "sweeps").mkdir(parents=True)
    (tmp_path / "project" / "settled_nets.py").write_text(NETS)
    enter_project(tmp_path / "project")
    monkeypatch.setenv(TRUSTED, PART)
    edit(tmp_path / "project", LAYERS)
    return tmp_path / "project"


@pytest.fixture
def sweep(tmp_path: Path) -> list[Run]:
    """The runs of a sweep, which have not begun."""
    write_json(tmp_path / "sweep" / "sweep.json", {"cut": "content"})
    configs = [config_of(seed=seed) for seed in range(3)]
    return [Run.create(tmp_path / "sweep" / config.id, config) for config in configs]


def config_of(**fields: object) -> TrainConfig:
    small = {"image_size": 8, "images_per_class": 6, "epochs": 2, "model.width": 3}
    return TrainConfig.from_dict({"model": PART, **small, **fields})


def test_a_run_goes_on_with_its_code_alone(
    project: Path,
    tmp_path: Path,
    train_until: Callable[..., list[Record]],
    monkeypatch: pytest.MonkeyPatch,
    job: Job,
) -> None:
    run = Run.create(tmp_path / "run", config_of())
    train_until(run, 1, last_epoch=1)
    digest = code_digest(PART)
    assert json.loads(run.inputs_path.read_text())["own"] == {PART: digest}
    edit(project, OTHER)
    problem = (
        f"{PART}: it has changed since the run began: its code, or what it imports; bring back"
    )
    with pytest.raises(ConfigError, match=problem):
        train_until(run, 2)
    assert run.result() is None
    edit(project, LAYERS)
    assert train_until(run, 3, test=True)[-1]["epoch"] == 2
    result = run.result() or {}
    assert len(result["own_digest"]) == 64
    assert result["parameters"] == 64 * 3 + 3 + 3 * 10 + 10
    monkeypatch.setenv(TRUSTED, "")
    monkeypatch.chdir(project)
    refused = job("evaluate.py", "--run", run.path)
    assert refused.returncode == 2
    assert f"its config names code of somebody's own (model = {PART}); --trust" in refused.stderr
    done = job("evaluate.py", "--run", run.path, "--trust")
    assert done.returncode == 0, done.stderr
    assert f"test accuracy {100 * result['test_accuracy']:.1f}" in done.stdout
    edit(project, OTHER)
    with pytest.raises(ConfigError, match=problem):
        evaluate_run(run, World())


def test_trials_of_a_sweep_share_their_code(
    project: Path, sweep: list[Run], train_until: Callable[..., list[Record]]
) -> None:
    first, second, _ = sweep
    train_until(first)
    edit(project, OTHER)
    problem = f"{PART}: it has changed since the sweep began: its code"
    with pytest.raises(ConfigError, match=problem):
        train_until(second)
    (found,) = check(Attempt(second, second.config()))["problems"]
    assert found.startswith(problem)
    edit(project, LAYERS)
    assert train_until(second, 2, last_epoch=0)


def test_a_sweep_without_results_takes_changed_code_as_its_own(
    project: Path, sweep: list[Run], train_until: Callable[..., list[Record]]
) -> None:
    failed, interrupted, third = sweep
    train_until(failed, 1, last_epoch=0)
    failed.write_error("error", "loss = 'settled:loss': failed", 1)
    train_until(interrupted, 1, last_epoch=1)
    assert interrupted.checkpoints()
    edit(project, OTHER)
    for run in sweep:
        assert not check(Attempt(run, run.config()))["problems"]
    assert interrupted.checkpoints(), "a check changes nothing"
    train_until(failed, 2)
    first, *_ = train_until(interrupted, 2, last_epoch=0)
    assert (first["epoch"], interrupted.attempts()) == (0, [2])
    owns = [json.loads(run.inputs_path.read_text())["own"] for run in (failed, interrupted)]
    assert owns == [{PART: code_digest(PART)}] * 2
    edit(project, LAYERS)
    with pytest.raises(ConfigError, match="since the sweep began: its code"):
        train_until(third)


def test_a_trial_of_code_that_its_sweep_has_no_more_gets_no_result(
    project: Path, sweep: list[Run], train_until: Callable[..., list[Record]]
) -> None:
    first, second, _ = sweep
    records = train(Attempt.at(first))
    next(records)  # it goes on, in a process of its own
    edit(project, OTHER)
    train_until(second)
    with pytest.raises(ConfigError, match=f"{PART}: it has changed since the sweep began"):
        list(records)
    assert first.result() is None


def test_a_run_without_a_checkpoint_takes_changed_code(
    project: Path, tmp_path: Path, train_until: Callable[..., list[Record]]
) -> None:
    run = Run.create(tmp_path / "run", config_of())
    train_until(run, 1, last_epoch=1)
    edit(project, OTHER)
    run.remove_checkpoints()  # its worker was killed before it had written one
    assert [record["epoch"] for record in train_until(run, 2)] == [0, 1, 2]
    assert run.attempts() == [2]


def test_a_check_says_which_parts_do_not_import(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "settled_broken.py").write_text("import lacking_module\n")
    names = ("settled_broken:rate", "settled_broken:f1")
    monkeypatch.setenv(TRUSTED, ",".join(names))
    config = TrainConfig(optimizer=names[0], metrics=(names[1],))
    problems = check(Attempt(Run(tmp_path / "run"), config))["problems"]
    assert [problem.partition(": ")[0] for problem in problems] == [
        f"optimizer = '{names[0]}'", f"metrics = '{names[1]}'"
    ]  # fmt: skip
    assert all("No module named 'lacking_module'" in problem for problem in problems)
