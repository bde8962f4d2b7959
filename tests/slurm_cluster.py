"""A pytest plugin: a real SLURM on this machine, started by cluster/devslurm."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.needs import need, need_root

DEVSLURM = Path(__file__).parents[1] / "cluster" / "devslurm"


class SlurmCluster:
    """A cluster; its daemons: slurmctld, slurmd.n1, slurmd.n2 ..., slurmdbd, mariadbd, munged."""

    def __init__(self, folder: Path, *options: str, user: str | None = None) -> None:
        self.folder = folder
        self.user = (
            user  # created by start(), with a home in the folder, and deleted by stop("--purge")
        )
        self.options = [*options, "--user", user] if user else options
        self.configuration = folder / "etc" / "slurm.conf"  # what SLURM_CONF must name

    def start(self, *options: str) -> str:
        """Start what is not running, with further options; returns up.sh's output."""
        return _output(
            [str(DEVSLURM / "up.sh"), "--folder", str(self.folder), *self.options, *options]
        )

    def stop(self, *options: str) -> None:
        """Stop everything; without "--purge" the state stays, and start() goes on with it."""
        _output([str(DEVSLURM / "down.sh"), "--folder", str(self.folder), *options])

    def run(self, *command: str, user: str | None = None) -> str:
        """Run a client's command, as `user` if given; returns its output."""
        prefix = ["runuser", "--user", user, "--"] if user else []
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM_", "SBATCH_"))
        }
        return _output([*prefix, *command], {**environment, "SLURM_CONF": str(self.configuration)})

    def state(self, job: str) -> str:
        """A job's state as SLURM writes it: PENDING, RUNNING, ...; all states of an array."""
        states = self.run(
            "squeue", "--noheader", "--states=all", "--array", f"--jobs={job}", "--format=%T"
        ).split()
        return " ".join(sorted(set(states)))

    def wait(self, job: str, state: str, seconds: float = 60) -> None:
        """Wait until a job is in the state."""
        deadline = time.monotonic() + seconds
        while (now := self.state(job)) != state:
            assert time.monotonic() < deadline, (
                f"job {job} is {now}, not {state}, after {seconds:g} s"
            )
            time.sleep(0.2)

    def daemons(self) -> dict[str, psutil.Process]:
        """The daemons that run, by name."""
        files = {path.stem: path for path in (self.folder / "run").glob("*.pid")}
        files |= {
            "mariadbd": self.folder / "database" / "pid",
            "munged": self.folder / "munge" / "pid",
        }
        found = {}
        for name, path in files.items():
            with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
                process = psutil.Process(int(path.read_text()))
                if process.status() != psutil.STATUS_ZOMBIE:
                    found[name] = process
        return found

    def end(self, daemon: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End one daemon and wait for it. Job steps run on, and start() starts it again."""
        process = self.daemons()[daemon]
        process.send_signal(number)
        _wait_until_gone([process])

    def end_node(self, node: str) -> None:
        """End a node as if its power were cut: slurmd, its job steps and all that they started."""
        steps = [
            step
            for step in self.steps()
            if any(f"/spool/{node}/" in c.laddr for c in step.net_connections("unix"))
        ]
        processes = [self.daemons()[f"slurmd.{node}"], *steps]
        processes += [child for step in steps for child in step.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        _wait_until_gone(processes)

    def steps(self) -> list[psutil.Process]:
        """The processes that mind the job steps of this cluster."""
        found = []
        for process in psutil.process_iter(["name"]):
            with suppress(psutil.NoSuchProcess):
                if process.info["name"] == "slurmstepd" and any(
                    str(connection.laddr).startswith(f"{self.folder}/spool/")
                    for connection in process.net_connections("unix")
                ):
                    found.append(process)
        return found


@contextmanager
def temporary_cluster(*options: str, user: str | None = None) -> Iterator[SlurmCluster]:
    """A cluster in a new folder, with a short name for its sockets; removed at the end."""
    need_root("starts a SLURM cluster")
    need(shutil.which("slurmctld") or shutil.which("apt-get"), "SLURM from Debian's packages")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o755)
    cluster = SlurmCluster(folder, *options, user=user)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop("--purge")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """Four nodes with accounting for this test run, where root and `slurm.user` may submit.
    SLURM_CONF names it.
    """
    with (
        temporary_cluster(user=f"trial{os.getpid()}") as cluster,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("SLURM_CONF", str(cluster.configuration))
        yield cluster


def _output(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done.stdout.strip()


def _wait_until_gone(processes: list[psutil.Process]) -> None:
    """Until each has ended; one that its parent has not asked about yet (a zombie) has."""
    deadline = time.monotonic() + 60
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            while process.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < deadline, f"{process} does not end"
                time.sleep(0.02)
