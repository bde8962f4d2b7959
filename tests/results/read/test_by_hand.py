"""Runs of no sweep, by hand or as jobs, beside sweeps and at any depth: a table and a report."""

import csv
import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.results.read.sweeps import read_sweeps
from fieldtrial.results.report.command import main as report
from fieldtrial.results.table.command import main as table

if TYPE_CHECKING:
    from tests.results.conftest import Written

BASE = TrainConfig(epochs=3, model="mlp")


def train(path: Path, test: float | None = 0.5, validation: float = 0.6, **fields: Any) -> Run:
    """Write a finished run as jobs/train.py leaves it; test: its accuracy, None without --test."""
    config = TrainConfig.from_dict(fields, BASE)
    run = Run.create(path, config)
    with run.recorder(1) as records:
        for epoch in range(4):
            records.write({"epoch": epoch, "seconds": 6.0, "validation_accuracy": 0.1 * epoch})
    tested = {} if test is None else {"test_accuracy": test, "test_loss": 2 - test}
    run.write_result(
        {
            **{"outcome": "finished", "epochs": 3, "best_epoch": 2, "minutes": 1.5},
            **{"validation_accuracy": validation, "validation_loss": 0.4, "parameters": 1000},
            **tested,
        }
    )
    return run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three models with three seeds each, in folders of different depth, and one that failed."""
    for model, middle in (("cnn", 0.9), ("mlp", 0.8)):
        for seed, test in enumerate((middle - 0.01, middle, middle + 0.01)):
            path = tmp_path / "runs" / f"{model}-{seed}"
            train(path, test, validation=test, model=model, seed=seed)
    for seed, test in enumerate((0.69, 0.7, 0.71)):
        path = tmp_path / "runs" / "later" / "more" / f"r{seed}"
        train(path, test, validation=test, model="resnet18", seed=seed)
    failed = Run.create(tmp_path / "runs" / "big", TrainConfig.from_dict({"model": "vgg16"}, BASE))
    failed.write_error("memory", "a single image does not fit", 1)
    return tmp_path / "runs"


def lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, str]]:
    assert table([*map(str, arguments), "--format", "csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_a_folder_of_runs_has_a_table_with_verdicts(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {line["model"]: line for line in lines(capsys, runs)}
    assert [round(float(found[name]["test_accuracy_mean"]), 4) for name in ("cnn", "mlp")] == [
        0.9,
        0.8,
    ]
    assert {name: (line["n"], line["mark"]) for name, line in found.items()} == {
        "cnn": ("3", "best"),
        "mlp": ("3", "worse"),
        "resnet18": ("3", "worse"),
        "vgg16": ("0", "none"),
    }
    assert float(found["cnn"]["validation_accuracy"]) == pytest.approx(0.9)  # the mean of its runs
    assert table([str(runs)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "test_accuracy is the mean of its runs, ±" in printed
    assert "fresh seeds" not in printed, "nobody has drawn any"
    assert found["resnet18"]["runs"] == "later/more/r0, later/more/r1 and 1 more"
    assert found["vgg16"]["note"] == "the only run failed: memory: a single image does not fit"
    assert table([str(runs)]) == 0
    output = capsys.readouterr().out
    assert "Found: 10 runs of no sweep." in output
    assert "Trials: 10 of no sweep (9 finished, 1 failed)." in output
    assert output.splitlines()[-3:-1] == [str(runs / "table.csv"), str(runs / "table.md")]
    assert table([str(runs)]) == 0  # its own files do not disturb it


def test_runs_are_named_one_by_one_as_a_shell_does(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "job-12.log").write_text("epoch 1")
    paths = sorted(runs.glob("*"))
    found = lines(capsys, *paths)
    assert [line["n"] for line in found] == ["0", "3", "3", "3"]
    assert found[1]["runs"] == "cnn-0, cnn-1 and 1 more"
    assert not list(runs.glob("*.csv"))  # nothing is written where several were named
    assert not list(runs.glob("*.parquet"))
    (line,) = lines(capsys, runs / "cnn-0")
    assert (line["runs"], line["n"]) == ("cnn-0", "1")
    assert list((runs / "cnn-0").glob("table*")) == []


def test_runs_that_were_not_tested_are_compared_on_validation_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, lr in enumerate((0.1, 0.01)):
        train(tmp_path / f"r{number}", None, 0.6 + lr, lr=lr)
    found = {line["lr"]: line for line in lines(capsys, tmp_path)}
    assert float(found["0.1"]["validation_accuracy_mean"]) == pytest.approx(0.7)
    assert table([str(tmp_path)]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "Compared by validation_accuracy, which also chose each run's epoch" in output
    assert "1 of the 3 runs that a comparison needs" in output


def test_what_is_left_out_is_said(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "cnn-0", runs / "copy")  # the same run does not count twice
    (runs / "link").symlink_to(runs / "mlp-0")
    (runs / "strange").mkdir()
    (runs / "strange" / "config.json").write_text('{"architectures": ["ViT"]}')
    (runs / ".cache").mkdir()
    shutil.copytree(runs / "mlp-0", runs / ".cache" / "mlp-0")
    sweeps = read_sweeps([runs])
    said = "\n".join(sweeps.left_out)
    assert len(sweeps.trials) == 10
    assert "1 run left out: the same fields and seed as another, which counts once: copy." in said
    assert "1 run left out: unreadable, such as strange: " in said
    assert f"1 link not followed: {runs / 'link'}." in said
    with pytest.raises(ValueError, match="there is no run directory in it either"):
        read_sweeps([tmp_path / "nothing"])


def test_sweeps_and_runs_are_one_table_of_equals(
    complete: "Written", capsys: pytest.CaptureFixture[str]
) -> None:
    folder = complete.folder.path.parent
    for seed, test in enumerate((0.79, 0.80, 0.81)):
        train(folder / f"by-hand-{seed}", test, model="resnet18", seed=seed, lr=0.01)
    found = lines(capsys, folder, "--rows", "sweep,model,freeze")
    assert [(line["sweep"], line["model"], line["n"]) for line in found] == [
        ("sweep", "cnn", "3"),
        ("sweep", "cnn", "3"),
        ("sweep", "mlp", "3"),
        ("runs", "resnet18", "3"),
    ]
    assert table([str(folder)]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert f"Found: 3 runs of no sweep and 1 sweep ({complete.folder.path})." in output
    assert "rows that differ in lr (0.01, searched in loguniform(0.0001, 0.1))" in output
    assert report([str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(complete.folder.path / "report.html"),
        str(folder / "report.html"),
    ]


def test_a_sweep_in_a_folder_that_cannot_join_is_left_out(
    runs: Path, complete: "Written", tmp_path: Path
) -> None:
    complete.describe(select="validation_loss")
    shutil.copytree(complete.folder.path, tmp_path / "other", dirs_exist_ok=True)
    found = read_sweeps([runs])
    assert list(found.descriptions) == ["runs"]
    assert f"A sweep is left out: {complete.folder.path} chooses winners by validation_loss" in (
        "\n".join(found.left_out)
    )


def test_each_sweep_has_its_report_whatever_the_others_are(
    complete: "Written", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two have one name, one chooses by another metric, and one cannot be read."""
    folder, output = complete.folder.path.parent, tmp_path / "output"
    shutil.copytree(complete.folder.path, folder / "later" / "sweep")
    train(folder / "by-hand", 0.8, model="resnet18")
    assert table([str(folder), "--output", str(output)]) == 0
    found = {str(one.parent.relative_to(output)) for one in output.rglob("trials.csv")}
    assert found == {"runs/sweep", "runs/later/sweep", "runs"}
    complete.describe(select="validation_loss")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "sweep.json").write_text("{")
    capsys.readouterr()
    assert report([str(folder), "--output", str(output)]) == 2
    written, errors = capsys.readouterr()
    assert len(set(written.split())) == 3
    assert all(Path(one).is_file() for one in written.split())
    assert errors.startswith(f"no report: {folder / 'damaged' / 'sweep.json'}: ")


