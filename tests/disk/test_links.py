"""A sweep's folder that a stranger has prepared with links to the user's other runs."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.inside import RefusedError
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Answer, Task, TaskQueue

CONFIG = TrainConfig()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A run of the user, in a sweep of the user."""
    run = Run.create(tmp_path / "mine" / CONFIG.id, CONFIG)
    run.write_command("fieldtrial train")
    run.write_error("error", "no message", 1)
    run.log_path(1).parent.mkdir()
    run.log_path(1).touch()
    with run.recorder(1) as records:
        records.write({"epoch": 0})
    run.checkpoint_path(1).parent.mkdir()
    run.checkpoint_path(1).touch()
    SweepFolder(tmp_path / "mine").list_trial(CONFIG.id, 0, "search")
    return run.path


@pytest.fixture
def theirs(tmp_path: Path, mine: Path) -> SweepFolder:
    """The stranger's folder, whose run, queue and lists lead to the user's run."""
    folder = tmp_path / "theirs"
    (folder / "queue" / "workers").mkdir(parents=True)
    (folder / mine.name).symlink_to(mine)
    (folder / "queue" / "tasks-x").symlink_to(mine)
    (folder / "queue" / "workers" / "1_0").symlink_to(mine)
    (folder / "trials.jsonl").symlink_to(mine / "command.txt")
    (folder / "engine.state").symlink_to(mine / "command.txt")
    (folder / "driver.json").symlink_to(mine / "config.json")
    return SweepFolder(folder)


