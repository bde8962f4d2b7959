"""The cluster that cluster/devslurm starts: real jobs run on it, it stays on loopback, and nothing
of it remains.
"""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.slurm_cluster import DEVSLURM, SlurmCluster, temporary_cluster

# a job that only SIGKILL ends, with a process of its own
STUBBORN = "trap '' TERM USR1; sleep 600 & wait; wait"


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    """Two nodes without accounting: up in a third of a second."""
    with temporary_cluster("--nodes", "2", "--no-accounting") as started:
        yield started


@pytest.fixture
def out(cluster: SlurmCluster) -> Iterator[Path]:
    """A folder for what jobs write; at the end no job is left."""
    folder = cluster.folder / "out"
    folder.mkdir(exist_ok=True)
    yield folder
    for path in folder.iterdir():
        path.unlink()
    cluster.run("scancel", "--user=root", "--signal=KILL", "--full")
    cluster.run("scancel", "--user=root")


def submit(cluster: SlurmCluster, script: str, *options: str, user: str | None = None) -> str:
    """Submit a script; returns the job's id."""
    return cluster.run(
        "sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}", user=user
    )


def pids(cluster: SlurmCluster) -> dict[str, int]:
    return {name: process.pid for name, process in cluster.daemons().items()}


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [
        process
        for process in processes
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def tasks(cluster: SlurmCluster) -> list[psutil.Process]:
    """What the job steps have started."""
    return [child for step in cluster.steps() for child in step.children(recursive=True)]


def listening(cluster: SlurmCluster) -> list[tuple[str, str, int]]:
    """(program, address, port) of every TCP socket on which a daemon, a step or what they started
    listens.
    """
    processes = [*cluster.daemons().values(), *cluster.steps()]
    processes += [child for process in processes for child in process.children(recursive=True)]
    return [
        (process.name(), connection.laddr.ip, connection.laddr.port)
        for process in set(processes)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]


def test_a_job_over_two_nodes_and_an_array_run(cluster: SlurmCluster, out: Path) -> None:
    job = submit(cluster, f"srun hostname > {out}/names", "--nodes=2")
    array = submit(cluster, f"touch {out}/part$SLURM_ARRAY_TASK_ID", "--array=0-3")
    cluster.wait(job, "COMPLETED")
    cluster.wait(array, "COMPLETED")
    assert (out / "names").read_text().split() in (["n1", "n2"], ["n2", "n1"])
    assert {path.name for path in out.glob("part*")} == {"part0", "part1", "part2", "part3"}


def test_jobs_on_a_node_get_its_gpus(cluster: SlurmCluster, out: Path) -> None:
    script = (
        f"echo $CUDA_VISIBLE_DEVICES > {out}/$SLURM_JOB_ID; while [ ! -e {out}/go ]; do sleep 0.1;"
        " done"
    )
    jobs = [submit(cluster, script, "--gpus=1", "--nodelist=n2") for _ in range(3)]
    for job in jobs[:2]:
        cluster.wait(job, "RUNNING")
    assert cluster.state(jobs[2]) == "PENDING"
    (out / "go").touch()
    for job in jobs:
        cluster.wait(job, "COMPLETED")
    devices = [(out / job).read_text().strip() for job in jobs]
    assert sorted(devices[:2]) == ["0", "1"]  # at once; the third waits for one of them
    assert devices[2] in {"0", "1"}


def test_it_listens_on_loopback_only(cluster: SlurmCluster, out: Path) -> None:
    job = submit(cluster, f"srun bash -c 'touch {out}/$SLURM_PROCID; sleep 60'", "--nodes=2")
    cluster.wait(job, "RUNNING")
    while len(list(out.iterdir())) < 2:
        assert cluster.state(job) == "RUNNING"
    found = listening(cluster)
    assert {name for name, _, _ in found} >= {"slurmctld", "slurmd", "srun"}
    assert [entry for entry in found if entry[1] != "127.0.0.1"] == []


def test_up_again_leaves_alone_what_runs(cluster: SlurmCluster) -> None:
    before = pids(cluster)
    assert set(before) == {"munged", "slurmctld", "slurmd.n1", "slurmd.n2"}
    assert cluster.start() == f"export SLURM_CONF={cluster.configuration}"
    assert pids(cluster) == before


def test_up_puts_a_changed_configuration_in_force(cluster: SlurmCluster, out: Path) -> None:
    job = submit(cluster, f"sleep 3; touch {out}/done")
    cluster.wait(job, "RUNNING")
    assert "preempt_send_user_signal" in cluster.run("scontrol", "show", "config")
    cluster.start("--nodes", "3", "--no-preempt-signal", "--max-array", "11")
    configuration = cluster.run("scontrol", "show", "config")
    assert "preempt_send_user_signal" not in configuration
    assert re.search(r"^MaxArraySize\s*= 11$", configuration, re.MULTILINE)
    assert cluster.run("srun", "--nodelist=n3", "hostname") == "n3"
    cluster.start()
    assert set(pids(cluster)) == {"munged", "slurmctld", "slurmd.n1", "slurmd.n2"}
    cluster.wait(job, "COMPLETED")  # it lived through both restarts
    assert (out / "done").exists()


@pytest.mark.usefixtures("out")
def test_daemons_that_died_come_back(cluster: SlurmCluster) -> None:
    job = submit(cluster, STUBBORN, "--nodelist=n1")
    cluster.wait(job, "RUNNING")
    before = pids(cluster)
    cluster.end("slurmd.n1")
    cluster.end("slurmctld", signal.SIGTERM)
    assert set(pids(cluster)) == {"munged", "slurmd.n2"}
    cluster.start()
    after = pids(cluster)
    assert set(after) == set(before)
    assert after["slurmd.n2"] == before["slurmd.n2"]
    assert cluster.run("srun", "--nodelist=n1", "hostname") == "n1"
    assert cluster.state(job) == "RUNNING"


@pytest.mark.slow
def test_a_job_of_the_default_partition_takes_the_place_of_a_preemptible_one(
    cluster: SlurmCluster, out: Path
) -> None:
    script = f"trap 'touch {out}/told' USR1; touch {out}/ready; while true; do sleep 0.1; done"
    loser = submit(
        cluster, script, "--partition=preempt", "--nodes=2", "--exclusive", "--signal=B:USR1@1"
    )
    deadline = time.monotonic() + 60
    while not (out / "ready").exists():
        assert time.monotonic() < deadline, cluster.state(loser)
        time.sleep(0.1)
    winner = submit(cluster, "sleep 1", "--nodes=2", "--exclusive")
    cluster.wait(winner, "COMPLETED", 60)
    assert (out / "told").exists()
    cluster.wait(loser, "RUNNING", 60)
    assert "Restarts=1" in cluster.run("scontrol", "show", "job", loser)


@pytest.mark.usefixtures("out")
def test_a_node_without_power_has_nothing_running(cluster: SlurmCluster) -> None:
    job = submit(cluster, STUBBORN, "--nodelist=n2")
    cluster.wait(job, "RUNNING")
    while "sleep" not in {process.name() for process in tasks(cluster)}:
        assert cluster.state(job) == "RUNNING"
    running = tasks(cluster)
    cluster.end_node("n2")
    assert cluster.steps() == []
    assert alive(running) == []
    cluster.start()
    assert cluster.run("srun", "--nodelist=n2", "hostname") == "n2"


def test_down_leaves_no_process_and_job_ids_go_on() -> None:
    with (
        temporary_cluster("--nodes", "2", "--no-accounting") as other,
        temporary_cluster(*other.options) as cluster,
    ):
        job = submit(cluster, f'srun bash -c "{STUBBORN}"', "--nodes=2")
        cluster.wait(job, "RUNNING")
        while [process.name() for process in tasks(cluster)].count("sleep") < 2:
            assert cluster.state(job) == "RUNNING"
        assert len(cluster.steps()) == 3
        processes = [*cluster.daemons().values(), *cluster.steps()]
        processes += [child for process in processes for child in process.children(recursive=True)]
        cluster.end("slurmctld")  # it can neither cancel the job nor say which id is next
        cluster.end("slurmd.n1")
        unharmed = pids(other)

        cluster.stop("--purge")
        assert alive(processes) == []
        assert str(cluster.folder) not in Path("/etc/hosts").read_text()
        assert [path.name for path in cluster.folder.iterdir()] == ["first-job-id.conf"]
        assert pids(other) == unharmed
        assert other.run("srun", "hostname") == "n1"

        cluster.start()
        assert int(submit(cluster, "true")) > int(job)


@pytest.mark.slow
def test_with_accounting(slurm: SlurmCluster) -> None:
    """The user may submit as many jobs as the limit says, and sacct knows them."""
    assert slurm.user
    job = submit(slurm, "true", "--gpus=1", user=slurm.user)
    slurm.wait(job, "COMPLETED")
    columns = (
        "--allocations",
        "--noheader",
        "--parsable2",
        "--format=User,Account,AllocTRES,State",
    )
    deadline = time.monotonic() + 20
    while not (fields := slurm.run("sacct", *columns, f"--jobs={job}")).endswith("|COMPLETED"):
        assert time.monotonic() < deadline, fields
    assert fields.startswith(f"{slurm.user}|users|")
    assert "gres/gpu=1" in fields
    assert [entry for entry in listening(slurm) if entry[1] != "127.0.0.1"] == []
    try:
        slurm.start("--most-jobs", "2")
        jobs = [submit(slurm, "sleep 60", user=slurm.user) for _ in range(2)]
        with pytest.raises(AssertionError, match="QOSMaxSubmitJobPerUserLimit"):
            submit(slurm, "sleep 60", user=slurm.user)
        slurm.run("scancel", *jobs)
        with pytest.raises(AssertionError, match="Invalid account"):
            submit(slurm, "true", user="nobody")
    finally:
        slurm.start()
    assert os.environ["SLURM_CONF"] == str(slurm.configuration)


def test_it_says_what_it_needs() -> None:
    """Root, and a folder of its own: somebody's folder is left as it is."""

    def complaint(script: str, *options: str, prefix: tuple[str, ...] = ()) -> str:
        done = subprocess.run(
            [*prefix, DEVSLURM / script, *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        return done.stderr

    as_nobody = ("setpriv", "--reuid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    for script in ("up.sh", "down.sh"):
        assert re.fullmatch(r"devslurm: needs root.*\n", complaint(script, prefix=as_nobody))
    assert "--nodes 0: 1 to 100" in complaint("up.sh", "--nodes", "0")
    assert "unknown option --node" in complaint("up.sh", "--node", "2")
    assert "--most-jobs needs accounting" in complaint(
        "up.sh", "--no-accounting", "--most-jobs", "2"
    )
    if os.geteuid() == 0:
        with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as short:
            (Path(short) / "log").mkdir()
            assert "has other things in it" in complaint(
                "up.sh", "--folder", short, "--no-accounting"
            )
