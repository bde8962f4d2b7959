"""What a driver makes of odd looks at its jobs and its queue. SLURM's answers are made up."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.control.places.interface import Ended, PlaceError
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm import place as slurm_module
from fieldtrial.control.places.slurm import submissions
from fieldtrial.control.places.slurm.place import SlurmPlace
from fieldtrial.control.places.slurm.polling import job_name
from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Answer
from tests.control.slurm_places import place_of, task, until

LOST = "its task was gone from the queue"


class Site:
    """Prints what SLURM's commands would: `jobs` are {id: state and node} in the queue."""

    def __init__(self, name: str) -> None:
        self.name, self.jobs = name, dict[str, str]()
        self.notices: list[str] = []
        self.prints: list[str] | None = None  # for a job's id
        self.shows = True  # the jobs
        self.submitted = 0

    def run(self, *command: str, text: str | None = None) -> list[str]:  # noqa: ARG002
        """Return the lines that a command prints."""
        if command[0] == "sbatch":
            self.submitted += 1
            self.jobs[f"{self.submitted}_0"] = "RUNNING|n1"
            return self.prints or [str(self.submitted)]
        if command[0] == "squeue" and "--states=all" not in command:
            shown = [f"{id}|{state}|None|{self.name}" for id, state in self.jobs.items()]
            return [*self.notices, *(shown if self.shows else [])]
        configuration = ["MaxArraySize = 1001", "KillWait = 0 sec"]
        return {"scontrol": configuration, "sacct": self.notices}.get(command[0], [])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(job_name(SweepFolder(tmp_path / "sweep")))
    monkeypatch.setattr(slurm_commands, "_run", site.run)
    (tmp_path / "srun").touch(mode=0o755)  # which is only looked for
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for module, name in ((slurm_module, "TICK_SECONDS"), (slurm_module, "ANSWER_SECONDS")):
        monkeypatch.setattr(module, name, 0.01)
    return site


@pytest.fixture
def make(site: Site, said: list[str], tmp_path: Path) -> Iterator[Callable[..., SlurmPlace]]:
    assert site
    places = []

    def make(**settings: Any) -> SlurmPlace:
        places.append(place_of(tmp_path, said.append, **{"most_jobs": 1, **settings}))
        return places[-1]

    yield make
    for place in places:
        place.close(detach=True)


def ends(place: SlurmPlace) -> list[Ended]:
    """Return the next ends."""
    give_up = time.monotonic() + 20
    while not (ended := place.wait(0.02)):
        assert time.monotonic() < give_up
    return ended


def test_a_task_that_is_gone_from_the_queue_is_reported(
    make: Callable[..., SlurmPlace], tmp_path: Path
) -> None:
    place, first = make(), task(tmp_path)
    place.start(first)
    until(place, lambda: place._jobs)
    place.queue.withdraw(first.name)
    assert ends(place) == [Ended(first, death=LOST, cause="interruption")]
    assert place._tasks == {}


def test_a_task_with_a_worker_is_not_lost_but_one_that_a_gone_worker_could_not_read_is(
    make: Callable[..., SlurmPlace], site: Site, tmp_path: Path
) -> None:
    place, first = make(), task(tmp_path)
    place.start(first)
    until(place, lambda: place._jobs)
    place.queue.register("1_0", {})
    write_atomically(place.queue._waiting / first.name, b"{")
    assert place.queue.claim("1_0") is None, "it is damaged"
    polls = [place._next_poll]
    while len(polls) < 3:
        until(place, lambda: place._next_poll > polls[-1])
        polls.append(place._next_poll)
    place.queue.answer(Answer("1_0", None, "left"))
    until(place, lambda: place._jobs["1_0"].leaving)
    del site.jobs["1_0"]
    assert ends(place) == [Ended(first, death=LOST, cause="interruption")]
    assert place.queue.claimed() == {}


def leave(place: SlurmPlace, site: Site, but: str = "") -> None:
    """Have the jobs that squeue has shown register and leave, as on a node that sees no tasks."""
    for job in set(site.jobs) - {but}:
        if job in place._jobs and place._jobs[job].shown.nodes:
            place.queue.register(job, {})
            place.queue.answer(Answer(job, None, "left"))
            del site.jobs[job]


