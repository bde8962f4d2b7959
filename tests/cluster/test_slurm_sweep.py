"""The same sweep on this machine and on a real SLURM, trained for real; several nodes; a user
without rights.
"""

import csv
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue
from tests.control.slurm_sweeps import TIMED, without_measured
from tests.needs import need
from tests.slurm_cluster import SlurmCluster

ROOT = Path(__file__).parents[2]
SWEEP = """
from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.sweep import Sweep


def sweep() -> Sweep:
    base = TrainConfig(epochs=EPOCHS, model="cnn", filters=(8,), batch_norm=False, batch_size=64)
    return Sweep(base=base, rows=ROWS, search=SEARCH, trials=TRIALS, seeds=SEEDS)


if __name__ == "__main__":
    main(sweep)
"""
SEARCHED: dict[str, object] = {
    "ROWS": '[{"optimizer": "sgd"}, {"optimizer": "adamw"}]',
    "SEARCH": '{"lr": tune.loguniform(1e-3, 1e-1)}',
    "TRIALS": 2,
    "SEEDS": 1,
    "EPOCHS": 10,
}
SITE = """
kind = "slurm"
partitions = ["gpu"]
gpus_per_trial = {gpus}
gpus_per_node = 2
cpus_per_process = 1
memory_gb_per_process = 1
time_limit_minutes = 5
most_jobs = 1
trials_per_job = {trials}
squeue_seconds = 0.5
idle_seconds = 5
environment.FIELDTRIAL_CHECKPOINT_SECONDS = "0"
"""

pytestmark = pytest.mark.slow


def write_sweep(project: Path, values: dict[str, object]) -> None:
    text = SWEEP
    for name, value in values.items():
        text = text.replace(f"={name}", f"={value}")
    (project / "sweeps" / "small.py").write_text(text)


def start(project: Path, *flags: str) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "sweeps/small.py", *flags]
    return subprocess.Popen(
        arguments, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: "subprocess.Popen[str]") -> str:
    printed, errors = process.communicate(timeout=280)
    assert process.returncode == 0, printed + errors
    return printed


def command(project: Path, *flags: str) -> str:
    return finish(start(project, *flags))


