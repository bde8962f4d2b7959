"""What is appended to engine.state: signed, in order, and cut at any place."""

import errno
import itertools
import os
import pickle
from pathlib import Path
from unittest import mock

import pytest

from fieldtrial.control.engine.journal import state as module
from fieldtrial.control.engine.journal.key import ForeignStateError
from fieldtrial.control.engine.journal.state import StateFile
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.control.engine.journal.test_state import SWEEP, load, save


class Adding:
    """A change that adds to a list."""

    def __init__(self, value: object) -> None:
        self.value = value

    def apply_to(self, state: list[object]) -> None:
        state.append(self.value)


def save_changes(path: Path, changes: int) -> list[int]:
    """Save a list and what is added to it; return how long the file was after each save."""
    path.parent.mkdir(exist_ok=True)
    file, lengths = StateFile(SweepFolder(path.parent), SWEEP), []
    for number in range(changes + 1):
        file.save(lambda: ["first"], Adding(number))
        lengths.append(path.stat().st_size)
    file.close()
    return lengths


def test_changes_are_appended_and_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "engine.state"
    lengths = save_changes(path, 3)
    assert load(path) == ["first", 1, 2, 3]
    assert len({b - a for a, b in itertools.pairwise(lengths)}) == 1, "each costs the same"


def test_when_changes_have_outgrown_the_state_it_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_JOURNAL", 1000)
    path, state = tmp_path / "engine.state", list[object]()
    file, lengths = StateFile(SweepFolder(tmp_path), SWEEP), []
    for number in range(300):
        state.append(number)
        file.save(lambda: state, Adding(number))
        lengths.append(path.stat().st_size)
        assert load(path) == state
    assert sum(b < a for a, b in itertools.pairwise(lengths)) > 3
    assert max(lengths) < 1000 + 2 * len(pickle.dumps(state)) + 500


def test_an_end_that_is_cut_is_left_out(tmp_path: Path) -> None:
    """A driver that is killed while it appends leaves any part of a change."""
    path = tmp_path / "engine.state"
    _, one, two = save_changes(path, 2)
    data = path.read_bytes()
    for length in range(one, two):
        path.write_bytes(data[:length])
        assert load(path) == ["first", 1]
    path.write_bytes(data)
    assert load(path) == ["first", 1, 2]


@pytest.mark.parametrize("more", [0, 5000])
def test_an_end_of_zeros_is_left_out(tmp_path: Path, more: int) -> None:
    """A machine that fails leaves them, from any place of a change on: the file has been made
    longer, and what was written has not reached the disk.
    """
    path = tmp_path / "engine.state"
    _, one, two = save_changes(path, 2)
    data = path.read_bytes()
    for length in range(one, two):
        torn = data[:length] + bytes(two - length + more)
        path.write_bytes(torn)
        is_whole = torn.startswith(data)  # the last bytes were zeros
        assert load(path) == ["first", 1, 2][: 2 + is_whole]
    path.write_bytes(data[: one - 1] + bytes(1) + data[one:])
    if data[one - 1]:
        with pytest.raises(ForeignStateError, match="not written by you"):
            load(path)


def test_a_changed_byte_of_a_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "engine.state"
    first, one, _ = save_changes(path, 2)
    data = path.read_bytes()
    for place in range(first, one):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ForeignStateError, match="not written by you"):
            load(path)


def test_changes_that_were_moved_left_out_or_taken_from_elsewhere_are_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "engine.state"
    first, one, two = save_changes(path, 2)
    data = path.read_bytes()
    head, changes = data[:first], [data[first:one], data[one:two]]
    for content in ([changes[1]], [*reversed(changes)], [changes[0], *changes]):
        path.write_bytes(b"".join([head, *content]))
        with pytest.raises(ForeignStateError, match="not written by you"):
            load(path)
    save(path, ["another"])
    path.write_bytes(path.read_bytes() + changes[0])
    with pytest.raises(ForeignStateError, match="not written by you"):
        load(path)


def test_after_half_a_change_the_whole_state_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk may take a part of a change; nothing may follow it."""
    path, state = tmp_path / "engine.state", ["first"]
    file = StateFile(SweepFolder(tmp_path), SWEEP)
    file.save(lambda: state, Adding(0))
    length = path.stat().st_size
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            file.save(lambda: state, Adding(1))
    os.truncate(path, length + 20)
    assert load(path) == ["first"]
    file.save(lambda: [*state, 1, 2], Adding(2))
    assert load(path) == ["first", 1, 2]


def test_another_drivers_state_is_not_appended_to(tmp_path: Path) -> None:
    """A driver that was deposed may not know it yet."""
    path = tmp_path / "engine.state"
    deposed = StateFile(SweepFolder(tmp_path), SWEEP)
    deposed.save(lambda: ["old"], None)
    save(path, ["new"])
    deposed.save(lambda: ["old"], Adding(1))
    assert load(path) == ["new"]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
