"""The store of a job's processes: what torch asks of it, and who is let in."""

import gc
import hashlib
import hmac
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from torch._C._distributed_c10d import PrefixStore

from fieldtrial.training.distributed import shared_store
from fieldtrial.training.distributed.shared_store import Connection, Server, SharedStore, Values

SECRET = secrets.token_bytes(32)
LIMIT = timedelta(seconds=60)


class Meeting:
    """Rank 0 of three processes."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        values = Values()
        self.store = SharedStore(values, LIMIT)
        self.server = Server(listener, SECRET, 3, values)

    def join(self, rank: int, secret: bytes = SECRET) -> SharedStore:
        return SharedStore(Connection(self.address, secret, rank), LIMIT)


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    one = Meeting()
    yield one
    for rank in (1, 2):  # its threads end
        try:
            one.join(rank)
        except OSError:
            continue


def hello(address: tuple[str, int]) -> tuple[socket.socket, bytes]:
    stranger = socket.create_connection(address, 60)
    return stranger, stranger.recv(100)


def test_all_ranks_see_the_same_values(meeting: Meeting) -> None:
    first, second = meeting.join(1), meeting.join(2)
    meeting.store.set("bytes", bytes(range(256)))
    first.set("text", "a\nb")
    for store in (meeting.store, first, second):
        assert (store.get("bytes"), store.get("text")) == (bytes(range(256)), b"a\nb")
        assert store.multi_get(["text", "bytes"]) == [b"a\nb", bytes(range(256))]
    assert [store.add("count", 2) for store in (meeting.store, first, second)] == [2, 4, 6]
    assert second.get("count") == b"6"
    first.append("list", b"1")
    second.append("list", b"2")
    assert meeting.store.get("list") == b"12"
    assert first.compare_set("new", "", "mine") == b"mine"
    assert second.compare_set("new", "other", "theirs") == b"mine"
    assert second.compare_set("new", "mine", "theirs") == b"theirs"
    assert second.compare_set("none", "other", "theirs") == b"other"
    assert (first.check(["new"]), first.check(["new", "none"])) == (True, False)
    assert first.num_keys() == 5
    assert (first.delete_key("new"), second.delete_key("new")) == (True, False)


def test_a_value_is_waited_for(meeting: Meeting) -> None:
    first = meeting.join(1)
    later = threading.Timer(0.3, meeting.store.set, ["late", b"here"])
    later.start()
    assert first.get("late") == b"here"
    with pytest.raises(TimeoutError, match=r"waited 0:00:00.1\d* for another process: never"):
        first.wait(["late", "never"], timedelta(seconds=0.1))
    later.join()


def test_torch_finds_the_store_when_nobody_else_holds_it() -> None:
    """As with groups that are made after the processes have met."""
    prefixed = PrefixStore("group", SharedStore(Values(), LIMIT))
    gc.collect()
    prefixed.set("said", "word")
    assert (prefixed.get("said"), prefixed.clone().get("said")) == (b"word", b"word")


def refused_without(join: Callable[[], object]) -> bool:
    with pytest.raises(OSError, match=r"gone|reset|refused"):
        join()
    return True


def test_without_the_secret_nobody_gets_in_and_no_place_is_taken(meeting: Meeting) -> None:
    meeting.store.set("where", b"rank 0 is")
    assert refused_without(lambda: meeting.join(1, secrets.token_bytes(32)))
    for said in (b"", b"\0" * 68, b"\x80\x04" * 34, secrets.token_bytes(5000)):
        stranger, nonce = hello(meeting.address)
        assert len(nonce) == 32
        try:
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            answer = stranger.recv(100)
        except OSError:  # it was sent away while it spoke
            answer = b""
        assert answer == b""
        stranger.close()
    assert meeting.join(1).get("where") == b"rank 0 is"
    assert refused_without(lambda: meeting.join(1))  # this rank is there already
    assert refused_without(lambda: meeting.join(7))
    assert meeting.join(2).get("where") == b"rank 0 is"


def test_what_one_has_overheard_lets_nobody_in(meeting: Meeting) -> None:
    """The right answer to the question of another connection, and of this one with another rank."""

    def answer(nonce: bytes, rank: bytes, told: bytes) -> bytes:
        mine = b"m" * 32
        proof = hmac.new(SECRET, b"peer" + nonce + mine + rank, hashlib.sha256).digest()
        return told + mine + proof

    one, two = b"\0\0\0\1", b"\0\0\0\2"
    first, first_nonce = hello(meeting.address)
    tries: list[tuple[Callable[[bytes], bytes], bool]] = [
        (lambda _: answer(first_nonce, one, one), False),
        (lambda nonce: answer(nonce, one, two), False),
        (lambda nonce: answer(nonce, one, one), True),
    ]
    for told, lets_in in tries:
        stranger, nonce = hello(meeting.address)
        stranger.sendall(told(nonce))
        assert (len(stranger.recv(100)) == 32) == lets_in
        stranger.close()
    first.close()
    meeting.join(1).set("after", b"one who gave up")


def test_who_is_not_rank_0_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_store, "INTRODUCTION_SECONDS", 1.0)
    for says in (b"", b"\0" * 64, b"x" * 5000):
        with socket.create_server(("127.0.0.1", 0)) as false:

            def speak(listener: socket.socket = false, words: bytes = says) -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(words)
                    connection.recv(68)

            thread = threading.Thread(target=speak)
            thread.start()
            with pytest.raises(OSError, match=r"not rank 0 of this trial|gone|reset|timed out"):
                Connection(false.getsockname(), SECRET, 1)
            thread.join()


def test_strangers_who_say_nothing_are_sent_away_and_keep_nobody_out(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_store, "INTRODUCTION_SECONDS", 1.0)
    silent = [hello(meeting.address)[0] for _ in range(shared_store.MOST_STRANGERS)]
    stranger = socket.create_connection(meeting.address, 60)
    assert stranger.recv(100) == b""  # there are too many at once
    assert [one.recv(100) for one in silent] == [b""] * len(silent)
    assert meeting.join(1).add("count", 1) == 1
    for one in (*silent, stranger):
        one.close()


def test_the_port_is_closed_when_all_are_there(meeting: Meeting) -> None:
    stores = [meeting.join(1), meeting.join(2)]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(meeting.address).close()
        except ConnectionRefusedError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("it still listens")
    stores[0].set("after", b"that")
    assert stores[1].get("after") == b"that"


def test_a_request_that_is_none_ends_its_connection_alone(meeting: Meeting) -> None:
    first = meeting.join(1)
    with pytest.raises(OSError, match=r"rank 0 is gone|reset|[Bb]roken pipe"):
        first._operations.do("set", "x" * shared_store.LONGEST_LINE)
    assert meeting.join(2).num_keys() == 0
