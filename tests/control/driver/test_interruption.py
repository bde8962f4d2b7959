"""Whole drivers over real Ray, ended in every way, and restarted. The worker sleeps."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.control.running.again import RAY_ADVICE
from fieldtrial.control.running.detaching import RESUME_ADVICE
from fieldtrial.disk.files import RecordReader
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.control.driver.outages import run_through_outages
from tests.control.screen import Screen
from tests.control.slurm_sweeps import table
from tests.job_commands import complaints
from tests.needs import need, need_root
from tests.unreliable import UnreliableFolder

KILLS = 2  # at every moment: tests/control/engine/test_schedules.py, in virtual time

pytestmark = pytest.mark.slow


def trains(folder: SweepFolder, since: float) -> bool:
    """Return whether a driver started at `since` has begun to start trials."""
    return folder.state_path.exists() and folder.state_path.stat().st_mtime > since


def finished(folder: SweepFolder) -> dict[str, list[str]]:
    """Return the record files of each finished trial."""
    ended = [path.parent for path in folder.path.glob("*/result.json")]
    return {
        path.name: [file.read_text() for file in sorted(path.glob("metrics-*.jsonl"))]
        for path in ended
    }


def assert_each_epoch_was_trained_once(folder: SweepFolder) -> None:
    runs = [folder.run(path.parent.name) for path in folder.path.glob("*/config.json")]
    assert runs
    for run in runs:
        epochs = [record["epoch"] for record in RecordReader(run).read()]
        assert epochs == list(range(len(epochs))), run


def kill_at_a_random_moment(
    driver: Any, processes: Any, seconds: float, chance: random.Random
) -> None:
    """Start the driver, and SIGKILL it within `seconds` of its first starts."""
    started = time.time()
    process = driver.start()
    try:
        assert processes.eventually(lambda: trains(driver.folder(), started), seconds=120), (
            process.communicate()
        )
        time.sleep(chance.uniform(0, seconds))
        assert process.poll() is None, "the driver had ended before it could be killed"
        mark, folder = processes.guarded(process.pid)
        assert len(processes.marked(mark)) > 3
        assert folder.exists()
        if chance.random() < 0.5:  # one that would not notice its owner's end
            for worker in processes.workers(process.pid):
                worker.suspend()
    finally:
        process.kill()
        process.communicate(timeout=120)
    assert processes.eventually(lambda: not processes.marked(mark) and not folder.exists()), (
        "orphans"
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, make_driver: Callable[..., Any]) -> Any:
    """Return the driver of a sweep that ran to its end, one trial at a time, and its output."""
    driver = make_driver(tmp_path_factory.mktemp("undisturbed"), {"most_trials": 1}, REPORT="1")
    outcome = driver.run()
    assert outcome.returncode == 0, outcome.stderr
    return driver, outcome


def test_a_pipe_gets_plain_lines(undisturbed: Any) -> None:
    driver, outcome = undisturbed
    assert complaints(outcome.stderr) == ""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", outcome.stdout)
    assert outcome.stdout.startswith("runs/stand_in: 10 trials, 1 at once at most\n")
    lines = [line for line in outcome.stdout.splitlines() if re.match(r"\d:\d\d:\d\d  ", line)]
    assert [re.split(r"\s+", line)[1] for line in lines] == [
        f"{number}/10" for number in range(1, 11)
    ]
    assert re.search(
        r"row 1 \(adamw\): stopped after epoch \d, validation accuracy \d+\.\d\d %$",
        outcome.stdout,
        re.M,
    )
    assert "row 0 (sgd) seed 1: finished" in outcome.stdout
    assert "table.csv" in outcome.stdout
    assert outcome.stdout.splitlines()[-1] == "runs/stand_in/report.html"
    assert driver.folder().report_path.exists()
    assert len(driver.table().splitlines()) == 3


def test_a_killed_driver_goes_on_exactly(
    undisturbed: Any, make_driver: Callable[..., Any], processes: Any, tmp_path: Path
) -> None:
    whole, _ = undisturbed
    seed = random.SystemRandom().randrange(1000)
    print(f"random seed {seed}")
    chance = random.Random(seed)
    driver = make_driver(
        tmp_path, {"most_trials": 1}, EPOCH_SECONDS="0.2"
    )  # so that it does not end before the kills
    for _ in range(KILLS):
        kill_at_a_random_moment(driver, processes, 0.8, chance)
        before = finished(driver.folder())
    driver.environment["EPOCH_SECONDS"] = "0.1"
    outcome = driver.run()
    assert outcome.returncode == 0, outcome.stderr
    assert driver.trials() == whole.trials()
    assert table(driver) == table(whole)
    assert any(trial[3] is not None for trial in whole.trials()), "no trial was stopped early"
    assert_each_epoch_was_trained_once(driver.folder())
    after = finished(driver.folder())
    assert {name: after[name] for name in before} == before


@pytest.mark.chaos
def test_two_at_a_time_lose_and_repeat_nothing(
    make_driver: Callable[..., Any], processes: Any, tmp_path: Path
) -> None:
    driver = make_driver(tmp_path, {"most_trials": 2}, EPOCH_SECONDS="0.2")
    chance = random.Random()
    kill_at_a_random_moment(driver, processes, 2.0, chance)
    before = finished(driver.folder())
    driver.environment["EPOCH_SECONDS"] = "0.1"
    outcome = driver.run()
    assert outcome.returncode == 0, outcome.stderr
    assert re.match(
        r"runs/stand_in is resumed; trials: [^\n]*\nruns/stand_in: 10 trials, ",
        outcome.stdout,
    )
    trials = driver.trials()
    assert [trial[2] for trial in trials] == ["done"] * 10
    assert len({trial[1] for trial in trials}) == 10
    assert_each_epoch_was_trained_once(driver.folder())
    after = finished(driver.folder())
    assert {name: after[name] for name in before} == before
    listed = driver.folder().trials()
    assert sorted(one["trial"] for one in listed if one["role"] != "winner") == sorted(
        trial[1] for trial in trials
    )


def test_signals_end_it_politely_and_only_one_runs(
    make_driver: Callable[..., Any], processes: Any, tmp_path: Path
) -> None:
    driver = make_driver(tmp_path, {"most_trials": 1})
    started = time.time()
    process = driver.start()
    assert processes.eventually(lambda: trains(driver.folder(), started), seconds=120)
    mark, folder = processes.guarded(process.pid)
    assert folder.exists()
    assert len(processes.marked(mark)) > 3
    second = driver.run()
    assert (second.returncode, second.stdout) == (1, "")
    refusal = (
        r"runs/stand_in: \S+ on \S+, process \d+, runs this sweep; end it first, or give"
        r" --takeover\n"
    )
    assert re.fullmatch(refusal, complaints(second.stderr))
    process.terminate()
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, complaints(errors)) == (130, "")
    assert RESUME_ADVICE in output
    assert "table.csv" in output
    assert not processes.marked(mark)
    assert not folder.exists()

    changed = make_driver(tmp_path, {"most_trials": 1}, BATCH_SIZE="32").run()
    assert (changed.returncode, changed.stdout) == (2, "")
    assert (
        changed.stderr
        == "runs/stand_in holds another sweep: base batch_size is 64 there and 32 now\n"
        "runs/stand_in holds another sweep: give another --name, or undo the change\n"
    )

    before = finished(driver.folder())
    process, terminal = driver.start_on_terminal()
    shown = Screen(terminal)
    assert processes.eventually(
        lambda: re.search(
            r"stand_in  0:\d\d:\d\d  \d of 10 trials, 1 running, 0 failed", shown.text()
        )
    )
    columns = r"optimizer +waiting +running +finished +stopped +failed +epochs +accuracy % +seeds"
    for part in (
        columns,
        r"sgd( +\d){5} ",
        r"[\d.e-]+ device-hours",
    ):  # what is read may end amid the panel
        assert processes.eventually(lambda: re.search(part, shown.text())), shown.text()  # noqa: B023
    assert "\x1b[" in shown.raw, "a live panel moves the cursor"
    os.write(terminal, b"\x03")
    assert processes.eventually(lambda: process.poll() is not None or not shown.text())
    assert process.returncode == 130
    assert RESUME_ADVICE in shown.text()
    after = finished(driver.folder())
    assert {name: after[name] for name in before} == before


def test_an_interruption_at_the_start_is_polite_too(
    make_driver: Callable[..., Any], processes: Any, tmp_path: Path
) -> None:
    driver = make_driver(tmp_path, {"most_trials": 1})
    process = driver.start(start_new_session=True)
    assert processes.eventually(lambda: processes.guarded(process.pid), seconds=120)
    mark, folder = processes.guarded(process.pid)
    time.sleep(random.uniform(0, 3))  # before, while and after Ray starts
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, output + errors
    assert RESUME_ADVICE in output + errors
    assert "Traceback" not in errors
    assert processes.eventually(lambda: not processes.marked(mark))
    assert processes.eventually(lambda: not folder.exists())


@pytest.mark.chaos
def test_an_outage_of_the_file_system_is_waited_for(
    undisturbed: Any,
    make_driver: Callable[..., Any],
    unreliable: UnreliableFolder,
    processes: Any,
    tmp_path: Path,
) -> None:
    whole, _ = undisturbed
    driver = make_driver(tmp_path, {"most_trials": 1}, EPOCH_SECONDS="0.2")
    run_through_outages(driver, unreliable, processes, 1)
    assert driver.trials() == whole.trials()
    assert table(driver) == table(whole)
    assert_each_epoch_was_trained_once(driver.folder())


@pytest.mark.chaos
def test_a_full_disk_stops_the_sweep_and_loses_nothing(
    undisturbed: Any, make_driver: Callable[..., Any], processes: Any, tmp_path: Path
) -> None:
    whole, _ = undisturbed
    driver = make_driver(tmp_path, {"most_trials": 1})
    runs = tmp_path / "runs"
    runs.mkdir()
    need_root("mounts a small file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(runs)]
    need(
        subprocess.run(mount, capture_output=True, check=False).returncode == 0,
        "the right to mount a file system",
    )
    try:
        process = driver.start()
        assert processes.eventually(lambda: len(finished(driver.folder())) >= 3, seconds=120)
        with (runs / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 1, output
        assert re.fullmatch(
            r"runs/stand_in.*: .*No space left on device.*; fix that and run the same command"
            r" again: [^\n]*\n",
            complaints(errors),
        )
        (runs / "filler").unlink()
        before = finished(driver.folder())
        assert len(before) >= 3
        outcome = driver.run()
        assert outcome.returncode == 0, outcome.stderr
        assert table(driver) == table(whole)
        after = finished(driver.folder())
        assert {name: after[name] for name in before} == before
    finally:
        subprocess.run(["umount", "-l", str(runs)], check=True)


@pytest.mark.chaos
def test_a_ray_that_dies_is_started_once_more(
    make_driver: Callable[..., Any], processes: Any, tmp_path: Path
) -> None:
    """First its raylet is killed, as the kernel does where memory runs out, and then its GCS."""
    driver = make_driver(tmp_path, {"most_trials": 1}, EPOCH_SECONDS="0.3")
    process = driver.start()
    marks, killed = [], ("raylet", "gcs_server")
    try:
        for name in killed:
            started = time.time()
            assert processes.eventually(lambda: trains(driver.folder(), started))  # noqa: B023
            marks.append(processes.guarded(process.pid))
            of_ray = {one.name(): one for one in processes.marked(marks[-1][0])}
            of_ray[name].kill()
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1, output + errors
    again = "; it is started once more, and trials resume\n"
    assert f"Ray's raylet was killed by SIGKILL{again}" in output
    assert output.count(again) == 1
    assert complaints(errors) == f"Ray's gcs_server was killed by SIGKILL. {RAY_ADVICE}\n"
    assert marks[0] != marks[1]
    for mark, folder in marks:
        assert not processes.marked(mark)
        assert not folder.exists()
    assert driver.folder().owner() is None
    assert_each_epoch_was_trained_once(driver.folder())


@pytest.mark.chaos
def test_a_takeover_ends_the_other_driver_and_goes_on(
    make_driver: Callable[..., Any], processes: Any, tmp_path: Path
) -> None:
    driver = make_driver(tmp_path, {"most_trials": 1}, EPOCH_SECONDS="0.3")
    started = time.time()
    first = driver.start()
    assert processes.eventually(lambda: trains(driver.folder(), started), seconds=120)
    taker = driver.start("--takeover", "--trials", "2")
    second = driver.finish(taker)
    assert second.returncode == 0, second.stderr
    output, errors = first.communicate(timeout=60)
    assert first.returncode == 1, output
    assert re.fullmatch(
        rf"runs/stand_in: .*, process {taker.pid}, has taken this sweep over, .*\n",
        complaints(errors),
    )
    assert "Interrupted" not in output
    assert_each_epoch_was_trained_once(driver.folder())
    assert driver.folder().owner() is None
