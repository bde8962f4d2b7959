"""The worker: tasks in, answers out, warm in between; its messages about failures, its end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fieldtrial.disk.run import Run
from fieldtrial.disk.task_queue import Task
from fieldtrial.training.attempt.failures import tell
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt, Superseded
from fieldtrial.training.loop.saving import Saver
from fieldtrial.worker.tasks import work
from tests.unreliable import UnreliableFolder

NewRun = Callable[..., Run]
Numbers = Callable[[Run], list[dict[str, Any]]]

MODULE = ["-m", "fieldtrial.worker"]
LAUNCHER = ["-m", "fieldtrial.training.distributed.launcher", "--processes", "2"]
LONG = {"model": "cnn", "classes": "all", "epochs": 10_000}


class Worker:
    """A worker under test."""

    def __init__(self, launcher: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *launcher, *MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )

    def send(self, run: Run, attempt: int = 1, test: bool = False) -> None:
        assert self.process.stdin
        self.process.stdin.write(
            json.dumps({"run": str(run.path), "attempt": attempt, "test": test}).encode() + b"\n"
        )
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def do(self, run: Run, attempt: int = 1, test: bool = False) -> str:
        self.send(run, attempt, test)
        answer = self.answer()
        assert answer["run"] == str(run.path)
        return str(answer["outcome"])

    def end(self) -> tuple[bytes, bytes]:
        """Close the input and return the rest of the output, and the errors."""
        return self.process.communicate(timeout=300)


@contextlib.contextmanager
def started(launcher: list[str]) -> Iterator[Worker]:
    worker = Worker(launcher)
    try:
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout, worker.process.stderr):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _wait_until(is_so: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < deadline, problem
        time.sleep(0.01)


def _wait_for_records(run: Run, count: int) -> None:
    _wait_until(lambda: len(run.records()) >= count, "no record")


def test_a_warm_worker_does_one_trial_after_another_and_leaves_nothing(new_run: NewRun) -> None:
    with started([]) as worker:
        first, second = new_run("first", epochs=1), new_run("second", epochs=1, seed=1)
        assert worker.do(first) == "finished"
        process = psutil.Process(worker.process.pid)
        threads = process.num_threads()
        assert worker.do(second, test=True) == "finished"
        assert "test_accuracy" in (second.result() or {})
        # The start of the worker is charged to its first trial, and spares the second one its own.
        (own, *_), (spared, *_) = first.records(), second.records()
        assert own["alone_seconds"] == own["held_seconds"]
        start = spared["alone_seconds"] - spared["held_seconds"]
        assert 0 < start < own["held_seconds"]
        _wait_until(lambda: process.num_threads() <= threads, "a thread of the trial stays")
        assert not process.children(recursive=True)

        records = first.path / "metrics-1.jsonl"
        before = records.stat().st_mtime_ns
        assert worker.do(first, attempt=2) == "finished"  # it is done already
        assert records.stat().st_mtime_ns == before
        assert first.attempts() == [1]

        stopped = new_run("stopped", **LONG)
        worker.send(stopped)
        _wait_for_records(stopped, 2)
        stopped.request_stop()
        assert worker.answer()["outcome"] == "stopped"
        diverging = new_run("diverging", optimizer="sgd", lr=1e25, model="cnn")
        worker.send(diverging, attempt=4)
        answer = worker.answer()
        error = diverging.error()
        assert error is not None
        assert (error["kind"], error["attempt"]) == ("diverged", 4)
        assert "at step 2 (epoch 1)" in error["message"]
        told = {name: error[name] for name in ("kind", "message")}
        assert answer == {"run": str(diverging.path), "outcome": "failed", "error": told}
        assert "Traceback" in diverging.log_path(4).read_text()
        assert worker.do(new_run("third", epochs=1, seed=2)) == "finished"
        assert worker.end() == (b"", b"")
        assert worker.process.returncode == 0


def test_the_end_of_the_input_ends_a_training_worker_at_once(new_run: NewRun) -> None:
    with started([]) as worker:
        run = new_run(**LONG)
        worker.send(run)
        _wait_for_records(run, 1)
        assert worker.process.stdin
        worker.process.stdin.close()
        assert worker.process.wait(timeout=300) == 1
        assert run.result() is None
        assert run.error() is None


def test_an_attempt_that_a_newer_one_has_taken_over_from_writes_no_more(new_run: NewRun) -> None:
    with started([]) as old, started([]) as new:
        run = new_run(**LONG)
        old.send(run)
        _wait_for_records(run, 2)
        new.send(run, attempt=2)
        assert old.answer() == {"run": str(run.path), "outcome": "superseded"}
        left = (run.path / "metrics-1.jsonl").read_bytes()
        assert "attempt 2 has taken over from attempt 1" in run.log_path(1).read_text()
        _wait_for_records(run, len(run.records()) + 2)
        assert old.do(run) == "superseded"  # nor does it begin again
        assert (run.result(), run.error()) == (None, None)
        run.request_stop()
        assert new.answer()["outcome"] == "stopped"
        assert (run.result() or {})["attempt"] == 2
        assert (run.path / "metrics-1.jsonl").read_bytes() == left
        assert (
            max(record["epoch"] for record in run.records() if record["attempt"] == 2)
            == (run.result() or {})["epochs"]
        )
        assert old.do(new_run("after", epochs=1)) == "finished"


def test_an_attempt_that_was_taken_over_from_has_no_failures(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTRIAL_CHECKPOINT_SECONDS", "0")
    run = new_run(optimizer="sgd", lr=1e25, model="cnn")
    with contextlib.closing(train(Attempt.at(run))) as records:
        next(records)
        with run.recorder(2):
            pass
        with pytest.raises(Superseded, match="attempt 2 has taken over from attempt 1"):
            next(records)  # where it would find that the loss is not finite
    tell(run, "error", "the other process is gone", RuntimeError("connection closed"), attempt=1)
    assert run.error() is None
    assert run.checkpoints()


def test_an_attempt_whose_last_checkpoint_was_left_out_for_a_newer_one_has_not_failed(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTRIAL_CHECKPOINT_SECONDS", "0")
    run, add = new_run(select="last", epochs=1), Saver.add

    def begin_newer(saver: Saver, state: dict[str, Any], is_due: bool = True) -> None:
        if state["progress"]["epoch"] == 1:
            with run.recorder(2):
                pass
        add(saver, state, is_due)

    monkeypatch.setattr(Saver, "add", begin_newer)
    with pytest.raises(Superseded, match="attempt 2 has taken over from attempt 1"):
        list(train(Attempt.at(run)))
    assert run.result() is None


def test_a_signal_shows_what_a_worker_does(new_run: NewRun) -> None:
    with started([]) as worker:
        run = new_run(**LONG)
        worker.send(run)
        _wait_for_records(run, 2)
        log = ""
        while "fit.py" not in log and not run.result():  # between two epochs it is not in there
            worker.process.send_signal(signal.SIGUSR1)
            _wait_for_records(run, len(run.records()) + 1)  # it goes on
            log = run.log_path(1).read_text()
        assert "most recent call first" in log
        assert "tasks.py" in log
        assert "fit.py" in log


@pytest.mark.slow
def test_two_processes_resume_after_a_kill_and_end_together(
    new_run: NewRun, numbers: Numbers
) -> None:
    fields = {
        "model": "cnn",
        "filters": [4],
        "dropout": 0.2,
        "batch_norm": True,
        "epochs": 12,
        "optimizer": "sgd",
    }
    killed, undisturbed = new_run("killed", **fields), new_run("undisturbed", **fields)
    with started(LAUNCHER) as worker:
        worker.send(killed)
        _wait_for_records(killed, 4)
        family = psutil.Process(worker.process.pid).children(recursive=True)
        worker.process.kill()  # the launcher alone: its two processes follow
        assert len(psutil.wait_procs(family, timeout=300)[0]) == len(family) == 2
    assert killed.result() is None
    with started(LAUNCHER) as worker:
        assert worker.do(killed, attempt=2) == "finished"
        assert worker.do(undisturbed) == "finished"
        assert numbers(killed) == numbers(undisturbed)
        assert killed.weights_path.read_bytes() == undisturbed.weights_path.read_bytes()
        assert undisturbed.environment()["1"]["world_size"] == 2
        assert worker.do(new_run("diverging", optimizer="sgd", lr=1e25, model="cnn")) == "failed"
        assert worker.do(new_run("after", epochs=1)) == "finished"
        taken_over = new_run("taken over", **LONG)
        worker.send(taken_over)
        _wait_for_records(taken_over, 1)
        with taken_over.recorder(2):
            assert (
                worker.answer()["outcome"] == "superseded"
            )  # and both processes are there for another trial
        assert worker.do(new_run("afterwards", epochs=1)) == "finished"

        family = psutil.Process(worker.process.pid).children(recursive=True)
        broken = new_run("broken", dataset="mnist_without_a_source")
        worker.send(
            broken
        )  # an error that a process may have alone: they end, and error.json says why
        assert worker.process.stdout
        assert worker.process.stdout.read() == b""
        assert worker.process.wait() != 0
        error = broken.error()
        assert error is not None
        assert error["kind"] == "config"
        assert len(psutil.wait_procs(family, timeout=300)[0]) == len(family) == 2


def test_a_full_disk_is_told_and_an_answer_still_comes(
    new_run: NewRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTRIAL_CHECKPOINT_SECONDS", "0")  # so that checkpoints fill it
    # A run keeps the uncommitted changes of this repository, which may be long.
    monkeypatch.setattr("fieldtrial.training.attempt.train.uncommitted_changes", lambda: "")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], capture_output=True
    ).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        run = new_run("small/run", dense_width=[64, 64], classes="all")
        assert work(Task(str(run.path), attempt=1), World()) == {
            "outcome": "failed",
            "error": {"kind": "disk", "message": f"no space left for {run.path}"},
        }
        error = run.error()
        assert error is not None
        assert (error["kind"], error["message"]) == ("disk", f"no space left for {run.path}")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_file_system_that_goes_away_is_waited_for(
    new_run: NewRun, unreliable: UnreliableFolder
) -> None:
    run = new_run(unreliable.path / "run", **LONG | {"epochs": 30})
    with started([]) as worker:
        worker.send(run)
        _wait_for_records(run, 3)
        unreliable.go_away()
        time.sleep(3)
        assert worker.process.poll() is None
        unreliable.come_back()
        answer = worker.answer()
        assert (answer["outcome"], answer["error"]["kind"]) == ("failed", "outage")
        error = run.error()
        assert error
        assert (error["kind"], error["attempt"]) == ("outage", 1)
        assert worker.do(run, attempt=2) == "finished"
    assert [record["epoch"] for record in run.records()] == list(range(31))
    assert run.attempts() == [1, 2]
