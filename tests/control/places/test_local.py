"""This machine as a place: real Ray, real workers that sleep instead of training."""

import contextlib
import os
import re
import secrets
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
import ray

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.places.guard import signal_all
from fieldtrial.control.places.interface import Ended, PlaceError, RayError
from fieldtrial.control.places.local import LocalPlace, Slot
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.disk.run import Run
from fieldtrial.disk.task_queue import Task
from tests.needs import need_root


def task(folder: Path, epochs: int = 1, attempt: int = 1, **fields: Any) -> Task:
    config = TrainConfig(epochs=epochs, **fields)
    return Task(str(Run.create(folder / config.id, config).path), attempt)


def until_the_end(place: LocalPlace, count: int = 1) -> list[Ended]:
    ended: list[Ended] = []
    give_up = time.monotonic() + 120
    while len(ended) < count and time.monotonic() < give_up:
        ended += place.wait(0.1)
    assert len(ended) == count
    return ended


def test_trials_share_the_slots_and_their_warm_workers(
    place: LocalPlace, processes: Any, tmp_path: Path
) -> None:
    assert place.slots == min(2, len(os.sched_getaffinity(0)))
    workers: list[set[int]] = []
    for round_ in range(2):
        tasks = [task(tmp_path, lr=0.01 + 0.1 * number + round_) for number in range(place.slots)]
        for one in tasks:
            place.start(one)
        ended = until_the_end(place, len(tasks))
        assert {end.task for end in ended} == set(tasks)
        assert all(end.death is None and end.error is None for end in ended)
        assert all(one.open_run().result() for one in tasks)
        workers.append({process.pid for process in processes.workers(os.getpid())})
    assert len(workers[0]) == place.slots
    assert workers[0] == workers[1]


def test_a_slot_takes_trials_of_one_group_together_and_their_ends_come_one_by_one(
    place: LocalPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "together", 3)
    heads = [
        replace(task(tmp_path, epochs=3, lr=0.1 + number), group="heads") for number in range(4)
    ]
    alone = [replace(task(tmp_path, epochs=3, lr=7.1 + n), group="") for n in range(2)]
    for one in (*heads, *alone):
        place.start(one)
    assert not place.dump(heads[0]), "no worker has it"
    ended = place.wait(60)
    assert len(ended) == 1
    assert ended[0].task in heads
    left = sorted(len(tasks) for _, tasks in place._running.values())
    assert left == [1, 2], "each slot had half of the group"
    rest = until_the_end(place, 5)
    assert {end.task for end in [*ended, *rest]} == {*heads, *alone}
    assert all(end.death is None and end.error is None for end in rest)


def test_those_that_a_worker_has_together_die_with_it(
    place: LocalPlace, processes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "together", 2)
    first, second, third = (
        replace(task(tmp_path, epochs=50, lr=20.0 + number), group="heads") for number in range(3)
    )
    for one in (first, second, third):
        place.start(one)
    assert place.wait(0.1) == []
    assert processes.eventually(lambda: first.open_run().records())
    place.kill(second)
    deaths = until_the_end(place, 2)
    assert {end.task for end in deaths} == {first, second}
    assert {end.death for end in deaths} == {"its worker was killed by SIGKILL"}
    place.kill(third)
    assert [end.task for end in until_the_end(place)] == [third]


def test_a_killed_worker_is_told_and_replaced(
    place: LocalPlace, processes: Any, tmp_path: Path
) -> None:
    first = task(tmp_path, epochs=50)
    place.start(first)
    assert processes.eventually(lambda: len(first.open_run().records()) > 1)
    before = {worker.pid for worker in processes.workers(os.getpid())}
    for worker in processes.workers(os.getpid()):  # the idle one too
        worker.kill()
    (end,) = until_the_end(place)
    assert end.task == first
    assert end.death == "its worker was killed by SIGKILL"
    for number in range(place.slots):
        place.start(task(tmp_path, lr=0.5 + number))
    assert [end.death for end in until_the_end(place, place.slots)] == [None] * place.slots
    assert not before & {worker.pid for worker in processes.workers(os.getpid())}


