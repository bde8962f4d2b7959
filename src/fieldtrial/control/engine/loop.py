"""The engine: asks the rows for trials, has a place run them, tells the rows what came of it, and
loses nothing.

Searchers, schedulers and trials are saved in one file, with one rename, before every batch of
starts and stops. At whatever moment the engine is killed, what it did stands in the run
directories, and what it decided in its state.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fieldtrial.control.engine import outcomes as ends
from fieldtrial.control.engine.hung import Watch
from fieldtrial.control.engine.row import Row
from fieldtrial.control.engine.state import load_state, save_state
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.places.interface import Cause, Ended, Place, Task
from fieldtrial.disk.outages import is_outage
from fieldtrial.disk.run import Record, RecordReader, Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep

POLL_SECONDS = 0.1
RUNS_PER_SECOND = 160  # whose records are looked for: with many runs, in each more rarely
DISK_ADVICE = "mend that and run the same command again: nothing is lost"

Listener = Callable[[str, Trial], None]


class SweepError(RuntimeError):
    """The sweep cannot go on; the message says why and what to do."""


class Engine:
    """Runs a sweep in its folder, from where it stands there.

    `listen` is called with an event (started, notice, stopping, done, failed, again) and the trial
    it is about; `check` before anything is done to the sweep, and may raise.
    """

    def __init__(
        self,
        sweep: Sweep,
        folder: SweepFolder,
        place: Place,
        listen: Listener = lambda *_: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._check_right = check
        self.sweep, self.folder, self.place, self.listen = sweep, folder, place, listen
        self.rows: list[Row]
        self.sources: dict[str, Trial]
        self._readers: dict[str, RecordReader] = {}
        self._stops: list[Trial] = []
        self._watch = Watch(place)
        self.rows, self.sources = self._resume() or self._begin()

    def trials(self) -> Iterator[Trial]:
        """Yield all trials so far: sources, then row by row."""
        yield from self.sources.values()
        for row in self.rows:
            yield from row.trials
            yield from row.finals or []

    def unattended(self) -> set[str]:
        """Return the names of the runs that were handed to the place and that no worker is at.

        None has begun them, as far as their records showed last, or the job of theirs waits for
        another start.
        """
        requeued = self.place.backlog.requeued if self.place.backlog else ()
        running = [trial for trial in self.trials() if trial.status == "running"]
        return {
            trial.name for trial in running if trial.name in requeued or not self._has_begun(trial)
        }

    def run(self) -> None:
        """Run until every row has its search and its finals.

        Raises:
            SweepError: the first trials all failed with the same error, or the disk is full.
            OSError: the file system is away (see `is_outage`): another engine can go on from what
            is there.
        """
        try:
            self._run_all()
        except OSError as error:
            if is_outage(error):
                raise
            raise SweepError(
                f"{self.folder.path}: {error.strerror or error}; {DISK_ADVICE}"
            ) from error

    def _run_all(self) -> None:
        while True:
            self._check_failures()
            starts = self._next_starts()
            if not starts and not any(trial.live for trial in self.trials()):
                self._save()
                return
            if starts or self._stops:
                self._check_right()
                self._save()
                self._carry_out(starts)
            pause = max(POLL_SECONDS, len(self._readers) / RUNS_PER_SECOND)
            ended = self.place.wait(pause, more=self._count_to_come())
            self._check_right()
            self._deliver()
            for end in ended:
                self._end(end)
            self._watch.look()

    def retry(self) -> int:
        """Set the failed trials back to waiting, for good, and return how many. The diverged would
        diverge again.
        """
        failed = [
            trial for trial in self.trials() if trial.status == "failed" and not trial.diverged
        ]
        for trial in failed:
            trial.status, trial.accumulate, trial.problem = "waiting", 1, None
            trial.get_on()
            if trial.role == "search" and trial.row is not None:
                self.rows[trial.row].reopen(trial)
        self._check_right()
        self._save()
        return len(failed)

    # State

    def _begin(self) -> tuple[list[Row], dict[str, Trial]]:
        configs = [row.source for row in self.sweep.planned if row.source]
        sources = {
            config.id: Trial(f"source-{config.id}", "source", None, config) for config in configs
        }
        rows = [Row(self.sweep, number) for number in range(len(self.sweep.rows))]
        for listed in self.folder.trials():  # the state is gone, and the trials are not
            if listed["role"] == "search":
                run = self.folder.run(listed["trial"])
                rows[listed["row"]].recall(run.config(), run.result())
        self.place.adopt([])  # nobody knows any more what may be under way for this sweep: it ends
        return rows, sources

    def _resume(self) -> tuple[list[Row], dict[str, Trial]] | None:
        state = load_state(self.folder.state_path)
        if state is None:
            return None
        rows, sources = state
        for row in rows:
            if (row.budget, row.seeds) != (self.sweep.trials_per_row, self.sweep.seeds):
                row.extend(self.sweep.trials_per_row, self.sweep.seeds)
        trials = [
            *sources.values(),
            *(trial for row in rows for trial in [*row.trials, *(row.finals or [])]),
        ]
        self._adopt([trial for trial in trials if trial.status == "running"])
        return rows, sources

    def _adopt(self, running: list[Trial]) -> None:
        """Take up the trials that run on without a driver; the others resume from their checkpoints
        when it is time.
        """
        under_way = {
            task.run.name for task in self.place.adopt([self._task(trial) for trial in running])
        }
        for trial in running:
            if trial.name not in under_way:
                trial.status = "waiting"
                continue
            self._follow(trial)
            if trial.stopped_at is not None:
                self._stops.append(trial)

    def _save(self) -> None:
        save_state(self.folder.state_path, (self.rows, self.sources))

    # Starting and stopping

    def _next_starts(self) -> list[Trial]:
        """Return the trials to start now: what waits already, then finals, then the rows' next
        proposals in turn.
        """
        running = {trial.name for trial in self.trials() if trial.status == "running"}
        free = self.place.slots - len(running)
        starts: list[Trial] = []
        while len(starts) < free:
            trial = self._next_waiting(running) or self._propose()
            if trial is None:
                break
            twin = self._diverged_twin(trial)
            if twin is not None:
                self.folder.list_trial(trial.name, trial.row, trial.role)
                trial.start, trial.told = twin.start, twin.told
                self._failed(
                    trial, "diverged", f"as {twin.trial_id} with the same configuration did"
                )
            elif trial.name not in running:  # else it waits for the run that it shares
                starts.append(trial)
                running.add(trial.name)
                trial.status = "running"
                trial.attempt = 1 + max([trial.attempt, *self._run(trial).attempts()])
        return starts

    def _diverged_twin(self, trial: Trial) -> Trial | None:
        """Return a trial of the same configuration that has diverged, as this one would."""
        twins = (
            other
            for other in self.trials()
            if other.name == trial.name and other.status == "failed"
        )
        return next((twin for twin in twins if twin.diverged), None)

    def _has_finished_twin(self, trial: Trial) -> bool:
        """Return whether another trial, which nobody stopped, has ended with the same run."""
        twins = (
            other for other in self.trials() if other.name == trial.name and other is not trial
        )
        return any(twin.status == "done" and twin.stopped_at is None for twin in twins)

    def _next_waiting(self, taken: set[str]) -> Trial | None:
        for row in self.rows:
            if row.complete and row.finals is None:
                self._add_finals(row)
        return next(
            (
                trial
                for trial in self.trials()
                if trial.status == "waiting" and trial.name not in taken
            ),
            None,
        )

    def _add_finals(self, row: Row) -> None:
        row.add_finals()
        winner = row.winner()
        self.folder.list_trial(winner.name if winner else None, row.number, "winner")

    def _propose(self) -> Trial | None:
        """Return a new trial of the row that has had the fewest, among those whose source is done.

        A row whose newest trial waits for a twin's run has nothing to add before it hears of that.
        """
        open_rows = [row for row in self.rows if row.may_propose and self._has_source(row)]
        return min(open_rows, key=lambda row: len(row.trials)).propose() if open_rows else None

    def _count_to_come(self) -> int:
        """Return how many trials could be started now if there were slots for them."""
        waiting = sum(trial.status == "waiting" for trial in self.trials())
        return waiting + sum(
            row.budget - len(row.trials)
            for row in self.rows
            if row.may_propose and self._has_source(row)
        )

    def _has_source(self, row: Row) -> bool:
        return row.source is None or self.sources[row.source].status == "done"

    def _carry_out(self, starts: list[Trial]) -> None:
        for trial in self._stops:
            if trial.status == "running":
                self._run(trial).request_stop()
                self.place.stop(self._task(trial))
                self.listen("stopping", trial)
        self._stops = []
        for trial in starts:
            Run.create(self._run(trial).path, trial.config)
            self.folder.list_trial(trial.name, trial.row, trial.role)
            self._follow(trial)
            if trial.stopped_at is not None:
                self._run(trial).request_stop()
            self.place.start(self._task(trial))
            self.listen("started", trial)

    # Records and ends

    def _deliver(self) -> None:
        """Tell the rows the new records of all running trials in the order in which they were
        written.
        """
        news: list[tuple[Record, Trial]] = []
        for trial in self.trials():
            if trial.status == "running" and trial.name in self._readers:
                news += [(record, trial) for record in self._readers[trial.name].read()]
        for record, trial in sorted(news, key=lambda item: item[0]["time"]):
            self._hear(trial, record)

    def _hear(self, trial: Trial, record: Record) -> None:
        self._watch.hear(trial.name, record)
        if notice := record.get("notice"):
            trial.notice = str(notice)
            self.listen("notice", trial)
        if record["epoch"] <= trial.told:
            return  # a repetition after a resume
        trial.told = record["epoch"]
        trial.seconds += record.get("seconds", 0.0)
        trial.get_on()
        if (
            trial.role == "search"
            and trial.row is not None
            and self.rows[trial.row].hear(trial, record)
        ):
            self._stops.append(trial)

    def _end(self, end: Ended) -> None:
        trial = next(
            t for t in self.trials() if t.status == "running" and t.name == end.task.run.name
        )
        del self._readers[trial.name]
        verdict = self._watch.end(trial.name)
        run = self._run(trial)
        error = run.error()
        result = run.result()
        if result is not None:
            self._done(
                trial,
                result if self._has_finished_twin(trial) else ends.as_decided(run, trial, result),
            )
        elif trial.stopped_at is not None:
            self._done(trial, ends.stopped_result(self._run(trial), trial))
        elif error is not None and error["attempt"] >= trial.attempt:
            self._failed(trial, error["kind"], error["message"])
        elif end.error is not None:
            self._failed(trial, *end.error)
        else:
            self._died(trial, end.cause, verdict or end.death or "its worker gave no result")

    def _done(self, trial: Trial, result: Mapping[str, Any]) -> None:
        trial.status, trial.problem = "done", None
        if result["outcome"] == "stopped" and trial.stopped_at is None:
            trial.stopped_at = trial.told  # it shares the run of a trial that was stopped
        elif trial.stopped_at is None:
            trial.best = result[self.sweep.select]  # of the epoch whose weights were kept
        if trial.role == "search" and trial.row is not None:
            self.rows[trial.row].end(trial)
        self.listen("done", trial)

    def _failed(self, trial: Trial, kind: str, message: str) -> None:
        if kind == "disk":
            trial.status = "waiting"
            raise SweepError(f"{self._run(trial).path}: {message}; {DISK_ADVICE}")
        if kind == "outage":
            self._died(trial, "interruption", message)
            return
        if kind == "memory" and ends.cut_batches(trial, self.place.processes):
            self.listen("again", trial)
            return
        trial.status, trial.problem = "failed", f"{kind}: {message}"
        if trial.role == "search" and trial.row is not None:
            self.rows[trial.row].fail(trial, diverged=kind == "diverged")
        self.listen("failed", trial)

    def _died(self, trial: Trial, cause: Cause, death: str) -> None:
        """Run a trial again, from its checkpoint: a worker's death is the machine's fault, until it
        keeps happening.
        """
        reason = ends.reason_to_give_up(trial, cause, death)
        if reason is None:
            trial.status, trial.problem = "waiting", death
            self.listen("again", trial)
        else:
            self._run(trial).write_error("died", reason, trial.attempt)
            self._failed(trial, "died", reason)

    def _check_failures(self) -> None:
        ended = [trial for trial in self.trials() if trial.status in ("done", "failed")]
        most = self.sweep.most_failures
        if failed := ends.same_first_error(ended):
            what = (
                f"the first {len(ended)} trials failed with the same error; mend it and give"
                " --retry"
            )
        elif failed := ends.one_failure_too_many(ended, most):
            what = (
                f"more than {most} trials failed; mend that and give --retry, or --max-failures N;"
                " one of them"
            )
        else:
            return
        self._save()
        raise SweepError(f"{what}:\n{ends.story(failed, self._run(failed))}")

    def _follow(self, trial: Trial) -> None:
        """Hear of a trial that runs from now on."""
        self._readers[trial.name] = RecordReader(self._run(trial))
        self._watch.begin(self._task(trial))

    def _has_begun(self, trial: Trial) -> bool:
        reader = self._readers.get(trial.name)
        return reader is not None and reader.newest >= trial.attempt

    def _task(self, trial: Trial) -> Task:
        return Task(self._run(trial), trial.attempt, trial.role == "final", trial.accumulate)

    def _run(self, trial: Trial) -> Run:
        return self.folder.run(trial.name)
