"""Paths below a folder, reached without following a link: a stranger may have prepared the folder.

Every folder on the way is opened relative to the one above it, and only if it is no link. The
folder itself may be a link, or be reached through one: the user has named it.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

# Where a folder is only passed through, the kernel need not ask the server of a network file
# system. The last one is opened for reading, which does: see `refresh` in files.py.
PASSED = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
OPENED = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
OWN = 0o755  # of a new folder, less what the umask takes away
LINK = "is a link, and links are not followed here; remove it, or copy its target in its place"


class RefusedError(OSError):
    """A path leads out of its folder, or to something that is neither a file nor a folder."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


@dataclass(frozen=True, order=True)
class Inside:
    """What is in the folder `root` under `parts`, the names on the way; the methods are Path's.

    They raise RefusedError, which names the path, where a link is in the way, at the end too, or a
    name such as .. leads out. Only `unlink`, `rename` and `replace` take a link at the end: they
    do to the link itself what they are asked to.

    A library that opens files by name gets the name through os.fspath, after a look at the way.
    """

    root: Path
    parts: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The path, to be shown; what opens it would follow links."""
        return self.root.joinpath(*self.parts)

    @property
    def name(self) -> str:
        """The last name."""
        return self.path.name

    @property
    def stem(self) -> str:
        """The last name without its suffix."""
        return self.path.stem

    @property
    def suffix(self) -> str:
        """The last name's suffix."""
        return self.path.suffix

    @property
    def parent(self) -> "Inside":
        """The folder that this is in."""
        return Inside(self.root, self.parts[:-1])

    def __truediv__(self, name: str) -> "Inside":
        return Inside(self.root, (*self.parts, name))

    def __str__(self) -> str:
        return str(self.path)

    def __fspath__(self) -> str:
        if not self.parts:
            return str(self.root)
        with contextlib.suppress(FileNotFoundError), self._in_folder() as (folder, name):
            self._refuse_link(folder, name)
        return str(self.path)

    def with_name(self, name: str) -> "Inside":
        """Return the path with another last name."""
        return self.parent / name

    def resolve(self) -> Path:
        """Return the absolute path; links are followed as far as `root` only."""
        return self.root.resolve().joinpath(*self.parts)

    # Files

    def open(self, mode: str, permissions: int = 0o644) -> IO[Any]:
        """Open the file in a binary mode: rb, xb, ab or a+b. Raises what Path.open raises.

        permissions: of a new file, less what the umask takes away.
        """
        folder, name = self._open_folder(len(self.parts) - 1), self.parts[-1]

        def opened(_: str, flags: int) -> int:
            # A FIFO would be waited for.
            flags |= os.O_NOFOLLOW | os.O_NONBLOCK
            return os.open(name, flags, permissions, dir_fd=folder)

        try:
            self._require_name(len(self.parts))
            # The path is for tracebacks and the file's attribute only.
            shown = os.path.join(self.root, *self.parts)  # noqa: PTH118 (a table opens thousands)
            file = open(shown, mode, opener=opened)  # noqa: SIM115 (it is returned)
        except OSError as error:
            raise self._explained(folder, error, len(self.parts)) from None
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise RefusedError(errno.EINVAL, "must be a file", str(self))
        return file

    def read_bytes(self) -> bytes:
        """Return the file's content."""
        with self.open("rb") as file:
            content: bytes = file.read()
        return content

    def read_text(self) -> str:
        """Return the file's content, which is UTF-8."""
        return self.read_bytes().decode()

    def touch(self) -> None:
        """Create the file, empty, if it is not there."""
        self.open("ab").close()

    def exists(self) -> bool:
        """Return whether a file or folder is there."""
        try:
            self.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def is_file(self) -> bool:
        """Return whether a file is there."""
        return self.exists() and stat.S_ISREG(self.stat().st_mode)

    def stat(self) -> os.stat_result:
        """Return what os.stat does."""
        if not self.parts:
            return self.root.stat()
        folder, name = self._open_folder(len(self.parts) - 1), self.parts[-1]
        try:
            self._require_name(len(self.parts))
            about = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            raise self._explained(folder, error, len(self.parts)) from None
        finally:
            os.close(folder)
        if stat.S_ISLNK(about.st_mode):
            raise RefusedError(errno.ELOOP, LINK, str(self))
        return about

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file, or the link."""
        missing = (FileNotFoundError,) if missing_ok else ()
        with contextlib.suppress(*missing), self._in_folder() as (folder, name):
            os.unlink(name, dir_fd=folder)

    def rename(self, target: "Inside") -> None:
        """Give the file another place; a file that is there is replaced."""
        with self._in_folder() as (folder, name), target._in_folder() as (other, new):
            os.rename(name, new, src_dir_fd=folder, dst_dir_fd=other)

    replace = rename

    # Folders

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Make the folder; with `parents`, those above it and `root` too.

        Only the user can write to it, whatever the umask says.
        """
        if parents:
            self.root.mkdir(OWN, parents=True, exist_ok=True)
        for depth in range(1 if parents else len(self.parts), len(self.parts) + 1):
            known = (FileExistsError,) if exist_ok or depth < len(self.parts) else ()
            with (
                contextlib.suppress(*known),
                Inside(self.root, self.parts[:depth])._in_folder() as (folder, name),
            ):
                os.mkdir(name, OWN, dir_fd=folder)

    def names(self) -> list[str]:
        """Return the names of what is in the folder, sorted; nothing where there is no folder."""
        try:
            with self.entered() as folder:
                return sorted(os.listdir(folder))  # noqa: PTH208 (a descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def folders(self) -> tuple[list[str], list[str]]:
        """Return the names of the folders in it, and of the links to folders, each sorted."""
        with self.entered() as folder, os.scandir(folder) as entries:
            known = [(entry.name, entry.is_symlink()) for entry in entries if _is_folder(entry)]
        own, links = (
            sorted(name for name, is_link in known if is_link == one) for one in (False, True)
        )
        return own, links

    def refuse_links(self) -> None:
        """Raise RefusedError if something in the folder is a link."""
        with self.entered() as folder, os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise RefusedError(errno.ELOOP, LINK, str(self / entry.name))

    def rmtree(self) -> None:
        """Remove the folder and all that is in it, as far as possible."""
        # Python's rmtree calls itself for each folder in a folder.
        missing = (FileNotFoundError, RecursionError)
        with contextlib.suppress(*missing), self._in_folder() as (folder, name):
            self._refuse_link(folder, name)
            shutil.rmtree(name, ignore_errors=True, dir_fd=folder)

    @contextlib.contextmanager
    def entered(self) -> Iterator[int]:
        """Open the folder; the descriptor is for functions of os that take one."""
        folder = self._open_folder(len(self.parts))
        try:
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _in_folder(self) -> Iterator[tuple[int, str]]:
        """Open the folder that this is in, and name this in the errors of what is done there."""
        folder = self._open_folder(len(self.parts) - 1)
        try:
            self._require_name(len(self.parts))
            yield folder, self.parts[-1]
        except OSError as error:
            raise self._explained(folder, error, len(self.parts)) from None
        finally:
            os.close(folder)

    def _open_folder(self, depth: int) -> int:
        """Open the folder under the first `depth` parts. A table of a large sweep asks for hundreds
        of thousands, so this is one loop.
        """
        folder = os.open(self.root, PASSED if depth else OPENED)
        for number in range(1, depth + 1):
            flags = OPENED if number == depth else PASSED
            try:
                self._require_name(number)
                below = os.open(self.parts[number - 1], flags | os.O_NOFOLLOW, dir_fd=folder)
            except OSError as error:
                raise self._explained(folder, error, number) from None
            finally:
                os.close(folder)
            folder = below
        return folder

    def _require_name(self, depth: int) -> None:
        """Raise RefusedError if the part at `depth`, from 1, leads out of its folder."""
        name = self.parts[depth - 1]
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise RefusedError(errno.EINVAL, "leads out of its folder", str(self._upto(depth)))

    def _upto(self, depth: int) -> "Inside":
        return Inside(self.root, self.parts[:depth])

    def _explained(self, folder: int, error: OSError, depth: int) -> OSError:
        """Return the error of what was done to the part at `depth` in the open `folder`, with its
        path.
        """
        if isinstance(error, RefusedError):
            return error
        here = self._upto(depth)
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            here._refuse_link(folder, here.parts[-1])
        return OSError(error.errno, error.strerror, str(here))

    def _refuse_link(self, folder: int, name: str) -> None:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise RefusedError(errno.ELOOP, LINK, str(self))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    with contextlib.suppress(OSError):  # a link that leads in a circle
        return entry.is_dir()
    return False