def test_the_report_of_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report([str(runs)]) == 0
    assert capsys.readouterr().out == f"{runs / 'report.html'}\n"
    page = (runs / "report.html").read_text()
    assert "is the best on validation: test accuracy 90.00 %" in page
    assert "Found: 10 runs of no sweep." in page
    assert report([str(runs / "cnn-0")]) == 2
    assert "is a single run; name the folder that it is in" in capsys.readouterr().err


def test_runs_on_two_states_of_the_data_are_no_copies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row's mean is that of one state's runs; what knows no state is a copy of either."""
    tests = {"1a2b": (0.8, 0.81), "3c4d": (0.5, 0.51)}
    for state, values in tests.items():
        for seed, test in enumerate(values):
            run = train(tmp_path / f"{state}-{seed}", test, validation=test, seed=seed)
            run.write_result({**(run.result() or {}), "data_digest": state})
    train(tmp_path / "0-earlier", 0.1, seed=0)
    (line,) = lines(capsys, tmp_path)
    assert (line["n"], round(float(line["test_accuracy_mean"]), 4)) == ("2", 0.805)
    assert "2 final runs left out: of other data than the winner's" in line["note"]
    (copies,) = [one for one in read_sweeps([tmp_path]).left_out if "same fields" in one]
    assert copies.startswith("1 run left out")
    assert "0-earlier" in copies


def test_a_name_may_have_a_digit_that_is_no_decimal(tmp_path: Path) -> None:
    train(tmp_path / "1²", seed=1)
    train(tmp_path / "12", seed=2)
    assert set(read_sweeps([tmp_path]).trials["trial"]) == {"1²", "12"}


def test_a_folder_with_a_damaged_sweep_alone_says_what_is_wrong_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{")
    for job in (table, report):
        assert job([str(tmp_path)]) != 0
        assert str(tmp_path / "sweep" / "sweep.json") in capsys.readouterr().err