def test_a_killed_actor_is_replaced(place: LocalPlace, processes: Any, tmp_path: Path) -> None:
    first = task(tmp_path, epochs=50)
    place.start(first)
    assert processes.eventually(lambda: len(first.open_run().records()) > 0)
    orphans = processes.workers(os.getpid())
    for actor in processes.actors(os.getpid()):
        actor.kill()
    (end,) = until_the_end(place)
    assert end.death
    assert end.death.startswith("its actor died")
    assert processes.eventually(lambda: not any(orphan.is_running() for orphan in orphans)), (
        "workers without an owner"
    )
    again = task(tmp_path, lr=0.7)
    place.start(again)  # the slot that is free first is the one that was replaced
    assert [end.death for end in until_the_end(place)] == [None]
    deaths = []
    for round_ in range(
        2
    ):  # the actors that were idle are dead too, which their next task finds out, and no other
        for number in range(place.slots):
            place.start(task(tmp_path, lr=0.8 + number + 10 * round_))
        deaths.append([bool(end.death) for end in until_the_end(place, place.slots)])
    assert sum(deaths[0]) == place.slots - 1
    assert not any(deaths[1])


def test_nothing_listens_beyond_this_machine(
    place: LocalPlace, processes: Any, tmp_path: Path
) -> None:
    place.start(task(tmp_path))
    until_the_end(place)
    mark, _ = processes.guarded(os.getpid())
    listening = []
    for process in [psutil.Process(), *processes.marked(mark)]:
        listening += [
            c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN
        ]
    assert listening, "Ray listens somewhere"
    assert set(listening) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_another_user_finds_no_way_into_rays_folder(
    place: LocalPlace, processes: Any, tmp_path: Path
) -> None:
    need_root("acts as another user")
    place.start(task(tmp_path))
    until_the_end(place)
    _, folder = processes.guarded(os.getpid())
    assert (folder / "ray").is_dir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    sockets = [path for path in folder.rglob("*") if path.is_socket()]
    assert sockets
    stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for path in (folder, folder / "ray", *sockets):
        for act in (["ls", path], ["touch", path / "x"]):
            said = subprocess.run([*stranger, *act], capture_output=True, text=True, check=False)
            assert "Permission denied" in said.stderr


def test_a_folder_that_others_can_enter_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def let_others_in(_temp_dir: str, **_: object) -> None:
        folder = Path(_temp_dir).parent
        assert folder.name.startswith("fieldtrial-")  # and is not the system's own
        folder.chmod(0o755)

    monkeypatch.setattr(ray, "init", let_others_in)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # another place may be in use
    told = r"Ray runs in it, and others can enter it \(mode 0755\)"
    with mock.patch.dict(os.environ), pytest.raises(PlaceError, match=told):
        LocalPlace(LocalSettings())


def test_a_ray_that_does_not_start_is_told_in_a_line_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, processes: Any
) -> None:
    """The fault is Ray's own words on a machine with so much load that its start takes too long."""
    found: list[tuple[str, Path]] = []

    def time_out(_temp_dir: str, **_: object) -> None:
        found.append((os.environ["FIELDTRIAL_PLACE"], Path(_temp_dir).parent))
        raise Exception("The current node timed out during startup.\n  See its logs.\n")

    monkeypatch.setattr(ray, "init", time_out)
    told = r"^Ray did not start in /tmp/fieldtrial-\w+: See its logs\.$"
    with mock.patch.dict(os.environ), pytest.raises(RayError, match=told):
        LocalPlace(LocalSettings())
    ((mark, folder),) = found
    assert not folder.exists()
    assert not processes.marked(mark)


def test_rays_folder_is_where_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[str] = []

    def fail(_temp_dir: str, **_: object) -> None:
        folders.append(_temp_dir)
        raise ConnectionError("planted")

    monkeypatch.setattr(ray, "init", fail)
    with mock.patch.dict(os.environ), pytest.raises(RayError, match="planted"):
        LocalPlace(LocalSettings(ray_folder="/var/tmp"))
    assert re.fullmatch(r"/var/tmp/fieldtrial-\w{8}/ray", folders[0])
    missing = r"^/nowhere: Ray's folder cannot be made in it: No such file or directory; make room"
    with mock.patch.dict(os.environ), pytest.raises(PlaceError, match=missing):
        LocalPlace(LocalSettings(ray_folder="/nowhere"))
    for path in ("tmp", "/longer-than-nineteen", ""):
        with pytest.raises(ConfigError, match=r"^ray_folder = .*: must be an absolute path"):
            LocalSettings(ray_folder=path)


