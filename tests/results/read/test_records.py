"""The records of a sweep as one DataFrame, and the file that keeps them."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.read import records as module
from fieldtrial.results.read.records import COLUMNS, load_records

if TYPE_CHECKING:
    from tests.results.conftest import Written


def rows(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return list(frame[["trial", *columns]].itertuples(index=False, name=None))


def write(run: Run, attempt: int, *records: dict[str, Any]) -> None:
    with run.recorder(attempt) as recorder:
        for record in records:
            recorder.write(record)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the trials whose files are read."""
    names: list[str] = []
    read = Run.record_lines

    def note(run: Run, attempt: int, offset: int = 0) -> bytes:
        names.append(run.name)
        return read(run, attempt, offset)

    monkeypatch.setattr(Run, "record_lines", note)
    return names


def test_one_row_an_epoch_in_the_order_of_the_list(written: "Written") -> None:
    written.describe()
    first, second = written.running(1, epochs=2, lr=0.5), written.running(0, epochs=1)
    frame = load_records(written.folder.path)
    trials = [first.name] * 3 + [second.name] * 2
    assert rows(frame, "epoch") == list(zip(trials, [0, 1, 2, 0, 1], strict=True))
    assert frame["validation_accuracy"].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.0, 0.1])
    assert frame["seconds"].tolist() == [6.0] * 5
    assert frame["time"].is_monotonic_increasing
    assert set(frame["attempt"]) == set(frame["world_size"]) == {1}


def test_it_says_what_the_runs_say(complete: "Written") -> None:
    frame = load_records(complete.folder.path)
    for trial, own in frame.groupby("trial", observed=True):
        expected = complete.folder.run(str(trial)).records()
        assert own[list(expected[0])].to_dict("records") == expected
    assert frame["trial"].nunique() == 15


