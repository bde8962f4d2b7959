"""Submits a sweep's worker jobs, through Submitit, in arrays. The only module that imports it."""

import hashlib
import shlex
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from fieldtrial.control import slurm_commands
from fieldtrial.control.launch import WORKER
from fieldtrial.control.settings import SlurmSettings
from fieldtrial.sweep_folder import SweepFolder

LAST_LINES = 10


def job_name(folder: SweepFolder) -> str:
    """Return the name of all of a sweep's jobs, which no other sweep's have: it stands for the folder's path."""
    return f"fieldtrial-{folder.name}-{hashlib.sha256(str(folder.path.resolve()).encode()).hexdigest()[:8]}"


class Submitter:
    """Knows how a worker job of one sweep is asked for.

    code: the folder that jobs import this program from, so that editing while they wait changes nothing.
    name: of all the sweep's jobs: how a driver that comes back knows them.
    """

    def __init__(
        self, settings: SlurmSettings, folder: SweepFolder, code: Path, worker: tuple[str, ...] = WORKER
    ) -> None:
        self.name = job_name(folder)
        self._settings, self._code = settings, code
        self._logs = folder.jobs_path.resolve()
        numbers = (settings.trials_per_job, settings.idle_seconds, settings.time_limit_minutes)
        arguments = [str(folder.queue_path.resolve()), *map(str, numbers), *worker]
        command = shlex.join([sys.executable, "-u", "-m", "fieldtrial.control.launch", *arguments])
        self._command = command if settings.needs_steps else f"exec {command}"

    def submit(self, count: int, excluded: Collection[str] = ()) -> list[str]:
        """Submit `count` worker jobs, as one array, and return their ids. Raises SlurmOutageError if SLURM refuses."""
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            job = self._executor(excluded, count)._submit_command(self._command)
        except (FailedJobError, FailedSubmissionError) as error:
            raise slurm_commands.SlurmOutageError(str(error)) from None
        return [f"{job.job_id}_{element}" for element in range(count)]

    def script(self) -> str:
        """Return the text of the sbatch file of one job."""
        return str(self._executor((), 1)._make_submission_file_text(self._command, uid=""))

    def last_lines(self, job: str) -> str:
        """Return the last lines that a job has printed before its worker wrote into a trial's log."""
        lines: list[str] = []
        for path in sorted(self._logs.glob(f"{job}_*log.*")):
            lines += path.read_text(errors="replace").splitlines()
        return "".join(f"\n    {line}" for line in lines[-LAST_LINES:])

    def _executor(self, excluded: Collection[str], count: int) -> Any:
        executor = submitit.SlurmExecutor(folder=self._logs)
        executor.update_parameters(**self._parameters(excluded), array_parallelism=count)
        executor.parameters["map_count"] = count
        return executor

    def _parameters(self, excluded: Collection[str]) -> dict[str, Any]:
        settings = self._settings
        setup = [*settings.setup, f"export PYTHONPATH={shlex.quote(str(self._code))}${{PYTHONPATH:+:$PYTHONPATH}}"]
        setup += [f"export {name}={shlex.quote(value)}" for name, value in settings.environment.items()]
        extra = {name: value or True for name, value in settings.sbatch.items()}
        wanted: dict[str, Any] = {
            "job_name": self.name,
            "time": settings.time_limit_minutes,
            "nodes": settings.nodes,
            "ntasks_per_node": settings.processes_per_node,
            "cpus_per_task": settings.cpus_per_process,
            "gpus_per_node": _devices(settings),
            "mem": _megabytes(settings.memory_gb_per_process, settings.processes_per_node),
            "partition": ",".join(settings.partitions) or None,
            "account": settings.account,
            "qos": settings.qos,
            "constraint": settings.constraint,
            "exclude": ",".join(sorted(excluded)) or None,
            "setup": setup,
            "use_srun": settings.needs_steps,
            "srun_args": [
                f"--cpus-per-task={settings.cpus_per_process}",  # which srun does not take over from sbatch
                "--kill-on-bad-exit=1",  # else the other processes wait for one that has failed
            ],
            "additional_parameters": {("requeue" if settings.requeue else "no-requeue"): True} | extra,
        }
        return {name: value for name, value in wanted.items() if value is not None}


def _devices(settings: SlurmSettings) -> str | None:
    """Return the devices that a trial asks of each node, as sbatch takes them: 4 or a100:4; None on CPUs alone."""
    count = str(settings.gpus_on_node) if settings.gpus_on_node else None
    return f"{settings.gpu_type}:{count}" if settings.gpu_type and count else count


def _megabytes(gigabytes: float | None, processes: int) -> str | None:
    return None if gigabytes is None else f"{round(gigabytes * 1024) * processes}MB"
