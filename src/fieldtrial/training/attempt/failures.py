"""What kind of failure an error is, what the user reads of it, and error.json."""

import traceback

from fieldtrial.disk.outages import is_outage
from fieldtrial.disk.run import Run
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.parts.failing import is_out_of_memory, is_out_of_space


def message_of(error: Exception, kind: str, run: Run) -> str:
    """Return the message for the user. Not every error of a full disk says so by itself."""
    if kind == "disk":
        return f"no space left for {_unwritten(error) or run.path}"
    return str(error).strip() or type(error).__name__


def _unwritten(error: BaseException | None) -> str | None:
    """Return the file on a full disk that `error` or one of its causes names, or None."""
    while error is not None:
        if isinstance(error, OSError) and is_out_of_space(error) and error.filename:
            return str(error.filename)
        error = error.__cause__ or error.__context__
    return None


def tell(run: Run, kind: str, message: str, error: Exception, attempt: int) -> None:
    """Write error.json.

    It is left alone if another process of this attempt has written it, whose earlier failure may be
    the cause of this one, or if a newer attempt has begun.
    """
    if (run.error() or {}).get("attempt") != attempt and run.newest_attempt <= attempt:
        run.write_error(kind, message, attempt, "".join(traceback.format_exception(error)))


def kind_of(error: BaseException) -> str:
    """Return what kind of failure `error` is: diverged, memory, disk, outage, config or error."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, Diverged):
        return "diverged"
    if is_out_of_memory(error):
        return "memory"
    if is_out_of_space(error):
        return "disk"
    if is_outage(error):
        return "outage"
    if cause and (kind := kind_of(cause)) in ("memory", "disk", "outage"):
        return kind  # torch.save, for one, only says that it could not write
    return "config" if isinstance(error, ValueError | FileNotFoundError) else "error"
