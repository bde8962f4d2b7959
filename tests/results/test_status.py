"""How a sweep stands, from its files: as a function and as a command."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task, TaskQueue
from fieldtrial.processes import started
from fieldtrial.results.analysis.grouping import group_rows
from fieldtrial.results.read.sweeps import read_sweeps
from fieldtrial.results.status import read_standing, show
from tests.needs import need_root

if TYPE_CHECKING:
    from tests.results.conftest import Written

OWNER = {"user": "carla", "host": "login1", "process": 7}
JOB = Path(__file__).parents[2] / "jobs" / "status.py"


def test_every_outcome_is_counted(written: "Written") -> None:
    written.describe(trials=6)
    written.ended(0, lr=0.1, validation=0.8)
    written.ended(0, lr=0.2, result={"outcome": "stopped"})
    written.failed(0, lr=0.3)
    written.running(0, lr=0.4, epochs=2)
    written.waiting(0, lr=0.5)
    written.folder.set_owner(OWNER)
    standing = read_standing(written.folder)
    first = standing.rows[0]
    assert (standing.head, first.name) == ("model · freeze", "cnn · none")
    # of six in the search one has not been proposed; and there will be three runs with fresh seeds
    assert first.counts == {"finished": 1, "stopped": 1, "failed": 1, "running": 1, "waiting": 5}
    assert (first.best, first.tested, first.seeds) == (0.8, 0, 3)
    assert (standing.ended, standing.expected, standing.counts["running"]) == (3, 27, 1)
    epochs = 4 + 4 + 3 + 3  # with the one before any training, of six seconds each
    assert standing.device_hours == pytest.approx(6 * epochs / 3600)
    assert standing.since.endswith(" s ago")


def test_a_trial_runs_that_a_worker_has_begun(written: "Written") -> None:
    written.describe(trials=4)
    queue = TaskQueue(written.folder.queue_path)
    queue.open()
    queue.register("7_0", {})
    begun, queued, again, interrupted = (written.waiting(0, lr=lr) for lr in (0.1, 0.2, 0.3, 0.4))
    for run, attempt in ((begun, 1), (queued, 1), (again, 2)):
        queue.put(Task(str(run.path), attempt))
    assert queue.claim("7_0") == Task(str(begun.path), 1)
    with begun.recorder(1):
        pass  # no epoch is done yet
    for run in (again, interrupted):
        written.record(run, 2)
    alone = read_standing(written.folder).counts["running"]
    written.folder.set_owner(OWNER | {"since": time.time() + 10})
    standing = read_standing(written.folder)
    assert (alone, standing.counts["running"]) == (1, 1), (
        "whoever drives, nobody is at what nobody has claimed"
    )
    assert (standing.queued, standing.rows[0].counts["waiting"]) == (2, 3 + 3)
    assert sum(standing.rows[0].seconds_of("running", "waiting")) == 2 * 3 * 6.0, (
        "what they have done is done"
    )


@pytest.mark.parametrize("planted", ["env.json", "metrics-2.jsonl", "metrics-notes"])
def test_one_odd_run_hides_nothing_of_the_others(written: "Written", planted: str) -> None:
    written.describe(trials=2)
    run = written.running(0, lr=0.1, epochs=2)
    written.running(0, lr=0.2, epochs=2)
    written.folder.set_owner(OWNER | {"host": "another", "since": 0.0})
    before = {name for name in run.record_stamps() if name != planted}
    spoilt = run.path / planted
    spoilt.unlink(missing_ok=True)
    if planted == "metrics-notes":
        spoilt.mkdir()
    else:
        spoilt.symlink_to("/etc/passwd")
    is_known = planted != "metrics-2.jsonl"  # else it has no record that can be believed
    assert read_standing(written.folder).counts["running"] == 1 + is_known
    assert run.record_stamps().keys() == (before if is_known else set())


def test_what_a_job_has_claimed_waits_until_it_is_begun(written: "Written") -> None:
    written.describe(trials=1)
    queue, run = TaskQueue(written.folder.queue_path), written.waiting(0)
    queue.open()
    queue.register("7_0", {})
    queue.put(Task(str(run.path), 1))
    assert queue.claim("7_0")
    standing = read_standing(written.folder)
    assert (standing.counts["running"], standing.queued) == (0, 1)


def test_a_driver_of_this_machine_that_is_gone_drives_nothing(written: "Written") -> None:
    written.describe(trials=1)
    written.running(0)
    with subprocess.Popen(["sleep", "20"]) as process:
        owner = {
            "user": "carla",
            "host": socket.gethostname(),
            "process": process.pid,
            "started": started(process.pid),
        }
        written.folder.set_owner(owner)
        standing = read_standing(written.folder)
        assert (standing.counts["running"], standing.news) == (
            1,
            [f"run by carla on {owner['host']}, process {process.pid}"],
        )
        process.kill()
    standing = read_standing(written.folder)
    assert standing.counts["running"] == 0
    assert standing.news == ["no driver is running; run the sweep's command again to resume"]


def test_the_command_that_resumes_a_sweep_is_shown_whole(
    written: "Written", capsys: pytest.CaptureFixture[str]
) -> None:
    written.describe(trials=1)
    words = ["python", "sweeps/x.py", "--set", "model=it's", *["--trials"] * 20]
    written.folder.write_command(words, Path("/my project"))
    show(written.folder)
    command = "cd '/my project' && python sweeps/x.py --set 'model=it'\"'\"'s'" + " --trials" * 20
    assert f"no driver is running; this resumes it: {command}\n" in capsys.readouterr().out


def test_nobody_is_asked_to_run_a_command_of_another_user(
    written: "Written", capsys: pytest.CaptureFixture[str]
) -> None:
    need_root("gives a folder to another user")
    written.describe(trials=1)
    written.folder.write_command(["rm", "-r", "/"], Path("/"))
    os.chown(written.folder.path, 65534, -1)
    show(written.folder)
    shown = capsys.readouterr().out
    assert "no driver is running; it is another user's" in shown
    assert "rm -r" not in shown


def test_what_a_job_that_is_gone_had_claimed_does_not_run(written: "Written") -> None:
    written.describe(trials=1)
    queue, run = TaskQueue(written.folder.queue_path), written.running(0)
    queue.open()
    queue.register("7_0", {})
    queue.put(Task(str(run.path), 1))
    assert queue.claim("7_0")
    counts = [
        read_standing(written.folder, alive).counts["running"] for alive in (None, {"7_0"}, set())
    ]
    assert counts == [1, 1, 0]


def test_sources_run_too(written: "Written") -> None:
    written.describe(trials=1)
    written.ended(None, role="source", lr=0.1)
    written.running(None, role="source", lr=0.2)
    written.waiting(0)
    written.folder.set_owner(OWNER)
    standing = read_standing(written.folder)
    assert [source.outcome for source in standing.sources] == ["finished", "running"]
    assert (standing.counts["running"], standing.ended, standing.expected) == (1, 1, 14)


def test_a_search_that_is_over_waits_for_nothing(complete: "Written") -> None:
    complete.describe(trials=5)
    complete.folder.list_trial(complete.trial(0, lr=0.01), 0, "winner")
    counts = [row.counts.get("waiting", 0) for row in read_standing(complete.folder).rows]
    assert counts == [0, 3, 3]


def test_fresh_seeds_of_an_earlier_winner_are_not_those_of_the_present_one(
    complete: "Written",
) -> None:
    complete.ended(0, validation=0.95, lr=0.05)  # of a sweep that was given more trials
    first, second = read_standing(complete.folder).rows[:2]
    assert (first.tested, first.seeds, first.counts["waiting"]) == (0, 3, 3)
    assert (second.tested, second.counts["waiting"]) == (3, 0)


def test_it_is_shown_in_another_shell(complete: "Written") -> None:
    outcome = subprocess.run(
        [sys.executable, str(JOB), str(complete.folder.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert "15 of 15 trials, 0 running, 0 failed" in outcome.stdout
    assert "\x1b" not in outcome.stdout


def test_values_in_brackets_are_shown_as_they_are(
    complete: "Written", capsys: pytest.CaptureFixture[str]
) -> None:
    complete.describe(rows=[{"freeze": "pattern:[bold]fc"}, {"freeze": "pattern:[/fc]"}])
    show(complete.folder)
    shown = capsys.readouterr().out
    assert "pattern:[bold]fc" in shown
    assert "pattern:[/fc]" in shown


def test_a_folder_that_is_no_sweep(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, str(JOB), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1
    assert "sweep.json: no such file" in outcome.stderr


def test_before_the_first_trial(written: "Written") -> None:
    standing = read_standing(SweepFolder(written.describe().path))
    assert (standing.since, standing.ended, standing.expected) == ("no record yet", 0, 15)


def test_how_a_sweep_stands_is_said_without_reading_predictions(
    complete: "Written", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fieldtrial.results.verdicts.runs.load_answers",
        lambda run: pytest.fail(f"{run} was read"),
    )
    assert [row.tested for row in read_standing(complete.folder).rows] == [3, 3, 3]
    with pytest.raises(pytest.fail.Exception):
        group_rows(read_sweeps([complete.folder.path]))
