"""SLURM's commands: one squeue for all jobs, sacct for those that are gone, scancel in batches."""

import contextlib
import os
import re
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from fieldtrial.processes import own_name

SECONDS = 60.0  # after which a command that does not answer counts as an outage
BATCH = 200
LARGEST_ARRAY = 4_000_001  # SLURM's own upper bound of MaxArraySize
NUMBER = re.compile(r"[0-9]{1,18}")
ID = re.compile(r"[0-9]{1,18}([_+][0-9]{1,18})?")  # of a job, in an array, of several parts
REACH = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?(?::([0-9]{1,18}))?")
ARRAY = re.compile(rf"([0-9]{{1,18}})_\[({REACH.pattern}(?:,{REACH.pattern})*)(?:%[0-9]+)?\]")
# A user's defaults for SLURM's commands could hide jobs, or submit others than intended.
DEFAULTS = ("SBATCH_", "SQUEUE_", "SCANCEL_", "SACCT_", "SACCTMGR_")
# Reasons in squeue of jobs that will not start by themselves: they have to be cancelled.
DEAD_REASONS = (
    "JobHeldUser",
    "JobHeldAdmin",
    "launch failed requeued held",
    "JobHoldMaxRequeue",
    "BadConstraints",
)


class SlurmOutageError(OSError):
    """A command of SLURM failed or did not answer: the state of all jobs is unknown."""


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
        """Whether it waits to start, for the first time or again."""
        return self.state == "PENDING"

    @property
    def dead(self) -> bool:
        """Whether it is held, and will not start by itself."""
        return self.pending and self.reason in DEAD_REASONS


def my_jobs() -> list[Job]:
    """Return all of this user's jobs, one for each array element. Raises SlurmOutageError."""
    lines = _run("squeue", "--noheader", "--array", "--all", "--me", "--format=%i|%T|%N|%r|%j")
    # A name may have several lines, and those that follow may be anything.
    found = (line.split("|", 4) for line in lines)
    return [Job(*words) for words in found if len(words) == 5 and ID.fullmatch(words[0])]


