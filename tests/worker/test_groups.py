"""Trials whose heads train together: the numbers are those of each alone, and so are the ends."""

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch

from fieldtrial.disk.run import Run
from fieldtrial.disk.task_queue import Task
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.trained_state import frozen_digest, frozen_state
from fieldtrial.training.heads import clock, group
from fieldtrial.training.heads.stack import Heads
from fieldtrial.training.loop import checkpoint
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.fit import Fit, open_trial
from fieldtrial.worker.groups import work_together
from fieldtrial.worker.tasks import work
from tests.training.conftest import MEASURED
from tests.worker.test_main import started

NewRun = Callable[..., Run]
Answers = list[tuple[str, dict[str, Any]]]

PROBE = {"weights": "run:source", "freeze": "all_but_head", "classes": "4", "epochs": 6}
TIMES = {"minutes", "minutes_alone", "device_hours", "epoch_minutes", "peak_memory_mb", "attempt"}
TIMES |= {"features_device_hours"}  # of the first that needs them
# of four heads
SETTINGS: list[dict[str, object]] = [
    {"lr": 1e-3},
    {"lr": 3e-3, "weight_decay": 0.1, "label_smoothing": 0.1, "schedule": "cosine", "seed": 1},
    {"lr": 1e-2, "gradient_clip": 0.5, "schedule": "plateau", "plateau_patience": 1, "seed": 2},
    {"lr": 2e-3, "patience": 1, "select": "validation_loss", "decay_all": False},
]


@pytest.fixture(autouse=True)
def _source(new_run: NewRun) -> None:
    """Train a network, whose frozen layers all trials here have."""
    assert work(Task(str(new_run("source", classes="4", epochs=1).path), 1), World())


@pytest.fixture
def probes(new_run: NewRun) -> Callable[..., list[Run]]:
    """Make linear probes of the source, one for each of the settings."""

    def make(
        name: str, settings: list[dict[str, object]] = SETTINGS, **fields: object
    ) -> list[Run]:
        return [
            new_run(f"{name}-{number}", **{**PROBE, **fields, **own})
            for number, own in enumerate(settings)
        ]

    return make


def tasks(runs: list[Run], attempt: int = 1, test: bool = False) -> list[Task]:
    return [Task(str(run.path), attempt, test, group="probes") for run in runs]


def do_together(runs: list[Run], attempt: int = 1, test: bool = False) -> Answers:
    """Do them in this process; return the answers in the order in which they came."""
    answers: Answers = []

    def note(task: Task, answer: dict[str, Any]) -> None:
        answers.append((task.trial, answer))

    work_together(tasks(runs, attempt, test), World(), 0.0, note)
    return answers


def do_alone(runs: list[Run], test: bool = False, attempt: int = 1) -> None:
    for task in tasks(runs, attempt, test):
        assert work(task, World()) == {"outcome": "finished"}


def require_equal(own: Run, other: Run) -> None:
    """Require that records, results and weights are equal but for rounding."""
    pairs = [*zip(own.records(), other.records(), strict=True), (own.result(), other.result())]
    for one, two in pairs:
        assert one is not None
        assert two is not None
        left_out = {*MEASURED, *TIMES}
        mine, theirs = ({k: v for k, v in r.items() if k not in left_out} for r in (one, two))
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            near = (
                pytest.approx(theirs[name], abs=1e-5) if isinstance(value, float) else theirs[name]
            )
            assert value == near, name
    weights, others = (safetensors.torch.load_file(run.weights_path) for run in (own, other))
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam"])
def test_trials_together_end_as_each_of_them_alone(
    optimizer: str, probes: Callable[..., list[Run]]
) -> None:
    together, alone = (probes(name, optimizer=optimizer) for name in ("together", "alone"))
    answers = do_together(together, test=True)
    assert sorted(answers) == [(run.name, {"outcome": "finished"}) for run in together]
    do_alone(alone, test=True)
    for own, other in zip(together, alone, strict=True):
        require_equal(own, other)
        assert own.environment()["1"]["together"] == len(together)
        assert "together" not in other.environment()["1"]
        assert own.predictions_path("test").exists()
        assert not own.checkpoints()


def test_heads_are_tested_on_a_fold_as_each_of_them_alone(
    new_run: NewRun, probes: Callable[..., list[Run]]
) -> None:
    fold = {"folds": 3, "fold": 1}
    source = new_run("of-fold", classes="4", epochs=1, **fold)
    assert work(Task(str(source.path), 1), World())
    fields = {"weights": "run:of-fold", "epochs": 1, **fold}
    together, alone = (probes(name, SETTINGS[:2], **fields) for name in ("these", "those"))
    do_together(together, test=True)
    do_alone(alone, test=True)
    for own, other in zip(together, alone, strict=True):
        require_equal(own, other)
        assert (own.result() or {})["test_images"] == 241


