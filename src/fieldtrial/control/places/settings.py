"""The settings of a place, from its file in cluster/: every key with its meaning and default."""

import math
import os
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from fieldtrial.config import ConfigError
from fieldtrial.fields.values import check_type

# Of the 107 bytes of a socket's name, 88 are those of the folders and the file that Ray makes.
LONGEST_RAY_FOLDER = 19


@dataclass(frozen=True)
class LocalSettings:
    """This machine: what one trial gets.

    cpus_per_trial: cores, shared by the trial's processes.
    gpus_per_trial: devices, or a fraction of one. Default: one if the machine has any.
    processes_per_trial: with more than one, the trial runs in as many at once.
    most_trials: trials at once. Default: as many as fit.
    trials_together: how many linear heads on the same features train as one; each is a trial.
    teraflops: what a trial sustains in training, in 1e12 operations a second, for --dry-run.
    ray_folder: where Ray's own folder is made.
    """

    cpus_per_trial: int = 1
    gpus_per_trial: float | None = None
    processes_per_trial: int = 1
    most_trials: int | None = None
    trials_together: int = 1
    teraflops: float = 0.02
    ray_folder: str = "/tmp"

    def __post_init__(self) -> None:
        rules = [
            (
                "ray_folder",
                self.ray_folder.startswith("/")
                and len(os.fsencode(self.ray_folder)) <= LONGEST_RAY_FOLDER,
                f"must be an absolute path of at most {LONGEST_RAY_FOLDER} bytes: the names of"
                " Ray's sockets are limited",
            ),
            ("cpus_per_trial", self.cpus_per_trial >= 1, "must be at least 1"),
            (
                "gpus_per_trial",
                self.gpus_per_trial is None or self.gpus_per_trial >= 0,
                "must be at least 0",
            ),
            (
                "gpus_per_trial",
                self.gpus_per_trial is None
                or self.gpus_per_trial <= 1
                or float(self.gpus_per_trial).is_integer(),
                "must be whole, or below 1",
            ),
            ("processes_per_trial", self.processes_per_trial >= 1, "must be at least 1"),
            (
                "processes_per_trial",
                self.processes_per_trial <= max(self.cpus_per_trial, self.gpus_per_trial or 0),
                "must not be more than the trial's cores, or its devices",
            ),
            (
                "most_trials",
                self.most_trials is None or self.most_trials >= 1,
                "must be at least 1",
            ),
            *_together_rules(self.trials_together, self.processes_per_trial),
            ("teraflops", self.teraflops > 0, "must be above 0"),
        ]
        problems = [
            f"{name} = {getattr(self, name)}: {rule}" for name, holds, rule in rules if not holds
        ]
        if problems:
            raise ConfigError(problems)

    @property
    def devices_per_trial(self) -> int:
        """The device-hours of an hour of a trial: one for each process, with its GPU if any."""
        return self.processes_per_trial

    @property
    def uses_gpus(self) -> bool | None:
        """Whether a trial runs on GPUs; None: if the machine has any."""
        return None if self.gpus_per_trial is None else self.gpus_per_trial > 0

    def workers(self, trials: int) -> int:
        """Return how many workers are started for so many trials if no worker dies."""
        fitting = max(1, len(os.sched_getaffinity(0)) // self.cpus_per_trial)
        return min(trials, fitting, self.most_trials or fitting)


# Options of sbatch that a key sets, because workers depend on them, or that the driver sets (None).
OWN_OPTIONS = {
    "time": "time_limit_minutes",
    "partition": "partitions",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "cpus-per-task": "cpus_per_process",
    "mem": "memory_gb_per_process",
    "requeue": "requeue",
    "no-requeue": "requeue",
    **dict.fromkeys(("nodes", "ntasks", "ntasks-per-node"), "gpus_per_trial and gpus_per_node"),
    **dict.fromkeys(("gpus", "gpus-per-node", "gpus-per-task"), "gpus_per_trial and gpu_type"),
    **dict.fromkeys(("job-name", "array", "output", "error"), None),
    **dict.fromkeys(("clusters", "parsable", "quiet", "wait", "test-only"), None),
}


@dataclass(frozen=True)
class SlurmSettings:
    """A SLURM site: its jobs, each of which is a worker, and what one trial gets.

    partitions: the partitions a job may run in; SLURM chooses the one that starts first.
    account, qos, constraint: as for sbatch.
    gpus_per_trial: devices of one trial, on as many nodes as needed; 0: trials on CPUs.
    gpus_per_node: devices of one node.
    gpu_type: the type of GPU, in the site's terms, if the site has several.
    processes_per_trial: for trials on CPUs; with GPUs there is one process for each.
    cpus_per_process, memory_gb_per_process: each process's share of its node.
    time_limit_minutes: of one job. A trial that takes longer resumes in the next job.
    most_jobs: this sweep's jobs in the queue at once.
    trials_per_job: 1 frees the node after each trial; more keeps workers warm for short trials.
    trials_together: how many linear heads on the same features train as one; each is a trial.
    idle_seconds: how long a worker waits for a trial before it ends.
    requeue: whether SLURM may requeue a preempted job; if not, the trial is submitted again.
    setup: shell lines before the worker starts, such as module load.
    python: the workers' Python, an absolute path. Default: the driver's.
    environment: environment variables of the worker.
    sbatch: further options, such as {"mail-type" = "END", exclusive = ""}.
    squeue_seconds: the least time between two polls of the queue; more with many jobs.
    teraflops: what a trial sustains in training, in 1e12 operations a second, for --dry-run.
    """

    partitions: tuple[str, ...] = ()
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus_per_trial: int = 1
    gpus_per_node: int = 8
    gpu_type: str | None = None
    processes_per_trial: int = 1
    cpus_per_process: int = 8
    memory_gb_per_process: float | None = None
    time_limit_minutes: int = 24 * 60
    most_jobs: int = 32
    trials_per_job: int = 1
    trials_together: int = 1
    idle_seconds: float = 60.0
    requeue: bool = True
    setup: tuple[str, ...] = ()
    python: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    sbatch: dict[str, str] = field(default_factory=dict)
    squeue_seconds: float = 5.0
    teraflops: float = 20.0

    def __post_init__(self) -> None:
        rules = [
            ("gpus_per_trial", self.gpus_per_trial >= 0, "must be at least 0"),
            ("gpus_per_node", self.gpus_per_node >= 1, "must be at least 1"),
            ("gpu_type", _is_name_or_none(self.gpu_type), "must be a name, such as a100"),
            (
                "gpu_type",
                self.gpu_type is None or self.gpus_per_trial > 0,
                "needs gpus_per_trial above 0",
            ),
            (
                "gpus_per_trial",
                self.gpus_per_trial <= self.gpus_per_node
                or self.gpus_per_trial % max(1, self.gpus_per_node) == 0,
                (
                    f"must be a multiple of gpus_per_node = {self.gpus_per_node} where one node is"
                    " not enough"
                ),
            ),
            ("processes_per_trial", self.processes_per_trial >= 1, "must be at least 1"),
            (
                "processes_per_trial",
                self.processes_per_trial == 1 or self.gpus_per_trial == 0,
                "must be 1 with GPUs, where there is one process for each",
            ),
            ("cpus_per_process", self.cpus_per_process >= 1, "must be at least 1"),
            (
                "memory_gb_per_process",
                self.memory_gb_per_process is None or self.memory_gb_per_process > 0,
                "must be above 0",
            ),
            ("time_limit_minutes", self.time_limit_minutes >= 1, "must be at least 1"),
            ("most_jobs", self.most_jobs >= 1, "must be at least 1"),
            ("trials_per_job", self.trials_per_job >= 1, "must be at least 1"),
            *_together_rules(self.trials_together, self.processes),
            (
                "trials_per_job",
                self.trials_per_job >= self.trials_together,
                f"must be at least trials_together = {self.trials_together}",
            ),
            (
                "python",
                self.python is None or self.python.startswith("/"),
                "must be an absolute path",
            ),
            ("idle_seconds", self.idle_seconds >= 0, "must be at least 0"),
            ("squeue_seconds", self.squeue_seconds >= 0.5, "must be at least 0.5"),
            ("teraflops", self.teraflops > 0, "must be above 0"),
        ]
        problems = [
            f"{name} = {getattr(self, name)!r}: {rule}" for name, holds, rule in rules if not holds
        ]
        problems += [
            f"environment has {name!r}: must be a variable's name"
            for name in self.environment
            if not _is_variable(name)
        ]
        for option in self.sbatch:
            name = option.lstrip("-").replace("_", "-")
            if name in OWN_OPTIONS:
                own = OWN_OPTIONS[name]
                problems.append(
                    f"sbatch has {option!r}: "
                    + (f"must be set by {own}" if own else "is set by the driver")
                )
            elif option.startswith("-"):
                problems.append(f"sbatch has {option!r}: must be without dashes, {name!r}")
        if problems:
            raise ConfigError(problems)

    @property
    def devices_per_trial(self) -> int:
        """The device-hours of an hour of a trial."""
        return self.processes

    def workers(self, trials: int) -> int:
        """Return how many jobs are started for so many trials if each takes trials_per_job."""
        return math.ceil(trials / self.trials_per_job)

    @property
    def uses_gpus(self) -> bool:
        """Whether a trial runs on GPUs."""
        return self.gpus_per_trial > 0

    @property
    def nodes(self) -> int:
        """The nodes of a trial."""
        return max(1, math.ceil(self.gpus_per_trial / self.gpus_per_node))

    @property
    def processes(self) -> int:
        """The processes of a trial on all its nodes."""
        return self.gpus_per_trial or self.processes_per_trial

    @property
    def processes_per_node(self) -> int:
        """The processes of a trial on one node."""
        return self.processes // self.nodes

    @property
    def needs_steps(self) -> bool:
        """Whether srun starts a trial's processes. A single one replaces the batch script."""
        return self.processes > 1

    @property
    def gpus_on_node(self) -> int:
        """The devices of a trial on each of its nodes."""
        return self.gpus_per_trial // self.nodes


def _together_rules(together: int, processes: int) -> list[tuple[str, bool, str]]:
    return [
        ("trials_together", together >= 1, "must be at least 1"),
        (
            "trials_together",
            together <= 1 or processes == 1,
            f"must be 1 where a trial has {processes} processes",
        ),
    ]


def _is_variable(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is not None


def _is_name_or_none(text: str | None) -> bool:
    return text is None or re.fullmatch(r"[\w.-]+", text) is not None


Settings = LocalSettings | SlurmSettings
KINDS: dict[str, type[LocalSettings] | type[SlurmSettings]] = {
    "local": LocalSettings,
    "slurm": SlurmSettings,
}


def read_settings(name: str, *folders: Path) -> Settings:
    """Return the settings of the place called `name`, from NAME.toml in the first that has it.

    Raises:
        ConfigError: no such file, unknown keys, or impossible values.
    """
    paths = [folder / f"{name}.toml" for folder in folders]
    path = next((path for path in paths if path.exists()), paths[0])
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        known = "; ".join(f"places in {folder}: {_places(folder)}" for folder in folders)
        raise ConfigError([f"no such place: {path} is missing; {known}"], "--cluster") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([str(error)], str(path)) from None
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError([f"kind = {kind!r}: must be one of {', '.join(KINDS)}"], str(path))
    return _build(KINDS[kind], values, str(path))


def _places(folder: Path) -> str:
    return ", ".join(sorted(file.stem for file in folder.glob("*.toml"))) or "none"


def _build(
    settings: type[LocalSettings] | type[SlurmSettings], values: dict[str, Any], where: str
) -> Settings:
    hints = get_type_hints(settings)
    names = [item.name for item in fields(settings)]
    problems = [
        f"unknown key {name!r}; keys: kind, {', '.join(names)}"
        for name in values
        if name not in names
    ]
    checked = {}
    for name in (name for name in names if name in values):
        try:
            checked[name] = check_type(values[name], hints[name])
        except ValueError as error:
            problems.append(f"{name} = {values[name]!r}: {error}")
    try:
        built = settings(**checked)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems, where)
    return built