def test_only_who_has_the_token_gets_in(place: LocalPlace) -> None:
    assert place.slots
    address = ray.get_runtime_context().gcs_address
    script = (
        "from ray._raylet import GcsClient;"
        f" print(GcsClient(address={address!r}).internal_kv_keys(b''))"
    )
    strangers = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ours = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    for extra, enters in ((ours, True), ({}, False), ({**ours, "RAY_AUTH_TOKEN": "0" * 64}, False)):
        command = [sys.executable, "-c", script]
        outcome = subprocess.run(
            command, env=strangers | extra, capture_output=True, text=True, timeout=300, check=False
        )
        assert (outcome.returncode == 0) == enters, outcome.stderr
        assert enters or "InvalidAuthToken" in outcome.stderr


def test_the_last_lines_of_a_dead_workers_log_are_told(tmp_path: Path) -> None:
    script = "import sys; [print('line', n, file=sys.stderr) for n in range(20)]; sys.exit(3)"
    one = task(tmp_path, attempt=4)
    slot = Slot([sys.executable, "-c", script], threads=1, mark=secrets.token_hex(16))
    _, death, error = slot.work([one])
    lines = "".join(f"\n    line {number}" for number in range(10, 20))
    assert (death, error) == (f"its worker exited with status 3{lines}", None)
    assert one.open_run().log_path(4).read_text().startswith("line 0\n")


def test_a_workers_error_is_passed_on(tmp_path: Path) -> None:
    script = """
import json, sys
task = json.loads(sys.stdin.readline())
error = {"kind": "disk", "message": "no space"}
print(json.dumps({"run": task["run"], "outcome": "failed", "error": error}))
"""
    slot = Slot([sys.executable, "-c", script], threads=1, mark=secrets.token_hex(16))
    one = task(tmp_path)
    assert slot.work([one]) == (one.run, None, ("disk", "no space"))


def test_a_worker_has_the_trials_share_of_threads(tmp_path: Path) -> None:
    script = "import os, sys; sys.exit(int(os.environ['OMP_NUM_THREADS']))"
    slot = Slot([sys.executable, "-c", script], threads=7, mark=secrets.token_hex(16))
    _, death, _ = slot.work([task(tmp_path)])
    assert death == "its worker exited with status 7"


@pytest.mark.parametrize(("fraction", "status"), [(0.25, 25), (None, 0)])
def test_a_worker_knows_that_its_gpu_is_shared(
    tmp_path: Path, fraction: float | None, status: int
) -> None:
    told = "os.environ.get('FIELDTRIAL_GPU_FRACTION', '0')"
    script = f"import os, sys; sys.exit(int(100 * float({told})))"
    mark = secrets.token_hex(16)
    slot = Slot([sys.executable, "-c", script], threads=1, mark=mark, fraction=fraction)
    _, death, _ = slot.work([task(tmp_path)])
    assert death == f"its worker exited with status {status}"


def test_no_process_of_a_dead_worker_is_left(processes: Any, tmp_path: Path) -> None:
    script = f"""
import os, signal, subprocess, sys
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleep, start_new_session=True, stdout=2)
open("{tmp_path}/pid", "w").write(str(child.pid))
os.kill(os.getpid(), signal.SIGKILL)
"""
    slot = Slot([sys.executable, "-c", script], threads=1, mark=secrets.token_hex(16))
    _, death, _ = slot.work([task(tmp_path)])
    assert death == "its worker was killed by SIGKILL"
    child = int((tmp_path / "pid").read_text())

    def has_ended() -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return bool(psutil.Process(child).status() == psutil.STATUS_ZOMBIE)
        return True

    assert processes.eventually(has_ended)  # its end may take a moment after the signal


def test_a_signal_is_sent_to_those_that_handle_it(processes: Any, tmp_path: Path) -> None:
    handler = """
import faulthandler, os, signal, sys, time
faulthandler.register(signal.SIGUSR1, file=open(os.environ["TESTED"], "w"))
print("ready", flush=True); time.sleep(600)
"""
    no_handler = 'import time; print("ready", flush=True); time.sleep(600)'
    ours, strangers = tmp_path / "ours", tmp_path / "a stranger's"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            env=os.environ | {"TESTED": str(dump)},
        )
        for script, dump in ((handler, ours), (no_handler, ours), (handler, strangers))
    ]
    try:
        for process in started:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
        signal_all("TESTED", str(ours), signal.SIGUSR1)
        assert processes.eventually(lambda: "most recent call first" in ours.read_text())
        started[2].send_signal(signal.SIGUSR1)
        assert processes.eventually(lambda: "most recent call first" in strangers.read_text())
        assert strangers.read_text().count("most recent call first") == 1, (
            "only what this test has sent it"
        )
        assert [process.poll() for process in started] == [None] * 3
    finally:
        for process in started:
            process.kill()
            process.communicate()
