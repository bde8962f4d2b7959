"""Watch: notices trials that have been silent for too long, has it written down what they are
doing, and ends them.
"""

import statistics
import time
from dataclasses import dataclass, field

from fieldtrial.control.places.interface import Place, Task
from fieldtrial.disk.run import Record

# An epoch that takes ten times as long as usual is no slow one: neighbours on a node cost a factor
# of two or three. Short epochs get five minutes, which a busy file system may take for a
# checkpoint.
SILENT_EPOCHS = 10
SILENT_SECONDS = 300.0
# Before the first epoch is done there is nothing to go by but the evaluation that is epoch 0, on a
# few images and without gradients: with a tenth of them for validation, an epoch has 14 times its
# work. Before that, images may have to be decoded first.
FIRST_EPOCHS = 100
FIRST_SECONDS = 1800.0
DUMP_SECONDS = 5.0  # to write down what each thread does
# between two looks: this process was stopped, or its file system away, and so perhaps the trials'
STALL_SECONDS = 60.0


@dataclass
class Silence:
    """How long nothing was heard of a task, and what is usual there."""

    task: Task
    since: float
    attempt: int = (
        0  # the last that was seen to have begun: workers may start a task again by themselves
    )
    heard: int = 0  # the last that a record has come of
    epoch: int = 0  # the last one done
    evaluation: float = 0.0  # epoch 0's seconds
    epochs: list[float] = field(default_factory=list)  # their seconds
    dumped: float | None = None
    verdict: str | None = None

    @property
    def limit(self) -> float:
        """After how many seconds something is wrong."""
        if (
            not self.epochs or self.heard < self.attempt
        ):  # which may have to decode all images once more
            return max(FIRST_SECONDS, FIRST_EPOCHS * self.evaluation)
        return max(SILENT_SECONDS, SILENT_EPOCHS * statistics.median(self.epochs))


class Watch:
    """Hears what running trials write, and has a place end those that write no more."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._silences: dict[str, Silence] = {}
        self._looked = time.monotonic()

    def begin(self, task: Task) -> None:
        """Watch a task from now on."""
        self._silences[task.run.name] = Silence(task, time.monotonic())

    def hear(self, name: str, record: Record) -> None:
        """Take in a record of the run with that name."""
        silence = self._silences[name]
        silence.since, silence.attempt, silence.heard = (
            time.monotonic(),
            record["attempt"],
            record["attempt"],
        )
        silence.dumped = silence.verdict = None
        if record["epoch"] == 0:
            silence.evaluation = record["seconds"]
        elif (
            record["epoch"] > silence.epoch
        ):  # else it is where an attempt goes on from, or repeated
            silence.epoch = record["epoch"]
            silence.epochs.append(record["seconds"])

    def end(self, name: str) -> str | None:
        """Watch a run no more. Returns why its task was ended, if that was done here."""
        return self._silences.pop(name).verdict

    def look(self) -> None:
        """Have the tasks dumped that were silent for too long, and end those that were dumped a
        moment ago.
        """
        now = time.monotonic()
        stalled, self._looked = now > self._looked + STALL_SECONDS, now
        for silence in self._silences.values():
            if stalled:
                silence.since = now
            elif silence.dumped is not None:
                if now > silence.dumped + DUMP_SECONDS:
                    self._kill(silence, now)
            elif now > silence.since + SILENT_SECONDS and now > silence.since + silence.limit:
                self._dump(silence, now)

    def _dump(self, silence: Silence, now: float) -> None:
        newest = max(silence.task.run.attempts(), default=0)
        has_begun = newest >= silence.task.attempt  # else it waits for a node
        if has_begun and newest == silence.attempt and self._place.dump(silence.task):
            silence.dumped = now
        else:
            silence.since, silence.attempt = now, newest if has_begun else 0

    def _kill(self, silence: Silence, now: float) -> None:
        log = silence.task.run.log_path(silence.attempt)
        silence.verdict = (
            f"it was silent for {now - silence.since:.0f} s; what it was doing is in {log}"
        )
        silence.since, silence.dumped = now, None  # should it survive this, it is tried again
        self._place.kill(silence.task)
