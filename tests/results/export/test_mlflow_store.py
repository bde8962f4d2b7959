"""Exports to MLflow, read back with its own client from a database on this machine."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from fieldtrial.config import FIELDS
from fieldtrial.disk.run import Run
from fieldtrial.results.export.command import main
from tests.results.conftest import ROWS, Written

PARENT = "mlflow.parentRunId"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database: MLflow takes seconds to make one."""
    file = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def uri(empty: Path, tmp_path: Path) -> str:
    shutil.copy(empty, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def sweep(written: Written) -> Written:
    """Two rows; of the first, a trial that runs; of the second, one that failed."""
    written.describe(rows=ROWS[:2], trials=1)
    for row, middle in enumerate((0.6, 0.5)):
        written.ended(row, validation=middle, lr=0.01)
        for seed in (101, 102, 103):
            written.ended(row, "final", 0.3, middle + 0.02 * (seed - 102), lr=0.01, seed=seed)
    written.running(0, lr=0.3)
    written.failed(1, lr=0.2)
    return written


def export(sweep: Written, uri: str) -> int:
    return main([str(sweep.folder.path), "--to", "mlflow", uri])


def runs_in(uri: str) -> dict[str, Any]:
    """All runs in the store by their keys."""
    client = MlflowClient(tracking_uri=uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    return {run.data.tags["fieldtrial.key"]: run for run in client.search_runs(experiments)}


def everything(uri: str) -> dict[str, Any]:
    """All that the store says of each run, by its key."""
    client, found = MlflowClient(tracking_uri=uri), {}
    for key, run in runs_in(uri).items():
        own = run.info.run_id
        curves = {
            name: [
                (one.step, one.value, one.timestamp) for one in client.get_metric_history(own, name)
            ]
            for name in run.data.metrics
        }
        files = [file.path for file in client.list_artifacts(own)]
        found[key] = (
            run.info.status,
            run.info.run_name,
            run.data.params,
            run.data.tags,
            curves,
            files,
        )
    return found


def test_a_sweep_is_an_experiment_of_rows_and_trials_once(
    sweep: Written, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(sweep, uri) == 0
    assert capsys.readouterr().out == "mlflow experiment sweep: 10 trials of 10 new or changed\n"
    runs, all_of_it = runs_in(uri), everything(uri)
    kinds = [run.data.tags["fieldtrial.kind"] for run in runs.values()]
    assert sorted(kinds) == ["row"] * 2 + ["sweep"] + ["trial"] * 10
    (top,) = (run for run in runs.values() if run.data.tags["fieldtrial.kind"] == "sweep")
    assert sorted(all_of_it["sweep"][5]) == ["table.csv", "table.md"]

    rows = {
        run.info.run_id: run
        for run in runs.values()
        if run.data.tags.get(PARENT) == top.info.run_id
    }
    best = next(run for run in rows.values() if run.data.tags["fieldtrial.verdict"] == "best")
    assert best.data.metrics["test_accuracy_mean"] == pytest.approx(0.6)
    assert best.data.metrics["n"] == 3

    trial = sweep.trial(0, lr=0.01, seed=102)
    status, name, params, tags, curves, files = all_of_it[f"sweep/{trial}"]
    assert status == "FINISHED"
    assert name.endswith(f"final · {trial}")
    assert params.keys() == set(FIELDS)
    assert (params["lr"], params["seed"], params["filters"]) == ("0.01", "102", "32")
    assert (tags["fieldtrial.role"], tags["fieldtrial.verdict"]) == ("final", "best")
    assert rows[tags[PARENT]] is best
    steps = [(step, value) for step, value, _ in curves["validation_accuracy"]]
    assert steps == [(0, 0.0), (1, 0.1), (2, 0.2), (3, pytest.approx(0.3))]
    assert curves["result/test_accuracy"][0][1] == pytest.approx(0.6)
    records = Run(sweep.folder.path / trial).records()
    assert curves["seconds"][3][2] == int(1000 * records[3]["time"])
    assert "result.json" in files
    assert "config.json" in files
    assert all_of_it[f"sweep/{sweep.trial(1, lr=0.2)}"][0] == "FAILED"

    assert export(sweep, uri) == 0
    assert "0 trials of 10 new or changed" in capsys.readouterr().out
    assert everything(uri) == all_of_it


def test_what_goes_on_is_added_and_what_was_interrupted_is_completed(
    sweep: Written, uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logged, whole = list[str](), MlflowClient.log_artifact

    def log_artifact(client: MlflowClient, run: str, path: str, place: str | None = None) -> None:
        if len(logged) == 9:
            raise MlflowException("the disk is full\nand more")
        logged.append(path)
        whole(client, run, path, place)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_artifact", log_artifact)
        assert export(sweep, uri) == 1
    *_, said = capsys.readouterr().err.splitlines()  # after that it takes long
    assert said == f"error: mlflow {uri}: the disk is full"
    half = everything(uri)
    assert export(sweep, uri) == 0
    mended = everything(uri)
    assert half.keys() < mended.keys()
    steps = {
        (key, name): [step for step, *_ in points]
        for key, entry in mended.items()
        for name, points in entry[4].items()
        if not name.startswith("result/")
    }
    assert [key for key, known in steps.items() if len(set(known)) < len(known)] == []

    key = f"sweep/{sweep.trial(0, lr=0.3)}"
    assert mended[key][0] == "RUNNING"
    run = Run(sweep.folder.path / sweep.trial(0, lr=0.3))
    sweep.record(run, epochs=3, attempt=2)
    run.write_result({"outcome": "finished", "validation_accuracy": 0.3, "attempt": 2})
    capsys.readouterr()
    assert export(sweep, uri) == 0
    after = everything(uri)
    assert after[key][0] == "FINISHED"
    assert [step for step, *_ in after[key][4]["validation_accuracy"]] == [0, 1, 2, 3]
    others = {name for name in after if name != key and after[name] != mended[name]}
    assert {
        name for name in others if not name.startswith("sweep/row") and name != "sweep"
    } == set()


def test_what_no_longer_holds_of_a_row_is_taken_back(sweep: Written, uri: str) -> None:
    assert export(sweep, uri) == 0
    before = runs_in(uri)
    best, worse = sorted(
        (key for key in before if key.startswith("sweep/row")),
        key=lambda key: before[key].data.tags["fieldtrial.verdict"] != "best",
    )
    assert "difference_to_best" in before[worse].data.metrics
    assert "fieldtrial.compared_with" in before[worse].data.tags
    seeds = (None, 101, 102, 103)
    for number, seed in enumerate(seeds):
        run = sweep.folder.run(sweep.trial(1, lr=0.01, **({"seed": seed} if seed else {})))
        result = run.result()
        assert result is not None
        scores = {"test_accuracy": 0.88 + 0.01 * number} if seed else {"validation_accuracy": 0.9}
        run.write_result(result | scores)
    assert export(sweep, uri) == 0
    after = runs_in(uri)
    assert after[worse].data.tags["fieldtrial.verdict"] == "best"
    assert "fieldtrial.compared_with" not in after[worse].data.tags
    assert math.isnan(after[worse].data.metrics["difference_to_best"])
    assert after[worse].data.metrics["test_accuracy_mean"] == pytest.approx(0.9)
    assert after[best].data.tags["fieldtrial.compared_with"]
    assert after[best].data.metrics["difference_to_best"] < 0


def test_a_store_that_does_not_answer_is_said_in_a_line(
    sweep: Written, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert export(sweep, "http://name:secret@127.0.0.1:9") == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: mlflow http://…@127.0.0.1:9: ")
    assert "secret" not in line
