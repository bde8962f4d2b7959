"""The first step of a job: it imports this program from a copy that is what its driver has taken.

The command of a job has the text of this module, which needs nothing but Python, so nothing in the
folder of the sweep runs before it was checked. What is imported are the bytes that were checked.
Compiled files, and whatever else lies there, are never looked at.
"""

import errno
import hashlib
import os
import sys
from collections.abc import Mapping
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import PurePath

PACKAGE = "fieldtrial"
MOST_BYTES = 64 << 20  # of all sources; this program has 2 MB
MOST_PARTS = 20  # of a path


def read_sources(folder: str) -> dict[str, bytes]:
    """Return {path in `folder`: content} of the Python files of the package there, in order.

    Raises OSError where one cannot be read, or is a link; or they are too large or too deep.
    """
    found, left = {}, MOST_BYTES
    for where, _, names, handle in os.fwalk(f"{folder}/{PACKAGE}"):
        if len(PurePath(where).relative_to(folder).parts) > MOST_PARTS:
            raise OSError(errno.ELOOP, "too many folders in each other", where)
        for name in names:
            if name.endswith(".py"):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                with os.fdopen(os.open(name, flags, dir_fd=handle), "rb") as file:
                    content = file.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise OSError(errno.EFBIG, f"more than {MOST_BYTES:,} bytes of code", where)
                found[str(PurePath(where, name).relative_to(folder))] = content
    return dict(sorted(found.items()))


def digest_of(sources: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of the names and contents, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, content in sources.items():
        digest.update(b"%s\0%d\0%s" % (os.fsencode(name), len(content), content))
    return digest.hexdigest()


class Source(SourceLoader):
    """Loads a module from its source, which has been read; `path` is where, for tracebacks."""

    def __init__(self, path: str, content: bytes) -> None:
        self._path, self._content = path, content

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 (it has one module)
        """Return the path of the source."""
        return self._path

    def get_data(self, path: str | bytes) -> bytes:
        """Return the source. Raises FileNotFoundError for all else, such as compiled files."""
        if path != self._path:
            raise FileNotFoundError(path)
        return self._content


class Finder(MetaPathFinder):
    """Finds the modules of the package in sources that have been read, and nowhere else."""

    def __init__(self, folder: str, sources: Mapping[str, bytes]) -> None:
        self._folder = folder
        self._sources = {f"{folder}/{name}": content for name, content in sources.items()}

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Return where a module is. Raises ModuleNotFoundError for one that the sources lack."""
        if fullname.partition(".")[0] != PACKAGE:
            return None
        stem = "/".join((self._folder, *fullname.split(".")))
        for path, inner in ((f"{stem}/__init__.py", [stem]), (f"{stem}.py", None)):
            if (content := self._sources.get(path)) is not None:
                loader = Source(path, content)
                return spec_from_file_location(
                    fullname, path, loader=loader, submodule_search_locations=inner
                )
        raise ModuleNotFoundError(f"{self._folder}: no module {fullname}", name=fullname)


def main(folder: str, digest: str, *arguments: str) -> None:
    """Start the job of the program in `folder`, if that has this digest."""
    try:
        sources = read_sources(folder)
    except OSError as error:
        sys.exit(f"{folder}: not started: {error}")
    if digest_of(sources) != digest:
        sys.exit(f"{folder}: not started: somebody has changed the program there")
    sys.meta_path.insert(0, Finder(folder, sources))
    from fieldtrial.control.places.slurm.job_start import launch  # late: it is what was checked

    launch(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
