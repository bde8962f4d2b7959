"""Places: where trials run. A place is a file in cluster/, and an object that starts workers and says when they end."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, get_type_hints

from fieldtrial.config import ConfigError
from fieldtrial.run import Run


@dataclass(frozen=True)
class Task:
    """One attempt at one trial: what a worker is given."""

    run: Run
    attempt: int
    test: bool = False


@dataclass(frozen=True)
class Ended:
    """A worker is done with a task.

    death: how the worker died, if that is why.
    error: the kind and the message of a failure, for where a full disk kept them out of the run directory.
    """

    task: Task
    death: str | None = None
    error: tuple[str, str] | None = None


class PlaceError(RuntimeError):
    """A place cannot go on; the message says why."""


class Place(Protocol):
    """Starts tasks and reports their ends. What came of them stands in the run directory."""

    slots: int

    def start(self, task: Task) -> None:
        """Start a task; at most `slots` are under way at once."""

    def wait(self, seconds: float) -> list[Ended]:
        """Return the tasks that have ended, as soon as there are any or `seconds` have passed."""

    def close(self) -> None:
        """End all workers at once; tasks under way resume from their checkpoints when started again."""


@dataclass(frozen=True)
class LocalSettings:
    """This machine: what one trial is given.

    cpus_per_trial: cores, shared by the trial's processes.
    gpus_per_trial: devices, or a fraction of one; left out: one, where the machine has any.
    processes_per_trial: more than one run as one trial under torchrun.
    most_trials: at once; left out: as many as fit.
    teraflops: sustained by one trial in training (1e12 operations a second), for --dry-run's estimate.
    """

    cpus_per_trial: int = 1
    gpus_per_trial: float | None = None
    processes_per_trial: int = 1
    most_trials: int | None = None
    teraflops: float = 0.02

    def __post_init__(self) -> None:
        rules = [
            ("cpus_per_trial", self.cpus_per_trial >= 1, "must be at least 1"),
            ("gpus_per_trial", self.gpus_per_trial is None or self.gpus_per_trial >= 0, "must be at least 0"),
            (
                "gpus_per_trial",
                self.gpus_per_trial is None or self.gpus_per_trial <= 1 or float(self.gpus_per_trial).is_integer(),
                "must be whole, or below 1",
            ),
            ("processes_per_trial", self.processes_per_trial >= 1, "must be at least 1"),
            (
                "processes_per_trial",
                self.processes_per_trial <= max(self.cpus_per_trial, self.gpus_per_trial or 0),
                "must not be more than the trial's cores, or its devices",
            ),
            ("most_trials", self.most_trials is None or self.most_trials >= 1, "must be at least 1"),
            ("teraflops", self.teraflops > 0, "must be above 0"),
        ]
        problems = [f"{name} = {getattr(self, name)}: {rule}" for name, holds, rule in rules if not holds]
        if problems:
            raise ConfigError(problems)


KINDS = {"local": LocalSettings}


def read_place(name: str, folder: Path) -> LocalSettings:
    """Return the settings of the place called `name`, from `folder`/NAME.toml.

    Raises:
        ConfigError: no such file (the places that there are are listed), an unknown key, an impossible value.
    """
    path = folder / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        places = ", ".join(sorted(other.stem for other in folder.glob("*.toml"))) or "none"
        raise ConfigError([f"no such place: {path} is missing; places in {folder}: {places}"], "--cluster") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([str(error)], str(path)) from None
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError([f"kind = {kind!r}: must be one of {', '.join(KINDS)}"], str(path))
    return _build(KINDS[kind], values, str(path))


def _build(settings: type[LocalSettings], values: dict[str, Any], where: str) -> LocalSettings:
    hints = get_type_hints(settings)
    names = [item.name for item in fields(settings)]
    problems = [f"unknown key {name!r}; keys: kind, {', '.join(names)}" for name in values if name not in names]
    for name in names:
        value = values.get(name)
        allowed = {int} if "int" in str(hints[name]) else {int, float}
        if name in values and type(value) not in allowed:
            problems.append(f"{name} = {value!r}: must be a {'whole number' if allowed == {int} else 'number'}")
    if problems:
        raise ConfigError(problems, where)
    try:
        return settings(**values)
    except ConfigError as error:
        raise ConfigError(error.problems, where) from None
