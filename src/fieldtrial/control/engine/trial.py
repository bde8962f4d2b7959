"""Trial: what the engine knows of one trial, in the form that Ray Tune's schedulers and searchers
read.
"""

import functools
from dataclasses import dataclass, field
from typing import Any, Literal

from fieldtrial.config import TrainConfig

Role = Literal["source", "search", "final"]
Status = Literal["waiting", "running", "done", "failed"]


@dataclass
class Trial:
    """One trial of a sweep. Schedulers of Ray Tune take it for one of theirs: they read trial_id
    and little else.

    trial_id: the searcher's own name for it; two of them may share a config, and so a run.
    row: the row's number, None for a source, which several rows may share.
    suggestion: what the searcher proposed, in its own words.
    told: the last epoch that searcher and scheduler know of; seconds: that the epochs so far have
    taken.
    best, start: of the sweep's `select`: the best value so far (at the end, the kept epoch's), and
    before any training.
    stopped_at: the epoch whose record made the scheduler stop it, or None.
    deaths, time_limits, interruptions: attempts in a row that ended with the worker's death before
        another epoch was done: by itself, at a job's time limit, by preemption or with the node.
    accumulate: into how many parts its batches are cut, because a device cannot hold them at once.
    notice: what its worker last wanted the user to know, such as a damaged checkpoint.
    reopened: whether it failed before and runs again: the searcher has closed its book on it.
    """

    trial_id: str
    role: Role
    row: int | None
    config: TrainConfig
    status: Status = "waiting"
    attempt: int = 0
    told: int = -1
    seconds: float = 0.0
    best: float | None = None
    start: float | None = None
    stopped_at: int | None = None
    deaths: int = 0
    time_limits: int = 0
    interruptions: int = 0
    accumulate: int = 1
    reopened: bool = False
    notice: str | None = None
    problem: str | None = None
    suggestion: dict[str, Any] = field(default_factory=dict)
    last_result: dict[str, Any] = field(default_factory=dict)
    run_metadata: None = None
    experiment_tag: str = ""

    @functools.cached_property
    def name(self) -> str:
        """The run directory's name: the config's id."""
        return self.config.id

    def get_on(self) -> None:
        """Note that it has done another epoch: what ended its attempts before is forgotten."""
        self.deaths = self.time_limits = self.interruptions = 0

    @property
    def diverged(self) -> bool:
        """Whether its loss was not finite: a property of the configuration, not a fault."""
        return self.problem is not None and self.problem.startswith("diverged")

    @property
    def live(self) -> bool:
        """Whether the trial still has something to do."""
        return self.status in ("waiting", "running")


class Controller:
    """What a scheduler of Ray Tune may ask of the one who runs the trials."""

    def __init__(self, trials: list[Trial]) -> None:
        self._trials = trials

    def get_trials(self) -> list[Trial]:
        """Return all trials."""
        return self._trials

    def get_live_trials(self) -> set[str]:
        """Return the ids of the trials that have not ended."""
        return {trial.trial_id for trial in self._trials if trial.live}
