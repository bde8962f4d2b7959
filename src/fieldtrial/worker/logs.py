"""Where a worker's output goes while it does a task."""

import contextlib
import os
import sys
from collections.abc import Iterator

from fieldtrial.disk.inside import Inside


@contextlib.contextmanager
def printing_to(path: Inside) -> Iterator[None]:
    """Append to `path` what this process prints in this context, C++ libraries included."""
    saved = [(os.dup(number), number) for number in (1, 2)]
    try:
        with contextlib.suppress(OSError):  # a full disk: the trial itself reports it
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        for copy, number in saved:
            os.dup2(copy, number)
            os.close(copy)
