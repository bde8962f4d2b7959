"""Writes and submits sbatch files of worker jobs. The only module that imports Submitit."""

import contextlib
import fnmatch
import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm import verified
from fieldtrial.control.places.slurm.commands import SlurmOutageError
from fieldtrial.control.places.slurm.environment import carried
from fieldtrial.control.places.slurm.job_start import WORKER
from fieldtrial.control.places.slurm.polling import job_name
from fieldtrial.control.places.slurm.snapshot import Snapshot
from fieldtrial.disk.files import last_lines, tail, write_atomically
from fieldtrial.disk.permissions import require_own
from fieldtrial.disk.work.folder import WorkFolder
from fieldtrial.processes import python

VERIFY = Path(verified.__file__).read_text()
# What bash does when a line of `setup` fails, but not for what fails in a script that it reads.
FAILED_SETUP = (
    "fieldtrial_status=$?; if [ ${#BASH_SOURCE[@]} = 1 ]; then"
    ' echo "setup: exit status $fieldtrial_status of: $(sed -n "${LINENO}p" "$0")" >&2;'
    ' exit "$fieldtrial_status"; fi'
)
# Stands for a % in the path of logs: Submitit takes a single one for the first sign of a variable,
# and so does SLURM, but not two of them.
PERCENT = "\x1f"
# Lines of slurmstepd and srun in the log of a job that was killed because it used too much memory.
TOO_MUCH_MEMORY = re.compile(r"oom.kill event|: Out Of Memory$|exceeded memory limit", re.MULTILINE)


