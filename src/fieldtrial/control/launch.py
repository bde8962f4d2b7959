"""What a job's processes start with: each finds out who it is among them, and goes on as the training worker.

python -m fieldtrial.control.launch QUEUE TRIALS IDLE_SECONDS MINUTES WORKER...: all is on the command line, so that
a job needs nothing of a driver that dies when it has submitted it. It imports neither Ray nor torch.
"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from fieldtrial.files import share_with_group
from fieldtrial.tasks import TaskQueue

WORKER = ("-m", "fieldtrial.training.worker")


def launch(queue: str, trials: str, idle_seconds: str, minutes: str, *worker: str) -> NoReturn:
    """Be a worker that takes at most `trials` tasks of the queue in a folder, in a job of so many minutes.

    The worker runs in this process: another start of Python, and of what both import, would cost each trial's job.
    """
    share_with_group()
    name = worker_name()
    end = os.environ.get("SLURM_JOB_END_TIME", str(time.time() + 60 * float(minutes)))  # SLURM says it since 23.02
    environment = rank_environment(TaskQueue(queue).rendezvous(name, os.environ.get("SLURM_RESTART_COUNT", "0")))
    options = ["--queue", queue, "--name", name, "--trials", trials, "--idle", idle_seconds, "--end", end]
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # sent before a time limit or a preemption: work till the end
    os.environ |= environment
    if worker[0] == "-m":
        sys.argv[1:] = [*worker[2:], *options]
        runpy.run_module(worker[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [*worker, *options]
        runpy.run_path(worker[0], run_name="__main__")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the next job waits for this one's end, and to take down all that was imported takes long


def worker_name() -> str:
    """Return the job's id as squeue writes it: an array's element is 123_4."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array else os.environ["SLURM_JOB_ID"]


def rank_environment(rendezvous: Path) -> dict[str, str]:
    """Return this process's place among its job's, as torchrun would say it, and the file where they meet."""
    processes, nodes = int(os.environ["SLURM_NTASKS"]), int(os.environ["SLURM_NNODES"])
    return {
        "RANK": os.environ["SLURM_PROCID"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes // nodes),
        "FIELDTRIAL_RENDEZVOUS": str(rendezvous),
        "OMP_NUM_THREADS": os.environ.get("SLURM_CPUS_PER_TASK", "1"),
    }


if __name__ == "__main__":
    launch(*sys.argv[1:])