def damage(slurm: SlurmCluster, folder: SweepFolder) -> Run:
    """Cancel a training trial's job, tear its last record, and cut its newest checkpoint short;
    return its run.
    """
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        for worker in workers(folder):
            while worker.is_running():
                if run := next(
                    (run for run in runs(folder) if not run.result() and len(run.records()) > 2),
                    None,
                ):
                    worker.suspend()
                    if run.checkpoints() and not run.result():
                        newest = run.checkpoints()[0]
                        records = run.path / f"metrics-{run.attempts()[-1]}.jsonl"
                        os.truncate(newest, newest.stat().st_size // 2)
                        os.truncate(records, records.stat().st_size - 20)
                        slurm.run("scancel", *TaskQueue(folder.queue_path).claimed().values())
                        return run
                    worker.resume()
                time.sleep(0.02)
        time.sleep(0.1)
    raise AssertionError("no trial was met in training")


def runs(folder: SweepFolder) -> list[Run]:
    return [Run(path.parent) for path in folder.path.glob("*/config.json")]


def workers(folder: SweepFolder) -> list[psutil.Process]:
    """Return the processes that train for the sweep."""
    mark = str(folder.queue_path.resolve())
    everything = psutil.process_iter(["name", "cmdline"])
    return [
        one
        for one in everything
        if mark in (one.info["cmdline"] or []) and one.info["name"].startswith("python")
    ]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for name in (*TIMED, "minutes_alone"):
            row.pop(name)
    return without_measured(rows)


def test_the_same_sweep_here_and_damaged_there_gives_the_same_table(
    slurm: SlurmCluster, project: Path
) -> None:
    write_sweep(project, SEARCHED)
    (project / "cluster" / "local.toml").write_text('kind = "local"\nmost_trials = 1\n')
    (project / "cluster" / "there.toml").write_text(SITE.format(gpus=1, trials=20))
    shown = command(project, "--cluster", "there", "--dry-run")
    assert "#SBATCH --gpus-per-node=1" in shown
    assert re.search(r"sbatch --test-only: sbatch: Job \d+ to start at ", shown)
    assert not (project / "runs" / "small").exists()
    process = start(project, "--cluster", "there", "--name", "there")
    damaged = damage(slurm, SweepFolder(project / "runs" / "there"))
    printed = finish(process)
    command(project, "--name", "here")
    assert re.search(
        rf"{damaged.name} .*: checkpoint epoch-\d+.pt was damaged, went on from epoch \d", printed
    )
    assert len(damaged.attempts()) == 2
    assert losses(damaged) == losses(Run(project / "runs" / "here" / damaged.name))
    assert table(project / "runs" / "there") == table(project / "runs" / "here")
    found = [
        [one for one in SweepFolder(project / "runs" / name).trials() if one["role"] == "winner"]
        for name in ("here", "there")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 2
    assert slurm.run("squeue", "--noheader", "--name", "nothing") == ""


def test_a_dry_run_of_what_slurm_refuses_fails_after_all_is_shown(
    slurm: SlurmCluster, project: Path
) -> None:
    write_sweep(project, SEARCHED)
    (project / "cluster" / "there.toml").write_text(
        SITE.format(gpus=1, trials=20).replace('"gpu"', '"nowhere"')
    )
    line = [sys.executable, "sweeps/small.py", "--cluster", "there", "--dry-run"]
    done = subprocess.run(
        line, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 1
    *shown, last = done.stdout.splitlines()
    assert "#SBATCH --partition=nowhere" in shown
    assert last.startswith(
        "sbatch --test-only: sbatch: error: invalid partition specified: nowhere; "
    )
    assert slurm.run("squeue", "--noheader") == ""


def losses(run: Run) -> list[float]:
    return [
        record[name]
        for record in run.records()
        for name in ("train_loss", "validation_loss")
        if name in record
    ]


@pytest.mark.chaos
def test_two_nodes_of_two_processes_agree_with_one_process(
    slurm: SlurmCluster, project: Path
) -> None:
    rows = '[{"strategy": "ddp"}, {"strategy": "zero2"}]'  # the same updates in two ways
    write_sweep(project, {"ROWS": rows, "SEARCH": {}, "TRIALS": 1, "SEEDS": 0, "EPOCHS": 3})
    (project / "cluster" / "nodes.toml").write_text(SITE.format(gpus=4, trials=20))
    command(project, "--cluster", "nodes", "--name", "nodes")
    trials = [
        SweepFolder(project / "runs" / "nodes").run(path.parent.name)
        for path in (project / "runs" / "nodes").glob("*/config.json")
    ]
    assert {trial.config().strategy for trial in trials} == {"ddp", "zero2"}
    alone = Run(project / "runs" / "alone")
    flags = ["--run", str(alone.path), *replace(trials[0].config(), strategy="ddp").to_flags()]
    subprocess.run(
        [sys.executable, "jobs/train.py", *flags], cwd=project, capture_output=True, check=True
    )
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    for trial in trials:
        facts = trial.environment()["1"]
        # Of the program, whatever repository is around the sweep.
        assert facts["commit"] == (head.strip() or None)
        assert facts["world_size"] == 4
        assert re.fullmatch(r"n\[\d[-,]\d\]", facts["job"]["SLURM_JOB_NODELIST"])
        assert losses(trial) == pytest.approx(losses(alone), abs=1e-4)
    assert slurm.run("squeue", "--noheader", "--name", "nothing") == ""


@pytest.mark.usefixtures("slurm")
def test_two_nodes_listen_at_their_own_addresses_and_their_secret_is_closed(project: Path) -> None:
    long = {"ROWS": "[{}]", "SEARCH": {}, "TRIALS": 1, "SEEDS": 0, "EPOCHS": 10_000}
    write_sweep(project, long)
    (project / "cluster" / "nodes.toml").write_text(SITE.format(gpus=4, trials=20))
    process = start(project, "--cluster", "nodes", "--name", "nodes")
    folder = SweepFolder(project / "runs" / "nodes")
    deadline = time.monotonic() + 240
    while not any(run.records() for run in runs(folder)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    found = workers(folder)
    assert len(found) == 4
    addresses = {socket.gethostbyname(node) for node in ("n1", "n2", "n3", "n4")}
    for worker in found:
        sockets = worker.net_connections("inet")
        listening = [one for one in sockets if one.status == psutil.CONN_LISTEN]
        assert len(listening) == 2  # gloo's, of two groups: the meeting's is closed
        assert {one.laddr.ip for one in sockets} <= addresses
        assert {one.raddr.ip for one in sockets if one.raddr} <= addresses
    (file,) = folder.queue_path.path.rglob("rendezvous-*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().split()[2]
    assert not [one for one in found if secret in str((one.cmdline(), one.environ()))]
    for run in runs(folder):
        run.request_stop()
    finish(process)


def python_for(user: str) -> list[str]:
    """Return the command by which the user can run this environment's Python; the test needs it."""
    path = os.pathsep.join(
        [os.environ.get("PYTHONPATH", str(ROOT / "src")), sysconfig.get_path("purelib")]
    )
    # A virtual environment's Python may lie in a closed home.
    commands = [
        ["runuser", "--user", user, "--", "env", f"PYTHONPATH={path}", python]
        for python in (sys.executable, "/usr/bin/python3")
    ]
    imports = ["-c", "import fieldtrial.config, ray, torch"]
    found = (
        command
        for command in commands
        if not subprocess.run(
            [*command, *imports], cwd="/", capture_output=True, check=False
        ).returncode
    )
    return need(next(found, None), "a Python and its packages where other users may read them")


@pytest.mark.chaos
def test_a_user_without_rights_whatever_the_umask(slurm: SlurmCluster, project: Path) -> None:
    """A sweep by an ordinary user, with scratch on another file system: nothing of it but the lock
    is closed to the group, or open to all.
    """
    assert slurm.user
    python = python_for(slurm.user)
    home = Path(f"~{slurm.user}").expanduser()
    write_sweep(project, SEARCHED | {"ROWS": '[{"optimizer": "sgd"}]', "TRIALS": 1, "SEEDS": 0})
    (project / "cluster" / "there.toml").write_text(SITE.format(gpus=1, trials=20))
    copy = shutil.copytree(project, home / "project")
    subprocess.run(["chown", "-R", slurm.user, str(home)], check=True)
    folders = {"XDG_STATE_HOME": "state", "FIELDTRIAL_CACHE": "stores", "FIELDTRIAL_DATA": "data"}
    variables = {name: str(home / folder) for name, folder in folders.items()}
    environment = (
        os.environ
        | variables
        | {"HOME": str(home), "TMPDIR": "/dev/shm", "SLURM_TMPDIR": "/dev/shm"}
    )
    seen: set[str] = set()
    for trials, umask in ((1, 0o000), (2, 0o077)):
        flags = ["--cluster", "there", "--trials", str(trials)]
        command = [*python, str(copy / "sweeps" / "small.py"), *flags]
        process = subprocess.Popen(
            command,
            cwd=copy,
            env=environment,
            umask=umask,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while process.poll() is None:
            seen |= permissions(home / "stores", copy / "runs")
            time.sleep(0.1)
        printed, errors = process.communicate()
        assert process.returncode == 0, printed + errors
    seen |= permissions(home / "stores", copy / "runs")
    lock = copy / "runs" / "small" / "driver.lock"
    assert {problem for problem in seen if " is " in problem} == {f"{lock} is -rw-------"}
    assert seen >= {
        "checkpoint",
        "queue",
        "code",
        "jobs",
        "engine.state",
        "log",
        "tb",
        "table.csv",
    }
    assert {path.owner() for path in copy.rglob("*")} == {slurm.user}


def permissions(*folders: Path) -> set[str]:
    """Return the names of the files and folders in there, and of those with wrong permissions, what
    they are.
    """
    found = set()
    walked = [step for folder in folders for step in os.walk(folder)]  # which bears folders that go
    for path in (Path(here, name) for here, _, files in walked for name in [".", *files]):
        with suppress(FileNotFoundError):  # removed since
            mode = path.lstat().st_mode
            needed = 0o050 if stat.S_ISDIR(mode) else 0o040
            is_right = stat.S_ISLNK(mode) or (mode & needed == needed and not mode & 0o002)
            found.add(path.name if is_right else f"{path} is {stat.filemode(mode)}")
    return found