def final_states(jobs: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return {job: (state, nodes)} of jobs that have left the queue, as far as SLURM knows.

    slurmctld keeps them for some minutes. Accounting, if there is any, keeps them for ever, but
    knows of them some seconds late.
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
    return {job: (state, nodes) for job, state, nodes in _columns(lines) if ID.fullmatch(job)}


def _accounted(jobs: Sequence[str]) -> dict[str, tuple[str, str]]:
    arrays = sorted({job.partition("_")[0] for job in jobs})
    lines = _run("sacct", "-XnP", "-j", ",".join(arrays), "-o", "JobID,State,NodeList")
    return {
        job: (state.split()[0], nodes if nodes != "None assigned" else "")
        for ids, state, nodes in _columns(lines)
        if state.split()
        for job in _elements(ids)
    }


def node_names(nodes: str) -> list[str]:
    """Return the nodes that a list such as n[1-3,5] names; the list itself if SLURM fails."""
    with contextlib.suppress(SlurmOutageError):
        return (
            _run("scontrol", "show", "hostnames", nodes)
            if set(nodes) & set("[,")
            else [nodes] * bool(nodes)
        )
    return [nodes]


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs; jobs that are gone are no error. Raises SlurmOutageError."""
    for first in range(0, len(jobs), BATCH):
        _run("scancel", "--quiet", *jobs[first : first + BATCH])


def send_signal(job: str, name: str, to_steps: bool) -> None:
    """Send a signal to the processes of a job's steps, or to its batch script's process.

    Raises:
        SlurmOutageError: SLURM does not answer.
    """
    _run("scancel", "--quiet", f"--signal={name}", *([] if to_steps else ["--batch"]), job)


def submit(script: str) -> str:
    """Submit the text of an sbatch file and return the job's id. Raises SlurmOutageError."""
    lines = _run("sbatch", "--parsable", text=script)
    # A site's notices may precede the id, and a cluster's name may follow it.
    job = lines[-1].partition(";")[0] if lines else ""
    if not NUMBER.fullmatch(job):
        raise SlurmOutageError(f"sbatch: no job id in {' '.join(lines)!r}")
    return job


def largest_array() -> int:
    """Return how many jobs one array may have; 0: the site allows no arrays."""
    lines = (line.partition("=") for line in _run("scontrol", "show", "config"))
    known = {name.strip(): value.strip() for name, _, value in lines}
    size = known.get("MaxArraySize", "0")
    if not NUMBER.fullmatch(size):
        raise SlurmOutageError(f"scontrol: MaxArraySize = {size!r}: must be a whole number")
    most = int(size)
    further = re.search(r"\bmax_array_tasks=([0-9]{1,18})\b", known.get("SchedulerParameters", ""))
    limit = int(further[1]) if further else most
    return max(0, min(most - 1, limit))  # indices are below MaxArraySize


def cancel_named(name: str, pending_only: bool = False) -> None:
    """Cancel this user's jobs with a name. Raises SlurmOutageError."""
    states = ["--state=PENDING"] if pending_only else []
    _run("scancel", "--quiet", f"--user={os.getuid()}", f"--name={name}", *states)


def submit_limit(account: str | None) -> int | None:
    """Return how many jobs this user may have in the queue; None: accounting knows no limit.

    Without an account it is the largest limit of the user's accounts, any of which may be used.
    """
    try:
        lines = _run(
            "sacctmgr",
            "-nP",
            "show",
            "assoc",
            f"user={own_name()}",
            "format=Account,MaxSubmitJobs",
        )
    except SlurmOutageError:
        return None
    found = [line.rpartition("|")[::2] for line in lines]
    limits = [limit for name, limit in found if account in (None, name)]
    is_known = all(map(NUMBER.fullmatch, limits))
    return max(map(int, limits), default=None) if is_known else None


def _columns(lines: Sequence[str]) -> Iterator[list[str]]:
    """Yield the three columns of each line that has them; others are notices, or parts of names."""
    return (words for line in lines if len(words := line.split("|", 2)) == 3)


def _elements(ids: str) -> list[str]:
    """Return the jobs of a row of sacct: elements that never started share one, 12_[0-8:2,9%3].

    Nothing for what is no such row, or more jobs than an array of SLURM can have.
    """
    if ID.fullmatch(ids):
        return [ids]
    found: list[str] = []
    if match := ARRAY.fullmatch(ids):
        for reach in match[2].split(","):
            first, last, step = (int(part or 0) for part in REACH.fullmatch(reach).groups())  # type: ignore[union-attr]
            numbers = range(first, (last or first) + 1, step or 1)
            if len(found) + len(numbers) > LARGEST_ARRAY:
                return []
            found += [f"{match[1]}_{number}" for number in numbers]
    return found


def test_submission(script: str) -> str:
    """Return the answer of sbatch --test-only: when and where a script would start.

    Raises:
        SlurmOutageError: SLURM refuses the script, or does not answer.
    """
    return _completed("sbatch", "--test-only", text=script).stderr.strip()  # sbatch answers there


def _environment() -> dict[str, str]:
    """Return the environment of SLURM's commands: no user's defaults, lists of any length."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DEFAULTS)}
    return kept | {"SLURM_BITSTR_LEN": "0"}


def _run(*command: str, text: str | None = None) -> list[str]:
    return [line for line in _completed(*command, text=text).stdout.splitlines() if line]


def _completed(*command: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command with `text` as its input. Raises SlurmOutageError if it fails."""
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
        reason = result.stderr.strip() or result.stdout.strip()
        reason = reason or f"exit status {result.returncode}, without a message"
        prefix = "" if reason.startswith(f"{command[0]}: ") else f"{command[0]}: "
        raise SlurmOutageError(prefix + reason)
    return result
