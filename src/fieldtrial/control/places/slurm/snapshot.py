"""A copy of the program in the sweep's folder, so that edits do not affect jobs that wait."""

import errno
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import fieldtrial.config
from fieldtrial.config import ConfigError
from fieldtrial.control.places.slurm.verified import OWN, digest_of, read_all, read_sources
from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.permissions import require_own
from fieldtrial.installed.git import changes, commit
from fieldtrial.own.digest import project_sources
from fieldtrial.own.project import roots, trusted

PACKAGE = Path(fieldtrial.config.__file__).resolve().parent


@dataclass(frozen=True)
class Snapshot:
    """A folder with a copy of this package, as an absolute path, and the digest of its content."""

    folder: Path
    digest: str


def planned_snapshot(folder: Inside) -> Snapshot:
    """Return the snapshot that `take_snapshot` would take."""
    return _snapshot_of(_sources(), folder)


def take_snapshot(folder: Inside) -> Snapshot:
    """Copy this package to a subfolder of `folder` named by its content, and return the snapshot.

    Beside the package are the code of the own parts that this process may run, and the commit and
    the uncommitted changes of package and project, if these are in a git work tree.
    What is there already is compared with the package.

    Raises:
        ConfigError: the sweep's folder or `folder` is another user's, or others can write to it;
            what is there differs from the package.
        OSError: it cannot be written, or a link is in the way.
    """
    folder.root.mkdir(parents=True, exist_ok=True, mode=0o755)
    require_own(folder.root)
    folder.mkdir(parents=True, exist_ok=True)
    require_own(folder, tighten=True)
    sources = _sources()
    snapshot = _snapshot_of(sources, folder)
    target = folder / snapshot.folder.name
    if not target.exists():
        _copy(sources, target)
    elif not _holds(target, sources):
        problem = "its files differ from this program's: it was changed, or is incomplete"
        raise ConfigError([f"{problem}; find out who, and remove it"], str(target))
    facts = _facts(PACKAGE, "")
    if any(name.startswith(f"{OWN}/") for name in sources):
        facts |= _facts(roots()[0], "project-")
    for name, content in facts.items():  # the same content may be committed by now
        if not (target / name).exists() or (target / name).read_bytes() != content:
            write_atomically(target / name, content)
    return snapshot


def _sources() -> dict[str, bytes]:
    """Return {path: content} of the program, and of the own parts that this process may run.

    Raises ConfigError where these are not found any more.
    """
    try:
        own = project_sources(sorted(trusted()))
    except ValueError as error:
        raise ConfigError([str(error)]) from None
    return read_sources(str(PACKAGE.parent)) | {f"{OWN}/{name}": own[name] for name in own}


def _facts(folder: Path, prefix: str) -> dict[str, bytes]:
    """Return {file name: content} of the commit and the uncommitted changes of a folder."""
    return {
        f"{prefix}commit.txt": f"{commit(folder) or ''}\n".lstrip().encode(),
        f"{prefix}diff.patch": changes(folder) or b"",
    }


def _snapshot_of(sources: Mapping[str, bytes], folder: Inside) -> Snapshot:
    digest = digest_of(sources)
    return Snapshot(folder.resolve() / digest[:12], digest)


def _holds(target: Inside, sources: Mapping[str, bytes]) -> bool:
    """Return whether a copy has these sources and no others."""
    try:
        return read_all(os.fspath(target)) == sources
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EFBIG):
            raise
        return False  # one of them is a link, or they are no program's


def _copy(sources: Mapping[str, bytes], target: Inside) -> None:
    aside = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        for name, content in sources.items():
            copy = Inside(aside.root, (*aside.parts, *name.split("/")))
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.open("xb") as file:
                file.write(content)
        aside.rename(target)
    finally:
        aside.rmtree()
