"""A driver goes on after an outage, or after Ray was lost: the same command takes its place."""

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from fieldtrial.control.places.interface import RayError, UnreachableError
from fieldtrial.control.running.errors import DISK_ADVICE, WorkError
from fieldtrial.disk.outages import await_folder, is_outage
from fieldtrial.panel.terminal import console
from fieldtrial.processes import TYPED, run_script

UNREACHABLE_SECONDS = 10.0  # between two attempts to reach SLURM after an outage
# So many outages in a row, each within so many seconds of a start, are a broken disk.
MOST_QUICK, QUICK_SECONDS = 5, 60.0
QUICK = "FIELDTRIAL_QUICK_OUTAGES"  # their number so far, for the command that is run again
RAY_AGAIN = "FIELDTRIAL_RAY_AGAIN"  # whether the command is run again because Ray was lost
RAY_ADVICE = (
    "Ray was started twice. See that the machine has memory left, and Ray's folder space, or give"
    " another ray_folder; then run the same command again: nothing is lost"
)


def outlasting(path: Path, applied: list[str], run: Callable[[], int]) -> int:
    """Return what `run` returns, which does the work in the folder `path`.

    After an outage of the folder's file system, and once where Ray is lost, this process is
    replaced by the same command, without the one-shot options that `run` has added to `applied`.

    Raises:
        WorkError: the disk is full or broken.
        RayError: Ray did not start or has died, twice.
        UnreachableError: SLURM does not answer, and there was no outage.
    """
    started, is_restart = time.monotonic(), QUICK in os.environ
    quick, out = int(os.environ.pop(QUICK, "0")), console()
    is_second_ray = os.environ.pop(RAY_AGAIN, None) is not None
    try:
        return run()
    except RayError as error:
        if is_second_ray:
            raise RayError(f"{error}. {RAY_ADVICE}") from None
        out.print(f"{error}; it is started once more, and trials resume", soft_wrap=True)
        os.environ[RAY_AGAIN] = "1"
    except UnreachableError as error:
        if not is_restart:
            raise
        out.print(f"{error}; trying again", soft_wrap=True)
        time.sleep(UNREACHABLE_SECONDS)
    except OSError as error:
        quick = quick + 1 if time.monotonic() < started + QUICK_SECONDS else 0
        reason = error.strerror or str(error)
        if not is_outage(error) or quick == MOST_QUICK:
            raise WorkError(f"{error.filename or path}: {reason}; {DISK_ADVICE}") from error
        out.print(f"{path}: {reason}; waiting for the file system, nothing is lost", soft_wrap=True)
        await_folder(path)
        out.print("the file system answers again")
    return _run_again(applied, quick)


def _run_again(applied: list[str], quick: int) -> NoReturn:
    """Replace this process by the same command without the one-shot options that were applied."""
    words = [word for word in sys.orig_argv[1:] if not _abbreviates(word, applied)]
    os.environ[QUICK] = str(quick)
    sys.stdout.flush()
    sys.stderr.flush()
    run_script(words)


def own_command() -> list[str]:
    """Return this command, as the user typed it, without its one-shot options."""
    words = [
        word for word in sys.orig_argv[1:] if not _abbreviates(word, ["--takeover", "--retry"])
    ]
    return [*shlex.split(os.environ.get(TYPED, shlex.quote(sys.orig_argv[0]))), *words]


def _abbreviates(word: str, options: list[str]) -> bool:
    return len(word) > 2 and any(option.startswith(word) for option in options)
