"""A real SLURM as a place: jobs that are cancelled, preempted or requeued. The worker sleeps."""

import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.control.places.interface import Ended
from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import Job
from fieldtrial.control.places.slurm.place import SlurmPlace
from fieldtrial.control.places.slurm.polling import Poll, job_name
from fieldtrial.control.places.slurm.sbatch import Submitter
from fieldtrial.control.places.slurm.submissions import jobs_for, jobs_lacking
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Answer, Task
from tests.control.slurm_places import (
    PROGRAM,
    STAND_IN,
    Make,
    all_is_well,
    job_of,
    place_of,
    task,
    until,
    until_the_end,
)
from tests.slurm_cluster import SlurmCluster


def test_what_others_cancel_is_noticed(
    slurm: SlurmCluster, make_place: Make, tmp_path: Path
) -> None:
    place = make_place(epoch_seconds=0.3)
    first = task(tmp_path, epochs=50)
    place.start(first)
    until(place, lambda: len(first.open_run().records()) > 1)
    job = job_of(place)
    slurm.run("scancel", job)
    (end,) = until_the_end(place)
    assert end == Ended(first, death=f"its job {job} is gone (CANCELLED, on n1)")
    assert place.queue.claimed() == {}


def test_trials_of_one_group_share_a_job_and_die_with_it(
    slurm: SlurmCluster, make_place: Make, tmp_path: Path
) -> None:
    place = make_place(trials_per_job=9, trials_together=3, most_jobs=2, epoch_seconds=0.3)
    first, second, third = (
        replace(task(tmp_path, number, epochs=20), group="heads") for number in range(3)
    )
    for one in (first, second, third):
        place.start(one)
    until(place, lambda: len(first.open_run().records()) > 1)
    assert len(set(place.queue.claimed().values())) == 1, "one job has all three"
    slurm.run("scancel", next(iter(place.queue.claimed().values())))
    ended = until_the_end(place, 3)
    assert {end.task for end in ended} == {first, second, third}
    assert all("is gone (CANCELLED" in (end.death or "") for end in ended)
    assert place.queue.claimed() == {}


def test_jobs_are_asked_for_groups_and_for_trials_that_train_alone() -> None:
    heads = [Task(f"/sweep/{number}", 1, group="heads") for number in range(5)]
    others = [Task(f"/sweep/{number}", 1) for number in range(5, 8)]
    assert jobs_for([], 0, 4) == 0
    assert jobs_for(heads, 0, 4) == 2
    assert jobs_for([*heads, *others], 0, 4) == 5
    assert jobs_for([*heads, *others], 6, 4) == 7
    assert jobs_for([*heads, *others], 6, 1) == 14


def test_heads_that_wait_beside_a_job_with_their_group_get_a_job_of_their_own() -> None:
    tasks = {str(number): Task(f"/sweep/{number}", 1, group="heads") for number in range(4)}
    # What is left of a group of three has the job; three more have come since.
    assert jobs_lacking(tasks, {"0": "7"}, {"7": True}, 0, 4, 8) == 1
    assert jobs_lacking(tasks, {"0": "7"}, {"7": True, "8": True}, 0, 4, 8) == 0, "8 takes them"
    assert jobs_lacking(tasks, {"0": "7"}, {"7": True, "8": False}, 0, 4, 8) == 1
    assert jobs_lacking(tasks, {"0": "7"}, {"7": True}, 0, 4, 1) == 0, "one job at once"
    assert jobs_lacking(tasks, {}, {"7": True}, 0, 4, 8) == 0, "it has claimed none yet"
    assert jobs_lacking(tasks, dict.fromkeys(tasks, "7"), {"7": True}, 4, 4, 8) == 1
    assert jobs_lacking(tasks, {"0": "6"}, {}, 0, 4, 8) == 1, "a job that is gone has none"


@pytest.mark.parametrize("is_claimed", [False, True])
def test_a_job_is_free_until_a_poll_has_seen_its_claim(
    make_place: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_claimed: bool
) -> None:
    place, asked = make_place(trials_per_job=9, trials_together=3), list[int]()

    def ask(wanted: int, *_: object) -> list[str]:
        asked.append(wanted)
        return []

    monkeypatch.setattr(place._submissions, "ask", ask)
    for number in range(2):
        place.start(replace(task(tmp_path, number), group="heads"))
    name = next(iter(place._tasks))
    shown = [Job("7_0", "RUNNING", "n1", "", place._submitter.name)]
    place._update(Poll(shown, claimed={name: "7_0"} if is_claimed else {}))
    place._submit()
    assert asked == [int(is_claimed)]
    place._jobs = {}


