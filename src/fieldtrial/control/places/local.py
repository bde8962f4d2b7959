"""This machine as a place: Ray gives cores and devices to actors, each of which has one worker."""

import contextlib
import json
import logging
import math
import os
import secrets
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import ray
import ray._private.ray_constants
import ray.job_config

from fieldtrial.config import ConfigError
from fieldtrial.control.places.guard import Guard, kill_all, signal_all
from fieldtrial.control.places.interface import Ended, PlaceError, RayError
from fieldtrial.control.places.machine import count_cores, require_fits
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.disk.files import last_lines, tail
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.task_queue import Task
from fieldtrial.processes import python

WORKER = ("-m", "fieldtrial.worker")
LAUNCHER = ("-m", "fieldtrial.training.distributed.launcher")
WORKER_MARK = "FIELDTRIAL_WORKER"
# Of a slot: the run whose task has ended, None for all; how the worker died; its answer's error.
Report = tuple[str | None, str | None, tuple[str, str] | None]
ESSENTIAL = ("gcs_server", "raylet")  # of Ray's processes: without one, nothing is started


class LocalPlace:
    """Trials on this machine, as many at once as its cores and devices allow.

    Ray is private to this process: its own head on the loopback interface, its own temporary
    folder, no dashboard.

    Raises:
        ConfigError: a trial needs more cores or devices than there are.
        PlaceError: others can enter Ray's folder, or it cannot be made.
        RayError: Ray did not start.
    """

    def __init__(self, settings: LocalSettings, worker: tuple[str, ...] = WORKER) -> None:
        require_fits(settings)
        cores = count_cores()
        # Only this user can enter it: Ray lets everybody into its own folder, made in this one.
        try:
            folder = Path(tempfile.mkdtemp(prefix="fieldtrial-", dir=settings.ray_folder))
        except OSError as error:
            what = f"{settings.ray_folder}: Ray's folder cannot be made in it: {error.strerror}"
            raise PlaceError(f"{what}; make room, or give another ray_folder") from None
        self.processes, self.backlog = settings.processes_per_trial, None
        self._guard = Guard(folder)
        self._is_lost = False
        devices = self._start_ray(cores, folder)
        try:
            wanted = require_fits(settings, devices)
        except ConfigError:
            self.close()
            raise
        fitting = [cores // settings.cpus_per_trial, settings.most_trials or cores]
        self.slots = min([*fitting, _sharing(devices, wanted)] if wanted else fitting)
        self.together = settings.trials_together
        self._actor = ray.remote(num_cpus=settings.cpus_per_trial, num_gpus=wanted)(Slot)
        self._command = _worker_command(worker, settings.processes_per_trial)
        self._threads = max(1, settings.cpus_per_trial // settings.processes_per_trial)
        self._fraction = wanted if 0 < wanted < 1 else None
        self._marks: dict[Any, str] = {}
        self._idle = [self._new_slot() for _ in range(self.slots)]
        self._waiting: list[Task] = []
        self._running: dict[Any, tuple[Any, list[Task]]] = {}  # with what each slot has left to do

    def adopt(self, _tasks: Iterable[Task]) -> list[Task]:
        """Return no tasks: local workers end with their driver."""
        return []

    def start(self, task: Task) -> None:
        """Give `task` to an idle slot; where others of its group may follow, only in `wait`."""
        self._waiting.append(task)
        if self.together == 1:
            self._fill_slots()

    def wait(self, seconds: float, more: int = 0) -> list[Ended]:  # noqa: ARG002 (the slots exist already)
        """Return the tasks that have ended, as soon as there are any or `seconds` have passed.

        Raises:
            RayError: a process of Ray has died, so that no task can be started any more.
        """
        self._fill_slots()
        ready: list[Any] = []
        if self._running:
            ready, _ = ray.wait(list(self._running), timeout=seconds)
        else:
            time.sleep(seconds)
        self._require_ray()
        return [end for reference in ready for end in self._ends(reference)]

    def stop(self, _task: Task) -> None:
        """Do nothing: the worker finds the stop file by itself, and is kept for the next trial."""

    def dump(self, task: Task) -> bool:
        """Make the worker's processes write their stack traces to the trial's log."""
        if mark := self._mark(task):
            signal_all(WORKER_MARK, mark, signal.SIGUSR1)
        return mark is not None

    def kill(self, task: Task) -> None:
        """Kill the worker's processes; its slot reports the death of all that it does together."""
        if mark := self._mark(task):
            kill_all(WORKER_MARK, mark)

    def close(self, detach: bool = False) -> None:  # noqa: ARG002 (local workers need this process)
        """End all workers and Ray. The guard ends what is left of a Ray that has died, which would
        not answer.
        """
        if not self._is_lost:
            ray.shutdown()
        self._guard.close()
        if self._is_lost and (node := ray._private.worker._global_node):
            node.dead_processes()  # which reaps them: another command may replace this process

    def _require_ray(self) -> None:
        node = ray._private.worker._global_node
        for name, process in node.dead_processes() if node else []:
            if name in ESSENTIAL:
                self._is_lost = True
                raise RayError(f"Ray's {name} {_how_it_ended(process.returncode)}")

    def _mark(self, task: Task) -> str | None:
        """Return the mark of the worker that has a task; None while the task waits."""
        running = self._running.values()
        busy = (slot for slot, tasks in running if task.run in [one.run for one in tasks])
        return next((self._marks[slot] for slot in busy), None)

    def _fill_slots(self) -> None:
        """Give waiting tasks to the workers of idle slots, those of one group in equal shares."""
        while self._idle and self._waiting:
            first = self._waiting[0]
            same = [one for one in self._waiting if one is first or one.group == first.group != ""]
            share = min(self.together, math.ceil(len(same) / len(self._idle)))
            slot, tasks = self._idle.pop(), same[:share]
            self._waiting = [one for one in self._waiting if one not in tasks]
            self._running[slot.work.remote(tasks)] = (slot, tasks)

    def _ends(self, reference: Any) -> list[Ended]:
        """Return the ends that a slot has reported: of one task, or of all if its worker died."""
        slot, tasks = self._running.pop(reference)
        try:
            run, death, error = ray.get(reference)
        except ray.exceptions.RayActorError as problem:
            run, death, error = None, f"its actor died: {problem}", None
            slot = self._replace(slot)
        ended = [task for task in tasks if run in (None, task.run)]
        left = [task for task in tasks if task not in ended]
        if left:
            self._running[slot.wait.remote()] = (slot, left)
        else:
            self._idle.append(slot)
        return [Ended(task, death, error) for task in ended]

    def _new_slot(self) -> Any:
        mark = secrets.token_hex(16)
        slot = self._actor.remote(self._command, self._threads, mark, self._fraction)
        self._marks[slot] = mark
        return slot

    def _replace(self, slot: Any) -> Any:
        """Return a new slot for one whose actor has died, and kill what is left of the old one.

        While Ray itself restarts an actor, every task that is given to it fails at once.
        """
        ray.kill(slot)
        kill_all(WORKER_MARK, self._marks.pop(slot))
        return self._new_slot()

    def _start_ray(self, cores: int, folder: Path) -> int:
        """Start Ray, and return how many GPUs it finds."""
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):  # perhaps of another cluster
            os.environ.pop(name, None)
        os.environ.update(
            RAY_USAGE_STATS_ENABLED="0",
            RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="1",
            # Short of memory, Ray would kill actors, which themselves hold next to nothing.
            RAY_memory_monitor_refresh_ms="0",
        )
        # Keeps the machine's other users out. Ray logs a line for it.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
        # Ray has no public setting for a head on the loopback interface: it replaces a loopback
        # address by the machine's own. Where it supports no clusters it binds to loopback only.
        # The variable tells its processes, the constant this one, which has read the variable.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            ray.init(
                address="local",
                num_cpus=cores,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                _temp_dir=str(folder / "ray"),
                job_config=_JobConfig(),
            )
            devices = int(ray.cluster_resources().get("GPU", 0))
        except Exception as error:  # of many kinds, without a common one
            self._is_lost = True
            self.close()
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = lines[-1] if lines else type(error).__name__
            raise RayError(f"Ray did not start in {folder}: {reason}") from None
        known = folder.stat()
        if known.st_uid != os.geteuid() or stat.S_IMODE(known.st_mode) != stat.S_IRWXU:
            self.close()
            mode = stat.S_IMODE(known.st_mode)
            raise PlaceError(f"{folder}: Ray runs in it, and others can enter it (mode {mode:04o})")
        return devices


