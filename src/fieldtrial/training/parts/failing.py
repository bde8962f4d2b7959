"""What becomes of an exception in a user's own code."""

import errno

import torch

from fieldtrial.disk.outages import is_outage
from fieldtrial.own.errors import PACKAGE, OwnCodeError, place_of, text_of

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


def blame(field: str, name: str, error: Exception, on: str = "") -> None:
    """Raise OwnCodeError from what the own part `name` of a field has raised.

    Return, so that the caller raises `error` as it is, where the part is not to blame: memory, disk
    or file system have failed, or this package has raised it.

    on: what the part was called for, in words: 'for ...'.
    """
    is_ours = type(error).__module__.partition(".")[0] == PACKAGE.name
    if is_ours or is_out_of_memory(error) or is_out_of_space(error) or is_outage(error):
        return
    where = place_of(error, name.partition(":")[0])
    what = f"{field} = {name!r}: failed{f' {on}' if on else ''} in {where}: {text_of(error)}"
    raise OwnCodeError(what) from error
