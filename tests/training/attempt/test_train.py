"""What a trial leaves beside its numbers: where it ran, how it is repeated, what
TensorBoard shows.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.metadata import (
    parse_experiment_plugin_data,
    parse_session_start_info_plugin_data,
)

from fieldtrial.disk.run import Record, Run
from fieldtrial.disk.sweep_description import SearchDomain, SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.training.attempt import environment
from fieldtrial.training.attempt.train import command
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]


def test_tensorboard_shows_each_epoch_once_and_the_hyperparameters(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run(epochs=3, betas=[0.8, 0.99])
    train_until(run, last_epoch=2)
    train_until(run, attempt=2, test=True)
    events = EventAccumulator(str(run.tensorboard_folder))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("validation_accuracy")]
    assert [step for step, _ in shown] == [0, 1, 2, 3]
    assert [value for _, value in shown] == pytest.approx(
        [r["validation_accuracy"] for r in run.records()]
    )
    assert events.Scalars("result/test_accuracy")[0].value > 0.5
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    fields = parse_session_start_info_plugin_data(content).hparams
    # what it does not leave as it is
    assert {*fields} == {"classes", "model", "dense_width", "epochs", "betas"}
    assert fields["betas"].string_value == "0.8,0.99"
    assert fields["epochs"].number_value == 3


def test_in_a_sweep_tensorboard_calls_runs_by_row_and_has_columns_for_what_varies(
    new_run: NewRun, train_until: TrainUntil, tmp_path: Path
) -> None:
    base = new_run("plain").config()
    folder = SweepFolder(tmp_path / "sweep")
    folder.write_description(
        SweepDescription(
            name="sweep",
            base=base,
            rows=({"freeze": "none"}, {"freeze": "first:1"}),
            search={"lr": SearchDomain("loguniform", 0.001, 0.1)},
            trials=1,
            seeds=1,
            select="validation_accuracy",
            row_labels=("", "only/a head"),
        )
    )
    searched = new_run("sweep/searched", lr=0.05)
    final = new_run("sweep/final", freeze="first:1", seed=7)
    other = new_run("sweep/other", epochs=2)
    for run, names in ((final, ["only-a head seed 7"]), (searched, ["none"]), (other, [])):
        train_until(run, last_epoch=1)
        train_until(run, attempt=2, test=True)
        place = run.tensorboard_folder.path
        assert [path.name for path in place.iterdir() if path.is_dir()] == names
    events = EventAccumulator(f"{final.tensorboard_folder}/only-a head seed 7")
    events.Reload()
    steps = [event.step for event in events.Scalars("validation_accuracy")]
    assert steps == [0, 1, 2, 3]
    content = {
        name: events.SummaryMetadata(f"_hparams_/{name}").plugin_data.content
        for name in ("experiment", "session_start_info")
    }
    columns = parse_experiment_plugin_data(content["experiment"])
    kinds = {one.name: one.type for one in columns.hparam_infos}
    assert kinds == {"freeze": api_pb2.DATA_TYPE_STRING, "lr": api_pb2.DATA_TYPE_FLOAT64}
    assert "result/test_accuracy" in {one.name.tag for one in columns.metric_infos}
    session = parse_session_start_info_plugin_data(content["session_start_info"])
    assert {*session.hparams} == {"freeze", "lr"}
    assert session.group_name == final.config().configuration


def test_a_run_says_where_it_ran_and_how_to_repeat_it(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run("a run", epochs=1)
    train_until(run, attempt=7)
    facts = run.environment()["7"]
    assert facts["world_size"] == 1
    assert (
        facts["versions"]["torch"] == torch.__version__.split("+")[0]
        or facts["versions"]["torch"] == torch.__version__
    )
    assert len(facts["commit"] or "0" * 40) == 40
    assert json.loads(json.dumps(facts)) == facts
    command = (run.path / "command.txt").read_text()
    assert command.startswith(
        f"FIELDTRIAL_DATA={os.environ['FIELDTRIAL_DATA']} fieldtrial train --run '"
    )
    assert command.endswith("--classes 3 --model mlp --dense_width 16 --epochs 1\n")


def test_the_command_has_all_that_is_needed_to_repeat_the_trial(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run("run", batch_size=8)
    flags = "--classes 3 --model mlp --dense_width 16 --batch_size 8 --epochs 3"
    monkeypatch.setenv("FIELDTRIAL_DATA", "/data sets")
    assert (
        command(Attempt.at(run, World(size=2), test=True))
        == "FIELDTRIAL_DATA='/data sets' python -m fieldtrial.training.distributed.launcher"
        f" --processes 2 -m fieldtrial train --run {run.path}-again --test {flags}"
    )
    monkeypatch.delenv("FIELDTRIAL_DATA")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    on_nodes = command(Attempt.at(run, World(size=6)))
    job = "sbatch --nodes 3 --gpus-per-node 2 slurm/finetune.sh --run "
    assert on_nodes == f"{job}{run.path}-again {flags}"
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert command(Attempt.at(run)) == f"fieldtrial train --run {run.path}-again {flags}"


def test_what_the_code_differs_in_from_its_commit_is_kept_up_to_a_size(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = tmp_path / "code" / "module.py"
    module.parent.mkdir()
    module.write_text("x = 1\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x is 1"]):
        subprocess.run(["git", *arguments], cwd=module.parent, check=True)
    monkeypatch.setattr(environment, "__file__", str(module))
    caches = (environment._code, environment._code_changes)
    try:
        run = new_run(epochs=1)
        for attempt, content, dirty in (
            (1, "x = 1\n", False),
            (2, "x = 2\n", True),
            (3, "é = 3\n" * 20_000, True),
        ):
            module.write_text(content)
            for cache in caches:
                cache.cache_clear()
            train_until(run, attempt, last_epoch=0)
            assert run.environment()[str(attempt)]["dirty"] is dirty
            assert (run.path / f"changes-{attempt}.diff").exists() is dirty
        subprocess.run(["git", "checkout", "-q", "."], cwd=module.parent, check=True)
        subprocess.run(
            ["git", "apply", str(run.path / "changes-2.diff")], cwd=module.parent, check=True
        )
        assert module.read_text() == "x = 2\n"
        long = (run.path / "changes-3.diff").read_bytes()
        assert 100_000 <= len(long) < 100_100
        assert long.decode().splitlines()[-1].startswith("[cut off here: the diff has 16")
    finally:
        for cache in caches:
            cache.cache_clear()
