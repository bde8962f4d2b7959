"""When a trial counts as hung. The place is a stand-in and the clock is set, instead of hours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.places.interface import Place
from fieldtrial.control.running import hung as module
from fieldtrial.control.running.hung import (
    DUMP_SECONDS,
    FIRST_SECONDS,
    HUNG_SECONDS,
    STALL_SECONDS,
    HungWatch,
)
from fieldtrial.disk.run import Run
from fieldtrial.disk.task_queue import Task


class Clock:
    """A clock, and a place that notes what it was asked for and when."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.log: list[tuple[str, float]] = []
        self.at_work = True

    def monotonic(self) -> float:
        return self.now

    def dump(self, _task: Task) -> bool:
        self.log.append(("dump", self.now))
        return self.at_work

    def kill(self, _task: Task) -> None:
        self.log.append(("kill", self.now))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(str(Run.create(tmp_path / "run", TrainConfig()).path), attempt=2)


@pytest.fixture
def look(clock: Clock, task: Task) -> Callable[[float], HungWatch]:
    """Watch the task, and look every second until so many seconds have passed."""
    watch = HungWatch(cast(Place, clock), clock.monotonic)
    watch.begin(task)

    def look_for(seconds: float) -> HungWatch:
        for _ in range(int(seconds)):
            clock.now += 1
            watch.poll()
        return watch

    return look_for


def begin(task: Task, attempt: int) -> None:
    with task.open_run().recorder(attempt):
        pass


def record(epoch: int, seconds: float, attempt: int = 2) -> dict[str, Any]:
    return {"epoch": epoch, "seconds": seconds, "attempt": attempt}


def test_a_trial_that_waits_for_a_node_is_left_alone(
    clock: Clock, task: Task, look: Callable[[float], HungWatch]
) -> None:
    begin(task, 1)  # which ended long ago
    look(5 * FIRST_SECONDS)
    assert clock.log == []


def test_the_first_record_may_take_long_but_not_for_ever(
    clock: Clock, task: Task, look: Callable[[float], HungWatch]
) -> None:
    look(FIRST_SECONDS - 10)
    begin(task, 2)  # at last it has a node
    begun = clock.now
    look(FIRST_SECONDS)
    assert clock.log == []
    look(FIRST_SECONDS)
    assert [word for word, _ in clock.log] == ["dump", "kill"]
    assert begun + FIRST_SECONDS < clock.log[0][1] <= begun + 2 * FIRST_SECONDS


def test_the_first_epoch_may_take_many_times_what_its_evaluation_took(
    clock: Clock, task: Task, look: Callable[[float], HungWatch]
) -> None:
    begin(task, 2)
    look(1).on_record("run", record(0, seconds=100.0))
    look(module.FIRST_EPOCHS * 100)
    assert clock.log == []
    look(2)
    assert [word for word, _ in clock.log] == ["dump"]


@pytest.mark.parametrize(("seconds", "limit"), [(0.1, HUNG_SECONDS), (60.0, 600.0)])
def test_later_records_are_expected_by_the_trials_own_epochs(
    seconds: float, limit: float, clock: Clock, task: Task, look: Callable[[float], HungWatch]
) -> None:
    begin(task, 2)
    watch = look(1)
    watch.on_record("run", record(0, seconds=9.0))
    for epoch, taken in enumerate((seconds, seconds, 50 * seconds), start=1):
        watch.on_record("run", record(epoch, taken))
    start = clock.now
    look(limit + DUMP_SECONDS + 2)
    assert clock.log == [("dump", start + limit + 1), ("kill", start + limit + DUMP_SECONDS + 2)]
    assert (
        watch.end("run")
        == f"it was hung: no record for {limit + DUMP_SECONDS + 2:.0f} s; its stack traces are in"
        f" {task.open_run().log_path(2)}"
    )


def test_a_trial_that_trains_as_one_with_others_is_expected_by_the_epochs_of_all(
    clock: Clock, task: Task, look: Callable[[float], HungWatch]
) -> None:
    begin(task, 2)
    look(1).on_record("run", record(1, seconds=8.0) | {"group_seconds": 80.0})
    look(module.HUNG_EPOCHS * 80)
    assert clock.log == []
    look(2)
    assert [word for word, _ in clock.log] == ["dump"]


def test_a_record_in_the_last_moment_saves_a_trial(
    clock: Clock, task: Task, look: Callable[[float], HungWatch]
) -> None:
    begin(task, 2)
    look(1).on_record("run", record(1, seconds=1.0))
    watch = look(HUNG_SECONDS + 2)
    watch.on_record("run", record(2, seconds=1.0))
    look(HUNG_SECONDS)
    assert [word for word, _ in clock.log] == ["dump"]
    assert watch.end("run") is None


def test_a_task_that_is_queued_anew_is_left_alone_and_then_has_its_time(
    clock: Clock, task: Task, look: Callable[[float], HungWatch]
) -> None:
    begin(task, 2)
    look(1).on_record("run", record(1, seconds=1.0))
    clock.at_work = False  # preempted
    look(10 * HUNG_SECONDS)
    assert {word for word, _ in clock.log} == {"dump"}
    clock.at_work, clock.log = True, []
    begin(task, 3)
    look(FIRST_SECONDS)  # its images may have to be decoded again
    assert clock.log == []
    look(HUNG_SECONDS + 9)
    assert [word for word, _ in clock.log] == ["dump", "kill"]


def test_an_attempt_that_goes_on_is_measured_by_epochs_from_its_first_record_on(
    clock: Clock, task: Task, look: Callable[[float], HungWatch]
) -> None:
    begin(task, 2)
    look(1).on_record("run", record(1, seconds=1.0))
    begin(task, 3)
    watch = look(HUNG_SECONDS + 2)  # the node of attempt 3 is seen to be at work
    watch.on_record("run", record(1, seconds=1.0, attempt=3))
    look(HUNG_SECONDS)
    assert clock.log == []
    look(DUMP_SECONDS + 3)
    assert [word for word, _ in clock.log] == ["dump", "kill"]


def test_an_epoch_whose_record_is_repeated_counts_once(
    clock: Clock, task: Task, look: Callable[[float], HungWatch]
) -> None:
    begin(task, 2)
    watch = look(1)
    for epoch, seconds in enumerate((600.0, 60.0, 60.0), start=1):
        watch.on_record("run", record(epoch, seconds))
    for attempt in (3, 4, 5):  # each preempted before another epoch
        begin(task, attempt)
        watch.on_record("run", record(1, 600.0, attempt))
    look(10 * 60)
    assert clock.log == []
    look(2)
    assert [word for word, _ in clock.log] == ["dump"]


def test_after_a_stall_of_the_driver_nothing_counts_as_hung(
    clock: Clock, task: Task, look: Callable[[float], HungWatch]
) -> None:
    begin(task, 2)
    look(1).on_record("run", record(1, seconds=1.0))
    look(STALL_SECONDS)
    clock.now += 10 * HUNG_SECONDS  # stopped, or waiting for a file system
    look(HUNG_SECONDS)
    assert clock.log == []


def test_the_fit_of_a_support_vector_machine_reports_nothing_and_is_not_hung(
    clock: Clock, task: Task
) -> None:
    with task.open_run().recorder(task.attempt):  # a worker has begun it
        pass
    watch = HungWatch(cast(Place, clock), clock.monotonic)
    watch.begin(task, has_epochs=False)
    for _ in range(int(4 * FIRST_SECONDS)):
        clock.now += 1
        watch.poll()
    assert clock.log == []
