"""A store of torch's that only who knows a secret can reach: for the processes of a job.

torch's own TCPStore has no password: whoever connects can list, read and set all its keys. The keys
hold the addresses that processes connect to.
"""

import contextlib
import hmac
import json
import secrets
import socket
import struct
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, BinaryIO, Protocol

from torch._C._distributed_c10d import Store

NONCE = DIGEST = 32  # bytes
RANK = struct.Struct("!I")
IN = b"1"  # what a rank says when it believes rank 0, too
MOST_STRANGERS = 64  # connections at once of which it is not known whose they are
INTRODUCTION_SECONDS = 10.0
LONGEST_LINE = 1 << 20  # bytes of a request or an answer
POLL_SECONDS = 0.02
# torch keeps the half of a store that is in C++, for groups that are made later, and not this one.
ALIVE: list[Store] = []


class Values:
    """What is in a store: bytes by their names. One operation is done at a time."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def do(self, operation: str, key: str, first: bytes = b"", second: bytes = b"") -> Any:
        """Do one operation of a store and return what it returns; None for no such key."""
        with self._lock:
            old = self._values.get(key)
            match operation:
                case "get":
                    return old
                case "set":
                    self._values[key] = first
                case "append":
                    self._values[key] = (old or b"") + first
                case "add":
                    self._values[key] = b"%d" % (int(old or 0) + int(first))
                    return int(self._values[key])
                case "compare_set":
                    if (old or b"") == first:
                        self._values[key] = second
                    return self._values.get(key, first)
                case "delete":
                    return self._values.pop(key, None) is not None
                case "count":
                    return len(self._values)
                case _:
                    raise ValueError(f"{operation}: no operation of a store")
        return None


class Operations(Protocol):
    """Something that does operations of a store, here or elsewhere."""

    def do(self, operation: str, key: str, first: bytes = b"", second: bytes = b"") -> Any:
        """Do one operation and return what it returns."""


class SharedStore(Store):
    """The store that torch's process groups are given; torch calls these methods from C++."""

    def __init__(self, operations: Operations, timeout: timedelta) -> None:
        super().__init__()
        self._operations, self._limit = operations, timeout
        ALIVE.append(self)

    def set(self, key: str, value: str | bytes) -> None:
        """Set a value."""
        self._operations.do("set", key, _bytes(value))

    def get(self, key: str) -> bytes:
        """Return a value, as soon as there is one. Raises what `wait` raises."""
        self.wait([key])
        return bytes(self._operations.do("get", key))

    def add(self, key: str, value: int) -> int:
        """Add to a number, at first 0, and return the sum."""
        return int(self._operations.do("add", key, b"%d" % value))

    def append(self, key: str, value: str | bytes) -> None:
        """Add to the end of a value, at first empty."""
        self._operations.do("append", key, _bytes(value))

    def check(self, keys: Sequence[str]) -> bool:
        """Return whether all of the keys are there."""
        return all(self._operations.do("get", key) is not None for key in keys)

    def compare_set(self, key: str, expected: str | bytes, desired: str | bytes) -> bytes:
        """Set a value if it is the expected one, or both are empty; return what is there then."""
        return bytes(self._operations.do("compare_set", key, _bytes(expected), _bytes(desired)))

    def delete_key(self, key: str) -> bool:
        """Remove a key and return whether it was there."""
        return bool(self._operations.do("delete", key))

    def num_keys(self) -> int:
        """Return how many keys there are."""
        return int(self._operations.do("count", ""))

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """Return several values. Raises what `wait` raises."""
        return [self.get(key) for key in keys]

    def multi_set(self, keys: Iterable[str], values: Iterable[str | bytes]) -> None:
        """Set several values."""
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)

    def has_extended_api(self) -> bool:
        """Return whether there are append, multi_get and multi_set."""
        return True

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Return as soon as all keys are there.

        Raises:
            TimeoutError: they are not there in time.
        """
        limit = self._limit if timeout is None else timeout
        deadline = time.monotonic() + limit.total_seconds()
        while missing := [key for key in keys if not self.check([key])]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {limit} for another process: {', '.join(missing)}")
            time.sleep(POLL_SECONDS)

    def clone(self) -> "SharedStore":
        """Return this store: its operations may come from several threads."""
        return self


class Server:
    """Rank 0's side: lets every other rank in, once, and then listens no more.

    It runs in threads of its own. A connection that does not prove within INTRODUCTION_SECONDS that
    it knows the secret is closed.
    """

    def __init__(self, listener: socket.socket, secret: bytes, size: int, values: Values) -> None:
        self._listener, self._secret, self._values = listener, secret, values
        self._missing = set(range(1, size))
        self._lock = threading.Lock()
        self._strangers = threading.BoundedSemaphore(MOST_STRANGERS)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with self._listener:
            while self._missing:
                try:
                    connection, _ = self._listener.accept()
                except OSError:  # who came has gone away again, or all are there
                    continue
                if self._strangers.acquire(blocking=False):
                    threading.Thread(target=self._serve, args=[connection], daemon=True).start()
                else:
                    connection.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                is_known = self._introduce(connection)
            except OSError:  # too slow, or gone
                return
            finally:
                self._strangers.release()
            if not is_known:
                return
            connection.settimeout(None)
            with contextlib.suppress(OSError), connection.makefile("rb") as lines:
                while request := _receive(lines):
                    operation, key, *values = request
                    answer = self._values.do(operation, key, *map(_decoded, values))
                    _send(connection, [_encoded(answer) if isinstance(answer, bytes) else answer])

    def _introduce(self, connection: socket.socket) -> bool:
        """Return whether the other side is a missing rank; prove to it that this is rank 0."""
        connection.settimeout(INTRODUCTION_SECONDS)
        mine = secrets.token_bytes(NONCE)
        connection.sendall(mine)
        rank, theirs, proof = _split(_exactly(connection, RANK.size + NONCE + DIGEST))
        if not hmac.compare_digest(proof, prove(self._secret, b"peer", mine, theirs, rank)):
            return False
        number = RANK.unpack(rank)[0]
        if number not in self._missing:
            return False
        connection.sendall(prove(self._secret, b"rank 0", mine, theirs, rank))
        _exactly(connection, len(IN))  # else it has given up, and will try again
        with self._lock:
            if number not in self._missing:
                return False
            self._missing.remove(number)
            if not self._missing:
                self._listener.shutdown(socket.SHUT_RDWR)  # nobody else is let in, from now on
        return True


class Connection:
    """Another rank's side: operations are done by rank 0.

    Raises:
        OSError: rank 0 is not there, or what is there does not know the secret.
    """

    def __init__(self, address: tuple[str, int], secret: bytes, rank: int) -> None:
        self._lock = threading.Lock()
        connection = socket.create_connection(address, INTRODUCTION_SECONDS)
        try:
            theirs = _exactly(connection, NONCE)
            mine, number = secrets.token_bytes(NONCE), RANK.pack(rank)
            connection.sendall(number + mine + prove(secret, b"peer", theirs, mine, number))
            proof = _exactly(connection, DIGEST)
            if not hmac.compare_digest(proof, prove(secret, b"rank 0", theirs, mine, number)):
                raise ConnectionRefusedError(f"{address}: not rank 0 of this trial")
            connection.sendall(IN)
            connection.settimeout(None)
        except BaseException:
            connection.close()
            raise
        self._connection, self._lines = connection, connection.makefile("rb")

    def do(self, operation: str, key: str, first: bytes = b"", second: bytes = b"") -> Any:
        """Have rank 0 do one operation and return what it returns. Raises OSError without it."""
        with self._lock:
            _send(self._connection, [operation, key, _encoded(first), _encoded(second)])
            answer = _receive(self._lines)
        if answer is None:
            raise ConnectionResetError("rank 0 is gone")
        return _decoded(answer[0]) if isinstance(answer[0], str) else answer[0]


def prove(secret: bytes, *parts: bytes) -> bytes:
    """Return what only who knows the secret can say about `parts`: 32 bytes (RFC 2104).

    All parts but the first, a word, must have fixed lengths.
    """
    return hmac.digest(secret, b"".join(parts), "sha256")


def _split(introduction: bytes) -> tuple[bytes, bytes, bytes]:
    nonce = RANK.size + NONCE
    return introduction[: RANK.size], introduction[RANK.size : nonce], introduction[nonce:]


def _exactly(connection: socket.socket, count: int) -> bytes:
    """Return the next `count` bytes. Raises OSError if they do not come in time."""
    deadline = time.monotonic() + INTRODUCTION_SECONDS
    received = b""
    while len(received) < count:
        part = connection.recv(count - len(received))
        if not part or time.monotonic() > deadline:
            raise ConnectionResetError("the other side is gone, or too slow")
        received += part
    return received


def _send(connection: socket.socket, message: list[Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(lines: BinaryIO) -> list[Any] | None:
    """Return the next line's message, or None at the end. JSON: whatever it says, no code runs."""
    line = lines.readline(LONGEST_LINE)
    return json.loads(line) if line.endswith(b"\n") else None


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _encoded(value: bytes) -> str:
    return value.decode("latin-1")  # one character for each byte


def _decoded(text: str) -> bytes:
    return text.encode("latin-1")
