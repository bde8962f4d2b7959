"""Killed at any moment and started again, a trial ends with the same numbers; damaged checkpoints
are survived.
"""

import multiprocessing
import pickle
import random
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.run import Record, Run
from fieldtrial.disk.task_queue import Task
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop import checkpoint
from fieldtrial.worker.tasks import work

pytestmark = pytest.mark.usefixtures("each_epoch_saved")

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]
Start = Callable[[Run, int], ForkServerProcess]

KILLS = 4

# Everything that has a state: momentum, statistics, dropout, augmentation, schedule, patience, a
# seed of its own.
STATEFUL = {
    "model": "cnn",
    "filters": [8],
    "classes": "4",
    "epochs": 25,
    "dropout": 0.2,
    "augmentation": ["crop", "rotation"],
    "schedule": "cosine",
    "warmup_fraction": 0.2,
    "label_smoothing": 0.1,
    "gradient_clip": 1.0,
    "patience": 24,
    "weight_decay": 0.01,
    "decay_all": False,
    "seed": 3,
}

TIMES = ("minutes", "epoch_minutes", "minutes_alone", "device_hours")


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Start a process that does an attempt at a run. All are forked from one in which the imports
    are done.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("FIELDTRIAL_CHECKPOINT_SECONDS", "0")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["fieldtrial.worker.tasks"])

        def start_attempt(run: Run, attempt: int) -> ForkServerProcess:
            process = context.Process(target=work, args=(Task(str(run.path), attempt), World()))
            process.start()
            return process

        yield start_attempt


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("sgd", marks=pytest.mark.chaos)])
def test_a_trial_killed_at_random_moments_ends_as_if_it_had_not_been(
    optimizer: str, new_run: NewRun, start: Start, numbers: Numbers
) -> None:
    undisturbed, killed = (
        new_run(name, **STATEFUL, optimizer=optimizer) for name in ("undisturbed", "killed")
    )
    start(undisturbed, 1).join()
    assert undisturbed.error() is None
    moments = random.Random(optimizer)
    for attempt in range(1, KILLS + 1):
        process = start(killed, attempt)
        if attempt % 2:
            _wait_for_epochs(killed, process, moments.randint(1, 3))
            time.sleep(moments.uniform(0, 0.1))  # an epoch takes that long
        else:
            _wait_for_a_checkpoint_being_written(killed, process)
        process.kill()
        process.join()
    assert killed.error() is None
    assert killed.result() is None, "this test needs more epochs"
    start(killed, KILLS + 1).join()
    assert numbers(killed) == numbers(undisturbed)
    assert killed.weights_path.read_bytes() == undisturbed.weights_path.read_bytes()
    assert not list(killed.path.glob("checkpoint*"))


def _wait_for_epochs(run: Run, process: ForkServerProcess, more: int) -> None:
    known = len(run.records())
    while process.is_alive() and len(run.records()) < known + more:
        time.sleep(0.001)


def _wait_for_a_checkpoint_being_written(run: Run, process: ForkServerProcess) -> None:
    folder = Path(run.checkpoint_path(0).parent)
    known = set(folder.glob(".*.tmp"))
    while process.is_alive() and not set(folder.glob(".*.tmp")) - known:
        time.sleep(0)


def test_a_record_lost_between_checkpoint_and_file_comes_again(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    whole, halted = new_run("whole"), new_run("halted")
    train_until(whole)
    train_until(halted, last_epoch=2)
    file = halted.path / "metrics-1.jsonl"
    file.write_bytes(
        b"".join(file.read_bytes().splitlines(keepends=True)[:2]) + b'{"epoch": 2, "tra'
    )
    assert [record["epoch"] for record in train_until(halted, attempt=2)] == [2, 3]
    assert numbers(halted) == numbers(whole)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "nadam"])
