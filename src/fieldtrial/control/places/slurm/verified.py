"""The first step of a job: it imports this program from a copy that is what its driver has taken.

The command of a job has the text of this module, which needs nothing but Python, so nothing in the
folder of the sweep runs before it was checked. What is imported are the bytes that were checked.
Compiled files, and whatever else lies there, are never looked at.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import PurePath

PACKAGE = "fieldtrial"


def read_sources(folder: str) -> dict[str, bytes]:
    """Return {path in `folder`: content} of the Python files of the package there, in order.

    Raises OSError where one cannot be read, or is a link.
    """
    found = {}
    for where, _, names, handle in os.fwalk(f"{folder}/{PACKAGE}"):
        for name in names:
            if name.endswith(".py"):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                with os.fdopen(os.open(name, flags, dir_fd=handle), "rb") as file:
                    found[str(PurePath(where, name).relative_to(folder))] = file.read()
    return dict(sorted(found.items()))


def digest_of(sources: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of the names and contents, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, content in sources.items():
        digest.update(b"%s\0%d\0%s" % (os.fsencode(name), len(content), content))
    return digest.hexdigest()


class Verified(MetaPathFinder, SourceLoader):
    """Imports the package from sources that have been read, and from nothing else."""

    def __init__(self, folder: str, sources: Mapping[str, bytes]) -> None:
        self._sources = {f"{folder}/{name}": content for name, content in sources.items()}
        self._folder = folder

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Return where a module is. Raises ModuleNotFoundError for one that the sources lack."""
        if fullname.partition(".")[0] != PACKAGE:
            return None
        stem = "/".join((self._folder, *fullname.split(".")))
        for path, inner in ((f"{stem}/__init__.py", [stem]), (f"{stem}.py", None)):
            if path in self._sources:
                return spec_from_file_location(
                    fullname, path, loader=self, submodule_search_locations=inner
                )
        raise ModuleNotFoundError(f"{self._folder}: no module {fullname}", name=fullname)

    def get_filename(self, fullname: str) -> str:
        """Return the path of a source, for tracebacks."""
        spec = self.find_spec(fullname)
        return (spec and spec.origin) or ""

    def get_data(self, path: str | bytes) -> bytes:
        """Return a source. Raises FileNotFoundError for all else."""
        if (source := self._sources.get(os.fsdecode(path))) is None:
            raise FileNotFoundError(path)
        return source


def main(folder: str, digest: str, *arguments: str) -> None:
    """Start the job of the program in `folder`, if that has this digest."""
    try:
        sources = read_sources(folder)
    except OSError as error:
        sys.exit(f"{folder}: not started: {error}")
    if digest_of(sources) != digest:
        sys.exit(f"{folder}: not started: somebody has changed the program there")
    sys.meta_path.insert(0, Verified(folder, sources))
    from fieldtrial.control.places.slurm.job_start import launch  # late: it is what was checked

    launch(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
