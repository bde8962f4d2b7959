"""Lines of a stranger's record files: what is a record, and what is passed over."""

import json
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fieldtrial.disk import schemas
from fieldtrial.results.read import records
from fieldtrial.results.read.records import load_records
from fieldtrial.results.report import command as report
from fieldtrial.results.table import command
from tests.job_commands import main_of
from tests.results.read.test_hostile_runs import DEEP, HUGE

if TYPE_CHECKING:
    from tests.results.conftest import Written


def line(**entries: object) -> str:
    known = {"epoch": 5, "seconds": 1.0, "time": 2.0, "validation_accuracy": 0.9}
    return json.dumps(known | entries)


NO_RECORDS: list[str | bytes] = [
    '{"epoch": 5, "x": ' + DEEP, "[]", "5", "null", '{"epoch": 5, "tr',
    b'{"epoch": 5, "x": "\xff"}',
    line(seconds="x"), line(seconds=[]), line(seconds=-1e9), line(seconds=1e308), line(epoch=-7),
    line(epoch=True), line(epoch=2**63), line(epoch=HUGE), line(epoch=1.0), line(time="x"),
    line(time=1e300), line(time=-1e300), line(train_loss="x"), line(train_loss={"a": {"b": 1}}),
    line(train_loss=[1, [2]]), line(train_loss="2020-01-01 00:00:00"), line(attempt="x"),
    line(validation_accuracy="x"), line(validation_accuracy=1e308), line(world_size="x"),
    line(data_wait=1.5), line(data_wait=-0.1), line(energy_joules=-1), line(utilization="x"),
    line(utilization=1e9), '{"epoch": 5, "train_loss": Infinity}', '{"epoch": 5, "x": "\\ud800"}',
    '{"epoch": 5, "\\ud800": 1}', '{"seconds": 1}',
    line(**{f"k{number}": number for number in range(1001)}),
]  # fmt: skip
RECORDS = [
    line(seconds=None), line(time=None), line(notice="x" * 10**6), line(trial="other"),
    line(repeated_seconds="x"), line(sweep="x"), line(train_loss=10**25), line(**{"": 1}),
    line(**{"a\0b": 1}), line(**{f"k{number}": number for number in range(500)}),
    '{"epoch": 5,\r"seconds": 1}', '{"epoch": 5, "attempt": null}',
    '{"epoch": 5}', '{"epoch": 4, "epoch": 5}', '{"epoch": 5, "lr": 1, "lr": 2}',
    '{"epoch": 5, "x": {"y": [1, {"z": "2020-01-01 00:00:00"}]}}', line(x="2020-01-01 00:00:00"),
]  # fmt: skip


@pytest.mark.parametrize("is_alone", [True, False])
def test_lines_that_are_no_records_are_passed_over(written: "Written", is_alone: bool) -> None:
    """Alone, each is what the fast parser sees of its file; together, Python reads them."""
    written.describe()
    lines = [one if isinstance(one, bytes) else one.encode() for one in NO_RECORDS]
    for number, text in enumerate(lines if is_alone else [b"\n".join(lines)]):
        run = written.running(0, epochs=1, lr=0.1 + number / 1000)
        with (run.path / "metrics-1.jsonl").open("ab") as file:
            file.write(text + b"\n" + line(epoch=2, seconds=7.0).encode() + b"\n")
        frame = load_records(written.folder.path)
        own = frame[frame["trial"] == run.name]
        assert (own["epoch"].tolist(), own["seconds"].tolist()) == ([0, 1, 2], [6.0, 6.0, 7.0])
        assert run.records()[-1]["seconds"] == 7.0
    assert main_of("status.py")([str(written.folder.path)]) == 0


def test_strange_records_are_records(written: "Written") -> None:
    written.describe()
    for number, text in enumerate(RECORDS):
        run = written.running(0, epochs=1, lr=0.1 + number / 1000)
        with (run.path / "metrics-1.jsonl").open("a") as file:
            file.write(text + "\n")
        assert run.records()[-1]["epoch"] == 5
    frame = load_records(written.folder.path)
    assert frame.groupby("trial", observed=True)["epoch"].max().tolist() == [5] * len(RECORDS)
    assert set(frame["trial"]) == {path.parent.name for path in run.path.parent.glob("*/config*")}
    for main in (command.main, main_of("status.py"), report.main):
        assert main([str(written.folder.path)]) == 0


@pytest.mark.parametrize("is_written_as_ours", [True, False])
def test_records_whose_names_all_differ_fill_no_memory(
    written: "Written", is_written_as_ours: bool
) -> None:
    """A cell for each line and name would be twelve million of a hundred kilobytes."""
    written.describe(trials=2)
    runs = [written.running(0, lr=lr, epochs=1) for lr in (0.1, 0.2)]
    space = "" if is_written_as_ours else " "
    for number, run in enumerate(runs):
        lines = (f'{{"epoch":{i},"a{number}-{i}"{space}:1}}\n' for i in range(2500))
        (run.path / "metrics-1.jsonl").write_text("".join(lines))
    frame = load_records(written.folder)
    assert len(frame) == 5000
    assert len(frame.columns) <= schemas.MOST_ENTRIES
    assert frame.memory_usage(deep=True).sum() < 1 << 26


def test_a_small_file_that_unpacks_to_too_much_is_made_anew(
    written: "Written", monkeypatch: pytest.MonkeyPatch
) -> None:
    written.describe(trials=1)
    written.running(0, epochs=2)
    expected = load_records(written.folder)
    path = written.folder.records_path.path
    kept = pq.read_table(path)
    rows = 20_000
    many = {
        name: pa.array([kept[name][0].as_py()] * rows, kept[name].type)
        for name in kept.column_names
    }
    many["notice"] = pa.array(["x" * 10_000] * rows)
    pq.write_table(pa.table(many, metadata=kept.schema.metadata), path)
    assert path.stat().st_size < 200_000
    with path.open("rb") as file:
        assert records._unpacked(file) == pq.read_table(path)
    monkeypatch.setattr(records, "KEPT_BYTES", rows * 10_000 - 1)
    with path.open("rb") as file:
        assert records._unpacked(file) is None
    pd.testing.assert_frame_equal(load_records(written.folder), expected)
