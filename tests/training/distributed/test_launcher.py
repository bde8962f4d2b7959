"""The launcher: where its processes are in the world, how they die together, and start again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

LAUNCHER = "fieldtrial.training.distributed.launcher"
# A rank's last word is a file: what two processes print would mix.
SCRIPT = """
import os, signal, sys, time
from pathlib import Path

rank, start = int(os.environ["RANK"]), os.environ["TORCHELASTIC_RESTART_COUNT"]
folder = Path(sys.argv[1])

def say(word, name=f"{rank}-{start}"):
    (folder / f".{name}").write_text(str(word))
    (folder / f".{name}").rename(folder / name)

def all_said(names):
    while not all((folder / name).exists() for name in names):
        time.sleep(0.01)

exec(sys.argv[2])
"""


class Launched:
    """A launcher of two processes, each of which runs `code`."""

    def __init__(self, folder: Path, code: str, *options: str, grace: float = 10) -> None:
        self.folder = folder
        (folder / "script.py").write_text(SCRIPT)
        words = ["--processes", "2", *options, str(folder / "script.py"), str(folder), code]
        start = f"import {LAUNCHER} as it; it.GRACE_SECONDS = {grace}; it.main({words!r})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def said(self, name: str) -> str:
        deadline = time.monotonic() + 120
        while not (self.folder / name).exists():
            assert time.monotonic() < deadline, name
            time.sleep(0.01)
        return (self.folder / name).read_text()

    def family(self) -> list[psutil.Process]:
        return [psutil.Process(int(self.said(f"{rank}-0"))) for rank in (0, 1)]

    def end(self, status: int) -> str:
        """Wait for the launcher and its processes; return what was printed as errors."""
        _, errors = self.process.communicate(timeout=120)
        assert self.process.returncode == status, errors
        return errors


Launch = Callable[..., Launched]


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launch]:
    made: list[Launched] = []

    def launch(code: str, *options: str, grace: float = 10) -> Launched:
        made.append(Launched(tmp_path, code, *options, grace=grace))
        return made[-1]

    yield launch
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=120)[1]


def test_each_process_has_its_place_and_rank_0_the_input(
    launched: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("FIELDTRIAL_RENDEZVOUS", "of another launcher")
    code = f"""
meeting = os.stat(int(os.environ["FIELDTRIAL_MEETING"]))
say([sys.stdin.read(), *map(os.environ.get, {names}), os.environ.get("FIELDTRIAL_RENDEZVOUS"),
     meeting.st_size, meeting.st_nlink, os.getppid(), os.getpgrp() == os.getpid()])
all_said(["0-0", "1-0"])
"""
    one = launched(code)
    assert one.process.stdin
    one.process.stdin.write("a task")
    one.process.stdin.close()
    threads = str(max(1, len(os.sched_getaffinity(0)) // 2))
    for rank, read in ((0, "a task"), (1, "")):
        said = [read, "2", str(rank), "2", threads, None, 0, 0, one.process.pid, True]
        assert one.said(f"{rank}-0") == str(said)
    one.process.stdin = None
    assert one.end(0) == ""


@pytest.mark.parametrize(
    ("death", "status"),
    [("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL)],
)
def test_a_death_ends_all_and_the_launcher_as_the_dead_one(
    launched: Launch, death: str, status: int
) -> None:
    one = launched(f"""
say(os.getpid())
all_said(["0-0", "1-0", "seen"])
if rank: {death}
time.sleep(300)
""")
    family = one.family()
    (one.folder / "seen").touch()
    assert one.end(status) == ""
    assert gone(family)


def test_a_process_that_ends_early_and_well_is_waited_with(launched: Launch) -> None:
    one = launched('rank or sys.exit(0); time.sleep(1); say("done")')
    assert one.end(0) == ""
    assert one.said("1-0") == "done"


def test_who_does_not_end_when_told_is_killed(launched: Launch) -> None:
    one = launched(
        """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