class Submitter:
    """Submits the worker jobs of one sweep.

    code: what jobs import this program from: a copy, so that edits do not affect them.
    name: the name of all the sweep's jobs, by which a later driver finds them. A command of SLURM
        gets it: see `WorkFolder.require_name`.
    edition: identifies the program and the resources of the jobs; see TaskQueue.
    """

    def __init__(
        self,
        settings: SlurmSettings,
        folder: WorkFolder,
        code: Snapshot,
        worker: tuple[str, ...] = WORKER,
    ) -> None:
        folder.require_name()
        folder.require_path()
        self.name = job_name(folder)
        self._settings, self._folder = settings, folder.jobs_path
        numbers = (
            *(settings.trials_per_job, settings.trials_together),
            *(settings.idle_seconds, settings.time_limit_minutes),
        )
        own = [settings.python] if settings.python else []  # of another edition than the driver's
        self.edition = _digest(repr((self._parameters(()), numbers, worker, code, *own)))
        arguments = [str(folder.queue_path.resolve()), self.edition, *map(str, numbers), *worker]
        words = python("-u", "-c", VERIFY, str(code.folder), code.digest, *arguments)
        command = shlex.join([*(own or words[:1]), *words[1:]])
        self._command = command if settings.needs_steps else f"exec {command}"

    def submit(
        self,
        count: int,
        excluded: Collection[str] = (),
        in_array: bool = True,
        known: Collection[str] = (),
    ) -> list[str]:
        """Submit `count` worker jobs and return their ids. Without arrays, submit one.

        known: the sweep's jobs that were known before. If sbatch fails, or says nothing that can be
            understood, other jobs of the sweep that are in the queue are those that it submitted.

        Raises:
            SlurmOutageError: SLURM refuses the jobs, or does not answer.
            RefusedError: there is a link where SLURM writes the jobs' logs.
            ConfigError: others can write there, or it is another user's.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        require_own(self._folder, tighten=True)  # else a link could come after the next line
        self._folder.refuse_links()
        script = self._text(excluded, count if in_array else None)
        # Not by way of a file, which others may be able to change.
        try:
            job = slurm_commands.submit(script)
            jobs = [f"{job}_{element}" for element in range(count)] if in_array else [job]
        except SlurmOutageError:
            jobs = self._found(known)
            if not jobs:
                raise
        for job in {job.partition("_")[0] for job in jobs}:
            write_atomically(self._folder / f"{job}_submission.sh", script.encode())
        return jobs

    def _found(self, known: Collection[str]) -> list[str]:
        """Return the ids of the sweep's jobs in the queue, but for the known ones."""
        with contextlib.suppress(SlurmOutageError):
            mine = [job.id for job in slurm_commands.my_jobs() if job.name == self.name]
            return [id for id in mine if id not in known]
        return []

    def script(self) -> str:
        """Return the sbatch file of one job. Raises SlurmOutageError where there is no SLURM."""
        return self._text((), 1)

    def last_lines(self, job: str) -> str:
        """Return the last lines of a job's own log, which its worker leaves for a trial's log."""
        return last_lines(self._printed(job))

    def ran_out_of_memory(self, job: str) -> bool:
        """Return whether a job's log says that it used too much memory.

        Its state is OUT_OF_MEMORY only if a process of the batch script did. If one of srun's did,
        it is FAILED.
        """
        return TOO_MUCH_MEMORY.search(self._printed(job)) is not None

    def _printed(self, job: str) -> str:
        """Return the ends of a job's logs, as far as they can be read."""
        names = fnmatch.filter(self._folder.names(), f"{job}_*log.*")  # as Submitit names them
        return "\n".join(filter(None, (tail(self._folder / name) for name in names)))

    def _text(self, excluded: Collection[str], elements: int | None) -> str:
        """Return an sbatch file for an array with so many elements, or for a single job."""
        if not shutil.which("srun"):  # Submitit needs it
            raise SlurmOutageError("srun: no such command: this machine has no SLURM")
        logs = str(self._folder.resolve()).replace("%", PERCENT)
        executor = submitit.SlurmExecutor(folder=logs)
        executor.update_parameters(**self._parameters(excluded), array_parallelism=elements or 1)
        # Submitit sets a wckey of its own, which sites with wckeys refuse.
        executor.parameters |= {"map_count": elements, "wckey": None}
        text = str(executor._make_submission_file_text(self._command, uid=""))
        return text.replace(PERCENT, "%%")

    def _parameters(self, excluded: Collection[str]) -> dict[str, Any]:
        settings = self._settings
        setup = [*_exports(carried()), *_guarded(settings.setup), *_exports(settings.environment)]
        extra = {name: value or True for name, value in settings.sbatch.items()}
        wanted: dict[str, Any] = {
            "job_name": self.name,
            "time": settings.time_limit_minutes,
            "nodes": settings.nodes,
            "ntasks_per_node": settings.processes_per_node,
            "cpus_per_task": settings.cpus_per_process,
            "gpus_per_node": _devices(settings),
            "mem": _megabytes(settings.memory_gb_per_process, settings.processes_per_node),
            "partition": ",".join(settings.partitions) or os.environ.get("SBATCH_PARTITION"),
            "account": settings.account or os.environ.get("SBATCH_ACCOUNT"),
            "qos": settings.qos or os.environ.get("SBATCH_QOS"),
            "constraint": settings.constraint or os.environ.get("SBATCH_CONSTRAINT"),
            "exclude": ",".join(sorted(excluded)) or None,
            "setup": setup,
            "use_srun": settings.needs_steps,
            "srun_args": [
                # srun does not take this over from sbatch
                f"--cpus-per-task={settings.cpus_per_process}",
                "--kill-on-bad-exit=1",  # the other processes would wait for one that failed
                # The job's own environment, whatever the site or the place says of sbatch's: srun
                # would take that for itself.
                "--export=ALL",
            ],
            "additional_parameters": (
                {("requeue" if settings.requeue else "no-requeue"): True} | extra
            ),
        }
        return {name: value for name, value in wanted.items() if value is not None}


def to_be_read(script: str) -> str:
    """Return an sbatch file as people read it: of the program in it, a line says how long it is."""
    lines = len(VERIFY.splitlines())
    told = f"<{lines} lines of Fieldtrial, which check the copied code, are left out here>"
    return script.replace(shlex.quote(VERIFY), f"'{told}'")


def _exports(variables: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def _guarded(setup: Sequence[str]) -> list[str]:
    """Return shell lines that end the job with the first of them that fails."""
    return [f"trap {shlex.quote(FAILED_SETUP)} ERR", *setup, "trap - ERR"] if setup else []


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _devices(settings: SlurmSettings) -> str | None:
    """Return a trial's devices on each node in sbatch's form, 4 or a100:4; None without any."""
    count = str(settings.gpus_on_node) if settings.gpus_on_node else None
    return f"{settings.gpu_type}:{count}" if settings.gpu_type and count else count


def _megabytes(gigabytes: float | None, processes: int) -> str | None:
    return None if gigabytes is None else f"{round(gigabytes * 1024) * processes}MB"