def test_jobs_that_leave_without_a_trial_end_the_sweep(
    make: Callable[..., SlurmPlace], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "MOST_BACK_OFF_SECONDS", 0.01)
    place = make()
    place.start(task(tmp_path))
    with pytest.raises(PlaceError) as caught:
        until(place, lambda: leave(place, site))
    assert str(caught.value) == (
        "6 jobs in a row ended before they took a trial; the last, 6_0, left while 1 waited in the"
        " queue"
    )
    assert place._submissions.node_failures == {"n1": 5}, "jobs are kept from that node"


def test_beside_a_trial_that_runs_they_are_submitted_ever_more_rarely(
    make: Callable[..., SlurmPlace], site: Site, said: list[str], tmp_path: Path
) -> None:
    place, first = make(most_jobs=2), task(tmp_path)
    place.start(first)
    until(place, lambda: site.jobs)
    place.queue.register("1_0", {})
    assert place.queue.claim("1_0") == first
    place.start(task(tmp_path, 1))

    def is_told() -> bool:
        leave(place, site, but="1_0")
        return bool(said)

    until(place, is_told)
    detail = "the last, 4_0, left while 1 waited in the queue"
    assert said == [
        f"3 jobs in a row ended before they took a trial; {detail};"
        " further jobs are submitted at growing intervals"
    ]
    assert place._submissions._most_at_once == 1
    for _ in range(5):
        place.wait(0)
    assert site.submitted == 4, "the next one comes after a pause"


@pytest.mark.parametrize("is_long", [True, False])
def test_a_trial_does_not_wait_for_the_epilog_of_its_job(
    make: Callable[..., SlurmPlace],
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_long: bool,
) -> None:
    monkeypatch.setattr(slurm_module, "KILL_MARGIN_SECONDS", 0.01 if is_long else 600.0)
    place, first = make(), task(tmp_path)
    place.start(first)
    until(place, lambda: "1_0" in site.jobs)
    place.queue.register("1_0", {})
    assert place.queue.claim("1_0") == first
    site.jobs["1_0"] = "COMPLETING|n1"
    if is_long:
        (end,) = ends(place)
        assert end.death == "its job 1_0 is gone (SLURM does not know its state)"
        assert place.queue.claimed() == {}, "it is not resumed by that job, if it is requeued"
        assert place._submissions.node_failures == {}
    else:
        shown = place._next_poll
        until(place, lambda: place._next_poll > shown + 1)
        assert place.queue.claimed() == {first.name: "1_0"}
        place.queue.forget("1_0", first.name)
        place._tasks.clear()


def test_jobs_that_a_site_shows_late_are_no_refusal(
    make: Callable[..., SlurmPlace], site: Site, said: list[str], tmp_path: Path
) -> None:
    site.prints, site.shows = ["--> odd words"], False
    place, first = make(most_jobs=4), task(tmp_path)
    place.start(first)
    until(place, lambda: said)
    assert said == [
        "sbatch: not one job's id in '--> odd words'; trying again at growing intervals"
    ]
    site.shows = True
    until(place, lambda: "1_0" in place._jobs)
    submitted = place._submissions
    assert (submitted._refusals, submitted._next, submitted._most_at_once) == (0, 0.0, 4)
    assert site.submitted == 1, "the job is there"


def test_a_sites_notices_are_told_once(
    make: Callable[..., SlurmPlace], site: Site, said: list[str], tmp_path: Path
) -> None:
    site.notices = ["NOTE: squeue is cached; please do not poll", "", "a|b"]
    place, first = make(), task(tmp_path)
    place.start(first)
    until(place, lambda: "1_0" in place._jobs)
    place.queue.register("1_0", {})
    assert place.queue.claim("1_0") == first
    site.jobs.clear()
    (end,) = ends(place)
    assert (end.death or "").startswith("its job 1_0 is gone")
    told = "prints more than was asked for, which is ignored: NOTE: squeue is cached"
    assert [line.partition(";")[0] for line in said] == [f"squeue {told}", f"sacct {told}"]
