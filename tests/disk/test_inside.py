"""Paths below a folder: no link on the way or at the end is followed, and no name leads out."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldtrial.disk.inside import Inside, RefusedError

MINE = b"mine"

Act = Callable[[Inside], object]
# What is done to folder/in/file, by what it opens, makes, reads or removes.
ACTS: dict[str, Act] = {
    "read": lambda path: path.read_bytes(),
    "create": lambda path: path.with_name("new").open("xb").close(),
    "append": lambda path: path.open("ab").close(),
    "extend": lambda path: path.open("a+b").close(),
    "touch": lambda path: path.touch(),
    "ask": lambda path: path.exists(),
    "size": lambda path: path.stat(),
    "remove": lambda path: path.unlink(),
    "move out": lambda path: path.rename(Inside(path.root, ("out",))),
    "move in": lambda path: Inside(path.root, ("own",)).rename(path),
    "list": lambda path: path.parent.names(),
    "make a folder": lambda path: path.with_name("new").mkdir(),
    "make folders": lambda path: (path.with_name("new") / "er").mkdir(parents=True, exist_ok=True),
    "remove a folder": lambda path: path.parent.rmtree(),
    "look for links": lambda path: path.parent.refuse_links(),
    "give its name": os.fspath,
}
# What of these is done to a link at the end, and not to what it leads to.
TO_THE_LINK = {"remove", "move out", "move in", "create", "list", "make a folder", "make folders"}
TO_THE_LINK |= {"remove a folder"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A stranger's folder, beside one of the user with a file in it."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "own").write_bytes(b"own")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_bytes(MINE)
    return folder


def is_untouched(root: Path) -> bool:
    mine = root.parent / "mine"
    return [path.name for path in mine.iterdir()] == ["file"] and (mine / "file").read_bytes() == (
        MINE
    )


@pytest.mark.parametrize("name", ACTS)
def test_a_folder_that_is_a_link_is_refused(root: Path, name: str) -> None:
    (root / "in").symlink_to("../mine")
    with pytest.raises(RefusedError, match="is a link, and links are not followed") as caught:
        ACTS[name](Inside(root, ("in", "file")))
    assert str(caught.value).startswith(f"{root / 'in'}: ")
    assert is_untouched(root)


@pytest.mark.parametrize("name", ACTS)
def test_a_file_that_is_a_link_is_not_followed(root: Path, name: str) -> None:
    (root / "in").mkdir()
    (root / "in" / "file").symlink_to("../../mine/file")
    path = Inside(root, ("in", "file"))
    if name in TO_THE_LINK:
        ACTS[name](path)
    else:
        with pytest.raises(RefusedError, match="is a link"):
            ACTS[name](path)
    assert is_untouched(root)


@pytest.mark.parametrize("name", ACTS)
def test_without_a_link_all_is_done(root: Path, name: str) -> None:
    (root / "in").mkdir()
    (root / "in" / "file").write_bytes(b"in")
    ACTS[name](Inside(root, ("in", "file")))


@pytest.mark.parametrize("name", ["..", "../mine", "", ".", "a/b", "/etc", "a\0b"])
def test_a_name_that_leads_out_is_refused(root: Path, name: str) -> None:
    for path in (Inside(root, (name,)), Inside(root, (name, "file"))):
        for act in (Inside.read_bytes, Inside.exists, Inside.touch, Inside.names):
            with pytest.raises(RefusedError, match="leads out of its folder"):
                act(path)
    assert is_untouched(root)


def test_the_folder_itself_may_be_a_link(root: Path) -> None:
    (root.parent / "runs").symlink_to("theirs")
    path = Inside(root.parent / "runs", ("in", "file"))
    path.parent.mkdir(parents=True)
    path.touch()
    assert (root / "in" / "file").exists()
    assert path.resolve() == root / "in" / "file"


def test_what_is_no_file_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(RefusedError, match="must be a file"):
        Inside(root, ("fifo",)).read_bytes()
    with pytest.raises(OSError, match="fifo"):
        Inside(root, ("fifo",)).open("ab")


def test_errors_name_the_whole_path(root: Path) -> None:
    for act in (Inside.read_bytes, Inside.stat, Inside.unlink):
        with pytest.raises(FileNotFoundError) as caught:
            act(Inside(root, ("in", "file")))
        assert caught.value.filename in (str(root / "in"), str(root / "in" / "file"))
    assert Inside(root, ("in",)).names() == []
    assert not Inside(root, ("own", "file")).exists()
    with pytest.raises(NotADirectoryError, match="own"):
        Inside(root, ("own", "file")).read_bytes()


def test_folders_in_folders_are_removed_as_far_as_possible(root: Path) -> None:
    deep = root / "in"
    for _ in range(60):  # a path may have 4,096 characters at once
        deep = deep.joinpath(*"d" * 20)
        deep.mkdir(parents=True)
    Inside(root, ("in",)).rmtree()
    subprocess.run(["rm", "-r", str(root)], check=True)  # pytest cannot


def test_what_is_made_is_the_users_alone_to_write(root: Path) -> None:
    before = os.umask(0)
    (Inside(root) / "in").mkdir()
    (Inside(root) / "in" / "file").touch()
    os.umask(before)
    modes = [stat.S_IMODE((root / name).stat().st_mode) for name in ("in", "in/file")]
    assert modes == [0o755, 0o644]
