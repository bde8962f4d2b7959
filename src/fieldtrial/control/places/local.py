"""This machine as a place: Ray hands out its cores and devices to actors, and each actor feeds one
warm worker.
"""

import contextlib
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import ray
import ray._private.ray_constants

from fieldtrial.config import ConfigError
from fieldtrial.control.places.guard import Guard, end_all, signal_all
from fieldtrial.control.places.interface import Ended, Task
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.disk.run import Run
from fieldtrial.disk.task_queue import QueuedTask

WORKER = ("-m", "fieldtrial.training.attempt.worker")
LAST_LINES = 10
MARK = "FIELDTRIAL_WORKER"


class LocalPlace:
    """Trials on this machine, as many at once as its cores and devices allow.

    Ray is private to this process: its own head on the loopback interface, a temporary folder of
    its own, no dashboard.

    Raises:
        ConfigError: a trial asks for more cores or devices than there are.
    """

    def __init__(self, settings: LocalSettings, worker: tuple[str, ...] = WORKER) -> None:
        cores = len(os.sched_getaffinity(0))
        if settings.cpus_per_trial > cores:
            raise ConfigError(
                [f"cpus_per_trial = {settings.cpus_per_trial}: this machine has {cores} cores"],
                "local",
            )
        folder = Path(
            tempfile.mkdtemp(prefix="fieldtrial-", dir="/tmp")
        )  # short: Ray's sockets have names of 107 bytes
        self.processes, self.backlog = settings.processes_per_trial, None
        self._guard = Guard(folder)
        self._start_ray(cores, folder)
        devices = int(ray.cluster_resources().get("GPU", 0))
        wanted = (
            settings.gpus_per_trial
            if settings.gpus_per_trial is not None
            else float(min(1, devices))
        )
        if wanted > devices:
            self.close()
            raise ConfigError(
                [f"gpus_per_trial = {wanted:g}: this machine has {devices} GPUs"], "local"
            )
        if wanted and settings.processes_per_trial > wanted:
            self.close()
            text = (
                f"processes_per_trial = {settings.processes_per_trial}: one for each GPU, and a"
                f" trial has {wanted:g}"
            )
            raise ConfigError([text], "local")
        fitting = [cores // settings.cpus_per_trial, settings.most_trials or cores]
        self.slots = min([*fitting, _sharing(devices, wanted)] if wanted else fitting)
        self._actor = ray.remote(num_cpus=settings.cpus_per_trial, num_gpus=wanted)(Slot)
        self._command = _worker_command(worker, settings.processes_per_trial)
        self._threads = max(1, settings.cpus_per_trial // settings.processes_per_trial)
        self._marks: dict[Any, str] = {}
        self._idle = [self._new_slot() for _ in range(self.slots)]
        self._running: dict[Any, tuple[Any, Task]] = {}

    def adopt(self, _tasks: Iterable[Task]) -> list[Task]:
        """Return no tasks: workers here end with their driver."""
        return []

    def start(self, task: Task) -> None:
        """Give `task` to an idle slot's worker."""
        slot = self._idle.pop()
        self._running[slot.work.remote(task.queued())] = (slot, task)

    def wait(self, seconds: float, more: int = 0) -> list[Ended]:  # noqa: ARG002 (slots are there already)
        """Return the tasks that have ended, as soon as there are any or `seconds` have passed."""
        if not self._running:
            time.sleep(seconds)
            return []
        ready, _ = ray.wait(list(self._running), timeout=seconds)
        return [self._end(reference) for reference in ready]

    def stop(self, _task: Task) -> None:
        """Do nothing more: the worker sees the stop file at the end of the epoch, and is kept for
        the next trial.
        """

    def dump(self, task: Task) -> bool:
        """Have the worker's processes write into the trial's log what they are doing."""
        signal_all(MARK, self._mark(task), signal.SIGUSR1)
        return True

    def kill(self, task: Task) -> None:
        """End the worker's processes; its slot reports the death."""
        end_all(MARK, self._mark(task))

    def close(self, detach: bool = False) -> None:  # noqa: ARG002 (workers here cannot do without this process)
        """End all workers and Ray with them."""
        ray.shutdown()
        self._guard.close()

    def _mark(self, task: Task) -> str:
        running = self._running.values()
        return next(self._marks[slot] for slot, other in running if other.run.name == task.run.name)

    def _end(self, reference: Any) -> Ended:
        slot, task = self._running.pop(reference)
        try:
            death, error = ray.get(reference)
            ended = Ended(task, death, error)
        except ray.exceptions.RayActorError as error:
            ended = Ended(task, death=f"its actor died: {error}")
            slot = self._replace(slot)
        self._idle.append(slot)
        return ended

    def _new_slot(self) -> Any:
        mark = secrets.token_hex(16)
        slot = self._actor.remote(self._command, self._threads, mark)
        self._marks[slot] = mark
        return slot

    def _replace(self, slot: Any) -> Any:
        """Return a new slot for one whose actor has died, or does not answer, and end what is left
        of that.

        Ray's own restarts take a while, in which every task that is given to the actor fails at
        once.
        """
        ray.kill(slot)
        end_all(MARK, self._marks.pop(slot))
        return self._new_slot()

    def _start_ray(self, cores: int, folder: Path) -> None:
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):  # another cluster's, perhaps
            os.environ.pop(name, None)
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="1")
        os.environ.setdefault(
            "RAY_AUTH_TOKEN", secrets.token_hex(32)
        )  # keeps the machine's other users out
        logging.getLogger("ray._private.authentication").setLevel(
            logging.ERROR
        )  # which announces that it is in use
        # Ray has no public setting for a head that others cannot reach: it takes a loopback address
        # for a mistake. Where it supports no clusters it binds to loopback alone, so that is what
        # it is told; its processes hear it by the environment.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
        ray.init(
            address="local",
            num_cpus=cores,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _temp_dir=str(folder),
            # Where memory is short, whoever holds it, Ray would end actors, and these hold next to
            # nothing.
            _system_config={"memory_monitor_refresh_ms": 0},
        )


