"""Whether the process that runs a sweep is still there: real processes, and one of another user."""

import errno
import os
import socket
import subprocess
import time

import psutil
import pytest

from fieldtrial.processes import age, home_folder, is_gone, own_name, python, started
from tests.needs import need_root

HERE = socket.gethostname()


def test_a_process_that_has_ended_is_gone() -> None:
    with subprocess.Popen(["sleep", "20"]) as process:
        owner = {"host": HERE, "process": process.pid, "started": started(process.pid)}
        assert owner["started"]
        assert not is_gone(owner)
        assert is_gone(owner | {"started": 1}), "another process has got its number"
        process.kill()
    assert started(process.pid) is None
    assert is_gone(owner)
    assert not is_gone(owner | {"host": "elsewhere"}), "nobody knows"


def test_another_users_that_cannot_be_seen_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_process: int, _signal: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr("fieldtrial.processes.started", lambda _: None)
    assert not is_gone({"host": HERE, "process": 7, "started": 1})


RESTARTING = """
import os, time
from fieldtrial.processes import RESTARTED, age, replace_self
if RESTARTED not in os.environ:
    time.sleep(0.5)
    os.environ["FIRST"] = str(age())
    replace_self()
print(os.environ["FIRST"], age())
"""


def test_a_processs_age_counts_from_its_last_restart() -> None:
    assert age() == pytest.approx(time.time() - psutil.Process().create_time(), abs=5)
    began = time.monotonic()
    done = subprocess.run(
        python("-c", RESTARTING), capture_output=True, text=True, check=True, timeout=300
    )
    whole = time.monotonic() - began
    first, second = map(float, done.stdout.split())
    assert first > 0.5
    assert 0 < second < whole - first + 0.05, "to some clock ticks"


def as_a_number(**environment: str) -> str:
    """Return the name and the home that a user without a passwd entry has, or what it is told."""
    ours, theirs = os.pipe()
    if child := os.fork():
        os.close(theirs)
        with open(ours) as file:  # noqa: PTH123 (a descriptor)
            text = file.read()
        os.waitpid(child, 0)
        return text
    try:
        os.setgroups([])
        os.setgid(54321)
        os.setuid(54321)
        os.environ.clear()
        os.environ.update(environment)
        said = f"{own_name()}, {home_folder()}"
    except ValueError as error:
        said = str(error)
    finally:
        os.write(theirs, said.encode())
        os._exit(0)


def test_a_user_without_a_name_or_a_home_is_told_what_to_set() -> None:
    """As in a container that runs as a number."""
    need_root("acts as another user")
    rule = "user 54321 has no home folder: set HOME to a folder that is yours alone"
    assert as_a_number() == rule
    assert as_a_number(HOME="/somewhere") == "user 54321, /somewhere"
    assert as_a_number(HOME="/somewhere", USER="anna") == "anna, /somewhere"
