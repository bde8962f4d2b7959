"""The engine: takes trials from the rows, has a place run them, and tells the rows their records.

Searchers, schedulers and trials are saved in one file before trials are started or stopped. The
engine can be killed at any time: run directories record what happened, and engine.state records
what was decided.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fieldtrial.control.engine import outcomes
from fieldtrial.control.engine.journal.state import StateFile, load_state
from fieldtrial.control.engine.lost import reopen_lost
from fieldtrial.control.engine.records import Records
from fieldtrial.control.engine.row import Row
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.engine.trials import Trials
from fieldtrial.control.places.interface import Cause, Ended, Place
from fieldtrial.control.running.deaths import count_death
from fieldtrial.control.running.errors import DISK_ADVICE, WorkError
from fieldtrial.control.running.hung import HungWatch
from fieldtrial.disk.outages import is_outage
from fieldtrial.disk.run import Record, Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task
from fieldtrial.sweep import Sweep

POLL_SECONDS = 0.1

Listener = Callable[[str, Trial], None]


class SweepError(WorkError):
    """The sweep cannot go on; the message says why and what to do."""


class Engine:
    """Runs a sweep in its folder, from where it stands there.

    on_event: is called with an event (started, notice, stopping, done, failed, again) and
        its trial.
    check_ownership: is called before anything is done to the sweep, and may raise.
    clock: returns seconds, to find hung trials.
    contest: returns how many final runs rows should have, once those that they have are over. It
        is asked where the sweep's seeds are `until(most)`.
    trials: what the folder's state says, where that was read already.
    """

    def __init__(
        self,
        sweep: Sweep,
        folder: SweepFolder,
        place: Place,
        on_event: Listener = lambda *_: None,
        check_ownership: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        contest: Callable[[SweepFolder], Mapping[int, int]] = lambda _: {},
        trials: Trials | None = None,
    ) -> None:
        self.sweep, self.folder, self.place = sweep, folder, place
        self._state = StateFile(folder, description := sweep.describe(folder.name))
        self._on_event, self._check_ownership = on_event, check_ownership
        self._contest = contest
        self._records = Records(clock)
        self._to_stop: list[Trial] = []
        self._hung = HungWatch(place, clock)
        self._trials = trials or Trials.begin(sweep, folder, load_state(folder, description))
        self._trials.gather(place.together)
        self.rows: list[Row] = self._trials.rows
        self.sources: dict[str, Trial] = self._trials.sources
        self._adopt()

    def trials(self) -> Iterator[Trial]:
        """Yield all trials so far: sources, then row by row."""
        return iter(self._trials)

    def count(self) -> tuple[int, int]:
        """Return how many trials have ended, and how many there will be as far as is known now."""
        return self._trials.tally.ended, self._trials.expected()

    def without_worker(self) -> set[str]:
        """Return the names of the trials that were given to the place and that no worker runs now.

        No worker has begun them, as far as their records show, or their job is requeued.
        """
        requeued = self.place.backlog.requeued if self.place.backlog else ()
        running = self._trials.running()
        return {t.name for t in running if t.name in requeued or not self._records.has_begun(t)}

    def run(self) -> None:
        """Run until every row that is run has its searches, their winners and their final runs.

        Raises:
            SweepError: the first trials all failed with the same error, or the disk is full.
            OSError: the file system does not answer (see `is_outage`); another engine can resume.
        """
        try:
            while self._step():
                pass
        except OSError as error:
            if is_outage(error):
                raise
            where = error.filename or self.folder.path
            raise SweepError(f"{where}: {error.strerror or error}; {DISK_ADVICE}") from error

    def retry(self) -> int:
        """Set the failed trials to waiting, and return how many. Diverged trials stay failed."""
        failed = [one for one in self._trials if one.status == "failed" and not one.diverged]
        for trial in failed:
            trial.begin_again()
            if row := self._trials.row_of(trial):
                row.reopen(trial)
        self._check_ownership()
        self._save()
        return len(failed)

    def repair(self) -> int:
        """Set the trials that are done, but whose runs are gone or damaged, to waiting; return how
        many.
        """
        self._check_ownership()
        return len(reopen_lost(self._trials, self.folder))

    def _step(self) -> bool:
        """Start, stop and wait once. Returns False when nothing is left to do."""
        self._check_failures()
        starts = self._next_starts()
        if not starts and self._trials.is_over():
            self._save()
            return self._give_seeds()
        if starts or self._to_stop:
            self._check_ownership()
            self._save()
            self._stop_trials()
            self._start_trials(starts)
        pause = max(POLL_SECONDS, self._records.pause)
        ended = self.place.wait(pause, more=self._trials.count_to_come())
        self._check_ownership()
        for trial, record in self._records.news([end.task.trial for end in ended], pause):
            self._on_record(trial, record)
        for end in ended:
            self._on_ended(end)
        self._hung.poll()
        return True

    # State

    def _adopt(self) -> None:
        """Follow the trials whose workers still run. The others resume from their checkpoints.

        The place ends whatever else is left of an earlier driver.
        """
        running = self._trials.running()
        adopted = {task.trial for task in self.place.adopt(map(self._task, running))}
        for trial in running:
            if trial.name not in adopted:
                trial.status = "waiting"
                continue
            self._follow(trial)
            if trial.stopped_at is not None:
                self._to_stop.append(trial)

    def _save(self) -> None:
        self._state.save(self._trials.state, self._trials.take_changes())

    # Starts and stops

    def _next_starts(self) -> list[Trial]:
        """Return the trials to start now: waiting ones, then the rows' next proposals in turn."""
        room, starts = self._trials.room(self.place), list[Trial]()
        while room > 0:
            self._choose_winners()
            trial = self._trials.next_waiting() or self._trials.propose()
            if trial is None or trial.parts(self.place.together) > room:
                break
            if twin := self._trials.diverged_twin(trial):
                self._list(trial)
                trial.start, trial.last_epoch = twin.start, twin.last_epoch
                reason = f"as did {twin.trial_id}, which has the same configuration"
                self._on_failed(trial, "diverged", reason)
            elif not self._trials.running_in(trial.name):  # else it waits for the run it shares
                starts.append(trial)
                room -= trial.parts(self.place.together)
                trial.status = "running"
                trial.attempt = 1 + max([trial.attempt, *self._run(trial).attempts()])
        return starts

    def _choose_winners(self) -> None:
        """Add runs of finalists where a search is over, final runs where its winner is known."""
        for row in self._trials.take_rows_to_check():
            if row.complete and row.finalists is None:
                row.add_finalists()
            if row.complete and row.decided and row.finals is None:
                row.add_finals()
                winner = row.winner()
                name = winner.name if winner else None
                self.folder.list_trial(name, row.number, "winner", row.search)

    def _list(self, trial: Trial) -> None:
        self.folder.list_trial(trial.name, trial.row, trial.role, trial.search)

    def _give_seeds(self) -> bool:
        """Give further final runs to the rows that are in the contest; return whether any got some.

        All runs are over. Which rows are in it depends on the sweep's files alone, so that a driver
        that has died in between asks again and gets the same answer.
        """
        if self.sweep.most_seeds == self.sweep.seeds:
            return False
        wanted = self._contest(self.folder)
        self._check_ownership()
        rows = self._trials.rows_to_run()
        given = [row.add_runs(wanted.get(row.number, 0)) for row in rows]
        return any(given)

    def _stop_trials(self) -> None:
        for trial in self._to_stop:
            if trial.status == "running":
                self._run(trial).request_stop()
                self.place.stop(self._task(trial))
                self._on_event("stopping", trial)
        self._to_stop = []

    def _start_trials(self, starts: list[Trial]) -> None:
        for trial in starts:
            Run.create(self._run(trial).folder, trial.config)
            self._list(trial)
            self._follow(trial)
            if trial.stopped_at is not None:
                self._run(trial).request_stop()
            self.place.start(self._task(trial))
            self._on_event("started", trial)

    def _follow(self, trial: Trial) -> None:
        """Read the records of a trial from now on."""
        self._records.follow(trial, self._run(trial))
        self._hung.begin(self._task(trial), trial.config.classifier == "softmax")

    # Records

    def _on_record(self, trial: Trial, record: Record) -> None:
        self._hung.on_record(trial.name, record)
        if notice := record.get("notice"):
            trial.notice = str(notice)
            self._on_event("notice", trial)
        trial.charge(record)
        if record["epoch"] <= trial.last_epoch:
            return  # repeated by a later attempt
        trial.last_epoch = record["epoch"]
        trial.reset_deaths()
        row = self._search_row(trial)
        if row and row.on_record(trial, record):
            self._to_stop.append(trial)

    # Outcomes

    def _on_ended(self, end: Ended) -> None:
        trial = self._trials.running_in(end.task.trial)
        assert trial, "only what runs ends"
        self._records.end(trial)
        hung = self._hung.end(trial.name)
        run = self._run(trial)
        error, result = run.error(), run.result()
        if result is not None:
            if not self._trials.has_finished_twin(trial):
                result = outcomes.as_decided(run, trial, result)
            self._on_done(trial, result)
        elif trial.stopped_at is not None:
            self._on_done(trial, outcomes.stopped_result(run, trial))
        elif error is not None and error["attempt"] >= trial.attempt:
            self._on_failed(trial, error["kind"], error["message"])
        elif end.error is not None:
            self._on_failed(trial, *end.error)
        else:
            self._on_death(trial, end.cause, hung or end.death or "its worker gave no result")

    def _on_done(self, trial: Trial, result: Mapping[str, Any]) -> None:
        trial.status, trial.problem = "done", None
        if "device_hours" in result:
            trial.seconds = 60 * result["minutes"]
        if result["outcome"] == "stopped" and trial.stopped_at is None:
            trial.stopped_at = trial.last_epoch  # it shares the run of a trial that was stopped
        elif trial.stopped_at is None:
            trial.best = result[self.sweep.select]  # of the kept epoch
        if row := self._search_row(trial):
            row.on_done(trial)
        self._on_event("done", trial)

    def _on_failed(self, trial: Trial, kind: str, message: str) -> None:
        if kind == "disk":
            trial.status = "waiting"
            raise SweepError(f"{self._run(trial).path}: {message}; {DISK_ADVICE}")
        if kind == "outage":
            self._on_death(trial, "interruption", message)
            return
        if outcomes.goes_on(trial, kind, message, self.place.processes):
            self._on_event("again", trial)
            return
        trial.status, trial.problem = "failed", f"{kind}: {message}"
        if row := self._search_row(trial):
            row.on_failed(trial)
        self._on_event("failed", trial)

    def _on_death(self, trial: Trial, cause: Cause, death: str) -> None:
        """Resume a trial whose worker died, until that has happened too often."""
        reason = count_death(trial, cause, death)
        trial.alone = trial.alone or cause == "death"
        if reason is None:
            trial.status, trial.problem = "waiting", death
            self._on_event("again", trial)
        else:
            self._run(trial).write_error("died", reason, trial.attempt)
            self._on_failed(trial, "died", reason)

    def _check_failures(self) -> None:
        """Raise SweepError if too many trials have failed, or all of the first with one error."""
        tally, most = self._trials.tally, self.sweep.most_failures
        if reason := outcomes.reason_to_give_up(tally, self._trials, most):
            what, failed = reason
            self._save()
            raise SweepError(f"{what}:\n{outcomes.describe_failure(failed, self._run(failed))}")

    def _search_row(self, trial: Trial) -> Row | None:
        """Return the search that a trial is a proposal of; None for sources and further runs."""
        return self._trials.row_of(trial) if trial.role == "search" else None

    def _task(self, trial: Trial) -> Task:
        path, group = str(self._run(trial).folder.resolve()), trial.group(self.place.together)
        return Task(path, trial.attempt, trial.role == "final", trial.accumulate, group=group)

    def _run(self, trial: Trial) -> Run:
        return self.folder.run(trial.name)
