"""What a command says while it is waited for."""

import threading
from typing import TextIO

import pytest

from fieldtrial import command_line
from fieldtrial.command_line import said_if_long, say


def test_a_long_wait_says_once_what_it_waits_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = threading.Event()

    def say_so(text: str, file: TextIO) -> None:
        say(text, file)
        said.set()

    monkeypatch.setattr(command_line, "say", say_so)
    with said_if_long("reading the trials", seconds=0.0):
        assert said.wait(timeout=300)
    assert capsys.readouterr() == ("", "reading the trials …\n")


def test_a_short_wait_says_nothing_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = threading.active_count()
    with said_if_long("reading the trials", seconds=3600.0):
        timer = next(one for one in threading.enumerate() if isinstance(one, threading.Timer))
    timer.join(timeout=300)
    assert (capsys.readouterr().err, threading.active_count()) == ("", before)