def content(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def record(run: Run) -> None:
    with run.recorder(1) as records:
        records.write({"epoch": 1})


ON_THE_RUN: dict[str, Callable[[Run], object]] = {
    "create": lambda run: Run.create(run.folder, CONFIG),
    "read": Run.config,
    "records": Run.records,
    "record": record,
    "result": lambda run: run.write_result({"outcome": "finished"}),
    "error": lambda run: run.write_error("error", "another", 2),
    "stop": Run.request_stop,
    "environment": lambda run: run.write_environment(1, {}),
    "log": lambda run: run.log_path(1).open("ab"),
    "checkpoints": Run.remove_checkpoints,
    "older checkpoints": lambda run: run.keep_checkpoints(newest=0),
    "weights": lambda run: Path(run.weights_path),
    "events": lambda run: Path(run.tensorboard_folder / "x"),
}


@pytest.mark.parametrize("name", ON_THE_RUN)
def test_a_run_that_is_a_link_is_not_the_sweeps(theirs: SweepFolder, mine: Path, name: str) -> None:
    before = content(mine)
    for run in (theirs.run(mine.name), Task(str(theirs.path / mine.name), 1).open_run()):
        with pytest.raises(RefusedError, match=f"theirs/{mine.name}: is a link"):
            ON_THE_RUN[name](run)
    assert content(mine) == before
    assert theirs.run(mine.name).record_stamps() == {}


@pytest.mark.parametrize("name", ["checkpoint", "log", "metrics-1.jsonl"])
def test_a_link_in_a_run_is_not_followed(theirs: SweepFolder, mine: Path, name: str) -> None:
    before = content(mine)
    run = Run.create(theirs.path / "own", CONFIG)
    (run.path / name).symlink_to(mine / name)
    acts: dict[str, list[Callable[[Run], object]]] = {
        "checkpoint": [Run.remove_checkpoints, lambda run: run.keep_checkpoints(newest=0)],
        "log": [lambda run: run.log_path(1).open("ab")],
        "metrics-1.jsonl": [record, Run.records],
    }
    for act in acts[name]:
        with pytest.raises(RefusedError, match=f"own/{name}: is a link"):
            act(run)
    assert run.record_stamps() == {}
    assert content(mine) == before


ON_THE_QUEUE: dict[str, Callable[[TaskQueue], object]] = {
    "waiting": TaskQueue.waiting,
    "withdraw": lambda queue: queue.withdraw("config.json"),
    "open": TaskQueue.open,
    "claim": lambda queue: queue.claim("1_0"),
    "claimed": TaskQueue.claimed,
    "forget": lambda queue: queue.forget("1_0", "config.json"),
    "forget all": TaskQueue.forget_all,
    "answer": lambda queue: queue.answer(Answer("1_0", "config.json", "finished")),
    "answers": TaskQueue.answers,
    "register": lambda queue: queue.register("1_0", {}),
    "rendezvous": lambda queue: queue.rendezvous("1_0", "0"),
    "termination": lambda queue: queue.termination("1_0", "0").touch(),
}


@pytest.mark.parametrize("name", ON_THE_QUEUE)
def test_a_queue_with_links_is_refused(theirs: SweepFolder, mine: Path, name: str) -> None:
    before = content(mine)
    with pytest.raises(RefusedError, match=r"theirs/queue/(tasks-x|workers/1_0): is a link"):
        ON_THE_QUEUE[name](TaskQueue(theirs.queue_path, "now"))
    assert content(mine) == before


def test_a_queue_that_is_a_link_is_refused(theirs: SweepFolder, mine: Path) -> None:
    (mine / "tasks-").mkdir()
    theirs.queue_path.rmtree()
    Path(theirs.path / "queue").symlink_to(mine)
    for queue in (TaskQueue(theirs.queue_path), TaskQueue(str(theirs.path / "queue"))):
        for act in (TaskQueue.open, TaskQueue.close, TaskQueue.waiting):
            with pytest.raises(RefusedError, match="theirs/queue: is a link"):
                act(queue)


def test_a_task_that_names_a_run_of_another_sweep_is_given_to_nobody(
    tmp_path: Path, mine: Path
) -> None:
    queue = TaskQueue(tmp_path / "theirs" / "queue")
    queue.open()
    queue.put(Task(str(mine), 7))
    queue.register("1_0", {})
    for _ in range(2):  # from the queue, then as one that the worker has claimed before
        with pytest.raises(RefusedError, match=f"its run {mine} is not in {tmp_path / 'theirs'}"):
            queue.claim("1_0")


def test_a_task_is_the_run_of_its_name_in_the_sweep_whatever_its_path_becomes(
    tmp_path: Path,
) -> None:
    sweep = tmp_path / "sweep"
    queue = TaskQueue(sweep / "queue")
    queue.open()
    (sweep / "sub").mkdir()
    queue.put(Task(str(sweep / "sub" / ".." / "run"), 1))
    queue.register("1_0", {})
    claimed = queue.claim("1_0")
    assert claimed
    assert claimed.run == str(sweep.resolve() / "run")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("run-1.json", {"run": "/tmp/a\0b"}),
        ("run-1.json", {"run": "/"}),
        ("run-1.json", {"attempt": 0}),
        ("run-1.json", {"accumulate": 0}),
        ("run-1.json", {"restarts": -1}),
    ],
)
def test_a_task_of_odd_values_is_given_to_nobody(
    tmp_path: Path, name: str, change: dict[str, object]
) -> None:
    queue = TaskQueue(tmp_path / "queue")
    queue.open()
    queue.put(Task(str(tmp_path / "run"), 1))
    queue.register("1_0", {})
    (waiting,) = tmp_path.glob(f"queue/tasks-*/{name}")
    waiting.write_text(json.dumps(json.loads(waiting.read_text()) | change))
    with contextlib.suppress(RefusedError):
        assert queue.claim("1_0") is None


ON_THE_SWEEP: dict[str, Callable[[SweepFolder], object]] = {
    "list": lambda folder: folder.list_trial("x", 0, "search"),
    "trials": SweepFolder.trials,
    "owner": SweepFolder.owner,
    "state": lambda folder: folder.state_path.read_bytes(),
}


@pytest.mark.parametrize("name", ON_THE_SWEEP)
def test_files_of_the_sweep_that_are_links_are_refused(
    theirs: SweepFolder, mine: Path, name: str
) -> None:
    before = content(mine)
    with pytest.raises(RefusedError, match="is a link"):
        ON_THE_SWEEP[name](theirs)
    assert content(mine) == before


def test_what_is_replaced_is_the_link(theirs: SweepFolder, mine: Path) -> None:
    before = content(mine)
    me = {"user": "me", "host": "here", "process": 5}
    theirs.set_owner(me)
    assert theirs.owner() == me
    theirs.set_owner(None)
    assert content(mine) == before


def test_a_trial_of_a_list_leads_out_of_no_folder(theirs: SweepFolder, mine: Path) -> None:
    for name in (f"../mine/{mine.name}", str(mine), ".."):
        with pytest.raises(RefusedError, match="leads out"):
            theirs.run(name).config()
