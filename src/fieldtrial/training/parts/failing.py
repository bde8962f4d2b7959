"""What becomes of an exception in a user's own code."""

import errno

import torch

from fieldtrial.disk.outages import is_outage
from fieldtrial.own.errors import PACKAGE, OwnCodeError, place_of, text_of
from fieldtrial.own.names import is_own

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# Out-of-memory messages of cuDNN, cuBLAS, NCCL and the CPU's allocator, which raise RuntimeError.
NO_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is not enough memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def is_out_of_space(error: BaseException) -> bool:
    """Return whether an error says that a disk is full."""
    return isinstance(error, OSError) and error.errno in NO_SPACE


class Blaming:
    """A context in which an own part computes: what it raises becomes OwnCodeError.

    The error stays as it is where the part is not the user's own, or not to blame: memory, disk or
    file system have failed, or this package has raised it.

    field, name: of the part. on: what it computes for, in words: 'for ...'.
    """

    def __init__(self, field: str, name: str, on: str = "") -> None:
        self._field, self._name, self._on = field, name, on

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        # A user's code may raise anything.
        if isinstance(error, Exception) and is_own(self._name) and not _is_excused(error):
            where = place_of(error, self._name.partition(":")[0])
            on = f" {self._on}" if self._on else ""
            what = f"{self._field} = {self._name!r}: failed{on} in {where}: {text_of(error)}"
            raise OwnCodeError(what) from error


def _is_excused(error: Exception) -> bool:
    is_ours = type(error).__module__.partition(".")[0] == PACKAGE.name
    return is_ours or is_out_of_memory(error) or is_out_of_space(error) or is_outage(error)
