"""A stranger's sweep folder: what its own files may say, and what is refused in a line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fieldtrial.disk.reading import JSON_BYTES, UnreadableError
from fieldtrial.results.read.records import load_records
from fieldtrial.results.read.trials import load
from tests.job_commands import main_of
from tests.results.read.test_hostile_runs import DEEP, HUGE, NO_FILE, NO_OBJECT

if TYPE_CHECKING:
    from tests.results.conftest import Written

CHANGES: list[dict[str, object]] = [
    {"rows": 5}, {"rows": {"a": 1}}, {"rows": [5]}, {"rows": [["model", "cnn"]]}, {"rows": []},
    {"rows": [{"model": {}}]}, {"rows": [{"x": 1}]}, {"rows": [{"lr": 1e-6}] * 1001},
    {"search": ["lr"]}, {"search": 5}, {"search": {"zzz": "a"}}, {"search": {"lr": 5}},
    {"select": "zzz"}, {"select": 5}, {"select": "test_accuracy"}, {"trials": "x"},
    {"trials": -5}, {"trials": HUGE}, {"seeds": None}, {"name": {}}, {"name": 5}, {"base": []},
    {"base": {"zzz": 1}}, {"max_failures": "x"}, {"source": 5}, {"finalists": []},
]  # fmt: skip
OWNER = {"user": "u", "host": "h", "process": 5, "started": 1, "token": "t", "since": 1.0}
OWNERS: list[dict[str, object]] = [
    {"since": "x"}, {"since": None}, {"process": "x"}, {"process": 1.5}, {"process": None},
    {"process": "self"}, {"process": "../../../etc"}, {"process": 2**70}, {"process": -1},
    {"process": 0}, {"host": {}}, {"user": {}}, {"token": []}, {"started": "x"},
]  # fmt: skip


@pytest.mark.parametrize("content", NO_OBJECT)
def test_a_description_that_is_no_object_is_refused(written: "Written", content: object) -> None:
    path = written.describe().path / "sweep.json"
    path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
    with pytest.raises(ValueError, match=r"sweep\.json: "):
        written.folder.require_description()


@pytest.mark.parametrize("change", CHANGES)
def test_a_description_is_checked_as_a_sweep_is(
    written: "Written", change: dict[str, object]
) -> None:
    path = written.describe().path / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(ValueError, match=r"sweep\.json: ") as caught:
        written.folder.require_description()
    assert next(iter(change)).removesuffix("s") in str(caught.value)


@pytest.mark.parametrize("make", NO_FILE)
@pytest.mark.parametrize("name", ["sweep.json", "trials.jsonl", "driver.json"])
def test_only_regular_files_of_limited_length_are_read(
    written: "Written",
    name: str,
    make: Callable[[Path], object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    written.describe()
    written.running(0)
    path = written.folder.path / name
    path.unlink(missing_ok=True)
    make(path)
    assert main_of("status.py")([str(written.folder.path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(path) in error


@pytest.mark.parametrize("change", OWNERS)
def test_an_owner_is_a_user_on_a_host_with_a_process(
    written: "Written", change: dict[str, object]
) -> None:
    written.describe()
    path = written.folder.path / "driver.json"
    path.write_text(json.dumps(OWNER))
    assert (written.folder.owner() or {}).get("process") == 5
    path.write_text(json.dumps(OWNER | change))
    with pytest.raises(UnreadableError, match=r"driver\.json: not a JSON file of this program"):
        written.folder.owner()
    path.write_text("{}")
    with pytest.raises(UnreadableError, match="required field"):
        written.folder.owner()


def test_a_limit_is_said(written: "Written") -> None:
    written.describe()
    run = written.ended(0)
    (run.path / "result.json").write_bytes(b" " * (JSON_BYTES + 1))
    with pytest.raises(UnreadableError, match=r"result\.json: 16,777,217 bytes to read; must be"):
        run.result()


def test_lines_that_list_no_trial_are_passed_over(complete: "Written") -> None:
    before = load(complete.folder.path)
    entry = {"trial": "x", "row": 0, "role": "search"}
    changes: list[dict[str, object]] = [
        {"trial": 5}, {"trial": []}, {"trial": {}}, {"trial": ""}, {"trial": "."}, {"trial": ".."},
        {"trial": "/etc"}, {"trial": "../sweep"}, {"trial": "a\0b"}, {"trial": "\ud800"},
        {"trial": "a" * 5000}, {"row": "a"}, {"row": 0.5}, {"row": []}, {"row": -1}, {"row": HUGE},
        {"role": 5}, {"role": []}, {"role": "other"}, {"search": "x"},
    ]  # fmt: skip
    lines = [json.dumps(entry | change) for change in changes]
    lines += ["5", "[]", '"x"', "null", "{}", DEEP, '{"trial": "x", "row": 0}']
    with (complete.folder.path / "trials.jsonl").open("ab") as file:
        file.write(b"\n\xff\xfe\n" + "\n".join(lines).encode())
    after = load(complete.folder.path)
    assert after["trial"].tolist() == before["trial"].tolist()
    with (complete.folder.path / "trials.jsonl").open("a") as file:
        more = {"outcome": 3, "winner": {}, "trial": "new"}
        file.write("\n" + json.dumps(entry | more))
        file.write("\n" + json.dumps(entry | {"trial": None}))
        file.write("\n" + json.dumps({"trial": "x", "row": None, "role": "winner"}))
    last = load(complete.folder.path)
    assert last["trial"].tolist() == [*before["trial"], "new"]
    assert last["outcome"].tolist()[-1] == "waiting"
    assert main_of("status.py")([str(complete.folder.path)]) == 0


KEPT: list[dict[str, object]] = [
    {"seconds": "x"}, {"epoch": "x"}, {"trial": 5}, {"attempt": None}, {"time": "x"},
    {"world_size": "x"}, {"trial": "zz"}, {"seconds": -1.0}, {"epoch": -1}, {"extra": {"a": 1}},
]  # fmt: skip


@pytest.mark.parametrize("columns", KEPT)
def test_kept_records_are_believed_only_as_records(
    written: "Written", columns: dict[str, object]
) -> None:
    written.describe()
    run = written.running(0, epochs=2)
    expected = load_records(written.folder.path)
    path = written.folder.records_path
    about = pq.read_schema(path).metadata[b"fieldtrial"]
    row = {"trial": run.name, "epoch": 1, "attempt": 1, "time": 1.0, "seconds": 5.0}
    row |= {"repeated_seconds": 0.0, "world_size": 1} | columns
    table = pa.table({name: [value] for name, value in row.items()})
    pq.write_table(table.replace_schema_metadata({"fieldtrial": about}), path)
    found = load_records(written.folder.path)
    assert found["seconds"].tolist() == expected["seconds"].tolist() == [6.0] * 3


@pytest.mark.parametrize("content", [b"PAR1garbagePAR1", b""])
def test_kept_records_that_are_damaged_are_made_again(written: "Written", content: bytes) -> None:
    written.describe()
    written.running(0, epochs=2)
    path = Path(written.folder.records_path)
    path.write_bytes(content)
    assert len(load_records(written.folder.path)) == 3
    path.unlink()
    os.mkfifo(path)
    assert len(load_records(written.folder.path)) == 3


def test_tasks_have_tasks_names(written: "Written") -> None:
    written.describe()
    run = written.running(0)
    names = [
        "a.json",
        "-.json",
        "x-y.json",
        "x-.json",
        "x-0.json",
        "x-٣.json",
        f"{run.name}-y.json",
    ]
    for folder in ("tasks-x", "workers/w"):
        for name in names:
            path = written.folder.path / "queue" / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
    assert main_of("status.py")([str(written.folder.path)]) == 0
