"""Jobs run the program as it was when they were submitted."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from fieldtrial.config import ConfigError
from fieldtrial.control.places.slurm import snapshot
from fieldtrial.control.places.slurm.snapshot import PACKAGE, take_snapshot
from fieldtrial.disk.inside import RefusedError
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.own.project import TRUSTED, enter_project
from tests.needs import need_root
from tests.own.projects import RAN, make_project


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package in a git repository of its own, which is what is taken."""
    copy = tmp_path / "project" / "fieldtrial"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, *command], cwd=copy.parent, check=True)
    monkeypatch.setattr(snapshot, "PACKAGE", copy)
    return copy


def taken_in(sweep: Path) -> Path:
    return take_snapshot(SweepFolder(sweep).code_path).folder


def test_it_is_the_program(tmp_path: Path) -> None:
    taken = taken_in(tmp_path)
    assert taken.parent == tmp_path / "code"
    names = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert {
        path.relative_to(taken / "fieldtrial")
        for path in (taken / "fieldtrial").rglob("*")
        if path.is_file()
    } == names


def test_editing_changes_nothing_in_what_was_taken(package: Path, tmp_path: Path) -> None:
    first = taken_in(tmp_path)
    assert taken_in(tmp_path) == first
    assert (first / "diff.patch").read_text() == ""
    before = (package / "config.py").read_text()
    (package / "config.py").write_text(before + "NEW = 1\n")
    (package / "untracked.py").write_text("LINE = 2\n")
    second = taken_in(tmp_path)
    assert second != first
    assert (first / "fieldtrial" / "config.py").read_text() == before
    assert (second / "fieldtrial" / "untracked.py").read_text() == "LINE = 2\n"
    assert "+NEW = 1" in (second / "diff.patch").read_text()
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=package, capture_output=True, text=True, check=True
    ).stdout
    assert (second / "commit.txt").read_text() == head
    assert sorted(path.name for path in (tmp_path / "code").iterdir()) == sorted(
        [first.name, second.name]
    )


def test_the_same_program_may_have_another_commit_and_other_changes_around_it(
    package: Path, tmp_path: Path
) -> None:
    (package.parent / "sweep.py").write_bytes('NAME = "caf\xe9"\n'.encode("latin-1"))
    first = taken_in(tmp_path)
    assert b"+NAME" in (first / "diff.patch").read_bytes()
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["add", "."], ["commit", "-q", "-m", "second"]):
        subprocess.run([*git, *command], cwd=package.parent, check=True)
    assert taken_in(tmp_path) == first
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], cwd=package, capture_output=True, text=True, check=True
    ).stdout
    assert (first / "commit.txt").read_text() == head
    assert (first / "diff.patch").read_bytes() == b""
    (package.parent / "sweep.py").write_bytes('NAME = "th\xe9"\n'.encode("latin-1"))
    written = (first / "commit.txt").stat().st_mtime_ns
    assert taken_in(tmp_path) == first
    assert '+NAME = "th\xe9"\n'.encode("latin-1") in (first / "diff.patch").read_bytes()
    assert (first / "commit.txt").stat().st_mtime_ns == written
    assert {path.name for path in first.iterdir()} == {"fieldtrial", "commit.txt", "diff.patch"}