def test_the_device_time_of_a_group_is_shared_out(probes: Callable[..., list[Run]]) -> None:
    runs = probes("together")
    began = time.monotonic()
    do_together(runs)
    seconds = time.monotonic() - began
    results = [run.result() or {} for run in runs]
    # Each one's files of results are written after its time was told.
    assert seconds / 2 < sum(60 * result["minutes"] for result in results) < seconds
    assert not any("minutes_alone" in result for result in results)


def test_who_ends_first_leaves_its_share_of_the_device_to_the_others(
    probes: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, *others = probes("together", SETTINGS[:3])
    stopped.request_stop()
    seconds, step = [0.0], Heads.step

    def take_long(heads: Heads, *given: Any, **more: Any) -> Any:
        seconds[0] += 1e6
        return step(heads, *given, **more)

    def now() -> float:
        return time.monotonic() + seconds[0]

    monkeypatch.setattr(Heads, "step", take_long)
    for module in (clock, group):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=now, perf_counter=now))
    do_together([others[0], stopped, others[1]])
    taken, in_epochs = (
        [60 * (run.result() or {})[name] for run in (stopped, *others)]
        for name in ("minutes", "epoch_minutes")
    )
    assert sum(taken) == pytest.approx(seconds[0], rel=1e-3)
    assert in_epochs[1:] == pytest.approx(taken[1:], rel=1e-3)
    last = others[0].records()[-1]
    of_group = 2 * last["seconds"]
    assert last["group_seconds"] == pytest.approx(of_group)
    images = sum((run.result() or {})["train_images"] for run in others)
    assert last["images_per_second"] == pytest.approx(images / of_group, rel=1e-3)


def test_a_stopped_trial_is_answered_at_once_and_the_others_go_on(
    probes: Callable[..., list[Run]],
) -> None:
    stopped, *others = probes("together", SETTINGS[:3])
    stopped.request_stop()
    answers = do_together([others[0], stopped, others[1]])
    assert answers[0] == (stopped.name, {"outcome": "stopped"})
    assert [record["epoch"] for record in stopped.records()] == [0]
    assert stopped.weights_path.exists()
    alone = probes("alone", SETTINGS[:3])
    do_alone(alone)
    for own, other in zip(others, alone[1:], strict=True):
        require_equal(own, other)


