"""Jobs run the program as it was when they were submitted."""

import marshal
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fieldtrial.control.places.slurm import snapshot
from fieldtrial.control.places.slurm.snapshot import PACKAGE, take_snapshot
from fieldtrial.disk.sweep_folder import SweepFolder

PYC_HEADER = 16  # bytes before the code


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


def test_it_is_the_program_and_can_be_imported(tmp_path: Path) -> None:
    taken = taken_in(tmp_path)
    assert taken.parent == tmp_path / "code"
    script = (
        "import fieldtrial.control.places.slurm.job_start as it,"
        " fieldtrial.training.attempt.task_source; print(it.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(taken)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(taken / "fieldtrial/control/places/slurm/job_start.py")
    compiled = taken / "fieldtrial/disk/__pycache__" / f"files.{sys.implementation.cache_tag}.pyc"
    code = marshal.loads(compiled.read_bytes()[PYC_HEADER:])
    assert code.co_filename == str(taken / "fieldtrial/disk/files.py"), (
        "tracebacks name files that there are"
    )
    names = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert {
        path.relative_to(taken / "fieldtrial") for path in (taken / "fieldtrial").rglob("*.py")
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


def test_others_may_read_it_and_not_write(tmp_path: Path) -> None:
    taken = taken_in(tmp_path)
    for path in (taken, taken / "fieldtrial", taken / "fieldtrial" / "config.py"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o444 == 0o444
        assert not mode & 0o022


def test_without_git_there_is_a_snapshot_too(package: Path, tmp_path: Path) -> None:
    shutil.rmtree(package.parent / ".git")
    taken = taken_in(tmp_path)
    assert (taken / "commit.txt").read_text() == ""
    assert (taken / "fieldtrial" / "config.py").exists()
