"""Row: one search of a row. It proposes trials, receives their records, and names the winner."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ray.tune.schedulers import TrialScheduler

from fieldtrial.budget import FINALIST_SEEDS, SEARCH_SEEDS
from fieldtrial.config import HINTS, TrainConfig
from fieldtrial.control.engine.finalists import Finalist, choose_winner, rank
from fieldtrial.control.engine.journal.replayed import Replayed, ReplayedSearcher
from fieldtrial.control.engine.ray_tune import (
    SCORE,
    TIME,
    build_scheduler,
    build_searcher,
    random_trials,
)
from fieldtrial.control.engine.rounds import Named, RoundHalving, round_of
from fieldtrial.control.engine.row_trials import RowChange, RowTrials
from fieldtrial.control.engine.trial import Role, Trial
from fieldtrial.disk.run import Record
from fieldtrial.search_domains import meant_by, proposal_of
from fieldtrial.sweep import PlannedRow, Sweep

NO_CONTROLLER: Any = None  # of Ray Tune, which the scheduler does not use


def search_config(planned: PlannedRow, search: int) -> TrainConfig:
    """Return the config that a row's search starts from: by it, a row is known again."""
    config = planned.config
    fold = search if config.folds else 0  # there are as many searches as folds, or one
    return replace(config, seed=config.seed + search * SEARCH_SEEDS, fold=fold)