def test_a_trial_that_diverges_ends_alone(probes: Callable[..., list[Run]]) -> None:
    wild: dict[str, object] = {"lr": 1e38}
    runs, alone = (
        probes(name, [SETTINGS[0], wild, SETTINGS[1]], optimizer="sgd")
        for name in ("together", "alone")
    )
    answers = dict(do_together(runs))
    work(tasks(alone)[1], World())
    error, own = alone[1].error(), runs[1].error()
    assert error is not None
    assert own is not None
    assert (own["kind"], own["message"]) == ("diverged", error["message"])
    told = {"kind": "diverged", "message": error["message"]}
    assert answers[runs[1].name] == {"outcome": "failed", "error": told}
    assert answers[runs[0].name] == answers[runs[2].name] == {"outcome": "finished"}
    assert len(runs[0].records()) == 7


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("of one head")]
)
def test_all_trials_of_a_group_that_fails_are_answered_at_once_and_can_go_on_alone(
    error: Exception, probes: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTRIAL_CHECKPOINT_SECONDS", "0")
    together, alone = (probes(name, SETTINGS[:3]) for name in ("together", "alone"))
    step, steps = Heads.step, list[int]()

    def step_or_fail(heads: Heads, *given: Any, **more: Any) -> Any:
        steps.append(len(heads.configs))
        if len(steps) == 30:  # in the middle of an epoch
            raise error
        return step(heads, *given, **more)

    monkeypatch.setattr(Heads, "step", step_or_fail)
    told = {"kind": "group", "message": f"its group has failed, so it goes on alone: {error}"}
    assert do_together(together) == [
        (run.name, {"outcome": "failed", "error": told}) for run in together
    ]
    assert len(steps) == 30, "no head takes another step"
    assert all(run.result() is None and run.error() is None for run in together)
    do_alone(together, attempt=2)
    do_alone(alone)
    for own, other in zip(together, alone, strict=True):
        assert own.attempts() == [1, 2]
        require_equal(own, other)


def test_who_fails_in_a_round_leaves_the_others_checkpoints_of_their_own_epochs(
    probes: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields: dict[str, object] = {"optimizer": "sgd", "lr": 0.01}
    ends: list[dict[str, object]] = [{}, {"seed": 1}, {"schedule": "cosine", "epochs": 3}]
    together, alone = (probes(name, ends, **fields) for name in ("together", "alone"))
    save = Fit._save

    def have_no_memory(fit: Fit, learner: Any, record: Any) -> None:
        is_first = fit.attempt.run.path == together[0].path
        if is_first and fit.attempt.together > 1 and record["epoch"] == 4:
            raise MemoryError
        save(fit, learner, record)

    monkeypatch.setattr(Fit, "_save", have_no_memory)
    answers = dict(do_together(together))
    for task in tasks(together, attempt=2):
        if answers[task.trial]["outcome"] != "finished":
            assert work(task, World()) == {"outcome": "finished"}
    do_alone(alone)
    for own, other in zip(together, alone, strict=True):
        assert own.attempts() == [1, 2]
        require_equal(own, other)


def test_a_trial_that_goes_on_with_other_frozen_weights_trains_alone(
    probes: Callable[..., list[Run]],
) -> None:
    kept, twin, *others = (probes(str(number), SETTINGS[:1])[0] for number in range(4))
    for run in (kept, twin):
        records = train(Attempt.at(run))
        next(records)
        records.close()
        # as written where the frozen layers came out otherwise
        network = open_trial(run.config(), run)[1]
        frozen = {name: 1.5 * one for name, one in frozen_state(network).items()}
        network.load_state_dict(frozen, strict=False)
        checkpoint.keep_frozen(run, network)
        path = run.checkpoints()[0]
        saved = torch.load(path, weights_only=True)
        torch.save({**saved, "frozen": frozen_digest(network)}, path)
    answers = do_together([others[0], kept, others[1]], attempt=2)
    assert dict(answers) == {run.name: {"outcome": "finished"} for run in (kept, *others)}
    assert [run.environment()["2"].get("together") for run in others] == [2, 2]
    assert work(tasks([twin], attempt=2)[0], World()) == {"outcome": "finished"}
    require_equal(kept, twin)
    changed, plain = (safetensors.torch.load_file(run.weights_path) for run in (kept, others[0]))
    assert not all(torch.equal(changed[name], plain[name]) for name in frozen)


def test_what_cannot_train_together_is_done_one_by_one(
    probes: Callable[..., list[Run]], new_run: NewRun
) -> None:
    first, second = probes("together", SETTINGS[:2])
    lost = new_run("lost", **{**PROBE, "weights": "run:nowhere"})
    finished = probes("finished", SETTINGS[:1])
    do_alone(finished)
    answers = do_together([first, lost, *finished, second])
    assert answers[:2] == [(run.name, {"outcome": "finished"}) for run in (first, second)]
    (_, told), *rest = answers[2:]
    assert told["error"]["kind"] == "config"
    assert "run:nowhere" in told["error"]["message"]
    assert rest == [(run.name, {"outcome": "finished"}) for run in finished]
    assert (lost.error() or {})["kind"] == "config"


def test_trials_that_train_more_than_a_linear_layer_are_done_one_by_one(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Heads, "step", lambda *_: pytest.fail("more than a head trains"))
    fields: dict[str, object] = {"dense_width": [16, 8], "freeze": "first:1", "epochs": 1}
    runs = [new_run(f"deep-{number}", lr=0.01 + number, **fields) for number in range(2)]
    assert do_together(runs) == [(run.name, {"outcome": "finished"}) for run in runs]


def test_a_worker_that_dies_leaves_trials_that_go_on_together_and_alone(
    probes: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTRIAL_CHECKPOINT_SECONDS", "0")
    killed, whole = (probes(name, SETTINGS[:3], epochs=150) for name in ("killed", "whole"))
    with started([]) as worker:
        line = json.dumps([vars(task) for task in tasks(killed)])
        assert worker.process.stdin
        worker.process.stdin.write(line.encode() + b"\n")
        worker.process.stdin.flush()
        while len(killed[2].records()) < 5:
            time.sleep(0.01)
            assert worker.process.poll() is None
        worker.process.kill()
        worker.process.wait()
    assert all(run.checkpoints() for run in killed), "this test needs more epochs"
    assert work(tasks(killed[:1], attempt=2)[0], World()) == {"outcome": "finished"}
    with started([]) as worker:
        line = json.dumps([vars(task) for task in tasks(killed[1:], attempt=2)])
        assert worker.process.stdin
        worker.process.stdin.write(line.encode() + b"\n")
        worker.process.stdin.flush()
        said = [worker.answer() for _ in killed[1:]]
        assert worker.end() == (b"", b"")
    assert {one["run"] for one in said} == {str(run.path) for run in killed[1:]}
    do_together(whole)
    for own, other in zip(killed, whole, strict=True):
        require_equal(own, other)
        assert own.attempts() == [1, 2]
