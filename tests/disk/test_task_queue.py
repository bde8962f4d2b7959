"""The task queue: each task is claimed by one worker and answered once, whatever dies when."""

import json
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fieldtrial.disk.task_queue import Answer, Task, TaskQueue


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskQueue:
    monkeypatch.chdir(tmp_path)  # of the sweep, whose runs the tasks name
    made = TaskQueue(tmp_path / "queue")
    made.open()
    return made


def task(name: str = "aaaa", attempt: int = 1) -> Task:
    return Task(str(Path.cwd() / name), attempt, test=True)


def answer(queue: TaskQueue, worker: str, name: str) -> Answer:
    given = Answer(worker, name, "finished")
    queue.answer(given)
    return given


def test_a_task_goes_to_a_worker_and_its_answer_back(queue: TaskQueue) -> None:
    assert (queue.waiting(), queue.claimed(), queue.answers()) == (set(), {}, [])
    queue.put(task())
    assert queue.waiting() == {"aaaa-1.json"}
    assert not queue.has_started("7")
    queue.register("7", {"node": "n1"})
    assert queue.has_started("7")
    assert queue.claim("7") == task()
    assert (queue.waiting(), queue.claimed()) == (set(), {"aaaa-1.json": "7"})
    failed = Answer("7", "aaaa-1.json", "failed", ("disk", "no space"))
    queue.answer(failed)
    assert queue.claimed() == {}
    assert queue.answers() == [failed]
    assert queue.answers() == []
    assert queue.claim("7") is None


def test_of_many_claimants_one_gets_a_task(queue: TaskQueue) -> None:
    workers = [str(number) for number in range(8)]
    for worker in workers:
        queue.register(worker, {})
    names = [f"{number:04x}" for number in range(40)]
    for name in names:
        queue.put(task(name))
    got: list[str] = []
    begin = threading.Barrier(len(workers))

    def work(worker: str) -> None:
        begin.wait()
        while claimed := queue.claim(worker):
            got.append(Path(claimed.run).name)
            answer(queue, worker, claimed.name)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert Counter(got) == Counter(names)
    assert Counter(given.task for given in queue.answers()) == Counter(
        f"{name}-1.json" for name in names
    )


def test_the_oldest_task_is_claimed_first(queue: TaskQueue) -> None:
    queue.register("7", {})
    for name in ("cccc", "aaaa", "bbbb"):
        queue.put(task(name))
    order = []
    while claimed := queue.claim("7"):
        order.append(Path(claimed.run).name)
        answer(queue, "7", claimed.name)
    assert order == ["cccc", "aaaa", "bbbb"]


def test_a_worker_that_starts_again_has_its_own_task_first(queue: TaskQueue) -> None:
    queue.register("7", {})
    queue.put(task("aaaa", attempt=3))
    assert queue.claim("7") == task("aaaa", attempt=3)
    queue.put(task("bbbb"))
    again = TaskQueue(queue.folder).claim("7")
    assert again == task("aaaa", attempt=3)
    assert again
    later = again.again([1, 2, 3])
    assert (later.attempt, later.restarts, later.name) == (4, 1, "aaaa-3.json")
    assert later.again([1, 2, 3, 4, 5]).name == "aaaa-3.json"
    assert later.again([1, 2, 3, 4, 5]).attempt == 6
    assert again.again([1, 2]) == again, "it had not written anything"
    answer(queue, "7", later.name)
    assert queue.claimed() == {}
    assert queue.claim("7") == task("bbbb")


def test_torn_lines_are_passed_over(queue: TaskQueue) -> None:
    queue.register("7", {})
    first = answer(queue, "7", "aaaa-1.json")
    path = queue.folder / "workers" / "7" / "answers.jsonl"
    with path.open("ab") as file:
        file.write(b'{"worker": "7", "ta')
    assert queue.answers() == [first]
    assert queue.answers() == []
    second = answer(TaskQueue(queue.folder), "7", "bbbb-1.json")
    assert queue.answers() == [second]
    queue.rewind()
    assert queue.answers() == [first, second]


def test_answers_of_some_workers_are_heard_alone(queue: TaskQueue) -> None:
    for worker in ("7", "8"):
        queue.register(worker, {})
    first, second = answer(queue, "7", "aaaa-1.json"), answer(queue, "8", "bbbb-1.json")
    assert queue.answers({"8", "9"}) == [second], "9 has not started yet"
    assert queue.answers() == [first]


