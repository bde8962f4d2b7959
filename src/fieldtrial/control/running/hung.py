"""Finds trials that are hung, has their stack traces dumped, and kills their workers."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fieldtrial.control.places.interface import Place
from fieldtrial.disk.run import Record
from fieldtrial.disk.task_queue import Task

# A trial is hung if it reports nothing for ten times its usual epoch. Other jobs on a node make an
# epoch two or three times as long. A busy file system may need five minutes for a checkpoint.
HUNG_EPOCHS = 10
HUNG_SECONDS = 300.0
# Before the first epoch there is only the duration of epoch 0, an evaluation of the validation
# images without gradients. With a tenth of the images for validation, an epoch takes 14 times as
# long. Before that, images may have to be decoded.
FIRST_EPOCHS = 100
FIRST_SECONDS = 1800.0
DUMP_SECONDS = 5.0  # for the processes to write their stack traces
# After so long a gap between two polls, this process was suspended or waited for a file system, and
# so perhaps did the trials.
STALL_SECONDS = 60.0
POLL_SECONDS = 1.0  # between two looks at all tasks, which may be thousands


@dataclass
class Heartbeat:
    """When a task last reported something, and how often it should.

    since: when it last reported.
    has_epochs: whether it reports each epoch. The fit of a support vector machine, which may take
        hours, reports nothing before its end, so it never counts as hung.
    attempt: the newest attempt that is known to have begun: a requeued job begins one by itself.
    reported: the last attempt that has written a record.
    epoch: the last epoch that was completed.
    evaluation, epochs: the seconds of epoch 0, and of each later epoch.
    dumped: when its stack traces were asked for.
    verdict: why its worker was killed.
    """

    task: Task
    since: float
    has_epochs: bool = True
    attempt: int = 0
    reported: int = 0
    epoch: int = 0
    evaluation: float = 0.0
    epochs: list[float] = field(default_factory=list)
    dumped: float | None = None
    verdict: str | None = None

    @property
    def limit(self) -> float:
        """After how many seconds without a record the task is hung."""
        if not self.has_epochs:
            return math.inf
        if not self.epochs or self.reported < self.attempt:  # images may have to be decoded again
            return max(FIRST_SECONDS, FIRST_EPOCHS * self.evaluation)
        return max(HUNG_SECONDS, HUNG_EPOCHS * statistics.median(self.epochs))


class HungWatch:
    """Watches the records of running trials, and has a place kill those that are hung."""

    def __init__(self, place: Place, clock: Callable[[], float] = time.monotonic) -> None:
        self._place, self._clock = place, clock
        self._heartbeats: dict[str, Heartbeat] = {}
        self._polled = clock()

    def begin(self, task: Task, has_epochs: bool = True) -> None:
        """Watch a task from now on."""
        self._heartbeats[task.trial] = Heartbeat(task, self._clock(), has_epochs)

    def on_record(self, trial: str, record: Record) -> None:
        """Take a record of a trial as its heartbeat."""
        heartbeat = self._heartbeats[trial]
        heartbeat.since = self._clock()
        heartbeat.attempt = heartbeat.reported = record["attempt"]
        heartbeat.dumped = heartbeat.verdict = None
        if record["epoch"] == 0:
            heartbeat.evaluation = record["seconds"]
        elif record["epoch"] > heartbeat.epoch:  # not an epoch that a later attempt repeats
            heartbeat.epoch = record["epoch"]
            # A trial that trains as one with others has to wait for the epoch of all.
            heartbeat.epochs.append(record.get("group_seconds") or record["seconds"])

    def end(self, trial: str) -> str | None:
        """Watch a trial no more. Returns why its worker was killed as hung, if it was."""
        return self._heartbeats.pop(trial).verdict

    def poll(self) -> None:
        """Have the stack traces of hung tasks dumped, and kill their workers a moment later."""
        now = self._clock()
        if now < self._polled + POLL_SECONDS:
            return
        stalled, self._polled = now > self._polled + STALL_SECONDS, now
        for heartbeat in self._heartbeats.values():
            if stalled:
                heartbeat.since = now
            elif heartbeat.dumped is not None:
                if now > heartbeat.dumped + DUMP_SECONDS:
                    self._kill(heartbeat, now)
            elif now > heartbeat.since + HUNG_SECONDS and now > heartbeat.since + heartbeat.limit:
                self._dump(heartbeat, now)

    def _dump(self, heartbeat: Heartbeat, now: float) -> None:
        newest = heartbeat.task.open_run().newest_attempt
        has_begun = newest >= heartbeat.task.attempt  # otherwise it waits for a node
        if has_begun and newest == heartbeat.attempt and self._place.dump(heartbeat.task):
            heartbeat.dumped = now
        else:
            heartbeat.since, heartbeat.attempt = now, newest if has_begun else 0

    def _kill(self, heartbeat: Heartbeat, now: float) -> None:
        log = heartbeat.task.open_run().log_path(heartbeat.attempt)
        heartbeat.verdict = (
            f"it was hung: no record for {now - heartbeat.since:.0f} s; its stack traces are in"
            f" {log}"
        )
        heartbeat.since, heartbeat.dumped = now, None  # if it survives this, it is killed again
        self._place.kill(heartbeat.task)
