"""The run directory: nothing is half-written, nothing is read twice, nothing is lost."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.files import RecordReader, read_json, write_atomically, write_json
from fieldtrial.disk.run import Run

WRITE_FOREVER = """
import itertools, sys
from pathlib import Path
from fieldtrial.disk.files import write_json
for number in itertools.count():
    write_json(Path(sys.argv[1]), {"number": number, "filling": "x" * 1_000_000, "last": number})
"""
RECORD_FOREVER = """
import itertools, sys
from fieldtrial.disk.run import Run
with Run(sys.argv[1]).recorder(int(sys.argv[2])) as writer:
    for epoch in itertools.count():
        writer.write({"epoch": epoch, "filling": "x" * 50_000})
"""


def kill_while_writing(
    code: str, *arguments: str, once: Path, watch: Callable[[], object] = lambda: time.sleep(0.001)
) -> None:
    """Run `code` and SIGKILL it at a random moment after the file `once` has appeared, calling
    `watch` until then.
    """
    process = subprocess.Popen([sys.executable, "-c", code, *arguments])
    try:
        deadline = time.monotonic() + 30
        while not once.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert once.exists()
        end = time.monotonic() + random.uniform(0.05, 0.2)
        while time.monotonic() < end:
            watch()
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL


def epochs(records: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(record["attempt"], record["epoch"]) for record in records]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", TrainConfig())


def test_readers_see_whole_files_whenever_a_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    seen = set()

    def read() -> None:
        value = read_json(path, dict[str, Any])
        assert value is not None
        assert value["number"] == value["last"]
        seen.add(value["number"])

    for kills in range(20):
        kill_while_writing(WRITE_FOREVER, str(path), once=path, watch=read)
        read()
        if kills >= 3 and len(seen) > 1:
            break
    assert len(seen) > 1


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"loss": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"loss": float("nan")})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", b"a folder cannot be replaced by a file")
    assert read_json(path, dict[str, float]) == {"loss": 1.0}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "value.json"]


def test_a_recorder_killed_at_any_moment_loses_no_whole_record(run: Run) -> None:
    reader = RecordReader(run)
    delivered = []
    for attempt in range(1, 5):
        kill_while_writing(
            RECORD_FOREVER, str(run.path), str(attempt), once=run.path / f"metrics-{attempt}.jsonl"
        )
        delivered += reader.read()
    assert len(delivered) == len(set(epochs(delivered)))
    for attempt in range(1, 5):
        own = [record["epoch"] for record in delivered if record["attempt"] == attempt]
        assert own == list(range(len(own)))
    assert len(delivered) > 0


def test_each_record_is_delivered_once_across_attempts(run: Run) -> None:
    reader = RecordReader(run)
    assert reader.read() == []
    with run.recorder(1) as first:
        first.write({"epoch": 0})
        assert epochs(reader.read()) == [(1, 0)]
        assert reader.read() == []
        first.write({"epoch": 1})
        with run.recorder(2) as second:
            second.write({"epoch": 1})
            assert epochs(reader.read()) == [(1, 1), (2, 1)]
            first.write({"epoch": 2})
            second.write({"epoch": 2})
    assert epochs(reader.read()) == [(1, 2), (2, 2)]
    assert reader.read() == []
    assert epochs(run.records()) == [
        (1, 0),
        (2, 1),
        (2, 2),
    ]  # the later attempt's, where an epoch was repeated


def test_ten_attempts_are_in_order_of_number(run: Run) -> None:
    for attempt in (10, 2, 1):
        with run.recorder(attempt) as writer:
            writer.write({"epoch": 0})
    assert run.attempts() == [1, 2, 10]
    assert epochs(RecordReader(run).read()) == [(1, 0), (2, 0), (10, 0)]


def test_an_attempt_that_ran_twice_delivers_each_epoch_once(run: Run) -> None:
    for _ in range(2):
        with run.recorder(1) as writer:
            writer.write({"epoch": 0})
            writer.write({"epoch": 1})
    assert epochs(RecordReader(run).read()) == [(1, 0), (1, 1)]


def test_a_torn_line_waits_for_its_end(run: Run) -> None:
    reader = RecordReader(run)
    with run.recorder(1) as writer:
        writer.write({"epoch": 0})
    path = run.path / "metrics-1.jsonl"
    with path.open("a") as file:
        file.write('{"epoch": 1, "att')
        file.flush()
        assert epochs(reader.read()) == [(1, 0)]
        file.write('empt": 1}\n')
    assert epochs(reader.read()) == [(1, 1)]


def test_a_line_that_stays_torn_is_closed_and_skipped(run: Run) -> None:
    with run.recorder(1) as writer:
        writer.write({"epoch": 0})
    with (run.path / "metrics-1.jsonl").open("a") as file:
        file.write('{"epoch": 1, "att')
    with run.recorder(1) as writer:
        writer.write({"epoch": 1})
    assert epochs(RecordReader(run).read()) == [(1, 0), (1, 1)]


def test_a_record_that_is_not_json_is_refused_and_not_written(run: Run) -> None:
    with run.recorder(1) as writer:
        with pytest.raises(ValueError, match="JSON"):
            writer.write({"epoch": 0, "train_loss": float("nan")})
        writer.write({"epoch": 0, "train_loss": 1.0})
    assert [record["train_loss"] for record in run.records()] == [1.0]


def test_a_run_of_another_config_is_refused_with_the_fields(run: Run) -> None:
    assert Run.create(run.path, TrainConfig()).config() == TrainConfig()
    with pytest.raises(ConfigError) as caught:
        Run.create(run.path, TrainConfig(lr=0.5, model="mlp"))
    assert caught.value.problems == [
        "model is 'cnn' there and 'mlp' now",
        "lr is 0.001 there and 0.5 now",
    ]
    assert str(caught.value).count(f"{run.path} holds a run of another config") == 2
    assert run.config() == TrainConfig()
    assert [path.name for path in run.path.iterdir()] == ["config.json"]


def test_a_folder_without_config_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"config\.json: no such file, so .* is not a run directory"
    ):
        Run(tmp_path).config()


def test_a_config_that_cannot_be_read_names_its_file(run: Run) -> None:
    path = run.path / "config.json"
    path.write_text(json.dumps({"lr": -1, "flux_capacitor": 1}))
    with pytest.raises(ConfigError) as caught:
        run.config()
    assert [line.startswith(f"{path}: ") for line in str(caught.value).splitlines()] == [True, True]
    path.write_text('{"lr": ')
    with pytest.raises(ValueError, match=r"config\.json: not a JSON file"):
        run.config()


def test_result_replaces_error(run: Run) -> None:
    assert (run.result(), run.error()) == (None, None)
    run.write_error("memory", "out of device memory", attempt=1)
    error = run.error()
    assert error is not None
    assert (error["kind"], error["message"], error["attempt"]) == (
        "memory",
        "out of device memory",
        1,
    )
    run.write_result({"outcome": "finished"})
    assert (run.result(), run.error()) == ({"outcome": "finished"}, None)


def test_a_failure_is_over_when_a_later_attempt_has_begun(run: Run) -> None:
    assert run.failure() is None
    for attempt in (1, 2):
        with run.recorder(attempt):
            assert run.failure() is None
        run.write_error("disk", "no space left", attempt)
        assert (run.failure() or {})["attempt"] == attempt


def test_how_it_stands_is_said_with_what_says_so(run: Run) -> None:
    assert run.standing() == ("waiting", {})
    with run.recorder(1):
        pass
    assert run.standing() == ("running", {})
    run.write_error("disk", "no space left", 1)
    assert run.standing() == ("failed", run.error())
    with run.recorder(2):
        pass
    assert run.standing() == ("running", {})
    run.write_result({"outcome": "stopped", "epochs": 3})
    assert run.standing() == ("stopped", {"outcome": "stopped", "epochs": 3})


def test_environments_of_all_attempts_are_kept(run: Run) -> None:
    run.write_environment(1, {"host": "a"})
    run.write_environment(2, {"host": "b"})
    assert run.environment() == {"1": {"host": "a"}, "2": {"host": "b"}}


def test_stop(run: Run) -> None:
    assert not run.stop_requested()
    run.request_stop()
    assert run.stop_requested()


@pytest.mark.parametrize(
    ("best", "newest", "left"),
    [(None, 2, [12, 11]), (3, 2, [12, 11, 3]), (12, 2, [12, 11]), (3, 0, [3]), (None, 0, [])],
)
def test_keep_checkpoints(run: Run, best: int | None, newest: int, left: list[int]) -> None:
    for epoch in (3, 9, 11, 12):
        write_atomically(run.checkpoint_path(epoch), b"")
    assert run.checkpoints() == [run.checkpoint_path(epoch) for epoch in (12, 11, 9, 3)]
    run.keep_checkpoints(best, newest)
    assert run.checkpoints() == [run.checkpoint_path(epoch) for epoch in left]
