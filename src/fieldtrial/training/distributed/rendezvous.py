"""How the processes of a job find each other: rank 0's address and port."""

import contextlib
import fcntl
import os
import socket
import struct
import time
from datetime import timedelta
from pathlib import Path

from torch._C._distributed_c10d import PrefixStore, TCPStore

from fieldtrial.disk.files import refresh, write_atomically

MEETING_TIMEOUT = timedelta(minutes=10)
LOOPBACK = "127.0.0.1"
ANY_PORT = 9
SIOCGIFADDR = 0x8915  # Linux: an interface's address


def meet(file: Path, rank: int, size: int, address: str) -> TCPStore:
    """Return the store through which `size` processes find each other.

    Rank 0 binds a free port at its `address` and writes both into `file`: a fixed port may be in
    use by another trial on a shared node.

    Raises:
        TimeoutError: rank 0 has not written the file within MEETING_TIMEOUT.
    """
    if rank == 0:
        listener = socket.create_server((address, 0))
        port = listener.getsockname()[1]
        store = TCPStore(
            address,
            port,
            size,
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
        write_atomically(file, f"{address} {port}".encode())
        return store
    deadline = time.monotonic() + MEETING_TIMEOUT.total_seconds()
    while not (words := _read(file)):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{file}: rank 0 has not written its address within {MEETING_TIMEOUT}"
            )
        time.sleep(0.05)
    host, port_text = words.split()
    return TCPStore(host, int(port_text), size, is_master=False, timeout=MEETING_TIMEOUT)


def torchruns_store(size: int) -> PrefixStore | None:
    """Return torchrun's own store, with a prefix for this start of the processes; None without one.

    After a restart (--max-restarts) the store still has the addresses of the previous processes,
    and a process that is quicker than its peers would try to reach those. Do not call this for
    several machines: they may count restarts differently.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(host, port, size, is_master=False, timeout=MEETING_TIMEOUT)
    return PrefixStore(f"start-{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)


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

    Otherwise gloo, too, would resolve the machine's own name.
    """
    interface = _interface_of(address)
    if interface:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)


def _interface_of(address: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has no IPv4 address
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None


def _read(file: Path) -> str:
    refresh(file.parent)
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
