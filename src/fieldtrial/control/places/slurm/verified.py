"""The first step of a job: it imports this program from a copy that is what its driver has taken.

The command of a job has the text of this module, which needs nothing but Python, so nothing in the
folder of the sweep runs before it was checked. What is imported are the bytes that were checked.
Compiled files, and whatever else lies there, are never looked at. Beside the program is the code of
the parts of the project of a user that the sweep names, if it names any.
"""

import errno
import hashlib
import json
import os
import sys
from collections.abc import Collection, Mapping
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import PurePath

PACKAGE = "fieldtrial"
OWN = "own"  # the folder with the code of the project
PROJECT = "FIELDTRIAL_PROJECT"  # the variable of the folders of the project, as JSON
MOST_BYTES = 64 << 20  # of all sources; this program has 2 MB
MOST_PARTS = 20  # of a path


def read_sources(folder: str, inner: str = PACKAGE) -> dict[str, bytes]:
    """Return {path in `folder`: content} of the Python files in a folder there, in order.

    Raises OSError where one cannot be read, or is a link; or they are too large or too deep.
    """
    found, left = {}, MOST_BYTES
    for where, _, names, handle in os.fwalk(f"{folder}/{inner}"):
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


def read_all(folder: str) -> dict[str, bytes]:
    """Return the sources of a copy: of this program, and of the project if there are any.

    Raises OSError as `read_sources` does.
    """
    own = read_sources(folder, OWN) if os.path.lexists(f"{folder}/{OWN}") else {}
    return {**read_sources(folder), **own}


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
    """Finds the modules of packages in sources that have been read, and nowhere else.

    packages: the first parts of the names of these modules.
    """

    def __init__(
        self, folder: str, sources: Mapping[str, bytes], packages: Collection[str]
    ) -> None:
        self._folder, self._packages = folder, packages
        self._sources = {f"{folder}/{name}": content for name, content in sources.items()}

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Return where a module is. Raises ModuleNotFoundError for one that the sources lack."""
        if fullname.partition(".")[0] not in self._packages:
            return None
        stem = "/".join((self._folder, *fullname.split(".")))
        for path, inner in ((f"{stem}/__init__.py", [stem]), (f"{stem}.py", None)):
            if (content := self._sources.get(path)) is not None:
                loader = Source(path, content)
                return spec_from_file_location(
                    fullname, path, loader=loader, submodule_search_locations=inner
                )
        if any(path.startswith(f"{stem}/") for path in self._sources):
            spec = ModuleSpec(fullname, None, is_package=True)  # a folder without __init__.py
            spec.submodule_search_locations = [stem]
            return spec
        raise ModuleNotFoundError(f"{self._folder}: no module {fullname}", name=fullname)


def main(folder: str, digest: str, *arguments: str) -> None:
    """Start the job of the program in `folder`, if that has this digest."""
    try:
        sources = read_all(folder)
    except OSError as error:
        sys.exit(f"{folder}: not started: {error}")
    if digest_of(sources) != digest:
        sys.exit(f"{folder}: not started: somebody has changed the program there")
    sys.meta_path.insert(0, Finder(folder, sources, {PACKAGE}))
    inner = f"{OWN}/"
    own = {name[len(inner) :]: code for name, code in sources.items() if name.startswith(inner)}
    if own:
        packages = {name.partition("/")[0].removesuffix(".py") for name in own}
        sys.meta_path.insert(1, Finder(folder + "/" + OWN, own, packages))
        os.environ[PROJECT] = json.dumps([folder + "/" + OWN])
    from fieldtrial.control.places.slurm.job_start import launch  # late: it is what was checked

    launch(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