def test_it_has_the_code_of_own_parts_with_the_commit_of_their_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "mine")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, *command], cwd=project, check=True)
    without = taken_in(tmp_path / "sweep")
    enter_project(project)
    monkeypatch.setenv(TRUSTED, "nets:Net")
    taken = taken_in(tmp_path / "sweep")
    assert taken != without
    names = {path.relative_to(project) for path in project.rglob("*.py")}
    copied = taken / "own"
    assert {path.relative_to(copied) for path in copied.rglob("*") if path.is_file()} == names
    assert len((taken / "project-commit.txt").read_text().strip()) == 40
    assert (taken / "project-diff.patch").read_bytes() == b""
    assert taken_in(tmp_path / "sweep") == taken
    (project / "layers.py").write_text("class Block: ...\n")
    other = taken_in(tmp_path / "sweep")
    assert other != taken
    assert "+class Block: ..." in (other / "project-diff.patch").read_text()
    (taken / "own" / "layers.py").write_text("class Block: ...\n")
    (project / "layers.py").write_text("import pkg.leaf\n\nclass Block:\n    pass\n")
    with pytest.raises(ConfigError, match="its files differ from this program's"):
        taken_in(tmp_path / "sweep")
    assert not (project / RAN).exists()


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022])
def test_others_may_read_it_and_not_write(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    taken = taken_in(tmp_path / "sweep")
    os.umask(before)
    for path in (taken, taken / "fieldtrial", taken / "fieldtrial" / "config.py"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o444 == 0o444
        assert not mode & 0o022


def test_without_git_there_is_a_snapshot_too(package: Path, tmp_path: Path) -> None:
    shutil.rmtree(package.parent / ".git")
    taken = taken_in(tmp_path)
    assert (taken / "commit.txt").read_text() == ""
    assert (taken / "fieldtrial" / "config.py").exists()


@pytest.mark.parametrize("change", ["other", "more", "less", "a link", "large", "deep"])
def test_a_copy_with_other_content_is_refused(tmp_path: Path, change: str) -> None:
    taken = taken_in(tmp_path) / "fieldtrial"
    if change == "other":
        (taken / "disk" / "run.py").write_text("import os\n")
    elif change == "more":
        (taken / "disk" / "json.py").touch()
    elif change == "less":
        (taken / "disk" / "run.py").unlink()
    elif change == "large":
        os.truncate(taken / "disk" / "run.py", 1 << 40)  # of a disk that is not so large
    elif change == "deep":
        (taken / "/".join("d" * 30)).mkdir(parents=True)
    else:
        (taken / "disk" / "run.py").rename(tmp_path / "run.py")
        (taken / "disk" / "run.py").symlink_to(tmp_path / "run.py")
    with pytest.raises(ConfigError, match="its files differ from this program's"):
        taken_in(tmp_path)


def test_compiled_files_are_left_alone(tmp_path: Path) -> None:
    compiled = taken_in(tmp_path) / "fieldtrial" / "disk" / "__pycache__"
    compiled.mkdir()
    (compiled / "run.cpython-311.pyc").write_bytes(b"of an earlier version, or a stranger")
    assert taken_in(tmp_path) == compiled.parents[2]


@pytest.mark.parametrize("name", ["code", "code/DIGEST"])
def test_a_link_in_the_place_of_the_copy_is_refused(tmp_path: Path, name: str) -> None:
    taken = taken_in(tmp_path / "mine")
    (tmp_path / "theirs" / "code").mkdir(parents=True)
    if name == "code":
        (tmp_path / "theirs" / "code").rmdir()
        (tmp_path / "theirs" / "code").symlink_to(taken.parent)
    else:
        (tmp_path / "theirs" / "code" / taken.name).symlink_to(taken)
    with pytest.raises(RefusedError, match="is a link"):
        taken_in(tmp_path / "theirs")


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"others can write to it \(mode {mode:04o}\)"):
        taken_in(tmp_path)
    assert not (tmp_path / "code").exists()


def test_a_folder_that_a_group_of_several_can_write_to_is_refused(tmp_path: Path) -> None:
    need_root("gives a folder to another group")
    tmp_path.chmod(0o775)
    assert taken_in(tmp_path), "the group that is named for the user has no other members"
    os.chown(tmp_path, -1, 65534)
    with pytest.raises(ConfigError, match="others can write to it"):
        taken_in(tmp_path)


@pytest.mark.parametrize("name", ["", "code"])
def test_another_users_folder_is_refused(tmp_path: Path, name: str) -> None:
    need_root("gives a folder to another user")
    taken_in(tmp_path)
    os.chown(tmp_path / name, 65534, -1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        taken_in(tmp_path)


def test_the_folder_of_copies_is_taken_from_others(tmp_path: Path) -> None:
    taken = taken_in(tmp_path)
    taken.parent.chmod(0o777)
    assert taken_in(tmp_path) == taken
    assert stat.S_IMODE(taken.parent.stat().st_mode) == 0o755
