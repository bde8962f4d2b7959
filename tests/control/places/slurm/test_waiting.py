"""Jobs of a real SLURM that wait: for a node, for somebody, or for ever. The worker sleeps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.control.places.interface import PlaceError
from fieldtrial.control.places.slurm import commands as slurm_commands
from tests.control.slurm_places import Make, all_is_well, task, until, until_the_end
from tests.slurm_cluster import SlurmCluster


def test_what_will_never_start_is_cancelled_and_asked_for_again_but_not_for_ever(
    slurm: SlurmCluster,
    make_place: Make,
    processes: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cancelled, cancel = list[str](), slurm_commands.cancel

    def note(jobs: Sequence[str]) -> None:
        cancelled.extend(jobs)
        cancel(jobs)

    monkeypatch.setattr(slurm_commands, "cancel", note)
    failed = slurm.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=exit 1")
    slurm.wait(failed, "FAILED")
    place = make_place(sbatch={"dependency": f"afterok:{failed}"})
    place.start(task(tmp_path))
    with pytest.raises(
        PlaceError, match=r"3 jobs in a row .*; the last, \d+_0, never starts: Dependency"
    ):
        until(place, lambda: False)
    assert processes.eventually(lambda: len(set(cancelled)) == 3)


def test_jobs_that_are_held_are_waited_for(
    slurm: SlurmCluster, make_place: Make, said: list[str], tmp_path: Path
) -> None:
    place = make_place(epoch_seconds=0.2, most_jobs=3, sbatch={"hold": ""})
    tasks = [task(tmp_path, number, epochs=60) for number in range(3)]
    for one in tasks:
        place.start(one)
    until(place, lambda: len(named(said)) == 3)
    ids = ",".join(sorted(place._jobs))
    user = ("you, or somebody for you", "JobHeldUser")
    assert said == [held(line, *user) for line in said]
    assert sorted(named(said)) == ids.split(","), "each once"
    before = len(said)
    polls = [place._next_poll]
    while len(polls) < 4:  # as many polls as jobs in a row would end the sweep
        until(place, lambda: place._next_poll > polls[-1])
        polls.append(place._next_poll)
    slurm.run("scontrol", "release", ids)
    until(place, lambda: all(one.open_run().records() for one in tasks))
    slurm.run("scontrol", "requeuehold", ids)
    until(place, lambda: len(named(said[before:])) == 3)
    requeuer = ("whoever has requeued them", "job requeued in held state")
    assert said[before:] == [held(line, *requeuer) for line in said[before:]]
    assert sorted(named(said[before:])) == ids.split(","), "each once"
    after = len(said)
    assert set(place.queue.claimed()) == {one.name for one in tasks}, "they are those jobs' still"
    for one in tasks:
        one.open_run().request_stop()
    slurm.run("scontrol", "release", ids)
    assert all_is_well(until_the_end(place, 3))
    assert len(said) == after


def named(lines: Sequence[str]) -> list[str]:
    """Return the jobs that lines about held jobs say how to release."""
    return [job for line in lines for job in line.rpartition(" ")[2].split(",")]


def held(line: str, holder: str, reason: str) -> str:
    """Return the line about held jobs that names the jobs of `line`."""
    ids = ",".join(named([line]))
    return (
        f"jobs {ids} are held by {holder} (squeue's reason: {reason}); the sweep waits until they"
        f" are released: scontrol release {ids}"
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
