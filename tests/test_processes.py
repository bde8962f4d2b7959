"""Whether the process that runs a sweep is still there: real processes, and one of another user."""

import errno
import os
import socket
import subprocess
import time

import psutil
import pytest

from fieldtrial.processes import age, is_gone, python, started

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
