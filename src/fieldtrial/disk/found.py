"""Folders that users name -> the sweeps and the runs of no sweep that are in them, at any depth."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fieldtrial.disk.inside import Inside, RefusedError
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder

MOST_DEPTH = 8  # of folders in folders
MOST_FOLDERS = 100_000  # that are looked into


class RunsFolder(SweepFolder):
    """A folder with run directories that belong to no sweep; the name of each is its path there.

    is_kept: whether tables and the like are written into it: not where several folders were named.
    """

    def __init__(self, path: Path, runs: Mapping[str, Inside], is_kept: bool) -> None:
        super().__init__(path)
        self._runs, self.is_kept = runs, is_kept

    def run(self, trial: str) -> Run:
        """Return the run with this name."""
        return Run(self._runs[trial])

    def folders(self) -> list[str]:
        """Return the runs' names, in order."""
        return list(self._runs)

    def trials(self) -> list[dict[str, Any]]:
        """Return nothing: no sweep has listed them."""
        return []

    def require(self) -> None:
        """Do nothing: it is no sweep's folder."""


@dataclass
class Found:
    """What is in the folders.

    sweeps: whether each was named itself. runs: of no sweep; None without any. missing: named paths
    without either. links: what was not followed. left_out: what was not looked into, and why.
    """

    sweeps: list[tuple[SweepFolder, bool]] = field(default_factory=list)
    runs: RunsFolder | None = None
    missing: list[Path] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def is_nothing(self) -> bool:
        """Whether there is no sweep and no run."""
        return not self.sweeps and self.runs is None


def find(paths: Sequence[Path | str]) -> Found:
    """Return what is in the folders `paths`, each sweep and each run once.

    Nothing is searched for inside of a sweep or a run, and no link below a named folder is
    followed. Hidden folders are passed over.
    """
    found, runs = Found(), list[Inside]()
    known: set[Path] = set()
    for path in dict.fromkeys(map(Path, paths)):
        count = len(found.sweeps) + len(runs)
        if not path.is_file():
            _look(Inside(path), found, runs, known)
        if len(found.sweeps) + len(runs) == count and path.resolve() not in known:
            found.missing.append(path)
    if runs:
        found.runs = _together(list(map(Path, paths)), runs)
    return found


def _look(named: Inside, found: Found, runs: list[Inside], known: set[Path]) -> None:
    """Add what is in a folder; known: the paths of sweeps and runs that were found before."""
    pending, count = [named], 0
    while pending:
        folder = pending.pop(0)
        count += 1
        try:
            is_sweep = SweepFolder(folder).exists()
            if is_sweep or Run(folder).exists():
                if folder.resolve() not in known:
                    known.add(folder.resolve())
                    if is_sweep:
                        found.sweeps.append((SweepFolder(folder), folder is named))
                    else:
                        runs.append(folder)
                continue
            if len(folder.parts) == MOST_DEPTH or count > MOST_FOLDERS:
                found.left_out.append(f"{folder}: not looked into")
                continue
            folders, links = folder.folders()
        except RefusedError as error:
            found.links.append(str(error.filename))
            continue
        except OSError as error:
            if folder is not named or not isinstance(error, FileNotFoundError):
                found.left_out.append(f"{folder}: {error.strerror}")
            continue
        found.links += [str(folder / name) for name in links]
        pending += [folder / name for name in folders if not name.startswith(".")]


def _together(paths: Sequence[Path], runs: Sequence[Inside]) -> RunsFolder:
    """Return the runs by their paths below the named folder, or below that of all named ones."""
    folders = [_normal(path.parent if path.is_file() else path) for path in paths]
    common = Path(os.path.commonpath(folders))
    is_run = any(not run.parts and _normal(run.root) == common for run in runs)
    base = common.parent if is_run else common
    names = {
        _normal(run.root).joinpath(*run.parts).relative_to(base).as_posix(): run for run in runs
    }
    is_kept = len(paths) == 1 and not is_run
    return RunsFolder(paths[0] if is_kept else base, names, is_kept)


def _normal(path: Path) -> Path:
    """Return the absolute path as it was named: links in it stay."""
    return Path(os.path.normpath(path.absolute()))