say(os.getpid())
all_said(["0-0", "1-0", "seen"])
if rank: sys.exit(3)
time.sleep(300)
""",
        grace=0.1,
    )
    family = one.family()
    (one.folder / "seen").touch()
    one.end(3)
    assert gone(family)


@pytest.mark.parametrize(
    ("code", "starts", "status"),
    [
        ('if start != "2": sys.exit(1)', 3, 0),
        ("sys.exit(1)", 4, 1),
        ("sys.exit(2)", 1, 2),  # bad input
    ],
)
def test_dead_processes_are_started_again_and_meet_anew(
    launched: Launch, code: str, starts: int, status: int
) -> None:
    one = launched(
        f"""
memory = f"/proc/self/fd/{{os.environ['FIELDTRIAL_MEETING']}}"
say([os.stat(memory).st_size, os.environ["FIELDTRIAL_LAUNCHED"]])
all_said([f"0-{{start}}", f"1-{{start}}"])
open(memory, "a").write("where this start's processes are")
{code}
""",
        "--restarts",
        "3",
    )
    errors = one.end(status)
    names = {path.name for path in one.folder.glob("[01]-*")}
    assert names == {f"{rank}-{start}" for rank in (0, 1) for start in range(starts)}
    assert len({one.said(name) for name in names}) == 1  # all empty, and of one launch
    assert one.said("0-0").startswith("[0, ")
    assert errors == "a process exited with status 1: all are started again\n" * (starts - 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_once_and_nothing_starts_again(
    launched: Launch, number: signal.Signals
) -> None:
    one = launched(
        """
got = []
signal.signal(int(os.environ["NUMBER"]), lambda number, _: got.append(number))
say(os.getpid())
while not got: time.sleep(0.01)
time.sleep(0.3)
say(got, f"got-{rank}")
all_said(["got-0", "got-1"])
sys.exit(5)
""".replace('int(os.environ["NUMBER"])', str(int(number))),
        "--restarts",
        "3",
    )
    family = one.family()
    os.killpg(one.process.pid, number)  # as a terminal's Ctrl-C
    assert one.end(5) == ""
    assert [one.said(f"got-{rank}") for rank in (0, 1)] == [f"[{int(number)}]"] * 2
    assert gone(family)


def test_processes_die_with_a_killed_launcher_while_they_start(launched: Launch) -> None:
    one = launched("say(os.getpid()); time.sleep(300)")
    family = one.family()
    one.process.kill()
    assert gone(family)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--processes", "0", "x.py"], "--processes 0: must be at least 1"),
        (["--processes", "2", "--restarts", "-1", "x.py"], "--restarts -1: must be at least 0"),
        (
            ["--processes", "2", "--nodes", "a", "x.py"],
            "--nodes: SLURM_NODEID must say which of them this is, as it does under srun",
        ),
        (["--processes", "2"], "COMMAND ... is missing: a script or, after -m, a module"),
        (
            ["--processes", "2", "--nodes", "a,b", "x.py"],
            "--nodes: FIELDTRIAL_RENDEZVOUS must name a file that all of them see",
        ),
    ],
)
def test_bad_input_is_said_in_a_line(words: list[str], problem: str) -> None:
    jobs = ("FIELDTRIAL_RENDEZVOUS", "SLURM_NODEID")
    variables = {name: value for name, value in os.environ.items() if name not in jobs}
    done = subprocess.run(
        [sys.executable, "-m", LAUNCHER, *words],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"error: {problem}")


def test_on_several_nodes_ranks_count_on_and_meet_by_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "FIELDTRIAL_PEER"]
    names += ["FIELDTRIAL_RENDEZVOUS", "FIELDTRIAL_MEETING"]
    code = f"say(list(map(os.environ.get, {names})))"
    monkeypatch.setenv("FIELDTRIAL_RENDEZVOUS", "/shared/file")
    for node in ("0", "1"):
        monkeypatch.setenv("SLURM_NODEID", node)
        words = ["--processes", "2", "--nodes", "a,b", str(tmp_path / "script.py")]
        subprocess.run([sys.executable, "-m", LAUNCHER, *words, str(tmp_path), code], check=True)
    for rank, peer in enumerate("bbaa"):
        facts = [str(rank), str(rank % 2), "4", "2", peer, "/shared/file", None]
        assert (tmp_path / f"{rank}-0").read_text() == str(facts)
