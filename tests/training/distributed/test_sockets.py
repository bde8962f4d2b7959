"""Which sockets the processes of a trial have, and what another user can do with them."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.needs import need_root

LAUNCHER = ("-m", "fieldtrial.training.distributed.launcher", "--processes", "2")
NOBODY = 65534
# Joins the others, and then says what it computes with them, once for each line it is sent.
PROCESS = """
import json, os, sys
import torch
from fieldtrial.training.distributed.world import World

world = World.from_environment()
while word := world.broadcast(sys.stdin.readline() if world.is_rank_0 else ""):
    total = world.sum(torch.tensor([world.rank + 1.0])).item()
    if world.rank == int(word):
        at = [os.environ.get(name) for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")]
        os.write(1, (json.dumps([os.getpid(), total, *at]) + "\\n").encode())
world.close()
"""
# A user who connects to all ports, says what gloo and torch's store would take, and what is none.
STRANGER = f"""
import json, os, socket, struct, sys

"localhost".encode("idna")  # the interpreter may be in a folder that this user cannot enter
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})

def readable(path):
    try:
        return bool(os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1))
    except PermissionError:
        return False

told = json.load(sys.stdin)
answers = []
for port in told["ports"]:
    ranks = [struct.pack("<q", rank) for rank in range(3)]
    for words in (*ranks, bytes(1000), b"\\x80\\x04" * 500):
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.sendall(words)
            connection.settimeout(0.2)
            try:
                answers.append(connection.recv(1000).hex())
            except OSError:
                answers.append("")
read = [path for path in told["paths"] if readable(path)]
print(json.dumps(dict(user=os.geteuid(), answers=answers, read=read)))
"""


class Trial:
    """Two processes that have met."""

    def __init__(self, folder: Path, how: str) -> None:
        (folder / "process.py").write_text(PROCESS)
        command = [sys.executable, *(LAUNCHER if how == "launcher" else ())]
        ranks: list[dict[str, str]] = [{}]
        if how == "file":  # as a job's
            common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            common["FIELDTRIAL_RENDEZVOUS"] = str(folder / "rendezvous")
            ranks = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]
        self.started = [
            subprocess.Popen(
                [*command, str(folder / "process.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | rank,
                text=True,
            )
            for rank in ranks
        ]
        self.processes = [psutil.Process(self.ask(rank)) for rank in (0, 1)]

    def ask(self, rank: int) -> int:
        """Have all compute; return the process of a rank."""
        first, speaker = self.started[0], self.started[rank if len(self.started) > 1 else 0]
        assert first.stdin
        assert speaker.stdout
        first.stdin.write(f"{rank}\n")
        first.stdin.flush()
        process, *said = json.loads(speaker.stdout.readline())
        assert said == [3, "lo", "lo"]
        return int(process)

    def everyone(self) -> list[psutil.Process]:
        return [*{psutil.Process(one.pid) for one in self.started}.union(self.processes)]


@pytest.fixture(params=["launcher", "file"])
def trial(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trial]:
    one = Trial(tmp_path, request.param)
    yield one
    for process in one.started:
        with contextlib.suppress(BrokenPipeError):
            process.communicate("", timeout=120)


def sockets(trial: Trial) -> list[Any]:
    return [one for process in trial.everyone() for one in process.net_connections("inet")]


def ports(trial: Trial) -> list[int]:
    return [one.laddr.port for one in sockets(trial) if one.status == psutil.CONN_LISTEN]


def test_all_sockets_are_on_loopback_and_none_is_a_stores(trial: Trial) -> None:
    found = sockets(trial)
    assert {one.laddr.ip for one in found} == {"127.0.0.1"}
    assert {one.raddr.ip for one in found if one.raddr} == {"127.0.0.1"}
    # gloo's alone: of each process, one for each of its two groups.
    assert len(ports(trial)) == 4
    launcher = {psutil.Process(one.pid) for one in trial.started} - set(trial.processes)
    assert not [one for process in launcher for one in process.net_connections("inet")]


def secret_of(trial: Trial, folder: Path) -> str:
    if (folder / "rendezvous").exists():
        return (folder / "rendezvous").read_text().split()[2]
    memory = Path(f"/proc/{trial.started[0].pid}/fd")
    texts = [path.read_bytes() for path in memory.iterdir() if "memfd" in str(path.readlink())]
    assert len(texts) == 1
    place = texts[0].index(b"secret")
    return next(
        word.decode()
        for start in range(place, place + 40)
        if len(word := texts[0][start : start + 64]) == 64
        and all(letter in b"0123456789abcdef" for letter in word)
    )


def test_another_user_can_neither_read_nor_change_what_the_processes_use(
    trial: Trial, tmp_path: Path
) -> None:
    need_root("another user's process")
    everyone = trial.everyone()
    secret = secret_of(trial, tmp_path)
    for process in everyone:
        assert not [word for word in process.cmdline() if secret in word]
        assert not [value for value in process.environ().values() if secret in value]
    paths = [f"/proc/{one.pid}/{name}" for one in everyone for name in ("environ", "fd", "mem")]
    for one in everyone:
        paths += map(str, Path(f"/proc/{one.pid}/fd").iterdir())
    tmp_path.chmod(0o755)
    paths.append(str(tmp_path / "rendezvous"))
    told = json.dumps({"ports": ports(trial), "paths": [p for p in paths if os.path.lexists(p)]})
    done = subprocess.run(
        [sys.executable, "-c", STRANGER], input=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["user"], found["read"]) == (NOBODY, [])
    assert len(found["answers"]) == 5 * 4
    assert set(found["answers"]) == {""}
    assert [trial.ask(rank) for rank in (0, 1)] == [one.pid for one in trial.processes]
