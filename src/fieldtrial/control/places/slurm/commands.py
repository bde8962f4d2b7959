"""SLURM's commands: one squeue for all jobs, sacct for those that have vanished, scancel in
batches.
"""

import contextlib
import getpass
import os
import re
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60.0  # after which a command that does not answer counts as an outage
BATCH = 200
# A user's own defaults for SLURM's commands would hide jobs from this program, or have it ask for
# others than it means.
DEFAULTS = ("SBATCH_", "SQUEUE_", "SCANCEL_", "SACCT_", "SACCTMGR_")
# What squeue says of a job that will not start by itself again: it has to be cancelled.
DEAD_REASONS = (
    "JobHeldUser",
    "JobHeldAdmin",
    "launch failed requeued held",
    "JobHoldMaxRequeue",
    "BadConstraints",
)


class SlurmOutageError(OSError):
    """A command of SLURM failed or did not answer: nothing can be said about any job."""


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it."""

    id: str
    state: str
    nodes: str
    reason: str
    name: str

    @property
    def pending(self) -> bool:
        """Whether it waits for its start, its first or another one."""
        return self.state == "PENDING"

    @property
    def dead(self) -> bool:
        """Whether it is held, and will not start again."""
        return self.pending and self.reason in DEAD_REASONS


def my_jobs() -> list[Job]:
    """Return all of this user's jobs, a line for each element of an array. Raises
    SlurmOutageError.
    """
    lines = _run("squeue", "--noheader", "--array", "--all", "--me", "--format=%i|%T|%N|%r|%j")
    found = (line.split("|", 4) for line in lines)
    return [
        Job(*words) for words in found if len(words) == 5
    ]  # a name of several lines, of somebody's, is no job


def final_states(jobs: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return {job: (state, nodes)} of jobs that have left the queue, as far as SLURM knows it.

    slurmctld remembers them for some minutes; accounting, where there is any, for ever, but only
    some seconds later.
    """
    found: dict[str, tuple[str, str]] = {}
    for ask in (_remembered, _accounted):
        if unknown := sorted(set(jobs) - found.keys()):
            with contextlib.suppress(SlurmOutageError):
                found |= ask(unknown)
    return found


def _remembered(jobs: Sequence[str]) -> dict[str, tuple[str, str]]:
    lines = _run(
        "squeue",
        "--noheader",
        "--array",
        "--states=all",
        f"--jobs={','.join(jobs)}",
        "--format=%i|%T|%N",
    )
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
        return (
            _run("scontrol", "show", "hostnames", nodes)
            if set(nodes) & set("[,")
            else [nodes] * bool(nodes)
        )
    return [nodes]


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs; those that are gone already are no error. Raises SlurmOutageError."""
    for first in range(0, len(jobs), BATCH):
        _run("scancel", "--quiet", *jobs[first : first + BATCH])


def send_signal(job: str, name: str, to_steps: bool) -> None:
    """Send the signal with that name to the processes of a job's steps, or else to its batch
    script's only process.

    Raises:
        SlurmOutageError: SLURM does not answer.
    """
    _run("scancel", "--quiet", f"--signal={name}", *([] if to_steps else ["--batch"]), job)


def submit(script: Path) -> str:
    """Submit an sbatch file and return the job's id. Raises SlurmOutageError, with what sbatch
    says, if that fails.
    """
    lines = _run("sbatch", "--parsable", str(script))
    job = (
        lines[-1].partition(";")[0] if lines else ""
    )  # a site's words may stand before it, a cluster's name behind
    if not job.isdecimal():
        raise SlurmOutageError(f"sbatch: no job id in {' '.join(lines)!r}")
    return job


def largest_array() -> int:
    """Return how many jobs one array may have; 0: the site takes no arrays."""
    lines = (line.partition("=") for line in _run("scontrol", "show", "config"))
    known = {name.strip(): value.strip() for name, _, value in lines}
    most = int(known.get("MaxArraySize", "0"))
    further = re.search(r"\bmax_array_tasks=(\d+)", known.get("SchedulerParameters", ""))
    return max(
        0, min(most - 1, int(further[1]) if further else most)
    )  # indices are below MaxArraySize


def cancel_named(name: str, pending_only: bool = False) -> None:
    """Cancel this user's jobs of that name. Raises SlurmOutageError."""
    states = ["--state=PENDING"] if pending_only else []
    _run("scancel", "--quiet", f"--user={getpass.getuser()}", f"--name={name}", *states)


def submit_limit(account: str | None) -> int | None:
    """Return how many jobs this user may have in the queue, as far as accounting knows; None: no
    limit is known.

    It is the account's; without one, as nobody knows here which one counts, the largest of all
    accounts'.
    """
    try:
        lines = _run(
            "sacctmgr",
            "-nP",
            "show",
            "assoc",
            f"user={getpass.getuser()}",
            "format=Account,MaxSubmitJobs",
        )
    except SlurmOutageError:
        return None
    found = [line.rpartition("|")[::2] for line in lines]
    limits = [limit for name, limit in found if account in (None, name)]
    return (
        max(map(int, limits), default=None) if all(limit.isdecimal() for limit in limits) else None
    )


def _elements(ids: str) -> list[str]:
    """Return the jobs that a row of sacct is about: elements that never started share one:
    12_[0-8:2,9%3].
    """
    array, bracket, numbers = ids.partition("_[")
    if not bracket:
        return [ids]
    found = []
    for text in numbers.rstrip("]").partition("%")[0].split(","):
        reach, _, step = text.partition(":")
        first, _, last = reach.partition("-")
        found += [
            f"{array}_{number}"
            for number in range(int(first), int(last or first) + 1, int(step or 1))
        ]
    return found


def test_submission(script: str) -> str:
    """Return what sbatch --test-only says of a script: when and where it would start.

    Raises:
        SlurmOutageError: SLURM refuses it, with what sbatch says, or does not answer.
    """
    return _completed(
        "sbatch", "--test-only", text=script
    ).stderr.strip()  # where a test's answer goes, too


def _environment() -> dict[str, str]:
    """Return what SLURM's commands find in their environment: no defaults, and no limit to the
    length of lists.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DEFAULTS)}
    return kept | {"SLURM_BITSTR_LEN": "0"}


def _run(*command: str) -> list[str]:
    return [line for line in _completed(*command).stdout.splitlines() if line]


def _completed(*command: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Return how a command went that was given `text` to read. Raises SlurmOutageError if it did
    not go well.
    """
    try:
        result = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=SECONDS,
            env=_environment(),
        )
    except FileNotFoundError:
        raise SlurmOutageError(
            f"{command[0]}: no such command: this machine has no SLURM"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmOutageError(f"{command[0]}: {error}") from None
    if result.returncode:
        told = (
            result.stderr.strip()
            or result.stdout.strip()
            or f"exit status {result.returncode}, without a word"
        )
        raise SlurmOutageError(
            told if told.startswith(f"{command[0]}: ") else f"{command[0]}: {told}"
        )
    return result
