"""The user's project: where its code is, and which parts of it this process may run.

Both are variables of the environment, so that the processes that this one starts know them too.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

FOLDERS = ("sweeps", "cluster")  # a folder with one of them is a project
PROJECT = "FIELDTRIAL_PROJECT"  # the folders that own modules are imported from
TRUSTED = "FIELDTRIAL_OWN"  # the names of the parts that may run


def project_root(start: Path) -> Path | None:
    """Return the nearest folder at or above `start` that has sweeps/ or cluster/, None without one.

    The root of the file system is none: many sites have a /cluster.
    """
    place = start.absolute()
    return next(
        (
            folder
            for folder in (place, *place.parents)[:-1]
            if any((folder / name).is_dir() for name in FOLDERS)
        ),
        None,
    )


def enter_project(start: Path) -> None:
    """Let this process and its children find own modules in the project of a file or a folder.

    They are looked for in the project's root, then in the folder of the file, or of the sweeps. A
    folder that is in no project has none: it may be anybody's. So may a project above that neither
    the user, nor root, nor the owner of `start` has made.
    """
    root = project_root(start)
    if root and not _is_of(root, {os.geteuid(), 0, *_owners([start])}):
        root = None
    beside = root and root / FOLDERS[0] if start.is_dir() else start.absolute().parent
    folders = dict.fromkeys(one for one in (root, beside) if one is not None and one.is_dir())
    os.environ[PROJECT] = json.dumps([str(one) for one in folders])


def _is_of(root: Path, owners: set[int]) -> bool:
    """Return whether one of these users has made the folders that make `root` a project."""
    return bool(owners.intersection(_owners([root / name for name in FOLDERS])))


def _owners(paths: Iterable[Path]) -> list[int]:
    return [path.stat().st_uid for path in paths if path.exists()]


def roots() -> tuple[Path, ...]:
    """Return the folders that own modules are looked for in, before the installed packages."""
    return tuple(map(Path, json.loads(os.environ.get(PROJECT) or "[]")))


def trust(names: Iterable[str]) -> None:
    """Let this process and its children run these own parts, as well as those that they may."""
    os.environ[TRUSTED] = ",".join(sorted({*trusted(), *names}))


def trusted() -> frozenset[str]:
    """Return the names of the own parts that this process may run."""
    return frozenset(filter(None, os.environ.get(TRUSTED, "").split(",")))
