"""What a job's processes start with: each finds out who it is among them, and goes on as the
training worker.

python -m fieldtrial.control.places.slurm.job_start QUEUE EDITION TRIALS IDLE_SECONDS MINUTES
WORKER...: all is on the command line, so that a job needs nothing of a driver that dies when it has
submitted it. It imports neither Ray nor torch.
"""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from fieldtrial.disk.files import share_with_group
from fieldtrial.disk.task_queue import TaskQueue

WORKER = ("-m", "fieldtrial.training.attempt.worker")
FAREWELL_SECONDS = 0.5  # by when the job's other processes have been told to end, too
SCONTROL_SECONDS = 60  # after which the names of the nodes are done without


def launch(
    queue: str, edition: str, trials: str, idle_seconds: str, minutes: str, *worker: str
) -> NoReturn:
    """Be a worker that takes at most `trials` tasks of an edition of a queue, in a job of so many
    minutes.

    The worker runs in this process: another start of Python, and of what both import, would cost
    each trial's job.
    """
    share_with_group()
    name = worker_name()
    end = os.environ.get(
        "SLURM_JOB_END_TIME", str(time.time() + 60 * float(minutes))
    )  # SLURM says it since 23.02
    environment = rank_environment(
        TaskQueue(queue).rendezvous(name, os.environ.get("SLURM_RESTART_COUNT", "0"))
    )
    options = [
        "--queue",
        queue,
        "--edition",
        edition,
        "--name",
        name,
        "--trials",
        trials,
        "--idle",
        idle_seconds,
    ]
    options += ["--end", end]
    signal.signal(
        signal.SIGUSR2, signal.SIG_IGN
    )  # sent before a time limit or a preemption: work till the end
    os.environ |= environment
    if int(environment["WORLD_SIZE"]) > 1:
        end_when_told(TaskQueue(queue).termination(name, environment["RANK"]))
    if worker[0] == "-m":
        sys.argv[1:] = [*worker[2:], *options]
        runpy.run_module(worker[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [*worker, *options]
        runpy.run_path(worker[0], run_name="__main__")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(
        0
    )  # the next job waits for this one's end, and to take down all that was imported takes long


def end_when_told(note: Path) -> None:
    """Have a SIGTERM end this process, whatever it is busy with, and leave `note` of it.

    So begins a preemption without a signal of its own, for all processes of srun's: their job then
    counts as failed. srun sends it, too, where one process has died by itself; but that one leaves
    no note, and this tells the two apart.
    """
    with contextlib.suppress(OSError):
        note.unlink(missing_ok=True)  # of the job's start before this one
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    signal.signal(
        signal.SIGTERM, lambda *_: None
    )  # a handler in Python, or the pipe would hear nothing

    def end() -> NoReturn:
        while os.read(told, 1) != bytes([signal.SIGTERM]):
            pass
        with contextlib.suppress(OSError):  # a full disk
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()
        time.sleep(
            FAREWELL_SECONDS
        )  # who misses this process before it is told itself would call that an error
        os._exit(128 + signal.SIGTERM)

    threading.Thread(
        target=end, daemon=True
    ).start()  # the main thread may wait for a device, or for another process


def worker_name() -> str:
    """Return the job's id as squeue writes it: an array's element is 123_4."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array else os.environ["SLURM_JOB_ID"]


def rank_environment(rendezvous: Path) -> dict[str, str]:
    """Return this process's place among its job's, as torchrun would say it, and the file where
    they meet.

    In a job of several nodes, it has FIELDTRIAL_PEER too: another node.
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
    """Return another node of this job, toward which this one's own address is; None if SLURM does
    not say.
    """
    command = ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]
    try:
        names = subprocess.run(
            command, capture_output=True, text=True, timeout=SCONTROL_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return names.split()[1 if os.environ["SLURM_NODEID"] == "0" else 0]


if __name__ == "__main__":
    launch(*sys.argv[1:])
