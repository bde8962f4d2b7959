"""A real SLURM as a place: jobs that are cancelled, preempted, deaf or lost. The worker sleeps."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from fieldtrial.control.places.interface import Ended, PlaceError
from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm import place as slurm_module
from fieldtrial.control.places.slurm.commands import Job
from fieldtrial.control.places.slurm.place import SlurmPlace
from fieldtrial.control.places.slurm.polling import Poll
from fieldtrial.control.places.slurm.sbatch import Submitter, job_name
from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.control.slurm_places import (
    STAND_IN,
    Make,
    all_is_well,
    job_of,
    place_of,
    task,
    until,
    until_the_end,
)
from tests.slurm_cluster import SlurmCluster, temporary_cluster

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("state", ["running", "waiting"])
def test_what_others_cancel_is_noticed(
    slurm: SlurmCluster, make_place: Make, tmp_path: Path, state: str
) -> None:
    place = make_place(epoch_seconds=0.3, sbatch={"hold": ""} if state == "waiting" else {})
    first = task(tmp_path, epochs=50)
    place.start(first)
    if state == "running":
        until(place, lambda: len(first.open_run().records()) > 1)
        job = job_of(place)
        slurm.run("scancel", job)
        (end,) = until_the_end(place)
        assert end == Ended(first, death=f"its job {job} is gone (CANCELLED, on n1)")
        assert place.queue.claimed() == {}
    else:  # it cancels what will never run, and asks for others; not for ever
        with pytest.raises(
            PlaceError, match=r"3 jobs in a row .*; the last, \d+_0, is held: JobHeldUser"
        ):
            until(place, lambda: False)
        assert (
            len(slurm.run("squeue", "--noheader", "--array", "--states=CANCELLED").splitlines())
            >= 3
        )


def test_a_job_that_has_said_that_it_leaves_holds_no_place(
    make_place: Make, tmp_path: Path
) -> None:
    place = make_place()
    name = job_name(SweepFolder(tmp_path / "sweep"))
    shown = [Job(f"1_{element}", "RUNNING", "n1", "", name) for element in range(3)]
    place._update(Poll(shown))
    for job in ("1_0", "1_1"):
        place.queue.register(job, {})
        place.queue.answer(Answer(job, None, "left"))
    assert place.wait(0) == []
    requeued = Job("1_1", "PENDING", "", "", name)
    place._update(Poll([shown[0], requeued, shown[2]]))
    assert place._active().keys() == {"1_1", "1_2"}
    place._jobs = {}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_workers_processes_are_asked_what_they_do(
    make_place: Make, tmp_path: Path, processes: int
) -> None:
    lines = [
        "import faulthandler, os, runpy, signal, sys",
        f"with open({str(tmp_path)!r} + '/dump-' + os.environ['RANK'], 'w') as file:",
        "    faulthandler.register(signal.SIGUSR1, file=file)",
        "    if os.environ['RANK'] == '0':",
        f"        runpy.run_path({STAND_IN[0]!r}, run_name='__main__')",
        "    signal.pause()",
    ]
    (tmp_path / "worker.py").write_text("\n".join(lines))
    worker = (str(tmp_path / "worker.py"),)
    place = make_place(0.3, worker, gpus_per_trial=0, processes_per_trial=processes)
    first = task(tmp_path, epochs=200)
    place.start(first)
    until(
        place,
        lambda: first.open_run().records() and place._jobs[job_of(place)].shown.state == "RUNNING",
    )
    dumps = [tmp_path / f"dump-{rank}" for rank in range(processes)]
    until(place, lambda: all(dump.exists() for dump in dumps))
    assert place.dump(first)
    until(place, lambda: all("worker.py" in dump.read_text() for dump in dumps))
    count = len(first.open_run().records())
    until(place, lambda: len(first.open_run().records()) > count + 1)


def test_a_deaf_worker_is_stopped_with_its_job(
    slurm: SlurmCluster, make_place: Make, tmp_path: Path
) -> None:
    place = make_place(epoch_seconds=600)
    deaf = task(tmp_path)
    place.start(deaf)
    until(place, lambda: deaf.open_run().records())
    deaf.open_run().request_stop()
    place.stop(deaf)
    (end,) = until_the_end(place)
    assert end.death
    assert slurm.run("squeue", "--noheader", "--states=RUNNING") == ""


@pytest.mark.chaos
def test_an_outage_is_said_once_and_no_verdict_passed(
    slurm: SlurmCluster,
    make_place: Make,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = make_place(epoch_seconds=0.2)
    first = task(tmp_path, epochs=20)
    place.start(first)
    until(place, lambda: first.open_run().records())
    with monkeypatch.context() as patch:
        patch.setattr(slurm_commands, "SECONDS", 0.3)
        slurm.end("slurmctld", signal.SIGTERM)  # it writes down what it knows
        until(place, lambda: said)
        until(place, lambda: len(first.open_run().records()) > 10)
    slurm.start()
    assert all_is_well(until_the_end(place))
    assert len(said) <= 2
    assert "waiting until SLURM answers, no job counts as gone" in said[0]


@pytest.mark.chaos
@pytest.mark.slow
def test_a_preempted_trial_goes_on(slurm: SlurmCluster, make_place: Make, tmp_path: Path) -> None:
    place = make_place(epoch_seconds=0.3, partitions=("preempt",))
    first = task(tmp_path, epochs=60)
    place.start(first)
    until(place, lambda: len(first.open_run().records()) > 2)
    job = job_of(place)
    winner = slurm.run(
        "sbatch",
        "--parsable",
        "--output=/dev/null",
        "--nodes=4",
        "--exclusive",
        "--time=1",
        "--wrap=sleep 1",
    )
    assert all_is_well(until_the_end(place))
    assert slurm.state(winner) == "COMPLETED"
    assert len(first.open_run().attempts()) == 2
    assert [record["epoch"] for record in first.open_run().records()] == list(range(61))
    assert {path.name for path in (tmp_path / "sweep" / "queue" / "workers").iterdir()} == {job}, (
        "the same job"
    )


def test_jobs_are_cancelled_also_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cancelled = SweepFolder(tmp_path / "sweep"), list[str]()
    looks = [[Job("7_0", "RUNNING", "n1", "None", job_name(folder))]] * 2 + [[]]
    monkeypatch.setattr(slurm_commands, "my_jobs", lambda: looks.pop(0))
    monkeypatch.setattr(slurm_commands, "submit_limit", lambda _account: None)
    monkeypatch.setattr(slurm_commands, "largest_array", lambda: 10)
    monkeypatch.setattr(slurm_commands, "cancel_named", lambda name, **_: cancelled.append(name))
    place = SlurmPlace(
        SlurmSettings(), folder, Submitter(SlurmSettings(), folder, ROOT / "src", STAND_IN)
    )
    place.start(task(tmp_path))
    shutil.rmtree(place.queue.folder)
    place.queue.folder.touch()  # so that there can be no file in it
    place.close()
    assert cancelled == [job_name(folder)]


def test_a_trial_of_several_processes_that_is_killed_has_died(
    make_place: Make, tmp_path: Path
) -> None:
    place = make_place(epoch_seconds=0.5, gpus_per_trial=2)
    first = task(tmp_path, epochs=200)
    place.start(first)
    until(place, first.open_run().records)
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
    until(place, first.open_run().records)
    job = job_of(place)
    with monkeypatch.context() as patch:
        patch.setattr(slurm_commands, "SECONDS", 0.3)
        slurm.end("slurmctld", signal.SIGTERM)  # it writes down what it knows
        place.kill(first)
        until(place, lambda: place._jobs[job].missed_cancel is not None)
    slurm.start()
    (end,) = until_the_end(place)
    assert (end.death or "").startswith(f"its job {job} is gone (CANCELLED")


def test_a_users_defaults_for_slurms_commands_change_nothing(
    make_place: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "SBATCH_PARTITION",
        "SQUEUE_PARTITION",
        "SBATCH_JOB_NAME",
        "SQUEUE_NAMES",
        "SBATCH_ACCOUNT",
    ):
        monkeypatch.setenv(name, "nowhere")
    place = make_place(epoch_seconds=0.2, account="root")
    first = task(tmp_path, epochs=500)
    place.start(first)
    until(place, first.open_run().records)
    polled = place._next_poll
    until(place, lambda: place._next_poll > polled)
    assert list(place._jobs) == [job_of(place)]
    first.open_run().request_stop()
    assert all_is_well(until_the_end(place))
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    assert "#SBATCH --account=mine\n" in make_place()._submitter.script(), (
        "the place does not say which"
    )


def test_a_task_waits_until_a_worker_has_begun_it(
    slurm: SlurmCluster, make_place: Make, tmp_path: Path
) -> None:
    place = make_place(epoch_seconds=0.3, most_jobs=2, sbatch={"begin": "now+1hour"})
    first, second = (task(tmp_path, number, epochs=200) for number in range(2))
    for one in (first, second):
        place.start(one)
    until(place, lambda: len(place._jobs) == 2 and place.backlog.reasons == ("BeginTime",))
    assert place.queue.waiting() == {one.name for one in (first, second)}
    waiting, released = sorted(place._jobs)
    slurm.run("scontrol", "update", f"jobid={released}", "starttime=now")
    until(
        place,
        lambda: first.open_run().attempts() and place._jobs[released].shown.state == "RUNNING",
    )
    assert place.queue.waiting() == {second.name}
    assert not place.backlog.requeued
    slurm.run("scontrol", "requeue", released)
    until(place, lambda: place.backlog.requeued == {first.trial})
    assert place.queue.claimed() == {first.name: released}, "it is still that job's"
    polled = place._next_poll
    until(
        place, lambda: place._next_poll > polled
    )  # a job that starts again at once may be refused by its node
    slurm.run("scontrol", "update", f"jobid={released}", "starttime=now")
    until(place, lambda: len(first.open_run().attempts()) == 2)
    until(place, lambda: not place.backlog.requeued)
    place.close(detach=True)
    back = make_place(epoch_seconds=0.3, most_jobs=2, sbatch={"begin": "now+1hour"})
    assert set(back.adopt([first, second])) == {first, second}
    assert waiting in back._jobs
    assert back.queue.waiting() == {second.name}


def test_why_jobs_wait_is_said_once(make_place: Make, said: list[str], tmp_path: Path) -> None:
    place = make_place(time_limit_minutes=100_000)
    for number in range(2):
        place.start(task(tmp_path, number))
    told = "jobs wait in the queue, squeue's reason: PartitionTimeLimit"
    until(place, lambda: told in said)  # SLURM may say PartitionConfig first
    polled = place._next_poll
    until(place, lambda: place._next_poll > polled)
    assert len(said) == len(set(said)), said


def test_gpus_may_be_of_a_type(make_place: Make) -> None:
    place = make_place(gpus_per_trial=16, gpus_per_node=8, gpu_type="a100")
    assert "#SBATCH --gpus-per-node=a100:8\n" in place._submitter.script()


def test_without_accounting_deaths_are_noticed(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with temporary_cluster("--nodes", "1", "--no-accounting") as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
        place = place_of(tmp_path, said.append, 0.2, gpus_per_trial=0, most_jobs=2)
        first, second = task(tmp_path, 0, epochs=50), task(tmp_path, 1, epochs=5)
        place.start(first)
        until(place, lambda: len(first.open_run().records()) > 1)
        job = job_of(place)
        place.start(second)
        subprocess.run(["scancel", job], check=True)
        ended = until_the_end(place, 2)
        deaths = {end.task: end.death for end in ended}
        assert deaths == {first: f"its job {job} is gone (CANCELLED, on n1)", second: None}
        place.close()


def test_a_worker_that_does_not_come_up_is_lost_and_another_takes_its_trial(
    slurm: SlurmCluster,
    make_place: Make,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = f"[ -e {tmp_path}/stuck ] || {{ touch {tmp_path}/stuck; sleep 600; }}"
    place = make_place(setup=(once,))
    first = task(tmp_path)
    place.start(first)
    with monkeypatch.context() as patch:
        patch.setattr(slurm_module, "START_SECONDS", 1.0)
        until(place, lambda: said)
    job = said[0].split()[1]
    assert said == [f"job {job} has not started its worker for 1 s on n1: it is cancelled"]
    assert all_is_well(until_the_end(place))
    assert first.open_run().attempts() == [1]
    assert place._submissions.node_failures == {"n1": 1}
    slurm.wait(job, "CANCELLED")


@pytest.mark.parametrize(
    ("state", "printed", "blamed"),
    [
        ("OUT_OF_MEMORY", "", False),
        (
            "FAILED",
            (
                "slurmstepd-n1: error: Detected 1 oom-kill event(s) in StepId=7.0. Some of your"
                " processes"
            ),
            False,
        ),
        ("FAILED", "srun: error: n1: task 1: Out Of Memory", False),
        (
            "FAILED",
            (
                "slurmstepd-n1: error: StepId=7.batch exceeded memory limit (2048 > 1024), being"
                " killed"
            ),
            False,
        ),
        ("FAILED", "Traceback: there is no memory of it", True),
        ("NODE_FAIL", "", True),
    ],
)
def test_a_node_is_blamed_for_a_job_that_died_but_not_for_want_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, printed: str, blamed: bool
) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    looks = [[Job("7_0", "RUNNING", "n1", "None", job_name(folder))], []]
    answers = {"submit_limit": None, "largest_array": 10, "final_states": {"7_0": (state, "n1")}}
    for name, answer in answers.items():
        monkeypatch.setattr(slurm_commands, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(slurm_commands, "my_jobs", lambda: looks.pop(0))
    place = place_of(tmp_path, print)
    first = task(tmp_path)
    place.start(first)
    place.queue.register("7_0", {})
    assert place.queue.claim("7_0")
    write_atomically(folder.jobs_path / "7_0_0_log.err", f"{printed}\n".encode())
    (end,) = until_the_end(place)
    assert (end.task, (end.death or "").partition(" (")[0]) == (first, "its job 7_0 is gone")
    assert place._submissions.node_failures == ({"n1": 1} if blamed else {})
    place.close(detach=True)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_trial_that_takes_too_much_memory_is_to_blame_and_its_node_is_not(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    if not os.access("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", os.W_OK):
        pytest.skip(
            "needs cgroups of version 1 that count swap: by them SLURM limits a job's memory"
        )
    lines = [
        "import runpy",
        "from fieldtrial.disk.run import Run",
        "recorder = Run.recorder",
        "def take_too_much_at_first(run, attempt):",
        (
            "    return recorder(run, len(b'x' * (400 << 20)) and attempt) if attempt == 1 else"
            " recorder(run, attempt)"
        ),
        "Run.recorder = take_too_much_at_first",
        f"runpy.run_path({STAND_IN[0]!r}, run_name='__main__')",
    ]
    worker = tmp_path / "worker.py"
    worker.write_text("\n".join(lines))
    with temporary_cluster("--nodes", "1", "--no-accounting", "--enforce-memory") as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
        asked = {"gpus_per_trial": 0, "processes_per_trial": processes}
        place = place_of(tmp_path, said.append, 0.05, (str(worker),), **asked)
        for number in range(2):  # as many as would have a node left out
            place.start(task(tmp_path, number))
            (end,) = until_the_end(place)
            assert end.cause == "death"
            assert "is gone (OUT_OF_MEMORY, on n1)" in (end.death or "")
        assert place._submissions.node_failures == {}
        place.start(task(tmp_path, attempt=2))
        assert all_is_well(until_the_end(place))
        assert said == []
        place.close()