def test_a_job_that_squeue_shows_before_sbatch_has_answered_is_cancelled_and_counted_once(
    make_place: Make, processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place()
    counted, cancelled = list[str](), list[str]()
    monkeypatch.setattr(slurm_commands, "cancel", cancelled.extend)
    monkeypatch.setattr(
        place._submissions, "note_unstarted", lambda *details: counted.append(details[-1])
    )
    name = place._submitter.name
    place._update(Poll([Job("7_0", "PENDING", "", "BadConstraints", name)]))
    monkeypatch.setattr(place._submissions, "ask", lambda *_: ["7_0"])
    place._submit()
    gone = place._jobs.pop("7_0")
    assert place._report_dead(gone, "", "") == []
    assert len(counted) == 1
    assert processes.eventually(lambda: cancelled == ["7_0"])


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
def test_a_workers_processes_have_its_environment_and_are_asked_what_they_do(
    make_place: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    lines = [
        "import faulthandler, os, runpy, signal, sys",
        "import fieldtrial.config",
        f"with open({str(tmp_path)!r} + '/known-' + os.environ['RANK'], 'w') as file:",
        "    print(fieldtrial.config.__file__, os.environ['EPOCH_SECONDS'],"
        " os.environ['FIELDTRIAL_DATA'], sep='|', end='', file=file)",
        f"with open({str(tmp_path)!r} + '/dump-' + os.environ['RANK'], 'w') as file:",
        "    faulthandler.register(signal.SIGUSR1, file=file)",
        "    if os.environ['RANK'] == '0':",
        f"        runpy.run_path({STAND_IN[0]!r}, run_name='__main__')",
        "    signal.pause()",
    ]
    (tmp_path / "worker.py").write_text("\n".join(lines))
    worker = (str(tmp_path / "worker.py"),)
    monkeypatch.setenv("FIELDTRIAL_DATA", "/shared/it's")
    place = make_place(
        *(0.3, worker), gpus_per_trial=0, processes_per_trial=processes, sbatch={"export": "NONE"}
    )
    first = task(tmp_path, epochs=200)
    place.start(first)
    until(
        place,
        lambda: first.open_run().records() and place._jobs[job_of(place)].shown.state == "RUNNING",
    )
    dumps = [tmp_path / f"dump-{rank}" for rank in range(processes)]
    until(place, lambda: all(dump.exists() for dump in dumps))
    for rank in range(processes):  # although sbatch hands nothing of its environment on
        known = (tmp_path / f"known-{rank}").read_text()
        assert known == f"{PROGRAM.folder}/fieldtrial/config.py|0.3|/shared/it's"
    assert place.dump(first)
    until(place, lambda: all("worker.py" in dump.read_text() for dump in dumps))
    count = len(first.open_run().records())
    until(place, lambda: len(first.open_run().records()) > count + 1)


def test_a_deaf_worker_is_stopped_with_its_job(
    slurm: SlurmCluster, make_place: Make, tmp_path: Path
) -> None:
    lines = [
        "import runpy",
        "from fieldtrial.disk.run import Run",
        "Run.stop_requested = lambda run: False",
        f"runpy.run_path({STAND_IN[0]!r}, run_name='__main__')",
    ]
    (tmp_path / "worker.py").write_text("\n".join(lines))
    place = make_place(600, (str(tmp_path / "worker.py"),))
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
    monkeypatch.setattr(slurm_commands, "my_jobs", lambda *_: looks.pop(0))
    monkeypatch.setattr(slurm_commands, "submit_limit", lambda _account: None)
    monkeypatch.setattr(slurm_commands, "largest_array", lambda: 10)
    monkeypatch.setattr(slurm_commands, "cancel_named", lambda name, **_: cancelled.append(name))
    place = SlurmPlace(
        SlurmSettings(), folder, Submitter(SlurmSettings(), folder, PROGRAM, STAND_IN)
    )
    place.start(task(tmp_path))
    shutil.rmtree(place.queue.folder)
    place.queue.folder.touch()  # so that there can be no file in it
    place.close()
    assert cancelled == [job_name(folder)]


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


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_folders_name_may_have_what_slurm_takes_for_variables(
    said: list[str], tmp_path: Path, processes: int
) -> None:
    folder = tmp_path / "50% of a%j's 100%"
    asked: dict[str, Any] = {"gpus_per_trial": 0, "processes_per_trial": processes}
    place = place_of(folder, said.append, setup=("echo it starts",), **asked)
    place.start(task(folder))
    assert all_is_well(until_the_end(place))
    place.close()
    (job,) = (path.name for path in (folder / "sweep" / "queue" / "workers").iterdir())
    assert "it starts" in place._submitter.last_lines(job)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_gpus_may_be_of_a_type(make_place: Make) -> None:
    place = make_place(gpus_per_trial=16, gpus_per_node=8, gpu_type="a100")
    assert "#SBATCH --gpus-per-node=a100:8\n" in place._submitter.script()
