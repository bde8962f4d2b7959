"""The commit of the running program, and its uncommitted changes."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

DIFF = ("diff", "--no-color", "--no-ext-diff", "HEAD")
SECONDS = 30  # that git may take, on a slow file system
MOST_FILES, LARGEST_FILE = (
    100,
    100_000,
)  # untracked files and their bytes; an environment that git sees has thousands


def commit(folder: Path) -> str | None:
    """Return the commit of the repository that `folder` lies in; None without one.

    A repository that tracks nothing in `folder` does not count: an environment with installed
    packages often lies in the work tree of another project.
    """
    said = _git(folder, "rev-parse", "HEAD") if _is_tracked(folder) else None
    return said.decode().strip() if said else None


def changes(folder: Path) -> bytes | None:
    """Return the diff from the commit to the whole work tree that `folder` lies in; None without a
    repository that tracks anything in `folder`.

    Untracked Python files, unless ignored, are in it as new ones: small ones, up to a number;
    others are named on top. It is in bytes because files are in any encoding.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None or not _is_tracked(folder):
        return None
    root = Path(os.fsdecode(top.rstrip(b"\n")))
    listed = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", "*.py") or b""
    untracked = [name for name in listed.split(b"\0") if name]
    shown = [name for name in untracked if _size(root / os.fsdecode(name)) <= LARGEST_FILE][
        :MOST_FILES
    ]
    with tempfile.TemporaryDirectory() as aside:
        diff = _git(root, *DIFF, variables=_with_files(root, shown, Path(aside)))
    named = b"".join(
        b"untracked, and not shown: " + name + b"\n" for name in untracked if name not in shown
    )
    return None if diff is None else named + diff


def _is_tracked(folder: Path) -> bool:
    return bool(_git(folder, "ls-files", "-z", "--", "."))


def _with_files(root: Path, names: list[bytes], aside: Path) -> Mapping[str, str]:
    """Return environment variables with which git diff shows untracked files as new ones.

    They name a temporary index; the repository's own stays as it is.
    """
    index, objects = (_git(root, "rev-parse", "--git-path", name) for name in ("index", "objects"))
    if not names or index is None or objects is None:
        return {}
    variables = {
        "GIT_INDEX_FILE": str(aside / "index"),
        "GIT_OBJECT_DIRECTORY": str(aside),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(root / os.fsdecode(objects.rstrip(b"\n"))),
        "GIT_LITERAL_PATHSPECS": "1",
    }
    with contextlib.suppress(FileNotFoundError):  # nothing has been added yet
        shutil.copyfile(root / os.fsdecode(index.rstrip(b"\n")), variables["GIT_INDEX_FILE"])
    added = _git(
        root, "add", "--intent-to-add", "--", *map(os.fsdecode, names), variables=variables
    )
    return {} if added is None else variables


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return LARGEST_FILE + 1


def _git(folder: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> bytes | None:
    """Return what git prints, in `folder`; None if it cannot say."""
    environment = {**os.environ, **(variables or {})}
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, env=environment, timeout=SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
