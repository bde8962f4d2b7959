"""A real SLURM as a place: jobs that are refused, cancelled, preempted, deaf or lost. The worker sleeps."""

import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control import slurm_commands, submissions
from fieldtrial.control.place import Ended, PlaceError, Task
from fieldtrial.control.settings import SlurmSettings
from fieldtrial.control.slurm import SlurmPlace
from fieldtrial.control.slurm_commands import Job
from fieldtrial.control.slurm_jobs import Submitter, job_name
from fieldtrial.run import Run
from fieldtrial.sweep_folder import SweepFolder
from fieldtrial.tasks import TaskQueue
from tests.slurm_cluster import SlurmCluster, temporary_cluster

ROOT = Path(__file__).parents[2]
WORKER = (str(ROOT / "benchmarks" / "stand_in_worker.py"),)

Make = Callable[..., SlurmPlace]


@pytest.fixture
def said() -> list[str]:
    """What places had to say."""
    return []


@pytest.fixture
def make_place(slurm: SlurmCluster, said: list[str], tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes a place of settings; at the end no job is left."""
    places = []

    def make(epoch_seconds: float = 0.05, worker: tuple[str, ...] = WORKER, **settings: Any) -> SlurmPlace:
        asked: dict[str, Any] = {
            "partitions": ("gpu",),
            "gpus_per_node": 2,
            "cpus_per_process": 1,
            "memory_gb_per_process": 0.1,
            "time_limit_minutes": 5,
            "squeue_seconds": 0.5,
            "idle_seconds": 5,
            "environment": {"EPOCH_SECONDS": str(epoch_seconds)},
        }
        wanted = SlurmSettings(**asked | settings)
        folder = SweepFolder(tmp_path / "sweep")
        places.append(SlurmPlace(wanted, folder, Submitter(wanted, folder, ROOT / "src", worker), said.append))
        return places[-1]

    yield make
    for place in places[-1:]:
        place.close()
    deadline = time.monotonic() + 15
    while left := slurm.run("squeue", "--noheader"):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def task(folder: Path, number: int = 0, epochs: int = 1, attempt: int = 1) -> Task:
    config = TrainConfig(epochs=epochs, lr=0.01 + number / 1000)
    return Task(Run.create(folder / "sweep" / config.id, config), attempt)


def until_the_end(place: SlurmPlace, count: int = 1, seconds: float = 60) -> list[Ended]:
    ended: list[Ended] = []
    give_up = time.monotonic() + seconds
    while len(ended) < count and time.monotonic() < give_up:
        ended += place.wait(0.1)
    assert len(ended) == count
    return ended


def until(place: SlurmPlace, holds: Callable[[], object], seconds: float = 30) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up
        assert place.wait(0.05) == []


def job_of(place: SlurmPlace) -> str:
    (job,) = place.queue.claimed().values()
    return job


def all_is_well(ended: list[Ended]) -> bool:
    return all(end.death is None and end.error is None and end.task.run.result() for end in ended)


def test_a_site_that_takes_no_arrays(slurm: SlurmCluster, make_place: Make, tmp_path: Path) -> None:
    slurm.start("--max-array", "0")
    try:
        place = make_place(most_jobs=2)
        tasks = [task(tmp_path, number) for number in range(3)]
        for one in tasks:
            place.start(one)
        assert all_is_well(until_the_end(place, 3))
        assert all("_" not in path.name for path in (tmp_path / "sweep" / "queue" / "workers").iterdir())
    finally:
        slurm.start()


def test_arrays_are_no_larger_than_allowed(slurm: SlurmCluster, make_place: Make, tmp_path: Path) -> None:
    try:
        slurm.start("--max-array", "3")
        place = make_place(most_jobs=5)
        for number in range(5):
            place.start(task(tmp_path, number))
        assert all_is_well(until_the_end(place, 5))
        workers = [path.name for path in (tmp_path / "sweep" / "queue" / "workers").iterdir()]
        assert sorted(Counter(name.partition("_")[0] for name in workers).values()) == [1, 2, 2]
    finally:
        slurm.start()


def test_limits_that_nothing_tells_are_found(
    slurm: SlurmCluster, make_place: Make, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "MOST_BACK_OFF_SECONDS", 0.5)
    slurm.run("sacctmgr", "-Qi", "modify", "qos", "normal", "set", "GrpSubmitJobs=2")
    try:
        place = make_place(epoch_seconds=0.2, most_jobs=6)
        for number in range(6):
            place.start(task(tmp_path, number, epochs=3))
        assert all_is_well(until_the_end(place, 6))
        assert len(said) >= 1
        assert "trying again, more and more rarely" in said[0]
    finally:
        slurm.run("sacctmgr", "-Qi", "modify", "qos", "normal", "set", "GrpSubmitJobs=-1")


def test_the_users_limit_counts_other_jobs(
    slurm: SlurmCluster, make_place: Make, said: list[str], tmp_path: Path
) -> None:
    slurm.run("sacctmgr", "-Qi", "modify", "user", "root", "set", "MaxSubmitJobs=3")
    other = slurm.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 60")
    try:
        place = make_place(most_jobs=6)
        for number in range(6):
            place.start(task(tmp_path, number))
        ended: list[Ended] = []
        while len(ended) < 6:
            ended += place.wait(0.05)
            assert len(slurm.run("squeue", "--noheader", "--array", "--format=%i").split()) <= 3
        assert all_is_well(ended)
        assert said == [], "nothing was refused"
    finally:
        slurm.run("scancel", other)
        slurm.run("sacctmgr", "-Qi", "modify", "user", "root", "set", "MaxSubmitJobs=-1")


@pytest.mark.parametrize("state", ["running", "waiting"])
def test_what_others_cancel_is_noticed(slurm: SlurmCluster, make_place: Make, tmp_path: Path, state: str) -> None:
    place = make_place(epoch_seconds=0.3, sbatch={"hold": ""} if state == "waiting" else {})
    first = task(tmp_path, epochs=50)
    place.start(first)
    if state == "running":
        until(place, lambda: len(first.run.records()) > 1)
        job = job_of(place)
        slurm.run("scancel", job)
        (end,) = until_the_end(place, seconds=10)
        assert end == Ended(first, death=f"its job {job} is gone (CANCELLED, on n1)")
        assert place.queue.claimed() == {}
    else:  # it cancels what will never run, and asks for others; not for ever
        with pytest.raises(PlaceError, match=r"3 jobs in a row .*; the last, \d+_0, is held: JobHeldUser"):
            until(place, lambda: False)
        assert len(place._cancelled) == 3


def test_a_job_that_has_said_that_it_leaves_holds_no_place(make_place: Make, tmp_path: Path) -> None:
    place = make_place()
    name = job_name(SweepFolder(tmp_path / "sweep"))
    place._leaving = {"1_0", "1_1"}
    requeued = Job("1_1", "PENDING", "", "", name)
    place._see([Job("1_0", "RUNNING", "n1", "", name), requeued], set())
    assert place._jobs == {"1_1": requeued}
    place._jobs = {}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_workers_processes_are_asked_what_they_do(make_place: Make, tmp_path: Path, processes: int) -> None:
    lines = [
        "import faulthandler, os, runpy, signal, sys",
        f"with open({str(tmp_path)!r} + '/dump-' + os.environ['RANK'], 'w') as file:",
        "    faulthandler.register(signal.SIGUSR1, file=file)",
        "    if os.environ['RANK'] == '0':",
        f"        runpy.run_path({WORKER[0]!r}, run_name='__main__')",
        "    signal.pause()",
    ]
    (tmp_path / "worker.py").write_text("\n".join(lines))
    worker = (str(tmp_path / "worker.py"),)
    place = make_place(0.3, worker, gpus_per_trial=0, processes_per_trial=processes)
    first = task(tmp_path, epochs=200)
    place.start(first)
    until(place, lambda: first.run.records() and place._jobs[job_of(place)].state == "RUNNING")
    dumps = [tmp_path / f"dump-{rank}" for rank in range(processes)]
    until(place, lambda: all(dump.exists() for dump in dumps))
    assert place.dump(first)
    until(place, lambda: all("worker.py" in dump.read_text() for dump in dumps))
    count = len(first.run.records())
    until(place, lambda: len(first.run.records()) > count + 1)


def test_a_deaf_worker_is_stopped_with_its_job(slurm: SlurmCluster, make_place: Make, tmp_path: Path) -> None:
    place = make_place(epoch_seconds=600)
    deaf = task(tmp_path)
    place.start(deaf)
    until(place, lambda: deaf.run.records())
    deaf.run.request_stop()
    place.stop(deaf)
    (end,) = until_the_end(place, seconds=60)
    assert end.death
    assert slurm.run("squeue", "--noheader", "--states=RUNNING") == ""


@pytest.mark.chaos
def test_an_outage_is_said_once_and_no_verdict_passed(
    slurm: SlurmCluster, make_place: Make, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place(epoch_seconds=0.2)
    first = task(tmp_path, epochs=20)
    place.start(first)
    until(place, lambda: first.run.records())
    with monkeypatch.context() as patch:
        patch.setattr(slurm_commands, "SECONDS", 0.3)
        slurm.end("slurmctld", signal.SIGTERM)  # it writes down what it knows
        until(place, lambda: said)
        until(place, lambda: len(first.run.records()) > 10)
    slurm.start()
    assert all_is_well(until_the_end(place))
    assert len(said) <= 2
    assert "no verdict is passed meanwhile" in said[0]


@pytest.mark.chaos
@pytest.mark.slow
def test_a_preempted_trial_goes_on(slurm: SlurmCluster, make_place: Make, tmp_path: Path) -> None:
    place = make_place(epoch_seconds=0.3, partitions=("preempt",))
    first = task(tmp_path, epochs=60)
    place.start(first)
    until(place, lambda: len(first.run.records()) > 2)
    job = job_of(place)
    winner = slurm.run(
        "sbatch", "--parsable", "--output=/dev/null", "--nodes=4", "--exclusive", "--time=1", "--wrap=sleep 1"
    )
    assert all_is_well(until_the_end(place, seconds=90))
    assert slurm.state(winner) == "COMPLETED"
    assert len(first.run.attempts()) == 2
    assert [record["epoch"] for record in first.run.records()] == list(range(61))
    assert {path.name for path in (tmp_path / "sweep" / "queue" / "workers").iterdir()} == {job}, "the same job"


def test_a_driver_that_comes_back_takes_over_and_clears_up(make_place: Make, tmp_path: Path) -> None:
    place = make_place(epoch_seconds=0.2, most_jobs=3)
    tasks = [task(tmp_path, number, epochs) for number, epochs in enumerate((3, 20, 200))]
    for one in tasks:
        place.start(one)
    until(place, lambda: all(one.run.records() for one in tasks))
    place.close(detach=True)
    while not tasks[0].run.result():
        time.sleep(0.1)
    time.sleep(0.2)
    unknown = task(tmp_path, 9)
    place.queue.put(unknown.queued())
    back = make_place(epoch_seconds=0.2, most_jobs=3)
    never = task(tmp_path, 7)
    assert {one.run.name for one in back.adopt([*tasks[:2], never])} == {one.run.name for one in tasks[:2]}
    ended = until_the_end(back, 2)
    assert all_is_well(ended)
    assert {end.task for end in ended} == set(tasks[:2])
    assert back.queue.waiting() == set()
    assert not unknown.run.records()
    count = len(tasks[2].run.records())
    time.sleep(0.5)
    assert len(tasks[2].run.records()) == count < 200, "nobody asked for it any more"


def test_a_requeued_job_does_not_go_on_with_what_another_has_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = Job("7_0", "COMPLETING", "n1", "None", job_name(SweepFolder(tmp_path / "sweep")))
    for name, answer in {"my_jobs": [ending], "submit_limit": None, "largest_array": 10}.items():
        monkeypatch.setattr(slurm_commands, name, lambda *_, answer=answer: answer)
    settings, folder = SlurmSettings(), SweepFolder(tmp_path / "sweep")
    place = SlurmPlace(settings, folder, Submitter(settings, folder, ROOT / "src", WORKER))
    interrupted = task(tmp_path)
    place.queue.put(interrupted.queued())
    place.queue.register("7_0", {})
    assert place.queue.claim("7_0")
    assert place.adopt([interrupted]) == []
    assert place.queue.claim("7_0") is None, "it was preempted, and starts again"
    place.close(detach=True)


def test_jobs_are_cancelled_also_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cancelled = SweepFolder(tmp_path / "sweep"), list[str]()
    looks = [[Job("7_0", "RUNNING", "n1", "None", job_name(folder))]] * 2 + [[]]
    monkeypatch.setattr(slurm_commands, "my_jobs", lambda: looks.pop(0))
    monkeypatch.setattr(slurm_commands, "submit_limit", lambda _account: None)
    monkeypatch.setattr(slurm_commands, "largest_array", lambda: 10)
    monkeypatch.setattr(slurm_commands, "cancel_named", lambda name, **_: cancelled.append(name))
    place = SlurmPlace(SlurmSettings(), folder, Submitter(SlurmSettings(), folder, ROOT / "src", WORKER))
    place.start(task(tmp_path))
    shutil.rmtree(place.queue.folder)
    place.queue.folder.touch()  # so that there can be no file in it
    place.close()
    assert cancelled == [job_name(folder)]


@pytest.mark.chaos
def test_a_node_that_kills_all_its_jobs_is_left_out(make_place: Make, tmp_path: Path) -> None:
    place = make_place(setup=("[ $(hostname) != n1 ] || exit 1",))
    for number in range(2):
        place.start(task(tmp_path, number))
        assert all_is_well(until_the_end(place))
    assert place._submissions.node_failures == {"n1": 2}


def test_a_failure_counts_against_each_of_a_jobs_nodes(make_place: Make, tmp_path: Path) -> None:
    once = f"[ -e {tmp_path}/failed ] || {{ touch {tmp_path}/failed; exit 1; }}"
    place = make_place(gpus_per_trial=4, setup=(once,))
    place.start(task(tmp_path))
    assert all_is_well(until_the_end(place))
    assert place._submissions.node_failures == {"n1": 1, "n2": 1}


def test_where_all_nodes_have_failed_none_is_left_out(make_place: Make, said: list[str], tmp_path: Path) -> None:
    place = make_place()
    place._submissions.node_failures = Counter(dict.fromkeys(("n1", "n2", "n3", "n4"), 2))
    place.start(task(tmp_path))
    assert all_is_well(until_the_end(place))
    assert said == ["no nodes are left without n1, n2, n3, n4, where jobs died: back to all"]


def test_a_trial_of_several_processes_that_is_killed_has_died(make_place: Make, tmp_path: Path) -> None:
    place = make_place(epoch_seconds=0.5, gpus_per_trial=2)
    first = task(tmp_path, epochs=200)
    place.start(first)
    until(place, first.run.records)
    place.kill(first)
    (end,) = until_the_end(place)
    assert end.cause == "death"
    assert place._submissions.node_failures == {}


@pytest.mark.chaos
def test_a_cancellation_in_an_outage_is_repeated(
    slurm: SlurmCluster, make_place: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place(epoch_seconds=0.5)
    first = task(tmp_path, epochs=200)
    place.start(first)
    until(place, first.run.records)
    job = job_of(place)
    with monkeypatch.context() as patch:
        patch.setattr(slurm_commands, "SECONDS", 0.3)
        slurm.end("slurmctld", signal.SIGTERM)  # it writes down what it knows
        place.kill(first)
        until(place, lambda: job in place._uncancelled)
    slurm.start()
    (end,) = until_the_end(place)
    assert (end.death or "").startswith(f"its job {job} is gone (CANCELLED")


def test_jobs_of_a_changed_place_take_nothing_more(make_place: Make, tmp_path: Path) -> None:
    old = make_place(epoch_seconds=0.2, most_jobs=1, trials_per_job=9)
    first, second, third = (task(tmp_path, number, epochs=20) for number in range(3))
    for one in (first, second):
        old.start(one)
    until(old, lambda: first.run.records())
    job = job_of(old)
    old.close(detach=True)
    new = make_place(epoch_seconds=0.2, most_jobs=2, trials_per_job=9, memory_gb_per_process=0.2)
    assert set(new.adopt([first, second])) == {first, second}
    new.start(third)
    assert all_is_well(until_the_end(new, 3))
    answers = {answer.task: answer.worker for answer in TaskQueue(new.queue.folder).answers() if answer.task}
    assert answers[first.queued().name] == job
    assert job not in (answers[second.queued().name], answers[third.queued().name])


def test_a_users_defaults_for_slurms_commands_change_nothing(
    make_place: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SBATCH_PARTITION", "SQUEUE_PARTITION", "SBATCH_JOB_NAME", "SQUEUE_NAMES", "SBATCH_ACCOUNT"):
        monkeypatch.setenv(name, "nowhere")
    place = make_place(epoch_seconds=0.2, account="root")
    first = task(tmp_path, epochs=20)
    place.start(first)
    until(place, lambda: len(first.run.records()) > 8)  # and looks at the queue meanwhile
    assert list(place._jobs) == [job_of(place)]
    assert all_is_well(until_the_end(place))
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    assert "#SBATCH --account=mine\n" in make_place()._submitter.script(), "the place does not say which"


def test_a_broken_node_does_not_end_a_sweep(make_place: Make, tmp_path: Path) -> None:
    place = make_place(setup=("[ $(hostname) != n1 ] || exit 1",), most_jobs=1)
    place.start(task(tmp_path))
    assert all_is_well(until_the_end(place))
    assert place._submissions.node_failures == {"n1": 2}


def test_why_jobs_wait_is_said_once(make_place: Make, said: list[str], tmp_path: Path) -> None:
    place = make_place(time_limit_minutes=100_000)
    for number in range(2):
        place.start(task(tmp_path, number))
    told = "jobs wait in the queue, says squeue: PartitionTimeLimit"
    until(place, lambda: told in said)  # SLURM may say PartitionConfig first
    looked = place._next_look
    until(place, lambda: place._next_look > looked)
    assert len(said) == len(set(said)), said


def test_gpus_may_be_of_a_type(make_place: Make) -> None:
    place = make_place(gpus_per_trial=16, gpus_per_node=8, gpu_type="a100")
    assert "#SBATCH --gpus-per-node=a100:8\n" in place._submitter.script()


def test_without_accounting_deaths_are_noticed(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with temporary_cluster("--nodes", "1", "--no-accounting") as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
        settings = SlurmSettings(
            gpus_per_trial=0,
            cpus_per_process=1,
            memory_gb_per_process=0.1,
            squeue_seconds=0.5,
            most_jobs=2,
            environment={"EPOCH_SECONDS": "0.2"},
        )
        folder = SweepFolder(tmp_path / "sweep")
        place = SlurmPlace(settings, folder, Submitter(settings, folder, ROOT / "src", WORKER), said.append)
        first, second = task(tmp_path, 0, epochs=50), task(tmp_path, 1, epochs=5)
        place.start(first)
        until(place, lambda: len(first.run.records()) > 1)
        job = job_of(place)
        place.start(second)
        subprocess.run(["scancel", job], check=True)
        ended = until_the_end(place, 2)
        deaths = {end.task: end.death for end in ended}
        assert deaths == {first: f"its job {job} is gone (CANCELLED, on n1)", second: None}
        place.close()
