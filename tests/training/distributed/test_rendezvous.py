"""How a job's processes find each other: on one machine, and on two that know their own names as
Debian's do.
"""

import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from torch._C._distributed_c10d import TCPStore

from fieldtrial.training.distributed import rendezvous
from fieldtrial.training.distributed.rendezvous import (
    listen_at,
    meet,
    meet_in_memory,
    own_address,
    torchruns_store,
)
from fieldtrial.training.distributed.world import World
from tests.needs import need_root

# Two machines in networks of their own, which nothing leads out of: the second is made within the
# first. Their wire, too, has addresses of loopback.
NODE = """
mount --bind "hosts-$NODE" /etc/hosts
hostname "node$NODE"
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
ip link set lo up
ip route del local 127.0.0.0/8 dev lo table local
ip route add local 127.0.0.0/16 dev lo table local
ip address add "127.9.0.$NODE/24" dev wire
ip link set wire up
exec "$@"
"""
NODES = f"""
mkfifo made linked
NODE=2 RANK=1 FIELDTRIAL_PEER=node1 \\
    unshare --net --uts --mount sh -ec 'echo >made; read _ <linked; {NODE}' sh "$@" &
read _ <made
ip link add wire type veth peer name wire netns $!
echo >linked
export NODE=1 RANK=0 FIELDTRIAL_PEER=node2
( {NODE} )
wait $!
"""
ALONE = ("--net", "--uts", "--mount-proc", "--pid", "--fork", "--kill-child")
PROCESS = """
import os, psutil, torch
from fieldtrial.training.distributed.world import World
world = World.from_environment()
said = world.sum(torch.tensor([world.rank + 1.0])).item(), world.broadcast("word")
sockets = psutil.Process().net_connections("inet")
at = ",".join(sorted({one.laddr.ip for one in sockets}))
os.write(1, b"%g %s at %s; " % (said[0], said[1].encode(), at.encode()))  # at once, lest they mix
world.close()
"""


def test_two_machines_whose_own_names_are_worth_nothing_elsewhere(tmp_path: Path) -> None:
    if (
        os.geteuid()
        or not shutil.which("ip")
        or subprocess.run(["unshare", "--net", "true"], check=False).returncode
    ):
        pytest.skip("needs root and iproute2: two machines with a network of their own")
    for own, other in ((1, 2), (2, 1)):
        (tmp_path / f"hosts-{own}").write_text(
            f"127.0.0.1 localhost\n127.0.1.1 node{own}\n127.9.0.{other} node{other}\n"
        )
    variables = {
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        ["unshare", *ALONE, "sh", "-ec", NODES, "sh", sys.executable, "-c", PROCESS],
        cwd=tmp_path,
        env=os.environ | variables | {"FIELDTRIAL_RENDEZVOUS": str(tmp_path / "rendezvous")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = sorted(done.stdout.split("; "))
    assert said == ["", "3 word at 127.9.0.1", "3 word at 127.9.0.2"]  # listening or connected
    assert (tmp_path / "rendezvous").read_text().startswith("127.9.0.1 ")


def test_on_one_machine_they_meet_on_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = own_address(one_machine=True)
    mask = os.umask(0)
    first, secret = meet(tmp_path / "file", 0, 2, address)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    host, port, told = (tmp_path / "file").read_text().split()
    assert (host, bytes.fromhex(told), len(secret)) == ("127.0.0.1", secret, 32)
    listeners = [
        one.laddr
        for one in psutil.Process().net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert [one.ip for one in listeners if one.port == int(port)] == ["127.0.0.1"]
    second = meet(tmp_path / "file", 1, 2, address)
    assert second.secret == secret
    first.set("said", "word")
    assert second.store.get("said") == b"word"
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "of the user")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "of the user")
    listen_at(address)
    assert os.environ["GLOO_SOCKET_IFNAME"] == "of the user"
    assert os.environ["NCCL_SOCKET_IFNAME"] == "of the user"
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    monkeypatch.delenv("NCCL_SOCKET_IFNAME")
    listen_at(address)
    assert os.environ["GLOO_SOCKET_IFNAME"] == os.environ["NCCL_SOCKET_IFNAME"] == "lo"
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name)


