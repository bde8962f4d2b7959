"""A place in virtual time for tests of the engine: no process is started, and nothing sleeps.

What its workers do is a function of each trial's learning rate. An engine can be killed at any of
its actions, and restarted from its saved state.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from ray import tune

from fieldtrial.budget import SEARCH_SEEDS
from fieldtrial.config import TrainConfig
from fieldtrial.control.engine import row as row_module
from fieldtrial.control.engine.journal.state import StateFile, load_state
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.engine.trials import Change, State, Trials
from fieldtrial.control.places.interface import Backlog, Cause, Ended
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task
from fieldtrial.sweep import Sweep
from tests.control.engine.searcher import Searcher

RATES = [number / 1000 for number in range(1, 9)]  # the learning rates, of which each has a Script
NEVER = math.inf
MOST_WAITS = 20_000  # an engine that waits so often will never end
LONGEST_WAIT = 50.0  # shorter than the stall after which the watch for hung trials starts again
CAUSES: tuple[Cause, ...] = ("death", "time limit", "interruption")
SAVE = StateFile.save
DEATHS: dict[str, Cause] = {str(cause): cause for cause in CAUSES}


@dataclass(frozen=True)
class Script:
    """What the workers of a configuration do.

    quality: of its accuracies, 0 to 10.
    faults: {epoch: what happens to attempts before it is completed, one after another}: death, time
    limit, interruption, hang, requeue, outage, disk, group (its group has failed), error (of this
    trial alone), or the message of an error.
    memory: the gradient accumulation without which it runs out of memory.
    repeats: how many epochs an attempt repeats when it resumes.
    is_deaf: whether it finishes although it was asked to stop.
    luck: how much the accuracies are better with the seeds of searches than with fresh ones.
    """

    quality: int = 5
    seconds: float = 1.0
    faults: dict[int, tuple[str, ...]] = field(default_factory=dict)
    diverges_at: int | None = None
    memory: int = 1
    repeats: int = 0
    is_deaf: bool = False
    report_seconds: float = 0.0
    luck: float = 0.0

    def accuracy(self, epoch: int, seed: int) -> float:
        """Return the validation accuracy after an epoch."""
        luck = 0.0 if seed % SEARCH_SEEDS else self.luck
        return 0.1 + (0.08 * self.quality + luck) * (1 - 0.5**epoch)


class Killed(BaseException):
    """The driver was killed."""


@dataclass
class Worker:
    """A worker at a task: `due` is when its next step happens."""

    task: Task
    attempt: int
    due: float
    epoch: int | None = None  # the next to complete; None before it has begun
    end: Ended | None = None


class VirtualPlace:
    """A place whose time is virtual, and whose workers outlive a killed engine if `is_cluster`.

    kills: after how many actions each engine is killed, one after another.
    """

    processes = 1

    def __init__(
        self,
        folder: SweepFolder,
        scripts: Sequence[Script] = (Script(),) * len(RATES),
        slots: int = 1,
        is_cluster: bool = False,
        kills: Sequence[int] = (),
        together: int = 1,
    ) -> None:
        self.folder, self.slots, self.is_cluster = folder, slots, is_cluster
        self.together, self.most_running = together, 0
        self.backlog = Backlog() if is_cluster else None
        self.engine: Engine | None = None
        self.contest: Callable[[SweepFolder], Mapping[int, int]] = lambda _: {}
        self.epochs = 0  # of all trials
        self.started: list[Task] = []
        self.events: list[tuple[str, str]] = []  # event, trial id
        self.decisions: dict[str, int] = {}  # trial id -> the epoch it was stopped at
        self._scripts, self._kills = list(scripts), list(kills)
        self._faults: dict[str, dict[int, list[str]]] = {}  # of each trial, those that are to come
        self._configs: dict[str, TrainConfig] = {}
        self._now, self._waits = 0.0, 0
        self._workers: list[Worker] = []
        self._answered: list[Worker] = []

    # The engine's life

    def clock(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def act(self) -> None:
        """Count an action of the engine, which may be its last."""
        if self._kills:
            self._kills[0] -= 1
            if self._kills[0] < 0:
                self._kills.pop(0)
                raise Killed

    def on_event(self, event: str, trial: Trial) -> None:
        """Note an event of the engine."""
        self.events.append((event, trial.trial_id))
        self.act()

    def save(self, file: StateFile, state: Callable[[], State], change: Change) -> None:
        """Save the engine's state; a decision that was saved once must never change.

        An engine that is killed meanwhile has written half of a change.
        """
        self.act()
        path, is_change = self.folder.path / "engine.state", file._file is not None
        before = path.stat().st_size if is_change else 0
        SAVE(file, state, change)
        after = path.stat().st_size
        try:
            self.act()
        except Killed:
            if is_change and after > before:
                os.truncate(path, (before + after) // 2)
            raise
        rows, _ = state()
        for trial in (trial for row in rows for trial in row.trials):
            if trial.trial_id in self.decisions:
                assert trial.stopped_at == self.decisions[trial.trial_id], "stopped elsewhere"
            elif trial.stopped_at is not None:
                self.decisions[trial.trial_id] = trial.stopped_at

    def crash(self) -> None:
        """Do what happens to workers when their driver is killed."""
        if not self.is_cluster:
            self._workers = []

    def hold_contest(self, folder: SweepFolder) -> Mapping[int, int]:
        """Return how many final runs rows should have; the engine may be killed in between."""
        self.act()
        wanted = self.contest(folder)
        self.act()
        return wanted

    # What the engine asks for

    def adopt(self, tasks: Iterable[Task]) -> list[Task]:
        """Return the tasks whose workers still run, or have answered; end all others."""
        wanted = list(tasks)
        candidates = [*self._workers, *self._answered] if self.is_cluster else []
        self._workers = [worker for worker in candidates if worker.task in wanted]
        self._answered = []
        return [worker.task for worker in self._workers]

    def start(self, task: Task) -> None:
        """Start a task that the saved state knows to be running."""
        self.act()
        tasks = [task, *(worker.task for worker in self._workers)]
        assert len({one.trial for one in tasks}) == len(tasks), "the trial runs already"
        parts = sum(1 if one.group else self.together for one in tasks)
        assert parts <= self.slots * self.together, "more tasks than slots"
        self.most_running = max(self.most_running, len(tasks))
        rows, sources = load_state(self.folder, self.folder.require_description()) or ([], {})
        known = list(Trials(rows, sources))
        assert ("running", task.attempt) in {
            (trial.status, trial.attempt) for trial in known if trial.name == task.trial
        }, "it was started before it was saved"
        self.started.append(task)
        # It may have been answered already for a row that shares its run.
        self._answered = [worker for worker in self._answered if worker.task != task]
        self._workers.append(Worker(task, task.attempt, self._now + self._script(task).seconds))
        self.act()

    def stop(self, task: Task) -> None:
        """Check that there is a stop file."""
        self.act()
        assert task.open_run().stop_requested()

    def dump(self, task: Task) -> bool:
        """Return whether a task has begun."""
        return any(w.task == task and w.epoch is not None for w in self._workers)

    def kill(self, task: Task) -> None:
        """End a task's worker."""
        for worker in self._workers:
            if worker.task == task and worker.end is None:
                self._end(worker, death=f"it was killed ({task.trial})")

    def wait(self, seconds: float, more: int = 0) -> list[Ended]:
        """Go on to the next step of a worker, or by `seconds`; return the tasks that have ended."""
        self.act()
        assert more >= 0
        self._waits += 1
        assert self._waits < MOST_WAITS, "the engine never ends"
        self._check_stops()
        step = min((worker.due for worker in self._workers), default=NEVER)
        wait = min(step - self._now, LONGEST_WAIT) if self._workers else seconds
        self._now += max(0.0, wait)
        ended = []
        for worker in [worker for worker in self._workers if worker.due <= self._now]:
            if worker.end is None:
                self._step(worker)
            else:
                self._workers.remove(worker)
                ended.append(worker.end)
                if worker.end.death is None:  # an answer, which the next driver finds again
                    self._answered.append(worker)
        return ended

    def close(self, detach: bool = False) -> None:
        """Do nothing."""

    def _check_stops(self) -> None:
        """Check that a trial that is to be stopped has a stop file before the engine waits."""
        assert self.engine
        for trial in self.engine.trials():
            if trial.status == "running" and trial.stopped_at is not None:
                assert self.folder.run(trial.name).stop_requested(), "a stop was forgotten"

    # What workers do

    def _config(self, task: Task) -> TrainConfig:
        if task.trial not in self._configs:
            self._configs[task.trial] = task.open_run().config()
        return self._configs[task.trial]

    def _script(self, task: Task) -> Script:
        return self._scripts[RATES.index(self._config(task).lr)]

    def _end(self, worker: Worker, **how: Any) -> None:
        worker.end = Ended(worker.task, **how)
        worker.due = self._now + self._script(worker.task).report_seconds

    def _step(self, worker: Worker) -> None:
        run, script = worker.task.open_run(), self._script(worker.task)
        worker.due = self._now + script.seconds
        if worker.epoch is None:
            if run.result():
                self._end(worker)
                return
            with run.recorder(worker.attempt):
                done = max((record["epoch"] for record in run.records()), default=-1)
            worker.epoch = min(self.epochs, max(0, done + 1 - script.repeats))
            return
        if not self._fails(worker, run, script):
            self._complete_epoch(worker, run, script)

    def _fails(self, worker: Worker, run: Run, script: Script) -> bool:
        """Return whether something happens to an attempt before it completes another epoch."""
        assert worker.epoch is not None
        name = worker.task.trial
        to_come = {epoch: list(kinds) for epoch, kinds in script.faults.items()}
        faults = self._faults.setdefault(name, to_come).get(worker.epoch)
        if faults:
            kind = faults.pop(0)
            if kind in DEATHS:
                self._end(worker, death=f"{kind} of {name}", cause=DEATHS[kind])
            elif kind == "hang":
                worker.due = NEVER
            elif kind == "requeue":
                worker.attempt, worker.epoch = max(run.attempts()) + 1, None
            elif kind in ("outage", "disk", "group"):
                self._end(worker, error=(kind, f"{kind} of {name}"))
            else:
                message = f"error of {name}" if kind == "error" else kind
                run.write_error("error", message, worker.attempt, "its traceback")
                self._end(worker)
            return True
        if worker.epoch > 0 and worker.task.accumulate < script.memory:
            run.write_error("memory", f"no memory for {name}", worker.attempt)
            self._end(worker)
            return True
        if script.diverges_at is not None and worker.epoch >= max(1, script.diverges_at):
            run.write_error("diverged", f"loss is nan at step {worker.epoch}", worker.attempt)
            self._end(worker)
            return True
        return False

    def _complete_epoch(self, worker: Worker, run: Run, script: Script) -> None:
        epoch, last = worker.epoch or 0, self.epochs
        accuracy = script.accuracy(epoch, self._config(worker.task).seed)
        scores = {"validation_accuracy": accuracy, "validation_loss": 1 - accuracy}
        scores |= {"best_epoch": epoch}
        with run.recorder(worker.attempt) as recorder:
            recorder.write({"epoch": epoch, "seconds": script.seconds, **scores})
        is_stopped = run.stop_requested() and not script.is_deaf and epoch < last
        if is_stopped or epoch == last:
            scores |= {"test_accuracy": accuracy, "test_loss": 0.0} if worker.task.test else {}
            outcome = {"outcome": "stopped" if is_stopped else "finished", "epochs": epoch}
            size = {"parameters": 10, "trainable_parameters": 5, "flops": 100}
            facts = {"minutes": 1.0, "attempt": worker.attempt, **size}
            run.write_result({**outcome, **facts, **scores})
            self._end(worker)
        worker.epoch = epoch + 1


def run_sweep(sweep: Sweep, place: VirtualPlace, retry: bool = False) -> Engine:
    """Run a sweep to its end. An engine that is killed is restarted from its saved state."""
    place.folder.write_description(sweep.describe(place.folder.name))
    place.epochs = sweep.base.epochs
    with (
        mock.patch.object(StateFile, "save", lambda *parts: place.save(*parts)),
        mock.patch.object(row_module, "build_searcher", lambda *_: Searcher(RATES)),  # noqa: PT008
    ):
        while True:
            try:
                place.engine = Engine(
                    *(sweep, place.folder, place, place.on_event, place.act, place.clock),
                    contest=place.hold_contest,
                )
                if retry:
                    place.engine.retry()
                place.engine.run()
                return place.engine
            except Killed:
                place.crash()


def make_sweep(**fields: Any) -> Sweep:
    """Return a sweep of one row that searches the learning rate."""
    base = TrainConfig(epochs=fields.pop("epochs", 4), lr=RATES[0], batch_size=8)
    asked: dict[str, Any] = {"rows": [{"optimizer": "sgd"}], "trials": 4, "seeds": 0}
    asked |= {"search": {"lr": tune.choice(RATES)}, "max_failures": 100}
    return Sweep(base=base, **asked | fields)
