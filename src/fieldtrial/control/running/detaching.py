"""Whether jobs run on without their driver, which ends."""

import contextlib
import sys

from fieldtrial.config import ConfigError
from fieldtrial.control.places.interface import PlaceError
from fieldtrial.control.running.errors import WorkError
from fieldtrial.control.running.interruption import Hangup
from fieldtrial.control.running.ownership import DeposedError
from fieldtrial.disk.outages import is_outage
from fieldtrial.disk.work.folder import WorkFolder
from fieldtrial.panel.terminal import console

RESUME_ADVICE = "Interrupted. Nothing is lost: run the same command again to resume."
CANCELLED = f"The {{}}'s jobs are cancelled. {RESUME_ADVICE}"
DETACHED = (
    "Detached: the jobs run on. Run the same command again to follow them, or fieldtrial cancel"
    " {} to cancel them."
)
FORESEEN = (WorkError, PlaceError, DeposedError, ConfigError, OSError)  # that end a driver
UNFORESEEN = f"The driver ends by an error of this program, which follows. {DETACHED}"


def detaches(
    has_adopted: bool, ending: BaseException | None, has_jobs: bool, folder: WorkFolder
) -> bool:
    """Return whether the jobs of what is in a folder run on without its driver; tell the user.

    They do if the driver has not adopted them, if another driver has, in an outage, after an error
    that nobody has foreseen, and if the user cannot be asked or wants it, or does not read on. On a
    full disk they end: they write there too, and each task that failed there would end the next
    driver.
    """
    if ending is None or not has_adopted:
        return not has_adopted
    if not isinstance(ending, KeyboardInterrupt):
        if has_jobs and not isinstance(ending, FORESEEN):
            # An error of this program says nothing against the tasks.
            console(stderr=True).print(UNFORESEEN.format(folder.path), soft_wrap=True)
            return True
        if isinstance(ending.__cause__ or ending, BrokenPipeError):
            return has_jobs  # nobody reads what it prints, as after a hangup
        return isinstance(ending, DeposedError) or is_outage(ending)
    detaches = has_jobs and (isinstance(ending, Hangup) or _wants_to_detach())
    with contextlib.suppress(OSError):  # the terminal may be gone
        ended = CANCELLED.format(folder.kind) if has_jobs else RESUME_ADVICE
        console().print(DETACHED.format(folder.path) if detaches else ended)
    return detaches


def _wants_to_detach() -> bool:
    """Ask whether the jobs shall run on. Without a terminal, or after a second Ctrl-C, they do."""
    if not sys.stdin.isatty():
        return True
    try:
        answer = console().input("Leave the jobs running? [Y/n] ")
    except (KeyboardInterrupt, EOFError):
        return True
    return answer.strip().lower() not in ("n", "no")
