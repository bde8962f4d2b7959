"""Exports to Weights & Biases, offline: its own files, read back."""

import json
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.config import FIELDS
from fieldtrial.disk.run import Run
from fieldtrial.results.export.command import main
from tests.results.conftest import ROWS, Written
from tests.results.export.wandb_log import records_of


@pytest.fixture
def small(written: Written) -> Written:
    """A sweep of two trials, one of which runs."""
    written.describe(rows=ROWS[:1])
    written.ended(0, "final", 0.8, 0.75, lr=0.01, seed=7)
    written.running(0, lr=0.02)
    return written


def export(sweep: Written, place: Path) -> int:
    return main([str(sweep.folder.path), "--to", "wandb", str(place), "--offline"])


def runs_in(place: Path) -> dict[str, list[Any]]:
    """The records of each run by its name."""
    files = sorted(place.glob("wandb/offline-run-*/run-*.wandb"))
    found = [list(records_of(file)) for file in files]
    return {
        next(one.run for one in known if one.HasField("run")).display_name: known for known in found
    }


def test_each_trial_is_a_run_that_wandb_can_read(
    small: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = small.folder.path / small.trial(0, lr=0.02) / "predictions-test.npz"
    stranger.symlink_to("/etc/hostname")
    assert export(small, tmp_path) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"wandb project sweep in {tmp_path}/wandb: 2 trials of 2 new or changed")
    runs = runs_in(tmp_path)
    trial = small.trial(0, lr=0.01, seed=7)
    records = runs[next(name for name in runs if name.endswith(f"final · {trial}"))]
    about = next(one.run for one in records if one.HasField("run"))
    assert (about.project, about.job_type) == ("sweep", "final")
    assert {"final", "finished"} <= set(about.tags)
    config = {one.key: json.loads(one.value_json) for one in about.config.update}
    assert {*FIELDS} <= config.keys()
    assert (config["lr"], config["fieldtrial"]["trial"]) == ("0.01", trial)
    history = [one.history for one in records if one.HasField("history")]
    curve = [
        json.loads(item.value_json)
        for step in history
        for item in step.item
        if (item.key or item.nested_key[0]) == "validation_accuracy"
    ]
    assert curve == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert [step.step.num for step in history] == [0, 1, 2, 3]
    results = {
        (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
        for one in records
        if one.HasField("summary")
        for item in one.summary.update
    }
    assert results["result/test_accuracy"] == 0.75
    saved = {file.path for one in records if one.HasField("files") for file in one.files.files}
    assert {"config.json", "result.json"} <= saved
    assert records[-1].HasField("exit") or any(one.HasField("exit") for one in records)
    copies = [path.name for path in tmp_path.glob("wandb/*/files/*")]
    assert "predictions-test.npz" not in copies  # a link, whose target is not sent


def test_the_same_again_changes_nothing_and_what_went_on_is_replaced(
    small: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(small, tmp_path) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("wandb/offline-run-*")}
    assert len(before) == 2
    capsys.readouterr()
    assert export(small, tmp_path) == 0
    assert "0 trials of 2 new or changed" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("wandb/*")} == before
    run = Run(small.folder.path / small.trial(0, lr=0.02))
    small.record(run, epochs=3, attempt=2)
    assert export(small, tmp_path) == 0
    after = {path.name.rpartition("-")[2] for path in tmp_path.glob("wandb/*")}
    assert after == {path.name.rpartition("-")[2] for path in before}
    (longer,) = (known for name, known in runs_in(tmp_path).items() if "search" in name)
    assert sum(one.HasField("history") for one in longer) == 4
