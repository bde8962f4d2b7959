"""Small files: whole or not at all, readable as the umask says, found as soon as another machine
has made them.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldtrial.disk.files import (
    atomic_file,
    is_there,
    read_json,
    share_with_group,
    write_atomically,
    write_json,
)
from fieldtrial.disk.reading import UnreadableError


@pytest.fixture
def _own_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_own_umask")
@pytest.mark.parametrize(
    ("umask", "file_mode", "folder_mode"),
    [
        (0o000, 0o644, 0o755),
        (0o002, 0o644, 0o755),
        (0o022, 0o644, 0o755),
        (0o027, 0o640, 0o750),
        (0o077, 0o640, 0o750),
    ],
)
def test_the_group_may_read_and_only_the_user_write(
    tmp_path: Path, umask: int, file_mode: int, folder_mode: int
) -> None:
    os.umask(umask)
    share_with_group()
    write_atomically(tmp_path / "folder" / "file", b"")
    assert mode(tmp_path / "folder" / "file") == file_mode
    assert mode(tmp_path / "folder") == folder_mode


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail() -> None:
        with atomic_file(path) as file:
            file.write(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_secret_file_is_the_users_alone_before_it_has_content(tmp_path: Path) -> None:
    mask = os.umask(0)
    with atomic_file(tmp_path / "file", permissions=0o600):
        (begun,) = tmp_path.iterdir()
        assert stat.S_IMODE(begun.stat().st_mode) == 0o600
    os.umask(mask)


def test_what_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    assert not is_there(tmp_path / "no folder" / "file")
    assert read_json(tmp_path / "no folder" / "file", dict[str, int]) is None
    write_json(tmp_path / "file", {"a": 1})
    assert is_there(tmp_path / "file")
    assert read_json(tmp_path / "file", dict[str, int]) == {"a": 1}
    (tmp_path / "file").write_text("{")
    with pytest.raises(UnreadableError, match="file: not a JSON file"):
        read_json(tmp_path / "file", dict[str, int])
