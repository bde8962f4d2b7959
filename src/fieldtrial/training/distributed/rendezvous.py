"""How the processes of a trial find each other, and keep strangers out."""

import contextlib
import fcntl
import os
import secrets
import socket
import stat
import struct
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from torch._C._distributed_c10d import FileStore, PrefixStore, Store, TCPStore

from fieldtrial.disk.files import atomic_file, refresh
from fieldtrial.training.distributed.shared_store import Connection, Server, SharedStore, Values

MEETING_TIMEOUT = timedelta(minutes=10)
LOOPBACK = "127.0.0.1"
ANY_PORT = 9
SECRET = 32  # bytes
LONGEST_FILE = 1000  # characters
SIOCGIFADDR = 0x8915  # Linux: an interface's address


class Meeting(NamedTuple):
    """Where the processes of a trial have met.

    store: what they find each other's sockets in.
    secret: what they know each other by: 32 bytes, the same in all of them and nowhere else.
    """

    store: Store
    secret: bytes


def meet_in_memory(descriptor: int, rank: int, size: int) -> Meeting:
    """Return the meeting in the memory that the launcher has left to its processes.

    No port leads to it, and the kernel shows a process's open files to its own user only.
    """
    store = FileStore(f"/proc/self/fd/{descriptor}", size)
    store.set_timeout(MEETING_TIMEOUT)
    if rank == 0:
        store.set("secret", secrets.token_hex(SECRET))
    return Meeting(store, bytes.fromhex(store.get("secret").decode()))


def meet(file: Path, rank: int, size: int, address: str) -> Meeting:
    """Return the meeting of `size` processes that see the same `file`, perhaps on several machines.

    Rank 0 binds a free port at its `address` and writes both into `file`, with a new secret: a
    fixed port may be in use by another trial on a shared node. Only the user can read the file.
    Nobody is let in without the secret, and when all are there, the port is closed.

    Raises:
        TimeoutError: rank 0 has not written the file within MEETING_TIMEOUT, or is not there.
    """
    if rank == 0:
        secret, values = secrets.token_bytes(SECRET), Values()
        listener = socket.create_server((address, 0))
        port = listener.getsockname()[1]
        Server(listener, secret, size, values)
        with atomic_file(file, permissions=0o600) as published:
            published.write(f"{address} {port} {secret.hex()}".encode())
        return Meeting(SharedStore(values, MEETING_TIMEOUT), secret)
    deadline = time.monotonic() + MEETING_TIMEOUT.total_seconds()
    why = "rank 0 has not written its address"
    while time.monotonic() < deadline:
        try:
            host, port_text, secret_text = _read_own(file).split()
            secret = bytes.fromhex(secret_text)
            connection = Connection((host, int(port_text)), secret, rank)
            return Meeting(SharedStore(connection, MEETING_TIMEOUT), secret)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:  # of an earlier start, or not rank 0's
            why = str(error)
        time.sleep(0.05)
    raise TimeoutError(f"{file}: the processes have not met within {MEETING_TIMEOUT}: {why}")


def torchruns_store(size: int) -> PrefixStore | None:
    """Return torchrun's own store, with a prefix for this start of the processes; None without one.

    After a restart (--max-restarts) the store still has the addresses of the previous processes,
    and a process that is quicker than its peers would try to reach those. Do not call this for
    several machines: they may count restarts differently.
    """
    if not is_torchruns():
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(host, port, size, is_master=False, timeout=MEETING_TIMEOUT)
    return PrefixStore(f"start-{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)


def is_torchruns() -> bool:
    """Return whether torchrun has started this process, and its store is to be met at."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def warn_of_torchrun() -> None:
    """Print a line about who else can reach torchrun's store."""
    port = os.environ.get("MASTER_PORT")
    print(
        f"warning: torchrun listens at port {port} on all interfaces, without a password: other"
        " users of this machine can run code as you. On a shared machine, start the processes by"
        " python -m fieldtrial.training.distributed.launcher",
        file=sys.stderr,
        flush=True,
    )


def own_address(one_machine: bool) -> str:
    """Return the IPv4 address at which the other processes reach this one.

    On one machine it is loopback. Else it is the address from which this machine reaches another
    one of the job, FIELDTRIAL_PEER. Only if that is not found, it is what the machine's own name
    resolves to: on Debian that is 127.0.1.1, which no other machine can reach.
    """
    if one_machine:
        return LOOPBACK
    with (
        contextlib.suppress(KeyError, OSError),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
    ):
        probe.connect((os.environ["FIELDTRIAL_PEER"], ANY_PORT))  # UDP: nothing is sent
        return str(probe.getsockname()[0])
    return socket.gethostbyname(socket.gethostname())


def listen_at(address: str) -> None:
    """Make gloo listen at the interface of `address`, unless GLOO_SOCKET_IFNAME is set.

    Otherwise gloo, too, would resolve the machine's own name. NCCL gets NCCL_SOCKET_IFNAME for
    loopback only: between machines it may know better ones, of which it takes several.
    """
    interface = _interface_of(address)
    if interface:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    if interface and address == LOOPBACK:
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)


def _interface_of(address: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has no IPv4 address
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None


def _read_own(file: Path) -> str:
    """Return a file's text. Raises OSError if others could have written it or can read it."""
    refresh(file.parent)
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as stream:
        status = os.fstat(stream.fileno())
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != os.geteuid()
            or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        ):
            raise PermissionError(f"{file}: must be a file of yours that only you can read")
        return stream.read(LONGEST_FILE)
