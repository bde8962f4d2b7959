import errno
import hmac
import os
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.journal import state as module
from fieldtrial.control.engine.journal.key import ForeignStateError, user_key
from fieldtrial.control.engine.journal.state import load_state, save_state
from fieldtrial.disk.sweep_description import SearchDomain, SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.needs import need_root

SWEEP = SweepDescription(
    name="x",
    base=TrainConfig(),
    rows=({"model": "cnn"}, {"model": "mlp"}),
    search={"lr": SearchDomain("loguniform", 0.001, 0.1)},
    trials=2,
    seeds=1,
    select="validation_accuracy",
)


def save(path: Path, state: object, sweep: SweepDescription = SWEEP) -> None:
    """Save the state of a sweep whose engine.state is `path`."""
    path.parent.mkdir(exist_ok=True)
    save_state(SweepFolder(path.parent), sweep, state)


def load(path: Path, sweep: SweepDescription = SWEEP) -> Any:
    """Load it."""
    return load_state(SweepFolder(path.parent), sweep)


class Calling:
    """Pickles as a call, to be made by whoever reads it."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call, self.arguments


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))


def test_a_state_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "engine.state"
    assert load(path) is None
    shared = [1]
    save(path, {"rows": [shared, shared], "n": 3})
    state = load(path)
    assert state == {"rows": [[1], [1]], "n": 3}
    assert state["rows"][0] is state["rows"][1]


@pytest.mark.parametrize("place", [0, 31, 32, 60, -1])
def test_a_changed_byte_is_refused(tmp_path: Path, place: int) -> None:
    path = tmp_path / "engine.state"
    save(path, ["some", "state"])
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ForeignStateError, match="remove the file") as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert str(tmp_path / "mine" / "fieldtrial" / "key") in str(caught.value)


@pytest.mark.parametrize("length", [0, 10, 32, 40])
def test_a_cut_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "engine.state"
    save(path, list(range(100)))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ForeignStateError):
        load(path)


def test_a_state_that_no_memory_holds_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "engine.state"
    save(path, ["some", "state"])
    os.truncate(path, 1 << 40)
    with pytest.raises(ForeignStateError, match=r"must be at most .*\. Or remove the file"):
        load(path)


def test_a_strangers_state_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "engine.state"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    save(path, Calling(os.mkdir, str(tmp_path / "ran")))
    load(path)
    (tmp_path / "ran").rmdir()  # it was there: this is a pickle that does something
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    with pytest.raises(ForeignStateError, match="not written by you"):
        load(path)
    assert not (tmp_path / "ran").exists()


def test_the_key_is_for_the_user_alone_and_stays(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save(tmp_path / "one" / "engine.state", 1)
    finally:
        os.umask(before)
    key = tmp_path / "mine" / "fieldtrial" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    first = key.read_bytes()
    assert len(first) == 32
    save(tmp_path / "two" / "engine.state", 2)
    assert key.read_bytes() == first
    assert [path.name for path in key.parent.iterdir()] == ["key"]
    assert load(tmp_path / "one" / "engine.state") == 1


def test_without_xdg_the_key_is_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    save(tmp_path / "state" / "engine.state", 1)
    assert (tmp_path / "home" / ".local" / "state" / "fieldtrial" / "key").exists()


OLDER = r"written by an older version of Fieldtrial \(.*{}.*use that version .*remove the file"


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (len, (1, 2)),  # TypeError
        (int, ("x",)),  # ValueError
        (dict.__getitem__, ({}, "gone")),  # KeyError
    ],
)
def test_a_state_that_cannot_be_read_is_refused(
    tmp_path: Path, call: object, arguments: tuple[object, ...]
) -> None:
    path = tmp_path / "engine.state"
    save(path, Calling(call, *arguments))
    with pytest.raises(ForeignStateError, match=OLDER.format("")):
        load(path)


def test_a_state_whose_module_has_moved_is_refused_in_a_line(tmp_path: Path) -> None:
    """A pickle names the module of each class: here one that no longer exists."""
    path, old = tmp_path / "engine.state", ModuleType("fieldtrial.control.trial")
    old.Trial = type("Trial", (), {"__module__": old.__name__})  # type: ignore[attr-defined]
    sys.modules[old.__name__] = old
    save(path, ([old.Trial()], {}))
    del sys.modules[old.__name__]
    with pytest.raises(ForeignStateError, match=OLDER.format("fieldtrial.control.trial")) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("header", "age"), [(b"", "an older"), (b"99", "a newer")])
def test_a_state_of_another_format_is_not_unpickled(
    tmp_path: Path, header: bytes, age: str
) -> None:
    path = tmp_path / "engine.state"
    save(path, Calling(os.mkdir, str(tmp_path / "ran")))
    content = path.read_bytes()[module.DIGEST_BYTES :].split(b"\n", 2)[2]
    content = (b"fieldtrial engine state %s\n" % header if header else b"") + content
    path.write_bytes(hmac.digest(user_key(), content, "sha256") + content)
    with pytest.raises(ForeignStateError, match=f"written by {age} version of Fieldtrial"):
        load(path)
    assert not (tmp_path / "ran").exists()


def test_the_state_of_another_sweep_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    path, other = tmp_path / "mine" / "engine.state", tmp_path / "theirs" / "engine.state"
    save(path, Calling(os.mkdir, str(tmp_path / "ran")))
    shutil.copytree(path.parent, other.parent)
    with pytest.raises(ForeignStateError, match=f"written for sweep mine in {path.parent}, or"):
        load(other)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"rows": ({"model": "cnn"},)},
        {"base": TrainConfig(epochs=7)},
        {"search": {"lr": SearchDomain("uniform", 0.001, 0.1)}},
        {"select": "validation_loss"},
        {"source": {"model": "cnn"}},
        {"deterministic": True},
        {"aa": True},
    ],
)
def test_the_state_of_the_same_folder_with_another_sweep_in_it_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "engine.state"
    save(path, 1)
    with pytest.raises(ForeignStateError, match="or before the sweep was changed"):
        load(path, replace(SWEEP, **change))


@pytest.mark.parametrize("change", [{"trials": 9}, {"seeds": 9}, {"finalists": 3}, {"name": "y"}])
def test_a_larger_budget_is_no_other_sweep(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "engine.state"
    save(path, 1)
    assert load(path, replace(SWEEP, **change)) == 1


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        (b"", 0o600, "has 0 bytes, and must have 32"),
        (b"short", 0o600, "has 5 bytes, and must have 32"),
        (b"k" * 32, 0o640, "can be opened by others .mode 0640."),
        (b"k" * 32, 0o604, "can be opened by others .mode 0604."),
        (b"k" * 32, 0o620, "can be opened by others .mode 0620."),
    ],
)
def test_a_key_that_others_may_know_is_refused(
    tmp_path: Path, content: bytes, mode: int, problem: str
) -> None:
    path, key = tmp_path / "engine.state", tmp_path / "mine" / "fieldtrial" / "key"
    save(path, 1)
    kept = key.read_bytes()
    key.write_bytes(content)
    key.chmod(mode)
    for act in (lambda: save(path, 2), lambda: load(path)):
        with pytest.raises(ForeignStateError, match=f"key: {problem}"):
            act()
    key.write_bytes(kept)
    key.chmod(0o600)
    assert load(path) == 1


def test_a_home_that_cannot_take_the_key_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the sweep's folder, where all is well."""
    key = tmp_path / "mine" / "fieldtrial" / "key"
    full = OSError(errno.EDQUOT, "Disk quota exceeded")  # without a name, as of a write
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", mock.Mock(side_effect=full))
        with pytest.raises(ForeignStateError, match=rf"^{key}: Disk quota exceeded: the key that"):
            save(tmp_path / "x" / "engine.state", 1)
    assert list(key.parent.iterdir()) == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(ForeignStateError, match="file/fieldtrial/key: Not a directory: the key"):
        save(tmp_path / "x" / "engine.state", 1)


def test_another_users_key_is_refused(tmp_path: Path) -> None:
    need_root("gives a file to another user")
    save(tmp_path / "engine.state", 1)
    os.chown(tmp_path / "mine" / "fieldtrial" / "key", 65534, -1)
    with pytest.raises(ForeignStateError, match="key: belongs to another user"):
        load(tmp_path / "engine.state")
