"""A sweep's folder as a DataFrame."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from fieldtrial.config import FIELDS
from fieldtrial.results.read.records import load_records
from fieldtrial.results.read.trials import load

if TYPE_CHECKING:
    from tests.results.conftest import Written


def only(frame: pd.DataFrame) -> "pd.Series[Any]":
    assert len(frame) == 1
    return frame.iloc[0]


def test_a_finished_trial(written: "Written") -> None:
    written.describe()
    run = written.ended(1, validation=0.75, lr=0.02, dense_width=(32, 16), classes="5-9")
    row = only(load(written.folder.path))
    assert (row["trial"], row["row"], row["role"], row["outcome"]) == (
        run.name,
        1,
        "search",
        "finished",
    )
    assert (row["model"], row["freeze"], row["lr"], row["dense_width"]) == (
        "cnn",
        "all_but_head",
        0.02,
        (32, 16),
    )
    assert (row["validation_accuracy"], row["parameters"], row["flops"], row["minutes"]) == (
        0.75,
        1985770,
        1000,
        1.5,
    )
    # `epochs` and `classes` are fields and results: each has a column of its own
    assert (row["epochs"], row["epochs_recorded"], row["classes"], row["classes_recorded"]) == (
        3,
        3,
        "5-9",
        5,
    )


def test_every_outcome(written: "Written") -> None:
    written.describe()
    written.ended(0, lr=0.1)
    written.ended(0, lr=0.2, result={"outcome": "stopped", "reason": "stop file"})
    written.failed(0, lr=0.3)
    written.running(0, lr=0.4, epochs=2)
    written.waiting(0, lr=0.5)
    written.folder.list_trial(
        "0badcafe", 0, "search"
    )  # listed, and the engine died before its directory was made
    frame = load(written.folder.path)
    assert frame["outcome"].tolist() == [
        "finished",
        "stopped",
        "failed",
        "running",
        "waiting",
        "waiting",
    ]
    assert frame["error_kind"].tolist()[2] == "diverged"
    assert frame["error_message"].tolist()[2] == "the loss is nan at step 12"
    assert frame["epochs_recorded"].tolist()[2:5] == [2, 2, 0]
    assert frame["minutes"].tolist()[2:5] == pytest.approx([0.3, 0.3, 0.0])
    # of an earlier version, whose minutes were those in epochs
    assert frame["epoch_minutes"].tolist()[:5] == pytest.approx([1.5, 1.5, 0.3, 0.3, 0.0])


def test_a_failed_trial_that_is_tried_again_is_running(written: "Written") -> None:
    written.describe()
    run = written.failed(0)
    written.record(run, epochs=3, attempt=2)
    assert only(load(written.folder.path))["outcome"] == "running"
    run.write_error("memory", "out of device memory", attempt=2)
    assert only(load(written.folder.path))["error_message"] == "out of device memory"


def test_repetitions_with_other_seeds_have_one_configuration(complete: "Written") -> None:
    frame = load(complete.folder.path)
    assert len(frame) == 3 * (2 + 3)
    assert frame["trial"].is_unique
    assert sorted(frame.groupby("configuration")["seed"].nunique()) == [1, 1, 1, 4, 4, 4]


def test_a_shared_trial_is_there_for_each_row(written: "Written") -> None:
    written.describe()
    run = written.ended(0)
    written.folder.list_trial(run.name, 2, "search")
    frame = load(written.folder.path)
    assert frame["row"].tolist() == [0, 2]
    assert frame["trial"].tolist() == [run.name] * 2


def test_trials_tell_which_search_of_their_row_they_are_of(written: "Written") -> None:
    written.describe(searches=2)
    first = written.ended(0, lr=0.1)  # listed as by earlier versions, without a number
    second = written.ended(0, search=1, lr=0.1, seed=1000)
    written.ended(0, search=1, lr=0.2, seed=1000)
    written.ended(None, "source")
    written.folder.list_trial(second.name, 0, "winner", 1)
    frame = load(written.folder.path)
    assert frame["search"].tolist() == [0, 1, 1, pd.NA]
    assert str(frame["search"].dtype) == "Int64"
    assert frame["winner"].tolist() == [False, True, False, False]
    written.folder.list_trial(first.name, 0, "winner")
    assert load(written.folder.path)["winner"].tolist() == [True, True, False, False]


def test_whole_numbers_stay_whole_beside_missing_ones(written: "Written") -> None:
    written.describe()
    written.ended(0, image_size=None)
    written.ended(0, image_size=32)
    written.ended(None, "source")
    frame = load(written.folder.path)
    assert str(frame["image_size"].dtype) == str(frame["row"].dtype) == "Int64"
    assert frame["image_size"].tolist() == [pd.NA, 32, pd.NA]
    assert frame["row"].isna().tolist() == [False, False, True]


def test_a_broken_run_directory_is_a_row_too(written: "Written") -> None:
    written.describe()
    written.ended(0, lr=0.1)
    (written.ended(0, lr=0.2).path / "config.json").unlink()
    (written.ended(0, lr=0.3).path / "config.json").write_text('{"flux_capacitor": 1}')
    (written.ended(0, lr=0.4).path / "result.json").write_text('{"outcome": "fini')
    frame = load(written.folder.path)
    assert frame["outcome"].tolist() == ["finished", *["unreadable"] * 3]
    messages = frame["error_message"].tolist()
    assert "config.json: no such file" in messages[1]
    assert "unknown field 'flux_capacitor'" in messages[2]
    assert "result.json: not a JSON file" in messages[3]


def test_a_half_written_list_loses_no_trial(written: "Written") -> None:
    written.describe()
    written.ended(0, lr=0.1)
    torn = written.ended(0, lr=0.2)
    (written.folder.path / "not_a_run").mkdir()
    listing = written.folder.path / "trials.jsonl"
    listing.write_bytes(listing.read_bytes()[:-5])
    frame = load(written.folder.path)
    assert frame["role"].tolist() == ["search", "unlisted"]
    assert frame["trial"].tolist()[1] == torn.name


def test_a_half_written_record_is_not_counted(written: "Written") -> None:
    written.describe()
    run = written.running(0, epochs=2)
    with (run.path / "metrics-1.jsonl").open("a") as file:
        file.write('{"epoch": 3, "secon')
    assert only(load(written.folder.path))["epochs_recorded"] == 2


def test_an_empty_sweep_has_all_columns(written: "Written") -> None:
    written.describe()
    frame = load(written.folder.path)
    assert frame.empty
    assert set(frame) >= {
        "trial",
        "row",
        "role",
        "outcome",
        "validation_accuracy",
        "error_message",
        "minutes",
        *FIELDS,
    }


def test_not_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"elsewhere/sweep\.json: no such file, so .*not the folder of a sweep",
    ):
        load(tmp_path / "elsewhere")


def test_neither_torch_nor_ray_is_imported() -> None:
    code = (
        "import sys, fieldtrial.results.table.command; print(*({'torch', 'ray', 'optuna',"
        " 'sklearn'} & sys.modules.keys()))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == ""


def test_a_run_that_is_a_link_is_left_out_and_named(
    written: "Written", tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp_path = tmp_path_factory.mktemp("mine")
    written.describe()
    kept, listed = written.ended(0, lr=0.1), written.ended(0, lr=0.2)
    name = listed.name
    listed.path.rename(tmp_path / "elsewhere")
    listed.path.symlink_to(tmp_path / "elsewhere")
    (written.folder.path / "unlisted").symlink_to(tmp_path / "elsewhere")
    (written.folder.path / "no-run").symlink_to(tmp_path / "nowhere")
    frame = load(written.folder.path).set_index("trial")
    assert list(frame.index) == [kept.name, name, "unlisted"]
    assert list(frame["outcome"]) == ["finished", "unreadable", "unreadable"]
    for link in (name, "unlisted"):
        path = written.folder.path / link
        assert str(frame.loc[link, "error_message"]).startswith(f"{path}: is a link")
    assert set(load_records(written.folder.path)["trial"]) == {kept.name}


def test_a_file_of_a_run_that_is_a_link_is_not_read(written: "Written", tmp_path: Path) -> None:
    written.describe()
    run = written.ended(0)
    (run.path / "result.json").rename(tmp_path / "elsewhere")
    (run.path / "result.json").symlink_to(tmp_path / "elsewhere")
    row = only(load(written.folder.path))
    assert row["outcome"] == "unreadable"
    assert row["error_message"].startswith(f"{run.path / 'result.json'}: is a link")
