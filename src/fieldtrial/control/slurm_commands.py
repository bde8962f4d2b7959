"""SLURM's commands: one squeue for all jobs, sacct for those that have vanished, scancel in batches."""

import contextlib
import getpass
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass

SECONDS = 60.0  # after which a command that does not answer counts as an outage
BATCH = 200
# What squeue says of a job that will not start by itself again: it has to be cancelled.
DEAD_REASONS = ("JobHeldUser", "JobHeldAdmin", "launch failed requeued held", "JobHoldMaxRequeue", "BadConstraints")


class SlurmOutageError(OSError):
    """A command of SLURM failed or did not answer: nothing can be said about any job."""


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it."""

    id: str
    state: str
    name: str
    nodes: str
    reason: str

    @property
    def pending(self) -> bool:
        """Whether it waits for its start, its first or another one."""
        return self.state == "PENDING"

    @property
    def dead(self) -> bool:
        """Whether it is held, and will not start again."""
        return self.pending and self.reason in DEAD_REASONS


def my_jobs() -> list[Job]:
    """Return all of this user's jobs, a line for each element of an array. Raises SlurmOutageError."""
    lines = _run("squeue", "--noheader", "--array", "--me", "--format=%i|%T|%j|%N|%r")
    return [Job(*line.split("|", 4)) for line in lines]


def final_states(jobs: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return {job: (state, nodes)} of jobs that have left the queue, as far as SLURM knows it.

    slurmctld remembers them for some minutes; accounting, where there is any, for ever, but only some seconds later.
    """
    found: dict[str, tuple[str, str]] = {}
    for ask in (_remembered, _accounted):
        if unknown := sorted(set(jobs) - found.keys()):
            with contextlib.suppress(SlurmOutageError):
                found |= ask(unknown)
    return found


def _remembered(jobs: Sequence[str]) -> dict[str, tuple[str, str]]:
    lines = _run("squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(jobs)}", "--format=%i|%T|%N")
    return {job: (state, nodes) for job, state, nodes in (line.split("|", 2) for line in lines)}


def _accounted(jobs: Sequence[str]) -> dict[str, tuple[str, str]]:
    arrays = sorted({job.partition("_")[0] for job in jobs})
    lines = _run("sacct", "-XnP", "-j", ",".join(arrays), "-o", "JobID,State,NodeList")
    return {
        job: (state.split()[0], nodes if nodes != "None assigned" else "")
        for ids, state, nodes in (line.split("|", 2) for line in lines)
        if state
        for job in _elements(ids)
    }


def node_names(nodes: str) -> list[str]:
    """Return the nodes that a list such as n[1-3,5] names: as one, where SLURM does not say."""
    with contextlib.suppress(SlurmOutageError):
        return _run("scontrol", "show", "hostnames", nodes) if set(nodes) & set("[,") else [nodes] * bool(nodes)
    return [nodes]


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs; those that are gone already are no error. Raises SlurmOutageError."""
    for first in range(0, len(jobs), BATCH):
        _run("scancel", "--quiet", *jobs[first : first + BATCH])


def send_signal(job: str, name: str, to_steps: bool) -> None:
    """Send the signal with that name to the processes of a job's steps, or else to its batch script's only process.

    Raises:
        SlurmOutageError: SLURM does not answer.
    """
    _run("scancel", "--quiet", f"--signal={name}", *([] if to_steps else ["--batch"]), job)


def largest_array() -> int:
    """Return how many jobs one array may have."""
    for line in _run("scontrol", "show", "config"):
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize":
            return max(1, int(value) - 1)  # indices are below it
    return 1


def cancel_named(name: str, pending_only: bool = False) -> None:
    """Cancel this user's jobs of that name. Raises SlurmOutageError."""
    states = ["--state=PENDING"] if pending_only else []
    _run("scancel", "--quiet", f"--user={getpass.getuser()}", f"--name={name}", *states)


def submit_limit() -> int | None:
    """Return how many jobs this user may have in the queue, as far as accounting knows; None: no limit is known."""
    try:
        lines = _run("sacctmgr", "-nP", "show", "assoc", f"user={getpass.getuser()}", "format=MaxSubmitJobs")
    except SlurmOutageError:
        return None
    limits = [int(line) for line in lines if line.strip().isdecimal()]
    return min(limits, default=None)


def _elements(ids: str) -> list[str]:
    """Return the jobs that a row of sacct is about: elements of an array that never started share one, 12_[0-2,5%3]."""
    array, bracket, numbers = ids.partition("_[")
    if not bracket:
        return [ids]
    ranges = [text.partition("-") for text in numbers.rstrip("]").partition("%")[0].split(",")]
    return [f"{array}_{number}" for first, _, last in ranges for number in range(int(first), int(last or first) + 1)]


def test_submission(script: str) -> str:
    """Return what sbatch --test-only says of a script: when and where it would start, or why not."""
    command = ["sbatch", "--test-only"]
    try:
        result = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (result.stderr or result.stdout).strip()


def _run(*command: str) -> list[str]:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except FileNotFoundError:
        raise SlurmOutageError(f"{command[0]}: no such command: this machine has no SLURM") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmOutageError(f"{command[0]}: {error}") from None
    if result.returncode:
        raise SlurmOutageError(f"{command[0]}: {result.stderr.strip() or result.stdout.strip()}")
    return [line for line in result.stdout.splitlines() if line]
