"""The start of a job's processes: each one finds its rank, and then runs the training worker.

All settings are on the job's command line, so that a job does not need its driver. This module
imports neither Ray nor torch.
"""

import contextlib
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from fieldtrial.control.places.slurm.commands import SlurmOutageError, host_names
from fieldtrial.disk.files import share_with_group
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.task_queue import TaskQueue

WORKER = ("-m", "fieldtrial.worker")
EXIT_DELAY_SECONDS = 0.5  # for the job's other processes to get their SIGTERM, too


def launch(
    queue: str,
    edition: str,
    trials: str,
    together: str,
    idle_seconds: str,
    minutes: str,
    *worker: str,
) -> NoReturn:
    """Run a worker that takes at most `trials` tasks of a queue's edition, and exit.

    together: how many tasks it does together, at most.

    It runs in this process: another start of Python, with its imports, would delay each trial's
    job.

    minutes: the job's time limit.
    """
    share_with_group()
    name = worker_name()
    end = str(end_of_job(60 * float(minutes), os.environ, time.time()))
    environment = rank_environment(
        TaskQueue(queue).rendezvous(name, os.environ.get("SLURM_RESTART_COUNT", "0"))
    )
    options = ["--queue", queue, "--edition", edition, "--name", name]
    options += ["--trials", trials, "--together", together, "--idle", idle_seconds, "--end", end]
    # Sent before a time limit or a preemption: the worker trains until it is killed.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    os.environ |= environment
    if int(environment["WORLD_SIZE"]) > 1:
        end_on_sigterm(TaskQueue(queue).termination(name, environment["RANK"]))
    if worker[0] == "-m":
        sys.argv[1:] = [*worker[2:], *options]
        runpy.run_module(worker[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [*worker, *options]
        runpy.run_path(worker[0], run_name="__main__")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # an orderly end of all imported libraries takes long, and the next job waits


def end_of_job(seconds: float, environment: Mapping[str, str], now: float) -> float:
    """Return when the job reaches its time limit, in seconds since 1970 by this node's clock.

    seconds: the time limit that was asked for.
    environment: the job's. SLURM tells the start and the end from version 23.02 on, but by another
        machine's clock, which may be hours away: only their distance is relied on.
    """
    try:
        start, end = (float(environment[f"SLURM_JOB_{name}_TIME"]) for name in ("START", "END"))
    except (KeyError, ValueError):
        start = end = 0.0
    if end <= start:
        return now + seconds
    # The program starts some time after its job, by the clocks if these are not too far apart.
    passed = now - start if start <= now < end else 0.0
    return now + end - start - passed


def end_on_sigterm(note: Inside) -> None:
    """Make SIGTERM create the file `note` and end this process, whatever it is doing.

    A preemption may begin with a SIGTERM to all of srun's processes. Their job then counts as
    failed. srun also sends one to the others when a process has died by itself. That process
    creates no file, which tells the two cases apart.
    """
    with contextlib.suppress(OSError):
        note.unlink(missing_ok=True)  # from before the job was requeued
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, lambda *_: None)  # without a handler nothing reaches the pipe

    def end() -> NoReturn:
        while os.read(reader, 1) != bytes([signal.SIGTERM]):
            pass
        with contextlib.suppress(OSError):  # a full disk
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()
        # Processes that have not got their SIGTERM yet would report a lost connection as an error.
        time.sleep(EXIT_DELAY_SECONDS)
        os._exit(128 + signal.SIGTERM)

    # In a thread: the main thread may be waiting for a device, or for another process.
    threading.Thread(target=end, daemon=True).start()


def worker_name() -> str:
    """Return the job's id as squeue writes it; an array element's is 123_4."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array else os.environ["SLURM_JOB_ID"]


def rank_environment(rendezvous: Path) -> dict[str, str]:
    """Return this process's rank, in torchrun's variables, and the file for the rendezvous.

    In a job with several nodes, FIELDTRIAL_PEER is another node.
    """
    processes, nodes = int(os.environ["SLURM_NTASKS"]), int(os.environ["SLURM_NNODES"])
    return {
        "RANK": os.environ["SLURM_PROCID"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes // nodes),
        "FIELDTRIAL_RENDEZVOUS": str(rendezvous),
        "OMP_NUM_THREADS": os.environ.get("SLURM_CPUS_PER_TASK", "1"),
        **({"FIELDTRIAL_PEER": peer} if nodes > 1 and (peer := another_node()) else {}),
    }


def another_node() -> str | None:
    """Return another node of this job, or None if SLURM does not tell.

    A connection to it shows the address of this node that others can reach.
    """
    try:
        names = host_names(os.environ["SLURM_JOB_NODELIST"])
        return names[1 if os.environ["SLURM_NODEID"] == "0" else 0]
    except (SlurmOutageError, IndexError):
        return None
