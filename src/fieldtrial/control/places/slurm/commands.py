"""SLURM's commands: one squeue for all jobs, sacct for those that are gone, scancel in batches."""

import contextlib
import os
import re
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from fieldtrial.control.places.slurm.environment import command_environment
from fieldtrial.fields.printable import counted
from fieldtrial.processes import own_name

SECONDS = 60.0  # after which a command that does not answer counts as an outage
BATCH = 200
KILL_SECONDS = 30  # SLURM's default of KillWait
LARGEST_ARRAY = 4_000_001  # SLURM's own upper bound of MaxArraySize
NUMBER = re.compile(r"[0-9]{1,18}")
ID = re.compile(r"[0-9]{1,18}([_+][0-9]{1,18})?")  # of a job, in an array, of several parts
REACH = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?(?::([0-9]{1,18}))?")
ARRAY = re.compile(rf"([0-9]{{1,18}})_\[({REACH.pattern}(?:,{REACH.pattern})*)(?:%[0-9]+)?\]")
SUBMITTED = re.compile(r"Submitted batch job ([0-9]{1,18})\b.*")  # what sbatch says to people
PARSABLE = re.compile(r"([0-9]{1,18})(?:;.*)?")  # a job's id, perhaps with its cluster's name
HOST = re.compile(r"[\w.-]+", re.ASCII)
# Reasons in squeue of jobs that are held, and who holds them. They start when they are released.
HOLDERS = {
    "JobHeldUser": "you, or somebody for you",
    "JobHeldAdmin": "an administrator, who alone can release them",
    "job requeued in held state": "whoever has requeued them",
}
HELD_STATES = ("SPECIAL_EXIT", "REQUEUE_HOLD", "RESV_DEL_HOLD")  # which squeue shows for PENDING
# Reasons of jobs that will not start: they have to be cancelled.
DEAD_REASONS = (
    "launch failed requeued held",
    "JobHoldMaxRequeue",
    "BadConstraints",
    "DependencyNeverSatisfied",
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
        return self.state == "PENDING" or self.state in HELD_STATES

    @property
    def holder(self) -> str | None:
        """Who holds it, so that it waits until it is released; None where nobody does."""
        if not self.pending:
            return None
        return HOLDERS.get(self._why, "SLURM" if self.state in HELD_STATES else None)

    @property
    def dead(self) -> bool:
        """Whether it waits, and will never start."""
        return self.pending and self._why in DEAD_REASONS

    @property
    def _why(self) -> str:
        return self.reason.replace("_", " ")  # some versions write the one, some the other


class Unknown:
    """Lines that commands have printed beside what was asked for, such as a site's notices.

    first: {command: the first of these lines}.
    """

    def __init__(self) -> None:
        self.first: dict[str, str] = {}

    def add(self, command: str, line: str) -> None:
        """Note a line that is passed over."""
        self.first.setdefault(command, line)


def my_jobs(unknown: Unknown | None = None) -> list[Job]:
    """Return all of this user's jobs, one for each array element. Raises SlurmOutageError.

    unknown: is told of other lines.
    """
    return _jobs(["--me"], unknown or Unknown())


def jobs_named(name: str) -> list[Job]:
    """Return all users' jobs with a name, as far as SLURM shows them. Raises SlurmOutageError."""
    return [job for job in _jobs([f"--name={name}"], Unknown()) if job.name == name]


def _jobs(which: Sequence[str], unknown: Unknown) -> list[Job]:
    lines = _run("squeue", "--noheader", "--array", "--all", *which, "--format=%i|%T|%N|%r|%j")
    found = []
    for line in lines:
        # A name may have several lines, and those that follow may be anything.
        words = line.split("|", 4)
        if len(words) == 5 and ID.fullmatch(words[0]):
            found.append(Job(*words))
        else:
            unknown.add("squeue", line)
    return found


def final_states(
    jobs: Collection[str], unknown: Unknown | None = None
) -> dict[str, tuple[str, str]]:
    """Return {job: (state, nodes)} of jobs that have ended, as far as SLURM knows.

    slurmctld keeps them for some minutes. Accounting, if there is any, keeps them for ever, but
    knows of them some seconds late.

    unknown: is told of lines that are no answer.
    """
    found: dict[str, tuple[str, str]] = {}
    for ask in (_remembered, _accounted):
        if missing := sorted(set(jobs) - found.keys()):
            with contextlib.suppress(SlurmOutageError):
                states = ask(missing, unknown or Unknown())
                found |= {job: end for job, end in states.items() if end[0] != "COMPLETING"}
    return found


def _remembered(jobs: Sequence[str], unknown: Unknown) -> dict[str, tuple[str, str]]:
    lines = _run(
        "squeue",
        "--noheader",
        "--array",
        "--states=all",
        f"--jobs={','.join(jobs)}",
        "--format=%i|%T|%N",
    )
    rows = _columns("squeue", lines, unknown)
    return {job: (state, nodes) for job, state, nodes in rows if ID.fullmatch(job)}


def _accounted(jobs: Sequence[str], unknown: Unknown) -> dict[str, tuple[str, str]]:
    arrays = sorted({job.partition("_")[0] for job in jobs})
    lines = _run("sacct", "-XnP", "-j", ",".join(arrays), "-o", "JobID,State,NodeList")
    return {
        job: (state.split()[0], nodes if nodes != "None assigned" else "")
        for ids, state, nodes in _columns("sacct", lines, unknown)
        if state.split()
        for job in _elements(ids)
    }


def node_names(nodes: str) -> list[str]:
    """Return the nodes that a list such as n[1-3,5] names; the list itself if SLURM fails."""
    if not set(nodes) & set("[,"):
        return [nodes] * bool(nodes)
    with contextlib.suppress(SlurmOutageError):
        return host_names(nodes)
    return [nodes]


def host_names(nodes: str) -> list[str]:
    """Return the nodes that a list such as n[1-3,5] names. Raises SlurmOutageError."""
    lines = _run("scontrol", "show", "hostnames", nodes)
    return [line for line in lines if HOST.fullmatch(line)]


def node_kinds(partitions: Sequence[str]) -> list[str]:
    """Return what the nodes of these partitions have, or of all: a text for each kind of node.

    Raises SlurmOutageError.
    """
    which = [f"--partition={','.join(partitions)}"] if partitions else []
    lines = _run("sinfo", "--noheader", "--format=%R|%D|%c|%m|%G|%f", *which)
    kinds = []
    for words in (line.split("|") for line in lines):
        if len(words) == 6 and NUMBER.fullmatch(words[1]):
            name, count, processors, memory, *further = (word.strip() for word in words)
            more = [word for word in further if word != "(null)"]
            has = ", ".join([f"{processors} processors", f"{memory} MB", *more])
            kinds.append(f"{name}: {counted(int(count), 'node')} with {has}")
    return kinds


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
    # A site's notices may stand before and after it, and a wrapper may leave --parsable out.
    for form in (SUBMITTED, PARSABLE):
        found = {match[1] for line in lines if (match := form.fullmatch(line.strip()))}
        if len(found) == 1:
            return found.pop()
    raise SlurmOutageError(f"sbatch: not one job's id in {' '.join(lines)!r}")


def largest_array() -> int:
    """Return how many jobs one array may have; 0: the site allows no arrays."""
    known = _configuration()
    size = known.get("MaxArraySize", "0")
    if not NUMBER.fullmatch(size):
        raise SlurmOutageError(f"scontrol: MaxArraySize = {size!r}: must be a whole number")
    most = int(size)
    further = re.search(r"\bmax_array_tasks=([0-9]{1,18})\b", known.get("SchedulerParameters", ""))
    limit = int(further[1]) if further else most
    return max(0, min(most - 1, limit))  # indices are below MaxArraySize


def kill_seconds() -> int:
    """Return how long SLURM gives a job's processes to end before it kills them."""
    with contextlib.suppress(SlurmOutageError):
        if seconds := NUMBER.match(_configuration().get("KillWait", "")):
            return int(seconds[0])
    return KILL_SECONDS


def _configuration() -> dict[str, str]:
    lines = (line.partition("=") for line in _run("scontrol", "show", "config"))
    return {name.strip(): value.strip() for name, _, value in lines}


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
    found = [line.rpartition("|")[::2] for line in lines if "|" in line]
    limits = [limit for name, limit in found if account in (None, name)]
    is_known = all(map(NUMBER.fullmatch, limits))
    return max(map(int, limits), default=None) if is_known else None


def _columns(command: str, lines: Sequence[str], unknown: Unknown) -> Iterator[list[str]]:
    """Yield the three columns of each line that has them; others are notices, or parts of names."""
    for line in lines:
        if len(words := line.split("|", 2)) == 3:
            yield words
        else:
            unknown.add(command, line)


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
            env=command_environment(),
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
