"""The user's project: the folder with its sweeps and places."""

from pathlib import Path

FOLDERS = ("sweeps", "cluster")  # a folder with one of them is a project


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