@pytest.mark.parametrize("before", ["contiguous", "channels_last"])
def test_a_trial_goes_on_in_another_memory_format(
    before: str,
    optimizer: str,
    new_run: NewRun,
    train_until: TrainUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields = {"model": "cnn", "filters": [8], "blocks": 3, "optimizer": optimizer, "epochs": 2}
    whole, changed = (new_run(name, **fields) for name in ("whole", "changed"))
    train_until(whole)
    monkeypatch.setenv("FIELDTRIAL_MEMORY_FORMAT", before)
    train_until(changed, last_epoch=1)
    other = {"contiguous": "channels_last", "channels_last": "contiguous"}[before]
    monkeypatch.setenv("FIELDTRIAL_MEMORY_FORMAT", other)
    train_until(changed, attempt=2)
    for name in ("train_loss", "validation_loss", "gradient_norm"):
        one, another = (run.records()[2][name] for run in (whole, changed))
        assert another == pytest.approx(one, rel=2e-3)


def test_a_trial_killed_before_its_result_is_written_only_writes_it(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    whole, halted = new_run("whole"), new_run("halted")
    train_until(whole)
    train_until(halted, last_epoch=3)
    assert halted.result() is None
    assert [record["epoch"] for record in train_until(halted, attempt=2)] == [3]
    assert halted.weights_path.read_bytes() == whole.weights_path.read_bytes()
    assert numbers(halted) == numbers(whole)


@pytest.mark.parametrize("left", [0, 100, 0.5, 0.99])
def test_a_truncated_checkpoint_is_replaced_by_the_one_before_and_it_is_said(
    left: float,
    new_run: NewRun,
    train_until: TrainUntil,
    numbers: Numbers,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole, halted = new_run("whole"), new_run("halted")
    train_until(whole)
    train_until(halted, last_epoch=2)
    newest = Path(halted.checkpoints()[0])
    content = newest.read_bytes()
    newest.write_bytes(content[: int(left if left >= 1 else left * len(content))])
    records = train_until(halted, attempt=2)
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert str(newest) in caplog.text
    assert records[0].pop("notice") == "checkpoint epoch-00002.pt was damaged, went on from epoch 1"
    assert [record for record in records if "notice" in record] == []
    with_notice = numbers(halted)
    assert with_notice[1].pop("notice")
    assert with_notice == numbers(whole)
    assert halted.weights_path.read_bytes() == whole.weights_path.read_bytes()


def test_without_any_whole_checkpoint_a_trial_starts_over(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers, caplog: pytest.LogCaptureFixture
) -> None:
    whole, halted = new_run("whole"), new_run("halted")
    train_until(whole)
    train_until(halted, last_epoch=2)
    for path in map(Path, halted.checkpoints()):
        path.write_bytes(b"PK\x03\x04 and nothing more")
    records = train_until(halted, attempt=2)
    assert [record["epoch"] for record in records] == [0, 1, 2, 3]
    assert caplog.text.count("not a whole checkpoint") == 2
    notice = "checkpoint epoch-00002.pt, epoch-00001.pt was damaged, started over"
    with_notice = numbers(halted)
    assert [record.pop("notice", None) for record in with_notice] == [notice, None, None, None]
    assert with_notice == numbers(whole)


def test_a_damaged_checkpoint_of_the_best_epoch_is_noticed_while_it_can_be_made_anew(
    new_run: NewRun,
    train_until: TrainUntil,
    validate_as: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    validate_as(*((1.0, accuracy) for accuracy in (0.1, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5)))
    run = new_run(epochs=6)
    train_until(run, last_epoch=4)
    assert {path.stem for path in run.checkpoints()} == {
        "epoch-00001",
        "epoch-00003",
        "epoch-00004",
    }
    Path(run.checkpoint_path(1)).write_bytes(b"")
    assert train_until(run, attempt=2)[0]["epoch"] == 0
    assert str(run.checkpoint_path(1)) in caplog.text
    assert run.result() is not None


def test_the_newest_two_checkpoints_are_kept_and_the_best(
    new_run: NewRun, train_until: TrainUntil, validate_as: Callable[..., None]
) -> None:
    validate_as(*((1.0, accuracy) for accuracy in (0.1, 0.5, 0.9, 0.6, 0.7, 0.6, 0.5)))
    run = new_run(epochs=9)
    train_until(run, last_epoch=6)
    assert {path.stem for path in run.checkpoints()} == {
        "epoch-00002",
        "epoch-00005",
        "epoch-00006",
    }


def test_a_checkpoint_of_another_config_is_refused_with_the_fields_that_differ(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    other, run = new_run("other", lr=0.02, batch_size=32), new_run("run")
    train_until(other, last_epoch=1)
    target = Path(run.checkpoint_path(1))
    target.parent.mkdir()
    target.write_bytes(other.checkpoint_path(1).read_bytes())
    with pytest.raises(
        ConfigError, match=r"(?s)lr is 0.02 there and 0.001 now.*batch_size is 32 there and 64 now"
    ) as error:
        train_until(run)
    assert str(target) in str(error.value)
    assert target.exists()


class Malicious:
    """Unpickling this would create the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_strangers_checkpoint_runs_no_code(
    zipped: bool, new_run: NewRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, trace = new_run(), tmp_path / "trace"
    path = Path(run.checkpoint_path(1))
    path.parent.mkdir()
    if zipped:
        torch.save({"model": Malicious(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(trace)))
    assert checkpoint.load(run, run.config(), World())[0] is None
    assert not trace.exists()
    assert str(path) in caplog.text
    pickle.loads(pickle.dumps(Malicious(trace)))  # which is dangerous indeed
    assert trace.exists()


STRANGE: list[Any] = [
    5, [], {}, {"progress": 5}, {"progress": {}}, {"progress": {"epoch": 1, "best_epoch": "x"}},
    {"progress": {"epoch": 10**30, "best_epoch": 0}}, {"config": []}, {"model": 5},
    {"optimizer": []}, {"record": None}, {"facts": 5}, {"loss": 5},
]  # fmt: skip


@pytest.mark.parametrize("change", STRANGE)
def test_a_checkpoint_of_another_form_is_damaged(change: Any, tmp_path: Path) -> None:
    known: dict[str, Any] = {"config": {}, "model": {"a": torch.ones(1)}, "optimizer": {}}
    known |= {"progress": {"epoch": 1, "best_epoch": 0}, "record": {}, "facts": {"flops": 1}}
    torch.save(known, tmp_path / "whole.pt")
    assert checkpoint.read(Inside(tmp_path, ("whole.pt",)))["facts"] == {"flops": 1}
    torch.save(known | change if change and change != 5 else change, tmp_path / "strange.pt")
    with pytest.raises(ValueError, match=r"strange\.pt: not a whole checkpoint"):
        checkpoint.read(Inside(tmp_path, ("strange.pt",)))


def test_a_checkpoint_holds_tensors_and_plain_data_by_name(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run()
    train_until(run, last_epoch=1)
    state = checkpoint.read(run.checkpoint_path(1))
    assert TrainConfig.from_dict(state["config"]) == run.config()
    weights = {name for name in state["model"] if name.endswith(("weight", "bias"))}
    assert set(state["optimizer"]) == weights
    for name, values in state["optimizer"].items():
        assert set(values) == {"step", "exp_avg", "exp_avg_sq"}
        assert values["exp_avg"].shape == state["model"][name].shape
    assert state["record"]["epoch"] == 1


@pytest.mark.parametrize("ended_by", ["epochs", "patience"])
def test_killed_between_the_last_checkpoint_and_the_result(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers, ended_by: str
) -> None:
    fields = {"patience": 1, "lr": 1e-12, "epochs": 9} if ended_by == "patience" else {"epochs": 2}
    whole, killed = (new_run(name, **fields) for name in ("whole", "killed"))
    train_until(whole)
    last = whole.records()[-1]["epoch"]
    train_until(killed, last_epoch=last)
    assert (
        checkpoint.read(killed.checkpoint_path(last))["optimizer"] == {}
    )  # nothing goes on from it
    assert checkpoint.read(killed.checkpoint_path(last - 1))["optimizer"] != {} or last == 1
    train_until(killed, attempt=2)
    assert numbers(killed) == numbers(whole)
    results = [dict(run.result() or {}) for run in (killed, whole)]
    for result in results:
        for measured in (*TIMES, "peak_memory_mb", "attempt"):
            result.pop(measured, None)
    assert results[0] == results[1]
    assert results[0]["reason"] == ended_by
    assert killed.weights_path.read_bytes() == whole.weights_path.read_bytes()
