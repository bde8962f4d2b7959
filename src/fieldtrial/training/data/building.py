"""Folders that are built once on a machine: of decoded images, and of originals."""

import contextlib
import errno
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from fieldtrial.config import ConfigError

# Why a folder cannot be made, or be written to, whatever is tried again. EEXIST: it is a file.
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def build_once(folder: Path, build: Callable[[Path], None]) -> None:
    """Have `build` fill `folder`, unless it is there.

    One process builds it, others that want it wait. It is built aside and renamed into place, so it
    is always whole. The next builder removes what a killed one left.

    Raises:
        ConfigError: the stores' folder cannot be made, or be written to.
    """
    if folder.is_dir():
        return
    with contextlib.ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(f"{folder}.lock"))
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise ConfigError(
                [
                    f"{folder.parent}: decoded images cannot be kept there ({error.strerror}); set"
                    " FIELDTRIAL_CACHE to a folder that you can write to"
                ]
            ) from None
        if folder.is_dir():
            return
        aside = folder.with_name(f"{folder.name}.building")
        shutil.rmtree(aside, ignore_errors=True)  # of a builder that was killed
        aside.mkdir()
        try:
            build(aside)
            aside.rename(folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
