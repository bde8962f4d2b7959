"""What becomes of the tasks of a batch: restarts, failures, other drivers."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from fieldtrial.control.batch.item import Item
from fieldtrial.control.batch.loop import MOST_CUT, Batch
from fieldtrial.control.places.interface import Backlog, Cause, Ended
from fieldtrial.control.running import hung
from fieldtrial.control.running.deaths import MOST_DEATHS, MOST_INTERRUPTIONS
from fieldtrial.control.running.errors import WorkError
from fieldtrial.disk.task_queue import Task, TaskQueue
from fieldtrial.disk.work.videos import VideosFolder

CAUSES: dict[str, Cause] = {"death": "death", "limit": "time limit", "preempted": "interruption"}


class ScriptedPlace:
    """A place whose workers do what a script says: a step in each wait.

    script: {task: what its attempts do}: `part` records 10 more frames, `done` ends it well; others
    are ends of an attempt: death, limit, preempted, memory, disk, outage, error:TEXT, early, hang.
    As a real one does, an attempt records at its start how far the one before it came.
    """

    processes = together = 1
    backlog: Backlog | None = None

    def __init__(self, script: dict[str, str], slots: int = 2) -> None:
        self.slots, self.started = slots, list[Task]()
        self.most, self.killed = 0, list[str]()
        self._script = {name: words.split() for name, words in script.items()}
        self._running = dict[str, Task]()
        self._frames = dict[str, int]()
        self.now = 0.0

    def adopt(self, tasks: Iterable[Task]) -> list[Task]:
        self._running = {task.trial: task for task in tasks}
        return list(self._running.values())

    def start(self, task: Task) -> None:
        assert task.trial not in self._running
        self.started.append(task)
        self._running[task.trial] = task
        self.most = max(self.most, len(self._running))
        assert self.most <= self.slots

    def wait(self, seconds: float, more: int = 0) -> list[Ended]:
        assert seconds > 0
        assert more >= 0
        self.now += 50
        ended = [self._step(task) for task in list(self._running.values())]
        return [end for end in ended if end]

    def _step(self, task: Task) -> Ended | None:
        run, name = task.open_run(), task.trial
        word = self._script[name].pop(0)
        if word == "early":  # an error before the attempt has begun
            del self._running[name]
            run.write_error("config", f"no weights for {name}", task.attempt)
            return Ended(task)
        if word == "hang":
            self._script[name].insert(0, word)
            return None
        with run.recorder(task.attempt) as recorder:
            frames = self._frames.setdefault(name, 0)
            if run.record_lines(task.attempt, 0) == b"":
                recorder.write({"epoch": frames // 10, "seconds": 0.0, "frames": frames})
            if word == "part":
                self._frames[name] = frames = frames + 10
                recorder.write({"epoch": frames // 10, "seconds": 1.0, "frames": frames})
                return None
        del self._running[name]
        if word == "done":
            run.write_result({"outcome": "finished"})
            return Ended(task)
        if word in CAUSES:
            return Ended(task, death=f"{word} of {name}", cause=CAUSES[word])
        if word in ("disk", "outage"):
            return Ended(task, error=(word, f"{word} of {name}"))
        kind, _, message = word.partition(":")
        run.write_error(kind, message or f"no memory for {name}", task.attempt, "its traceback")
        return Ended(task)

    def stop(self, task: Task) -> None:
        raise AssertionError(task)

    def dump(self, task: Task) -> bool:
        return bool(task.open_run().attempts())

    def kill(self, task: Task) -> None:
        self.killed.append(task.trial)
        self._script[task.trial][0] = "death"

    def close(self, detach: bool = False) -> None:
        pass


class Told:
    """What a batch tells."""

    def __init__(self) -> None:
        self.events, self.frames = list[str](), 0

    def on_event(self, event: str, item: Item) -> None:
        self.events.append(f"{event} {item.name}")

    def on_progress(self, count: int) -> None:
        self.frames += count


def batch_of(
    path: Path, place: ScriptedPlace, names: Sequence[str], told: Told | None = None
) -> Batch:
    told = told or Told()
    folder = VideosFolder(path)
    sizes = dict.fromkeys(names, 30)
    return Batch(
        *(folder, sizes, "frames", place, told.on_event, told.on_progress),
        clock=lambda: place.now,
    )


def test_tasks_run_within_the_slots_and_resume_until_they_are_done(tmp_path: Path) -> None:
    place = ScriptedPlace(
        {
            "a": "part death death part death death part done",
            "b": "preempted part limit done",
            "c": "part memory memory part done",
            "d": "outage done",
        }
    )
    told = Told()
    batch = batch_of(tmp_path, place, "abcd", told)
    assert batch.run() == []
    assert place.most == 2
    attempts = [(task.trial, task.attempt, task.accumulate) for task in place.started]
    assert sorted(attempts) == [
        *[("a", number, 1) for number in range(1, 6)],
        *[("b", 1, 1), ("b", 2, 1), ("b", 3, 1)],
        *[("c", 1, 1), ("c", 2, 2), ("c", 3, 4)],
        *[("d", 1, 1), ("d", 2, 1)],
    ]
    assert told.frames == 4 * 30
    assert sorted(event for event in told.events if event.startswith("done")) == [
        f"done {name}" for name in "abcd"
    ]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("death part " + "death " * MOST_DEATHS, f"its worker died {MOST_DEATHS} times in a row"),
        ("limit " * MOST_DEATHS, "a part must fit into a job's time_limit_minutes"),
        ("preempted " * MOST_INTERRUPTIONS, f"interrupted {MOST_INTERRUPTIONS} times"),
        ("memory " * 7, "memory: no memory for a"),
        ("error:broken", "error: broken"),
        ("early", "config: no weights for a"),
    ],
)
def test_a_task_fails_after_too_much_and_the_others_go_on(
    tmp_path: Path, script: str, problem: str
) -> None:
    place = ScriptedPlace({"a": script, "b": "part part part done"})
    (failed,) = batch_of(tmp_path, place, "ab").run()
    assert failed.name == "a"
    assert problem in str(failed.problem)
    assert max(task.accumulate for task in place.started) <= MOST_CUT
    # The next command tries it again, and is not misled by what the last attempt has left.
    last = max(task.attempt for task in place.started if task.trial == "a")
    again = ScriptedPlace({"a": "death part done"})
    assert batch_of(tmp_path, again, "a").run() == []
    assert [task.attempt for task in again.started] == [last + 1, last + 2]


def test_the_same_first_error_or_a_full_disk_ends_the_batch(tmp_path: Path) -> None:
    place = ScriptedPlace(dict.fromkeys("abcd", "error:no_weights"), slots=1)
    with pytest.raises(WorkError, match=r"first 3 tasks failed .*\nerror: no_weights\nits trace"):
        batch_of(tmp_path / "x", place, "abcd").run()
    place = ScriptedPlace({"a": "error:one", "b": "error:other", "c": "error:one"}, slots=1)
    assert len(batch_of(tmp_path / "y", place, "abc").run()) == 3
    with pytest.raises(WorkError, match="disk of a; fix that and run the same command again"):
        batch_of(tmp_path / "z", ScriptedPlace({"a": "disk"}), "a").run()


def test_what_an_earlier_driver_has_queued_is_followed_and_not_started_again(
    tmp_path: Path,
) -> None:
    folder = VideosFolder(tmp_path)
    queue = TaskQueue(folder.queue_path, "now")
    queue.open()
    for name, attempt in (("a", 3), ("b", 1), ("stranger", 1)):
        queue.put(Task(str(folder.run(name).path.resolve()), attempt))
    queue.claim("7")
    place = ScriptedPlace({"a": "part done", "b": "done", "c": "done"}, slots=3)
    batch = batch_of(tmp_path, place, "abc")
    assert {name: item.status for name, item in batch.items.items()} == {
        **{"a": "running", "b": "running"},
        "c": "waiting",
    }
    assert batch.run() == []
    assert [(task.trial, task.attempt) for task in place.started] == [("c", 1)]
    assert (batch.items["a"].attempt, batch.items["b"].attempt) == (3, 1)


def test_a_task_without_news_is_killed_and_resumes(tmp_path: Path) -> None:
    place = ScriptedPlace({"a": "part part hang part done"})
    batch = batch_of(tmp_path, place, "a")
    assert batch.run() == []
    assert place.killed == ["a"]
    assert [task.attempt for task in place.started] == [1, 2]
    assert place.now > hung.HUNG_SECONDS
