"""What a job's processes do when SLURM tells them to end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.tasks import TaskQueue

DEAF = """
import ctypes, pathlib, sys
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
pathlib.Path(sys.argv[0]).with_name("ready").touch()
libc.pthread_mutex_lock(mutex)  # for ever, and no signal interrupts it: so does a process wait for a device
"""


@pytest.fixture
def launch(processes: Any, tmp_path: Path) -> Iterator[Callable[[int, int], "subprocess.Popen[bytes]"]]:
    """Return a function that starts one of a job's processes, its rank and how many there are, and waits for it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(rank: int, size: int) -> "subprocess.Popen[bytes]":
        worker, ready = tmp_path / "worker.py", tmp_path / "ready"
        worker.write_text(DEAF)
        ready.unlink(missing_ok=True)
        job = {"JOB_ID": 7, "NTASKS": size, "NNODES": 1, "PROCID": rank, "LOCALID": rank}
        environment = os.environ | {f"SLURM_{name}": str(value) for name, value in job.items()}
        command = ["-m", "fieldtrial.control.launch", str(tmp_path / "queue"), "now", "1", "5", "5"]
        started.append(subprocess.Popen([sys.executable, *command, str(worker)], env=environment))
        assert processes.eventually(ready.exists)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_each_of_several_processes_says_that_it_was_told_to_end(
    launch: Callable[[int, int], "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    queue = TaskQueue(tmp_path / "queue")
    for rank in range(2):
        process = launch(rank, 2)
        assert queue.terminations("7") == rank
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
    assert queue.terminations("7") == 2
    launch(1, 2)
    assert queue.terminations("7") == 1, "that was said in a former start of the job"


def test_a_process_that_is_alone_ends_as_ever(
    launch: Callable[[int, int], "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    process = launch(0, 1)
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    assert TaskQueue(tmp_path / "queue").terminations("7") == 0
