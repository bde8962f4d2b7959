"""Zip and tar.gz archives: unpacked safely, so that no file lands outside the target folder."""

import functools
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from fieldtrial.training.data.progress_bar import progress

# Raised by the standard library for damaged, cut off or encrypted archives.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    OSError,  # of gzip and bzip2, which set no errno
    EOFError,
    RuntimeError,
    UnicodeDecodeError,
)


MOST_RATIO = 100  # of what is unpacked to the archive
LEAST_BYTES = 1 << 30  # that any archive may unpack to
MOST_PARTS = 100  # of a name
HEADS_BYTES = 1 << 20  # between the contents of two entries of a tar: names may be of any length
HEAD_BYTES = 512  # that an entry counts for, beside its content: many empty files fill a disk too


class ArchiveError(ValueError):
    """An archive that is damaged or unsafe; the message names it."""


@dataclass(frozen=True)
class _Member:
    """One entry of an archive. `is_other`: neither file nor folder, but a link or a device."""

    name: str
    size: int
    is_folder: bool
    is_other: bool
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Unpack the `wanted` files of a zip or tar.gz archive into the empty `folder`.

    A name that leads out of the folder, a link or a device is an error, wanted or not, and so is an
    archive that unpacks to more than there is room for, or to more than MOST_RATIO times its own
    size: images do not become so much smaller. The check sums of zip and gzip are checked. After an
    error, the folder keeps the files unpacked so far.

    Args:
        archive: the archive's path.
        folder: the target.
        wanted: whether to unpack a file, by its name in the archive.

    Raises:
        ArchiveError: an unsafe entry, too much to unpack, a damaged archive, or no file that is
            wanted.
        OSError: no room, or no right to write.
    """
    unpacked = 0
    try:
        with (
            archive.open("rb") as file,
            progress(f"unpacking {archive.name}", 0, archive.stat().st_size) as advance,
        ):
            before, budget = 0, _Budget(archive, folder)
            for member in _zip_members(file) if zipfile.is_zipfile(file) else _tar_members(file):
                _require_safe(member, archive)
                budget.take(member)
                if member.is_folder or not wanted(member.name):
                    continue
                _write(member, folder / member.name, archive)
                unpacked += 1
                advance(file.tell() - before)
                before = file.tell()
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ArchiveError(
            f"{archive} is damaged, cut off, or neither zip nor tar.gz: {error}"
        ) from None
    if not unpacked:
        raise ArchiveError(f"{archive} holds no file of this data set")


class _Budget:
    """How much an archive may unpack to. What is skipped is read too, so it counts."""

    def __init__(self, archive: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._archive, self._folder = archive, folder
        self._most = max(LEAST_BYTES, MOST_RATIO * archive.stat().st_size)
        self._used = 0

    def take(self, member: _Member) -> None:
        """Count an entry before it is unpacked. Raises ArchiveError if it is too much."""
        self._used += HEAD_BYTES + member.size
        if self._used > self._most:
            raise ArchiveError(
                f"{self._archive} unpacks to more than {self._most:,} bytes, {MOST_RATIO} times its"
                f" own size and at least {LEAST_BYTES:,}: it is not unpacked"
            )
        free = shutil.disk_usage(self._folder).free
        if member.size > free:
            raise ArchiveError(
                f"{self._archive} holds {member.name!r} of {member.size:,} bytes, and"
                f" {self._folder} has room for {free:,}"
            )


def _write(member: _Member, target: Path, archive: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    except (FileExistsError, NotADirectoryError):
        raise ArchiveError(
            f"{archive} holds {member.name!r} twice, or as a file and as a folder"
        ) from None
    if target.stat().st_size != member.size:
        raise ArchiveError(
            f"{archive} is damaged: {member.name!r} has {target.stat().st_size} of {member.size}"
            " bytes"
        )


def _require_safe(member: _Member, archive: Path) -> None:
    path = PurePosixPath(member.name)
    if not path.parts and not member.is_folder:
        raise ArchiveError(f"{archive} holds a file without a name: it is not unpacked")
    if len(path.parts) > MOST_PARTS:
        raise ArchiveError(
            f"{archive} holds a file in {len(path.parts) - 1:,} folders; at most {MOST_PARTS - 1}"
            " are unpacked"
        )
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        raise ArchiveError(
            f"{archive} holds {member.name!r}, which leads out of its folder: it is not unpacked"
        )
    if member.is_other:
        raise ArchiveError(
            f"{archive} holds {member.name!r}, which is a link or a device: it is not unpacked"
        )


def _zip_members(file: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
            is_other = kind not in (0, stat.S_IFREG, stat.S_IFDIR)
            yield _Member(
                info.filename,
                info.file_size,
                info.filename.endswith("/"),
                is_other,
                functools.partial(opened.open, info),
            )


def _tar_members(file: IO[bytes]) -> Iterator[_Member]:
    file.seek(0)
    with gzip.open(file) as plain:
        limited = _Limited(plain)
        stream = cast(IO[bytes], limited)  # tarfile reads it, and does nothing else with it
        opened = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115 (nothing is left open)
        for info in opened:
            limited.left = HEADS_BYTES + info.size
            is_other = not (info.isreg() or info.isdir())
            yield _Member(
                info.name,
                info.size,
                info.isdir(),
                is_other,
                functools.partial(_content, opened, info),
            )
        limited.left = HEADS_BYTES
        while limited.read(1 << 16):
            pass  # read to the end, where gzip checks its sum


class _Limited:
    """A stream of which only so many bytes may be read until `left` is set again."""

    def __init__(self, plain: gzip.GzipFile) -> None:
        self._plain, self.left = plain, HEADS_BYTES

    def read(self, size: int) -> bytes:
        """Return the next bytes. Raises tarfile.ReadError if they are too many."""
        content = self._plain.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise tarfile.ReadError(f"more than {HEADS_BYTES:,} bytes that are no file's content")
        return content


def _content(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = opened.extractfile(info)
    assert content is not None  # it is a regular file
    return content