def test_a_repeated_epoch_is_there_once_and_its_lost_work_is_counted(written: "Written") -> None:
    written.describe()
    run = written.waiting(0)
    run.write_environment(1, {"world_size": 2})
    write(run, 1, *({"epoch": epoch, "seconds": 5.0 + epoch} for epoch in range(4)))
    run.write_environment(2, {"world_size": 4})
    # goes on from the checkpoint after epoch 2, whose record it says again, and trains epoch 3
    # again
    write(
        run,
        2,
        {"epoch": 2, "seconds": 7.0},
        {"epoch": 3, "seconds": 9.0},
        {"epoch": 4, "seconds": 9.5},
    )
    frame = load_records(written.folder.path)
    assert frame["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert frame["attempt"].tolist() == [1, 1, 2, 2, 2]
    assert frame["seconds"].tolist() == [5.0, 6.0, 7.0, 9.0, 9.5]
    assert frame["repeated_seconds"].tolist() == [0.0, 0.0, 0.0, 8.0, 0.0]
    assert frame["world_size"].tolist() == [2, 2, 4, 4, 4]


def test_only_what_has_changed_is_read_again(written: "Written", reads: list[str]) -> None:
    written.describe()
    first, second = written.running(0, epochs=2), written.running(1, epochs=1)
    load_records(written.folder.path)
    assert reads == [first.name, second.name]
    reads.clear()
    again = load_records(written.folder.path)
    assert reads == []
    write(second, 1, {"epoch": 2, "seconds": 6.0, "gradient_norm": 0.5})
    third = written.running(2, epochs=0)
    more = load_records(written.folder.path)
    assert reads == [second.name, third.name]
    assert len(more) == len(again) + 2
    assert more.loc[more["gradient_norm"].notna(), ["trial", "epoch"]].to_numpy().tolist() == [
        [second.name, 2]
    ]
    pd.testing.assert_frame_equal(load_records(written.folder.path), more)


@pytest.mark.parametrize("name", ["metrics-1.jsonl", "env.json"])
def test_a_file_of_the_same_size_that_was_changed_is_read_again(
    written: "Written", reads: list[str], name: str
) -> None:
    written.describe()
    run = written.running(0)
    run.write_environment(1, {"world_size": 2})
    load_records(written.folder.path)
    file = run.path / name
    before = file.stat()
    file.write_text(
        file.read_text().replace("6.0", "7.0").replace('"world_size": 2', '"world_size": 4')
    )
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert file.stat().st_size == before.st_size
    frame = load_records(written.folder.path)
    assert reads == [run.name] * 2
    assert set(frame["seconds"]) == ({7.0} if name == "metrics-1.jsonl" else {6.0})
    assert set(frame["world_size"]) == ({2} if name == "metrics-1.jsonl" else {4})


def test_a_trial_that_is_gone_is_not_there(written: "Written", reads: list[str]) -> None:
    written.describe()
    run, other = written.running(0), written.running(1)
    load_records(written.folder.path)
    reads.clear()
    for file in run.path.glob("metrics-*"):
        file.unlink()
    assert set(load_records(written.folder.path)["trial"]) == {other.name}
    assert reads == []
    assert set(pd.read_parquet(written.folder.records_path)["trial"]) == {other.name}


@pytest.mark.parametrize("content", [b"", b"PAR1 but no more", b"trial,epoch\n"])
def test_a_damaged_kept_file_is_made_anew(written: "Written", content: bytes) -> None:
    written.describe()
    written.running(0)
    before = load_records(written.folder.path)
    Path(written.folder.records_path).write_bytes(content)
    pd.testing.assert_frame_equal(load_records(written.folder.path), before)
    assert len(pd.read_parquet(written.folder.records_path)) == len(before)


@pytest.mark.parametrize(
    "about", [None, "[]", "{}", '{"format": 1}', '{"format": 0, "stamps": {}}']
)
def test_a_kept_file_of_something_else_is_made_anew(written: "Written", about: str | None) -> None:
    written.describe()
    written.running(0)
    before = load_records(written.folder.path)
    table = pq.read_table(written.folder.records_path).slice(0, 1)
    stamps = json.loads(table.schema.metadata[b"fieldtrial"])["stamps"]
    if about == '{"format": 0, "stamps": {}}':
        about = json.dumps({"format": module.FORMAT + 1, "stamps": stamps})
    pq.write_table(
        table.replace_schema_metadata(about and {"fieldtrial": about}), written.folder.records_path
    )
    pd.testing.assert_frame_equal(load_records(written.folder.path), before)


def test_a_folder_that_cannot_be_written_to_can_be_read(
    written: "Written", monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    written.describe()
    written.running(0, epochs=1)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(module, "atomic_file", full)
    assert len(load_records(written.folder.path)) == len(load_records(written.folder.path)) == 2
    assert len(reads) == 2
    assert not written.folder.records_path.exists()


def test_half_written_lines_and_strange_ones_are_passed_over(written: "Written") -> None:
    written.describe()
    run, other = written.running(0, epochs=1), written.running(1, epochs=1)
    with (run.path / "metrics-1.jsonl").open("a") as file:
        file.write('{"epoch": 2, "secon')
    assert len(load_records(written.folder.path)) == 4
    write(run, 1, {"epoch": 2, "seconds": 1.0})  # closes the torn line first
    with (run.path / "metrics-1.jsonl").open("a") as file:
        file.write('[1]\n\n{"epoch": "three"}\n{"epoch": 4, "seconds": NaN}\n{"epoch": 3}\n')
    frame = load_records(written.folder.path)
    assert rows(frame, "epoch") == [
        *((run.name, epoch) for epoch in range(4)),
        (other.name, 0),
        (other.name, 1),
    ]
    assert frame["seconds"].isna().tolist() == [False] * 3 + [True] + [False] * 2


def test_values_of_several_types_are_kept_as_text(written: "Written") -> None:
    written.describe()
    run, other = written.waiting(0), written.waiting(1)
    write(
        run,
        1,
        {"epoch": 0, "note": 1},
        {"epoch": 1, "seconds": 2, "note": "x", "big": 2**70},
    )
    load_records(written.folder.path)
    write(other, 1, {"epoch": 0, "seconds": 2, "note": [1, 2], "big": 1.5})
    frame = load_records(written.folder.path)
    assert frame["note"].tolist() == ["1", "x", "[1, 2]"]
    assert frame["seconds"].isna().tolist() == [True, False, False]
    assert frame["big"].notna().tolist() == [False, True, True]


def test_runs_beside_the_list_are_there_too(written: "Written") -> None:
    written.describe()
    run = written.running(0, epochs=0)
    by_hand = written.folder.run("by_hand")
    write(by_hand, 1, {"epoch": 0, "seconds": 1.0})
    (written.folder.path / "jobs").mkdir()
    assert load_records(written.folder.path)["trial"].tolist() == [run.name, "by_hand"]


def test_a_sweep_without_records_has_all_columns(written: "Written") -> None:
    written.describe()
    written.waiting(0)
    frame = load_records(written.folder.path)
    assert frame.empty
    assert set(frame) >= set(COLUMNS)


def test_not_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not the folder of a sweep"):
        load_records(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        load_records(SweepFolder(tmp_path / "elsewhere").path)
