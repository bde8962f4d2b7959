"""Row: one row's search. It proposes trials, receives their records, and names the winner."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ray.tune.schedulers import TrialScheduler

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.ray_tune import SCORE, TIME, build_scheduler, build_searcher
from fieldtrial.control.engine.trial import Trial
from fieldtrial.disk.run import Record
from fieldtrial.fields.values import format_value
from fieldtrial.sweep import Sweep

NO_CONTROLLER: Any = None  # of Ray Tune, which the scheduler does not use


class Row:
    """A row's searcher, its scheduler, and the trials it has proposed.

    Rows never share a scheduler. With a common bracket, a full fine-tuning that is ahead would
    silently stop every linear probe.
    """

    def __init__(self, sweep: Sweep, number: int) -> None:
        self.number = number
        planned = sweep.planned[number]
        self.config = planned.config
        self.source = planned.source.id if planned.source else None
        self.select, self.mode = sweep.select, sweep.mode
        self.budget, self.seeds = sweep.trials_per_row, sweep.seeds
        self.trials: list[Trial] = []
        self.finals: list[Trial] | None = None
        self._searched = list(sweep.search)
        self._searcher = (
            build_searcher(sweep.search, sweep.mode, sweep.trials, number) if sweep.search else None
        )
        self._scheduler = build_scheduler(planned.most_epochs, sweep.mode)

    @property
    def complete(self) -> bool:
        """Whether the search is over: all trials are proposed and have ended."""
        return len(self.trials) >= self.budget and not any(trial.live for trial in self.trials)

    @property
    def may_propose(self) -> bool:
        """Whether the budget allows another trial, and the newest one has been started."""
        return len(self.trials) < self.budget and not (
            self.trials and self.trials[-1].status == "waiting"
        )

    def propose(self) -> Trial:
        """Return the next trial of the search. The caller checks `may_propose` first."""
        trial_id = f"{self.number}-{len(self.trials)}"
        values = self._searcher.suggest(trial_id) if self._searcher else {}
        trial = Trial(
            trial_id,
            "search",
            self.number,
            TrainConfig.from_dict(values, self.config),
            suggestion=values,
        )
        self.trials.append(trial)
        self._scheduler.on_trial_add(NO_CONTROLLER, trial)
        return trial

    def restore(self, config: TrainConfig, result: Mapping[str, Any] | None) -> None:
        """Add a trial of a search whose state is lost. Without a result it resumes.

        Its value is that of the kept epoch, which for a stopped trial may be a later one than the
        lost search knew.
        """
        trial = Trial(f"{self.number}-{len(self.trials)}", "search", self.number, config)
        self.trials.append(trial)
        values = {name: getattr(config, name) for name in self._searched}
        trial.suggestion = {
            n: format_value(v) if isinstance(v, tuple) else v for n, v in values.items()
        }
        trial.reopened = True  # this searcher has not proposed it, and learns of it at its end
        self._scheduler.on_trial_add(NO_CONTROLLER, trial)
        if result is None:
            return
        trial.status, trial.best = "done", result[self.select]
        trial.stopped_at = result["epochs"] if result["outcome"] == "stopped" else None
        if self._searcher:
            self._searcher.add_evaluated_point(trial.suggestion, trial.best)

    def on_record(self, trial: Trial, record: Record) -> bool:
        """Tell the search a trial's next record. Returns True if the trial is to be stopped."""
        if trial.stopped_at is not None:
            return False  # what it did before it found the stop file depends on timing
        result = self._tune_result(trial, record)
        if result is None:
            return False
        trial.last_result = result
        decision = self._scheduler.on_trial_result(NO_CONTROLLER, trial, result)
        if self._searcher and not trial.reopened:
            self._searcher.on_trial_result(trial.trial_id, result)
        if decision == TrialScheduler.STOP and trial.last_epoch < trial.config.epochs:
            trial.stopped_at = trial.last_epoch
        return trial.stopped_at is not None

    def on_done(self, trial: Trial) -> None:
        """Tell the search that a trial is done, with its best value."""
        if trial.last_result:
            self._scheduler.on_trial_complete(NO_CONTROLLER, trial, trial.last_result)
        if self._searcher and trial.reopened:
            self._searcher.add_evaluated_point(trial.suggestion, trial.best)
        elif self._searcher:
            self._searcher.on_trial_complete(
                trial.trial_id, result={**trial.last_result, SCORE: trial.best}
            )

    def on_failed(self, trial: Trial, diverged: bool) -> None:
        """Tell the search that a trial has failed.

        Divergence is a property of the configuration, so the searcher is told a bad value: that
        before any training. Other failures are told as errors.
        """
        self._scheduler.on_trial_remove(NO_CONTROLLER, trial)
        if not self._searcher or trial.reopened:
            return
        if diverged and trial.start is not None:
            self._searcher.on_trial_complete(
                trial.trial_id, result={SCORE: trial.start, TIME: max(1, trial.last_epoch)}
            )
        else:
            self._searcher.on_trial_complete(trial.trial_id, error=True)

    def reopen(self, trial: Trial) -> None:
        """Reopen a failed trial that is to run again; the winner is chosen again."""
        trial.reopened = True
        self._scheduler.on_trial_add(NO_CONTROLLER, trial)
        self.finals = None

    def winner(self) -> Trial | None:
        """Return the best trial, or None if all failed; one that was stopped only if all were."""
        done = [trial for trial in self.trials if trial.status == "done" and trial.best is not None]
        candidates = [trial for trial in done if trial.stopped_at is None] or done
        sign = 1 if self.mode == "max" else -1
        return max(candidates, key=lambda trial: sign * (trial.best or 0.0), default=None)

    def add_finals(self) -> Sequence[Trial]:
        """Return the winner's runs with fresh seeds, which the search has not used."""
        winner = self.winner()
        self.finals = (
            []
            if winner is None
            else [self._final(winner, number) for number in range(1, self.seeds + 1)]
        )
        return self.finals

    def extend(self, trials: int, seeds: int) -> None:
        """Change the budget; the winner is chosen again."""
        self.budget, self.seeds = trials, seeds
        self.finals = None

    def _final(self, winner: Trial, number: int) -> Trial:
        config = replace(winner.config, seed=winner.config.seed + number)
        return Trial(
            f"{self.number}-final-{config.id}",
            "final",
            self.number,
            config,
            accumulate=winner.accumulate,
        )

    def _tune_result(self, trial: Trial, record: Record) -> dict[str, Any] | None:
        """Return a record as Ray Tune reads it: epoch and best value so far; None for epoch 0."""
        value = float(record[self.select])
        if record["epoch"] == 0:
            trial.start = value
            return None
        better = max if self.mode == "max" else min
        trial.best = value if trial.best is None else better(trial.best, value)
        return {TIME: record["epoch"], SCORE: trial.best, "trial_id": trial.trial_id}