def test_where_processes_start_again_they_find_rank_0_by_its_new_address(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with socket.create_server(("127.0.0.1", 0)) as gone:
        file.touch(0o600)
        file.write_text(f"127.0.0.1 {gone.getsockname()[1]} {'0' * 64}")  # of the start before
    with ThreadPoolExecutor() as pool:
        second = pool.submit(meet, file, 1, 2, "127.0.0.1")
        time.sleep(0.5)
        first = meet(file, 0, 2, "127.0.0.1")
        second.result().store.set("said", "word")
    assert first.store.get("said") == b"word"


@pytest.mark.parametrize("planted", ["readable", "linked", "foreign", "folder", "pipe", "text"])
def test_a_file_that_others_could_have_written_is_not_met_by(
    planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "MEETING_TIMEOUT", timedelta(seconds=1))
    real, file = tmp_path / "real", tmp_path / "file"
    meet(real, 0, 2, "127.0.0.1")
    why = "must be a file of yours that only you can read"
    if planted == "linked":
        file.symlink_to(real)
        why = "symbolic links"
    elif planted == "folder":
        file.mkdir()
        why = "directory|only you can read"
    elif planted == "pipe":
        os.mkfifo(file, 0o600)
    elif planted == "text":
        file.touch(0o600)
        file.write_bytes(b"\x80\x04 1 2")
        why = "decode"
    else:
        file.write_bytes(real.read_bytes())
        file.chmod(0o644 if planted == "readable" else 0o600)
    if planted == "foreign":
        need_root("a file of another user")
        os.chown(file, 65534, 65534)
    with pytest.raises(TimeoutError, match=f"the processes have not met within 0:00:01: .*({why})"):
        meet(file, 1, 2, "127.0.0.1")


def test_processes_of_one_launcher_meet_in_memory() -> None:
    memory = os.memfd_create("meeting")
    with ThreadPoolExecutor() as pool:
        second = pool.submit(meet_in_memory, memory, 1, 2)
        first = meet_in_memory(memory, 0, 2)
    assert first.secret == second.result().secret
    assert len(first.secret) == 32
    first.store.set("said", "word")
    assert second.result().store.get("said") == b"word"
    os.close(memory)


def test_processes_that_are_started_again_do_not_find_those_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    assert torchruns_store(2) is None
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    torchruns = TCPStore(
        "127.0.0.1",
        port,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )
    environment = {"USE_AGENT_STORE": "True", "RESTART_COUNT": "0"}
    for name, value in environment.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(torchruns.port))
    first, peer = torchruns_store(2), torchruns_store(2)
    assert first
    assert peer
    first.set("rank 0", "where it is")
    assert peer.get("rank 0") == b"where it is"
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    again = torchruns_store(2)
    assert again
    assert not again.check(["rank 0"])


def test_where_the_other_machine_is_not_found_the_own_name_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolve(name: str) -> str:
        assert name == socket.gethostname()
        return "192.0.2.7"

    monkeypatch.setattr(socket, "gethostbyname", resolve)
    for peer in ("localhost", None, "n" * 300):  # the last is no name
        if peer:
            monkeypatch.setenv("FIELDTRIAL_PEER", peer)
        else:
            monkeypatch.delenv("FIELDTRIAL_PEER")
        assert own_address(one_machine=False) == (
            "127.0.0.1" if peer == "localhost" else "192.0.2.7"
        )
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    listen_at("192.0.2.77")  # of no interface here
    assert "GLOO_SOCKET_IFNAME" not in os.environ


def test_a_jobs_process_sees_its_own_cores_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if World.from_environment().device.type == "cuda":
        pytest.skip("its GPUs are counted")
    cores = os.sched_getaffinity(0)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(len(cores) + 1))
    with pytest.raises(ValueError, match="start at most one for each"):
        World.from_environment()
    monkeypatch.setenv("FIELDTRIAL_RENDEZVOUS", str(tmp_path / "rendezvous"))
    assert World.from_environment().size == 1