def test_half_an_answer_is_waited_for(queue: TaskQueue) -> None:
    queue.register("7", {})
    given = answer(queue, "7", "aaaa-1.json")
    path = Path(queue.folder / "workers" / "7" / "answers.jsonl")
    line = path.read_bytes()
    for end in range(len(line)):
        path.write_bytes(line[:end])
        assert queue.answers() == []
    path.write_bytes(line)
    assert queue.answers() == [given]


def test_tasks_are_taken_back(queue: TaskQueue) -> None:
    queue.register("7", {})
    queue.put(task("aaaa"))
    queue.withdraw("aaaa-1.json")
    queue.withdraw("aaaa-1.json")
    assert queue.claim("7") is None
    queue.put(task("bbbb"))
    assert queue.claim("7")
    queue.withdraw("bbbb-1.json")
    assert queue.claimed() == {"bbbb-1.json": "7"}, "what is claimed is not withdrawn"
    queue.forget("7", "bbbb-1.json")
    queue.forget("7", "bbbb-1.json")
    assert queue.claimed() == {}
    queue.put(task("cccc"))
    assert queue.claim("7")
    queue.forget_all()
    assert (queue.claimed(), queue.has_started("7")) == ({}, True)


def test_another_driver_hears_all_answers(queue: TaskQueue) -> None:
    for worker in ("7", "8_0"):
        queue.register(worker, {})
    given = [answer(queue, "7", "aaaa-1.json"), Answer("8_0", None, "left")]
    queue.answer(given[1])
    assert queue.answers() == given
    assert TaskQueue(queue.folder).answers() == given
    queue.rewind()
    assert queue.answers() == given


def test_it_is_closed_and_opened_again(queue: TaskQueue) -> None:
    assert not queue.closed
    queue.close()
    assert queue.closed
    assert queue.open() is False
    assert not queue.closed


def test_workers_of_another_edition_get_no_more_tasks(queue: TaskQueue) -> None:
    queue.register("7", {})
    for name in ("aaaa", "bbbb"):
        queue.put(task(name))
    assert queue.claim("7") == task("aaaa")
    changed = TaskQueue(queue.folder, "changed")
    assert changed.open() is True
    changed.put(task("cccc"))
    assert changed.waiting() == queue.waiting() == {"bbbb-1.json", "cccc-1.json"}
    assert changed.claimed() == {"aaaa-1.json": "7"}, "what is under way goes on"
    given = answer(queue, "7", "aaaa-1.json")
    assert changed.answers() == [given]
    assert queue.claim("7") is None
    assert (queue.closed, changed.closed) == (True, False)
    for worker in ("8", "9"):
        changed.register(worker, {})
    assert [changed.claim("8"), changed.claim("9")] == [task("bbbb"), task("cccc")]
    assert TaskQueue(queue.folder, "changed").open() is False


def test_processes_of_one_start_meet_in_one_file(queue: TaskQueue) -> None:
    assert queue.rendezvous("7", "0") == queue.rendezvous("7", "0")
    assert (
        len({queue.rendezvous(worker, start) for worker in ("7", "8") for start in ("0", "1")}) == 4
    )


def test_what_is_registered_can_be_read(queue: TaskQueue) -> None:
    queue.register("7", {"node": "n1"})
    facts = json.loads((queue.folder / "workers" / "7" / "worker.json").read_text())
    assert facts["node"] == "n1"
    assert facts["started"] > 0


def test_a_worker_takes_the_waiting_tasks_of_a_group_up_to_its_number(queue: TaskQueue) -> None:
    for name, group in [("a", "g"), ("b", "h"), ("c", "g"), ("d", ""), ("e", "g"), ("f", "g")]:
        queue.put(replace(task(name), group=group))
    for worker in ("7", "8"):
        queue.register(worker, {})
    first = queue.claim("7")
    assert first
    assert queue.count_waiting("g") == 3
    assert [one.trial for one in queue.claim_group("7", first, 3)] == ["a", "c", "e"]
    assert queue.claims("7") == {"a-1@g.json", "c-1@g.json", "e-1@g.json"}
    assert queue.waiting() == {"b-1@h.json", "d-1.json", "f-1@g.json"}
    # Started again, the job finds its own first, and then those that wait.
    again = TaskQueue(queue.folder).claim("7")
    assert again
    assert {one.trial for one in queue.claim_group("7", again, 9)} == {"a", "c", "e", "f"}
    alone = queue.claim("8")
    assert alone
    assert [one.trial for one in queue.claim_group("8", alone, 9)] == [alone.trial]