class Row(RowTrials):
    """One search of a row: a searcher, a scheduler, the trials proposed, and the winner's runs.

    Rows never share a scheduler. With a common bracket, a full fine-tuning that is ahead would
    silently stop every linear probe. All rows have the same sampler seed, so that they draw the
    same first candidates. A further search of a row has other seeds throughout.
    """

    def __init__(self, sweep: Sweep, number: int, search: int = 0) -> None:
        super().__init__()
        self.number, self.search = number, search
        planned = sweep.planned[number]
        self.config = search_config(planned, search)
        self.source = planned.source.id if planned.source else None
        self.select, self.mode = sweep.select, sweep.mode
        self.budget, self.seeds = sweep.trials_per_search, int(sweep.seeds)
        self.most_finalists = sweep.finalists
        self._domains = dict(sweep.search)
        self._searcher = (
            ReplayedSearcher(build_searcher(sweep, planned.most_epochs, self.config.seed))
            if sweep.search
            else None
        )
        self._random = random_trials(sweep.trials)
        self._in_rounds = sweep.deterministic
        self._scheduler = Replayed(
            RoundHalving(planned.most_epochs, sweep.mode)
            if sweep.deterministic
            else build_scheduler(planned.most_epochs, sweep.mode)
        )

    @property
    def complete(self) -> bool:
        """Whether the search is over: all trials are proposed and have ended."""
        return len(self.trials) >= self.budget and not self.has_live

    @property
    def decided(self) -> bool:
        """Whether the winner is known: the finalists' runs, if there are any, have ended."""
        return self.finalists is not None and not any(run.live for run in self.finalist_runs)

    @property
    def proposable(self) -> int:
        """How many trials may be proposed now: as the budget and the round allow.

        None before the newest one has been started.
        """
        number, end = len(self.trials), self.budget
        if self.trials and self.trials[-1].status == "waiting":
            return 0
        if self._in_rounds:
            first, after = round_of(number, self._random)
            if self.has_live_before(first):
                return 0
            end = min(end, after)
        return max(0, end - number)

    @property
    def expected(self) -> int:
        """How many trials there will be in the end, as far as is known now."""
        runs = self.most_finalists * self.seeds if self.most_finalists > 1 else 0
        return (
            max(self.budget, len(self.trials))
            + max(0 if self.decided else runs, len(self.finalist_runs))
            + max(self.seeds, len(self.finals or ()))
        )

    def at(self, number: int) -> "Row":
        """Return this row with its number in a sweep whose rows have changed."""
        if number != self.number:
            self.number = number
            for trial in self.all_trials():
                trial.row = number
        return self

    def propose(self) -> Trial:
        """Return the next trial of the search. The caller checks `proposable` first."""
        number = len(self.trials)
        if self._in_rounds and number == round_of(number, self._random)[0]:
            self._tell_round()
        trial_id = self._trial_id(str(number))
        values = self._searcher.suggest(trial_id) if self._searcher else {}
        meant = {name: meant_by(self._domains[name], one) for name, one in values.items()}
        config = TrainConfig.from_dict(meant, self.config)
        trial = Trial(trial_id, "search", self.number, config, self.search, suggestion=values)
        if self._in_rounds:
            trial.shared_stop = self._stop_of_twins(trial)
        self.add(trial)
        self._tell_scheduler("on_trial_add", trial)
        return trial

    def _trial_id(self, name: str) -> str:
        search = f".{self.search}" if self.search else ""
        return f"{self.number}{search}-{name}"

    def _tell_round(self) -> None:
        """Tell how the trials of the earlier rounds ended, in their order."""
        untold = self.untold()
        self._scheduler.call("admit", [Named(trial.trial_id) for trial in untold])
        for trial in untold:
            self._tell_end(trial)

    def _tell_scheduler(self, name: str, trial: Trial, *result: dict[str, Any]) -> Any:
        return self._scheduler.call(name, NO_CONTROLLER, Named(trial.trial_id), *result)

    def _stop_of_twins(self, trial: Trial) -> int | None:
        """Return the last epoch that a trial's run is known to have, if all of its trials stopped.

        How much longer the run went on before its worker saw the stop file depends on timing.
        """
        first, _ = round_of(len(self.trials), self._random)
        twins = self.twins_before(first, trial.name)
        stops = [other.stopped_at for other in twins if other.status == "done"]
        return None if None in stops else max((stop or 0 for stop in stops), default=None)

    def restore(self, config: TrainConfig, result: Mapping[str, Any] | None) -> None:
        """Add a trial of a search whose state is lost. Without a result it resumes.

        Its value is that of the kept epoch, which for a stopped trial may be a later one than the
        lost search knew.
        """
        trial_id = self._trial_id(str(len(self.trials)))
        trial = Trial(trial_id, "search", self.number, config, self.search)
        self.add(trial)
        with contextlib.suppress(ValueError):  # no proposal gives these values: it teaches nothing
            trial.suggestion = {
                name: proposal_of(domain, getattr(config, name), HINTS.get(name))
                for name, domain in self._domains.items()
            }
        trial.reopened = True  # this searcher has not proposed it, and learns of it at its end
        self._tell_scheduler("on_trial_add", trial)
        if result is None:
            return
        trial.status, trial.best = "done", result[self.select]
        trial.stopped_at = result["epochs"] if result["outcome"] == "stopped" else None
        self._tell_point(trial)

    def on_record(self, trial: Trial, record: Record) -> bool:
        """Tell the search a trial's next record. Returns True if the trial is to be stopped."""
        if trial.stopped_at is not None:
            return False  # what it did before it found the stop file depends on timing
        result = self._tune_result(trial, record)
        if result is None:
            return False
        is_to_stop = trial.last_epoch == trial.shared_stop
        if not trial.repeats:
            trial.last_result = result
            decision = self._tell_scheduler("on_trial_result", trial, result)
            is_to_stop = is_to_stop or decision == TrialScheduler.STOP
            if self._searcher and not trial.reopened and not self._in_rounds:
                decision = self._searcher.call("on_trial_result", trial.trial_id, result)
                is_to_stop = is_to_stop or decision == TrialScheduler.STOP
        if is_to_stop and trial.last_epoch < trial.config.epochs:
            trial.stopped_at = trial.last_epoch
        return trial.stopped_at is not None

    def on_done(self, trial: Trial) -> None:
        """Tell the search that a trial is done, with its best value."""
        if trial.repeats:
            return
        if trial.last_result:
            self._tell_scheduler("on_trial_complete", trial, trial.last_result)
        if not self._in_rounds:
            self._tell_end(trial)

    def on_failed(self, trial: Trial) -> None:
        """Tell the search that a trial has failed."""
        if trial.repeats:
            return
        self._tell_scheduler("on_trial_remove", trial)
        if not self._in_rounds:
            self._tell_end(trial)

    def _tell_end(self, trial: Trial) -> None:
        """Tell the searcher how a trial ended.

        Divergence is a property of the configuration, so the searcher is told a bad value: that
        before any training, as if it had trained to the end. Other failures are told as errors.
        """
        trial.told = True
        if not self._searcher:
            return
        if trial.status == "done" and trial.reopened:
            self._tell_point(trial)
        elif trial.status == "done":
            result = {**trial.last_result, SCORE: trial.best}
            self._searcher.call("on_trial_complete", trial.trial_id, result=result)
        elif not trial.reopened and trial.diverged and trial.start is not None:
            result = {SCORE: trial.start, TIME: trial.config.epochs}
            self._searcher.call("on_trial_complete", trial.trial_id, result=result)
        elif not trial.reopened:
            self._searcher.call("on_trial_complete", trial.trial_id, error=True)

    def _tell_point(self, trial: Trial) -> None:
        """Tell the searcher of a trial as of one that it has not proposed, but could have."""
        if self._searcher and trial.suggestion:
            self._searcher.call("add_evaluated_point", trial.suggestion, trial.best)

    def reopen(self, trial: Trial) -> None:
        """Reopen a failed trial that is to run again. If it decides on the winner, so does this."""
        if trial.role == "search":
            trial.reopened, trial.told = trial.reopened or trial.told, False
            self._tell_scheduler("on_trial_add", trial)
            self.finalists = None
        if trial.role != "final":
            self.finals = None

    def winner(self) -> Trial | None:
        """Return the winner, or None if all trials failed. Before it is known: the best so far."""
        return choose_winner(rank(self.trials, self.mode), self.finalists or [], self.mode)

    def add_finalists(self) -> None:
        """Choose the finalists, and add their runs. A single one needs none."""
        found: dict[str, Trial] = {}
        for trial in rank(self.trials, self.mode):
            found.setdefault(trial.name, trial)  # a configuration may have been proposed twice
        best = list(found.values())[: self.most_finalists]
        seeds = range(FINALIST_SEEDS, FINALIST_SEEDS + self.seeds)
        self.finalists = [
            Finalist(trial, [self._again(trial, "finalist", seed) for seed in seeds])
            for trial in (best if len(best) > 1 else [])
        ]

    def add_finals(self) -> Sequence[Trial]:
        """Return the winner's runs with fresh seeds, which the search has not used.

        With folds, each tests another one; or the only one tests what its search has not seen.
        """
        winner = self.winner()
        for told in (self._searcher, self._scheduler):
            if told:
                told.release()  # the search is over
        self.finals = (
            []
            if winner is None
            else [self._again(winner, "final", seed) for seed in range(1, self.seeds + 1)]
        )
        return self.finals or []

    def add_runs(self, seeds: int) -> bool:
        """Add final runs up to so many; return whether any are new."""
        winner, known = self.winner(), len(self.finals or ())
        if winner is None or not self.finals or seeds <= known:
            return False
        more = range(known + 1, seeds + 1)
        self.finals = [*self.finals, *(self._again(winner, "final", seed) for seed in more)]
        return True

    def take_news(self) -> RowChange:
        """Return what is not saved yet, and count it as saved."""
        searcher = self._searcher.take_news() if self._searcher else None
        return self.take_change(searcher, self._scheduler.take_news())

    def take_up(self, change: RowChange) -> None:
        """Make a change that an earlier driver has saved, of the state before it."""
        self.apply(change)
        if change.searcher and self._searcher:
            self._searcher.add(change.searcher)
        if change.scheduler:
            self._scheduler.add(change.scheduler)

    def take_over(self, sweep: Sweep) -> None:
        """Take what an earlier state of this row lacks from its sweep, and the sweep's budget.

        If the budget is another one, the winner is chosen again.
        """
        self._domains = dict(sweep.search)  # states of earlier versions have none
        trials, seeds, finalists = sweep.trials_per_search, int(sweep.seeds), sweep.finalists
        if (trials, seeds, finalists) != (self.budget, self.seeds, self.most_finalists):
            self.budget, self.seeds, self.most_finalists = trials, seeds, finalists
            self.finalists = self.finals = None

    def _again(self, trial: Trial, role: Role, seed: int) -> Trial:
        """Return a trial's configuration with the seed that is so far from the search's."""
        is_on_all = role == "final" and self.seeds > 1 and self.config.folds > 0
        fold = seed - 1 if is_on_all else self.config.fold
        config = replace(trial.config, seed=self.config.seed + seed, fold=fold)
        trial_id = self._trial_id(f"{role}-{config.id}")
        return Trial(trial_id, role, self.number, config, self.search, accumulate=trial.accumulate)

    def _tune_result(self, trial: Trial, record: Record) -> dict[str, Any] | None:
        """Return a record as Ray Tune reads it: epoch and best value so far; None for epoch 0."""
        value = float(record[self.select])
        if record["epoch"] == 0:
            trial.start = value
            return None
        better = max if self.mode == "max" else min
        trial.best = value if trial.best is None else better(trial.best, value)
        return {TIME: record["epoch"], SCORE: trial.best, "trial_id": trial.trial_id}