class _JobConfig(ray.job_config.JobConfig):  # type: ignore[misc]
    """Keeps actors from importing from the driver's folders, of which one may be a stranger's."""

    def _runtime_env_has_working_dir(self) -> bool:
        return True  # so Ray puts neither the current directory nor the script's first


class Slot:
    """An actor with a trial's share of the machine and one worker, started when it is needed.

    mark: is in the environment of all the worker's processes, to find them.
    fraction: of a GPU, that the worker is to use; None: GPUs of its own, or none.
    """

    def __init__(
        self, command: list[str], threads: int, mark: str, fraction: float | None = None
    ) -> None:
        self._command = command
        self._threads = threads
        self._fraction = fraction
        self._worker: subprocess.Popen[bytes] | None = None
        self._log: Inside | None = None  # of the tasks that the worker does
        self._mark = mark

    def work(self, tasks: list[Task]) -> Report:
        """Have the worker do tasks together, and return what `wait` does."""
        log = tasks[0].log_path()
        worker = self._worker if self._worker and self._worker.poll() is None else self._start(log)
        assert worker.stdin
        given: Any = [asdict(task) for task in tasks] if len(tasks) > 1 else asdict(tasks[0])
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.write(json.dumps(given).encode() + b"\n")
            worker.stdin.flush()
        self._log = log
        return self.wait()

    def wait(self) -> Report:
        """Wait for the next of the tasks to end.

        Returns its run and the error that the worker answered with, if any; or how the worker died.
        """
        worker = self._worker
        assert worker
        assert worker.stdout
        if answer := worker.stdout.readline():
            fields = json.loads(answer)
            error = fields.get("error")
            return fields["run"], None, error and (error["kind"], error["message"])
        self._kill()
        said = last_lines(tail(self._log)) if self._log else ""
        return None, f"its worker {_how_it_ended(worker.wait())}{said}", None

    def _start(self, log: Inside) -> "subprocess.Popen[bytes]":
        self._kill()  # an earlier worker's processes may be left
        own = {"OMP_NUM_THREADS": str(self._threads), WORKER_MARK: self._mark}
        own |= {"FIELDTRIAL_GPU_FRACTION": f"{self._fraction:g}"} if self._fraction else {}
        with _open_log(log) as errors:
            self._worker = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | own,
                start_new_session=True,
            )
        return self._worker

    def _kill(self) -> None:
        """Kill the worker and all its processes, which may be in process groups of their own."""
        kill_all(WORKER_MARK, self._mark)


def _sharing(devices: int, wanted: float) -> int:
    """Return how many trials fit on the devices. A fraction of a device must be on one device."""
    return devices // int(wanted) if wanted >= 1 else devices * int(1 / wanted + 1e-9)


def _worker_command(worker: tuple[str, ...], processes: int) -> list[str]:
    launcher = [*LAUNCHER, "--processes", str(processes)] if processes > 1 else []
    return python(*launcher, *worker)


def _open_log(log: Inside) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError:  # a full disk: the trial itself will report it
        return Path(os.devnull).open("ab")


def _how_it_ended(code: int) -> str:
    return (
        f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
    )
