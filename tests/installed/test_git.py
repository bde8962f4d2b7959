"""What git says of a program's code, in real repositories."""

import os
import subprocess
from pathlib import Path

import pytest

from fieldtrial.installed import git as repository
from fieldtrial.installed.git import changes, commit


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a package and a file that is not in UTF-8."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "module.py").write_text("x = 1\n")
    (tmp_path / "words.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def git(folder: Path, *arguments: str) -> bytes:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, check=True
    ).stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_diff_makes_the_commit_the_work_tree_again(project: Path) -> None:
    assert changes(project / "package") == b""
    assert commit(project / "package") == git(project, "rev-parse", "HEAD").decode().strip()
    new = {
        "package/new.py": b"y = 2\n",
        "sweeps/own one.py": "# th\xe9, no newline".encode("latin-1"),
    }
    edited = {"words.txt": "th\xe9\n".encode("latin-1"), "package/module.py": b"x = 3\n"}
    for name, content in (new | edited | {"ignored.py": b"", "notes.txt": b""}).items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_bytes(content)
    before = git(project, "status", "--short"), contents(project / ".git")
    diff = changes(project / "package")
    assert diff
    assert (git(project, "status", "--short"), contents(project / ".git")) == before, (
        "nothing is done to it"
    )
    elsewhere = project / "elsewhere"
    git(project, "clone", "-q", str(project), str(elsewhere))
    subprocess.run(["git", "apply"], cwd=elsewhere, input=diff, check=True)
    applied = {
        name: content
        for name, content in contents(elsewhere).items()
        if not name.startswith(".git")
    }
    assert applied == new | edited


def test_of_many_or_large_untracked_files_there_are_names(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "MOST_FILES", 2)
    for name, size in (
        ("a.py", 1),
        ("b.py", repository.LARGEST_FILE + 1),
        ("c.py", 1),
        ("d.py", 1),
    ):
        (project / name).write_text("#" * size)
    diff = (changes(project) or b"").decode()
    assert diff.startswith(
        "untracked, and not shown: b.py\nuntracked, and not shown: d.py\ndiff --git a/a.py b/a.py\n"
    )
    assert "b/c.py" in diff


def test_without_a_repository_there_is_nothing_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (commit(tmp_path), changes(tmp_path)) == (None, None)
    git(tmp_path, "init", "-q")
    assert (commit(tmp_path), changes(tmp_path)) == (None, None)
    monkeypatch.setitem(os.environ, "PATH", "")
    assert (commit(tmp_path), changes(tmp_path)) == (None, None)


def test_packages_installed_in_another_projects_work_tree_have_no_commit(project: Path) -> None:
    (project / ".gitignore").write_text(".venv/\n")
    for name in (".venv/site-packages", "vendor"):  # ignored, and not yet added
        (project / name).mkdir(parents=True)
        (project / name / "module.py").write_text("x = 1\n")
        assert (commit(project / name), changes(project / name)) == (None, None)
    assert commit(project)
