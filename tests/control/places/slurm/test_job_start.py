"""The start of a job's processes: their ranks and peers, and what they do on SIGTERM."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.control.places.slurm.job_start import end_of_job, rank_environment
from fieldtrial.disk.task_queue import TaskQueue

DEAF = """
import ctypes, pathlib, sys
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
pathlib.Path(sys.argv[0]).with_name("ready").touch()
# for ever, and no signal interrupts it: so does a process wait for a device
libc.pthread_mutex_lock(mutex)
"""


@pytest.fixture
def launch(
    processes: Any, tmp_path: Path
) -> Iterator[Callable[[int, int], "subprocess.Popen[bytes]"]]:
    """Return a function that starts one of a job's processes, of a rank and a world size."""
    started: list[subprocess.Popen[bytes]] = []

    def start(rank: int, size: int) -> "subprocess.Popen[bytes]":
        worker, ready = tmp_path / "worker.py", tmp_path / "ready"
        worker.write_text(DEAF)
        ready.unlink(missing_ok=True)
        job = {"JOB_ID": 7, "NTASKS": size, "NNODES": 1, "PROCID": rank, "LOCALID": rank}
        environment = os.environ | {f"SLURM_{name}": str(value) for name, value in job.items()}
        command = [
            "-c",
            "import sys; from fieldtrial.control.places.slurm.job_start import launch;"
            " launch(*sys.argv[1:])",
            str(tmp_path / "queue"),
            "now",
            "1",
            "1",
            "5",
            "5",
        ]
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
        assert process.wait(120) == 128 + signal.SIGTERM
    assert queue.terminations("7") == 2
    launch(1, 2)
    assert queue.terminations("7") == 1, "that was said in a former start of the job"


def test_a_process_that_is_alone_ends_as_ever(
    launch: Callable[[int, int], "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    process = launch(0, 1)
    process.terminate()
    assert process.wait(120) == -signal.SIGTERM
    assert TaskQueue(tmp_path / "queue").terminations("7") == 0


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("nodes", "node", "peer"),
    [("n[1-3]", "0", "n2"), ("n[1-3]", "2", "n1"), ("n[2,4]", "1", "n2"), ("n4", "0", None)],
)
def test_in_a_job_of_several_nodes_each_knows_another(
    nodes: str, node: str, peer: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(monkeypatch, nodes, node)
    assert rank_environment(Path("meeting")).get("FIELDTRIAL_PEER") == peer


def test_where_slurm_does_not_say_which_nodes_there_are_all_else_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job(monkeypatch, "n[1-2]", "0")
    monkeypatch.setenv("PATH", "")
    assert rank_environment(Path("meeting")) == {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "12",
        "LOCAL_WORLD_SIZE": "6",
        "FIELDTRIAL_RENDEZVOUS": "meeting",
        "OMP_NUM_THREADS": "3",
    }


@pytest.mark.parametrize(
    ("start", "end", "now", "left"),
    [
        ("1000", "4600", 1000.0, 3600.0),
        ("1000", "4600", 1100.0, 3500.0),  # setup has taken 100 s
        ("1000", "4600", 9e9, 3600.0),  # this node's clock is past the end
        ("1000", "4600", 500.0, 3600.0),  # it is before the start
        ("1000", "0", 1000.0, 600.0),  # no limit
        (None, "4600", 9e9, 600.0),  # as before version 23.02
        ("soon", "4600", 1000.0, 600.0),
    ],
)
def test_a_jobs_end_does_not_depend_on_the_clock_of_its_node(
    start: str | None, end: str, now: float, left: float
) -> None:
    known = {"SLURM_JOB_START_TIME": start, "SLURM_JOB_END_TIME": end}
    environment = {name: value for name, value in known.items() if value is not None}
    assert end_of_job(600.0, environment, now) == now + left


def job(monkeypatch: pytest.MonkeyPatch, nodes: str, node: str) -> None:
    """Be the first process of a job of twelve on one of its nodes."""
    count = {"n[1-3]": "3", "n4": "1"}.get(nodes, "2")
    facts = {
        "NTASKS": "12",
        "NNODES": count,
        "JOB_NODELIST": nodes,
        "NODEID": node,
        "CPUS_PER_TASK": "3",
    }
    for name, value in (facts | {"PROCID": "0", "LOCALID": "0"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