class Slot:
    """Owns a trial's share of the machine and one worker, which it starts when first needed and
    after a death.

    `mark` is in the environment of all the worker's processes, so that they can be found.
    """

    def __init__(self, command: list[str], threads: int, mark: str) -> None:
        self._command = command
        self._threads = threads
        self._worker: subprocess.Popen[bytes] | None = None
        self._mark = mark

    def work(self, task: QueuedTask) -> tuple[str | None, tuple[str, str] | None]:
        """Have the worker do one task. Returns how the worker died, and the error that it answered
        with, if any.
        """
        log = Run(task.run).log_path(task.attempt)
        worker = self._worker if self._worker and self._worker.poll() is None else self._start(log)
        assert worker.stdin
        assert worker.stdout
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            worker.stdin.flush()
        answer = worker.stdout.readline()
        if answer:
            error = json.loads(answer).get("error")
            return None, error and (error["kind"], error["message"])
        self._kill()
        return f"its worker {_how_it_ended(worker.wait())}{_last_lines(log)}", None

    def _start(self, log: Path) -> "subprocess.Popen[bytes]":
        self._kill()  # what may be left of an earlier one
        with _open_log(log) as errors:
            self._worker = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"OMP_NUM_THREADS": str(self._threads), MARK: self._mark},
                start_new_session=True,
            )
        return self._worker

    def _kill(self) -> None:
        """End the worker and all its processes, which torchrun puts into sessions of their own."""
        end_all(MARK, self._mark)


def _sharing(devices: int, wanted: float) -> int:
    """Return how many trials fit on the devices: a fraction lies on one device, what is left of two
    makes none.
    """
    return devices // int(wanted) if wanted >= 1 else devices * int(1 / wanted + 1e-9)


def _worker_command(worker: tuple[str, ...], processes: int) -> list[str]:
    if processes == 1:
        return [sys.executable, *worker]
    rendezvous = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *rendezvous,
        f"--nproc-per-node={processes}",
        *worker,
    ]


def _open_log(log: Path) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError:  # a full disk: the trial will say so itself
        return Path(os.devnull).open("ab")


def _how_it_ended(code: int) -> str:
    return (
        f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
    )


def _last_lines(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "".join(f"\n    {line}" for line in lines)
    return ""
