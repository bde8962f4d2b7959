"""The connections of gloo's groups are those of the trial's processes, or there is no group."""

import secrets
import socket
import struct
import threading
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from torch._C._distributed_c10d import FileStore
from torch.distributed import ProcessGroupGloo

from fieldtrial.training.distributed.peers import NotAPeer, require_peers

SECRET = secrets.token_bytes(32)
LIMIT = timedelta(seconds=5)
TRIES = 40


class Rank(threading.Thread):
    """A process of a trial, as far as its group is concerned."""

    def __init__(self, file: Path, rank: int, size: int, secret: bytes | None = SECRET) -> None:
        super().__init__()
        self.error: Exception | None = None
        self._file, self._place, self._secret = file, (rank, size), secret
        self.start()

    def run(self) -> None:
        rank, size = self._place
        try:
            group = ProcessGroupGloo(FileStore(str(self._file), size), rank, size, 4 * LIMIT)
            if self._secret is None:
                time.sleep(2 * LIMIT.total_seconds())  # says nothing
            else:
                require_peers(group, self._secret, rank, size, LIMIT)
        except Exception as error:
            self.error = error


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


def ended(*ranks: Rank) -> list[str]:
    for rank in ranks:
        rank.join()
    return ["" if rank.error is None else f"{type(rank.error).__name__}" for rank in ranks]


def test_who_knows_the_secret_is_a_peer(tmp_path: Path) -> None:
    assert ended(*(Rank(tmp_path / "store", rank, 3) for rank in range(3))) == [""] * 3


def test_who_does_not_is_none(tmp_path: Path) -> None:
    ranks = [
        Rank(tmp_path / "store", rank, 3, secrets.token_bytes(32) if rank == 2 else SECRET)
        for rank in range(3)
    ]
    assert ended(*ranks) == ["NotAPeer"] * 3
    assert "what is connected as rank 2 does not know this trial's secret" in str(ranks[0].error)


def test_nor_is_who_says_nothing(tmp_path: Path) -> None:
    assert ended(Rank(tmp_path / "store", 0, 2), Rank(tmp_path / "store", 1, 2, None)) == [
        "NotAPeer",
        "",
    ]


def listening() -> set[int]:
    return {
        one.laddr.port
        for one in psutil.Process().net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }


def test_a_stranger_who_takes_a_peers_place_at_gloos_socket_is_found(tmp_path: Path) -> None:
    """gloo gives a place to who first says its number. Which rank listens, its ports decide."""
    for number in range(TRIES):
        before, file = listening(), tmp_path / f"store-{number}"
        first = Rank(file, 0, 2)
        while not (ports := listening() - before):
            time.sleep(0.01)
        stranger = socket.create_connection(("127.0.0.1", ports.pop()))
        stranger.sendall(struct.pack("<q", 1))  # "I am rank 1"
        time.sleep(0.2)
        second = Rank(file, 1, 2)
        how = ended(first, second)
        stranger.settimeout(1)
        try:
            had_come_in = stranger.recv(1) != b""
        except OSError:
            had_come_in = False
        stranger.close()
        assert how == (["NotAPeer"] * 2 if had_come_in else [""] * 2)
        if had_come_in:
            assert isinstance(first.error, NotAPeer)
            return
    pytest.fail("the stranger never came first: this test has shown nothing")
