"""The driver: runs a sweep from its command to its table, alone, and ends as it is asked to without
losing anything.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from rich.console import Console

from fieldtrial.config import ConfigError
from fieldtrial.control.driver.live_panel import Progress, say_what_is_there
from fieldtrial.control.driver.live_report import LiveReport, write_report
from fieldtrial.control.driver.ownership import DeposedError, OwnedError, Ownership
from fieldtrial.control.driver.preflight import Preflight
from fieldtrial.control.engine.loop import DISK_ADVICE, Engine, SweepError
from fieldtrial.control.engine.state import ForeignStateError
from fieldtrial.control.places.interface import Place, UnreachableError
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings, Settings
from fieldtrial.disk.outages import await_folder, is_outage
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep

INTERRUPTED = 130
LOG_WIDTH = 160
# between two attempts to reach SLURM, where the file system has been away and may not be alone
RETURN_SECONDS = 10.0
QUICK_SECONDS, MOST_QUICK = (
    60.0,
    5,
)  # as many outages in a row, so soon after each other, are no outages
INHERITED = (
    "SLURM_",
    "PMI_",
    "PMIX_",
    "OMPI_",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_",
)
GOES_ON = "Interrupted. Nothing is lost: the same command goes on from here."
DETACHED = (
    "Detached: the jobs run on. The same command comes back to them; python jobs/cancel.py {} ends"
    " them."
)


class Hangup(KeyboardInterrupt):
    """The driver was told to end, or its terminal is gone: nobody can be asked anything."""


@dataclass
class Wishes:
    """What the user wants once: false as soon as it is done, for what comes after an outage was not
    meant.
    """

    retry: bool
    takeover: bool
    overview: bool = True


def drive(
    sweep: Sweep, folder: SweepFolder, settings: Settings, retry: bool, takeover: bool = False
) -> int:
    """Run the sweep in its folder and print its table. Returns the exit status.

    0: every row has its winner; 1: some row has none; 130: interrupted.

    Raises:
        ConfigError: the rows cannot be run, or the folder is another sweep's.
        SweepError: another process runs this sweep; the first trials all fail with the same error;
            the disk is full, or broken. Where its file system is away, the sweep waits for it, and
            goes on as after any interruption.
        DeposedError: another driver has taken the sweep over, and its jobs with it; this one has
        left all as it was.
        ForeignStateError: the engine's state cannot be read; jobs that run on for it have been left
        alone.
    """
    interruption = Interruption()
    out = console()
    quick, has_waited, wishes = 0, False, Wishes(retry, takeover)
    while True:
        interruption.hear()
        started = time.monotonic()
        try:
            return _drive(sweep, folder, settings, wishes, interruption)
        except UnreachableError as error:
            if not has_waited:
                raise  # whoever has just given the command wants to know
            out.print(f"{error}; trying again", soft_wrap=True)
            time.sleep(RETURN_SECONDS)
            continue
        except OSError as error:
            quick = quick + 1 if time.monotonic() < started + QUICK_SECONDS else 0
            if not is_outage(error):
                where = error.filename or folder.path
                raise SweepError(f"{where}: {error.strerror or error}; {DISK_ADVICE}") from error
            if quick == MOST_QUICK:
                raise SweepError(f"{folder.path}: {error.strerror}; {DISK_ADVICE}") from error
            out.print(
                f"{folder.path}: {error.strerror}; waiting for the file system, nothing is lost",
                soft_wrap=True,
            )
        await_folder(folder.path)
        has_waited = True
        out.print("the file system answers again")


def _drive(
    sweep: Sweep,
    folder: SweepFolder,
    settings: Settings,
    wishes: "Wishes",
    interruption: "Interruption",
) -> int:
    """Do what `drive` does, but for an outage of the file system: then it raises OSError, and jobs
    run on.
    """
    with only_driver(folder, wishes.takeover) as ownership:
        wishes.takeover = False
        claim(folder, sweep)
        with Preflight(sweep) as preflight:
            if wishes.overview:  # meanwhile
                say_what_is_there(console(), folder)
                wishes.overview = False
            place = open_place(settings, folder)
            detach = (
                True  # an earlier driver's jobs run on if this one does not get to take them over
            )
            try:
                interruption.hear()
                preflight.result()
                detach = False
                status, detach = _run(sweep, folder, place, settings, wishes, ownership)
            except DeposedError:
                interruption.ignore()
                detach = True
                raise
            except ForeignStateError:
                detach = True
                raise
            except OSError as error:
                detach = is_outage(error)
                raise
            finally:
                place.close(detach)
        table = subprocess.run(
            [sys.executable, "-m", "fieldtrial.results.table.command", str(folder.path)],
            check=False,
        )
        if status != INTERRUPTED:  # who interrupts wants to be gone; the last report is still there
            write_report(folder)
    return status or table.returncode


def open_place(settings: Settings, folder: SweepFolder) -> Place:
    """Return the place that the settings describe, ready for the sweep in `folder`."""
    if isinstance(settings, LocalSettings):
        return LocalPlace(settings)
    from fieldtrial.control.places.slurm.place import SlurmPlace
    from fieldtrial.control.places.slurm.sbatch import Submitter
    from fieldtrial.control.places.slurm.snapshot import take_snapshot

    for name in [
        name for name in os.environ if name.startswith(INHERITED) and name != "SLURM_CONF"
    ]:
        del os.environ[
            name
        ]  # of a job that this driver runs in: its trials' jobs would take them for their own
    submitter = Submitter(settings, folder, take_snapshot(folder.code_path))
    return SlurmPlace(settings, folder, submitter, say=console().print)


def console() -> Console:
    """Return a console that takes texts as they are, and is wide where it is no terminal."""
    made = Console(markup=False, highlight=False)
    if not made.is_terminal:
        made.width = LOG_WIDTH
    return made


def _run(
    sweep: Sweep,
    folder: SweepFolder,
    place: Place,
    settings: Settings,
    wishes: "Wishes",
    ownership: Ownership,
) -> tuple[int, bool]:
    """Run the engine to its end. Returns the exit status, and whether the place's workers are to
    run on.
    """
    out = console()
    processes = (
        settings.processes_per_trial if isinstance(settings, LocalSettings) else settings.processes
    )
    progress = Progress(out, processes)
    try:
        engine = Engine(sweep, folder, place, progress.hear, ownership.check)
        if wishes.retry:
            out.print(f"{engine.retry()} failed trials run again")
            wishes.retry = False
        with progress.follow(engine), LiveReport(folder):
            engine.run()
    except KeyboardInterrupt as interrupt:
        _leave_if_deposed(ownership)
        detach = not isinstance(settings, LocalSettings) and (
            isinstance(interrupt, Hangup) or _wants_to_detach(out)
        )
        with contextlib.suppress(OSError):  # the terminal may be gone
            if not detach and not isinstance(settings, LocalSettings):
                out.print("The sweep's jobs are cancelled.")
            out.print(DETACHED.format(folder.path) if detach else GOES_ON)
        return INTERRUPTED, detach
    for source in engine.sources.values():
        if source.status == "failed":
            out.print(
                f"source {source.name} failed ({source.problem}), so its rows were not started"
            )
            out.print("mend it and give --retry")
    return (0 if all(row.winner() for row in engine.rows) else 1), False


def _wants_to_detach(out: Console) -> bool:
    """Ask whether the jobs shall run on; without a terminal, or after another Ctrl-C, they do."""
    if not sys.stdin.isatty():
        return True
    try:
        return out.input("Leave the jobs running? [Y/n] ").strip().lower() not in ("n", "no")
    except (KeyboardInterrupt, EOFError):
        return True


@contextlib.contextmanager
def only_driver(folder: SweepFolder, takeover: bool = False) -> Iterator[Ownership]:
    """Own the sweep in a folder, alone; with `takeover`, whoever does is made to leave.

    Raises:
        SweepError: another process runs the sweep (the message says which) or the folder cannot be
        written to.
        DeposedError: what was done meanwhile was interrupted, by another process that has taken the
        sweep over.
    """
    ownership = Ownership(folder, takeover, say=console().print)
    try:
        ownership.take()
    except OwnedError as error:
        raise SweepError(f"{folder.path}: {error}") from None
    except OSError as error:
        if is_outage(error):
            raise
        raise SweepError(f"{folder.path}: cannot be written to: {error.strerror}") from None
    try:
        yield ownership
    except (KeyboardInterrupt, SystemExit):  # while Ray starts, its own handler of SIGTERM exits
        _leave_if_deposed(ownership)
        raise
    finally:
        ownership.release()


def _leave_if_deposed(ownership: Ownership) -> None:
    """Raise DeposedError if it is another driver that has this one end."""
    with contextlib.suppress(OSError):  # the file system is away, and nobody knows
        ownership.check()


def claim(folder: SweepFolder, sweep: Sweep) -> None:
    """Describe the sweep in its folder. Raises ConfigError if the folder is another sweep's."""
    new, differences = sweep.describe(folder.name), []
    try:
        old = folder.description()
        differences = [] if old is None else _differences(old, new)
    except ValueError as error:
        differences = [str(error)]
    started = folder.trials() or folder.state_path.exists()
    if differences and started:  # without a trial, there is nothing that the change could spoil
        raise ConfigError(
            [*differences, "give another --name, or undo the change"],
            f"{folder.path} holds another sweep",
        )
    try:
        folder.describe(new)
    except OSError as error:
        if is_outage(error):
            raise
        raise SweepError(f"{folder.path}: cannot be written to: {error.strerror}") from None


def _differences(old: SweepDescription, new: SweepDescription) -> list[str]:
    """Return what differs between two descriptions, the budget aside: a line for each."""
    base = old.base.differences(new.base)
    pairs: dict[str, tuple[object, object]] = {f"base {name}": pair for name, pair in base.items()}
    rows = enumerate(itertools.zip_longest(old.rows, new.rows))
    pairs |= next(({f"row {number}": pair} for number, pair in rows if pair[0] != pair[1]), {})
    for name in {**old.search, **new.search}:
        was, now = (str(one.search.get(name, "not searched")) for one in (old, new))
        pairs[f"search {name}"] = was, now
    pairs |= {"select": (old.select, new.select), "source": (old.source, new.source)}
    return [
        f"{name} is {was!r} there and {now!r} now"
        for name, (was, now) in pairs.items()
        if was != now
    ]


class Interruption:
    """Signals as exceptions. Ray takes SIGTERM for itself, and may swallow what stops its start.

    Under nohup, a terminal that goes is no reason to end.
    """

    def __init__(self) -> None:
        self._heard: int | None = None
        self._numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            self._numbers.remove(signal.SIGHUP)

    def hear(self) -> None:
        """Listen from now on. Raises KeyboardInterrupt, or Hangup, if a signal has come before."""
        for number in self._numbers:
            signal.signal(number, self._note)
        if self._heard is not None:
            self._note(self._heard, None)

    def ignore(self) -> None:
        """Take SIGTERM no more: whoever has taken the sweep over sends it, and this driver leaves
        already.
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _note(self, number: int, _frame: FrameType | None) -> NoReturn:
        self._heard = number
        raise KeyboardInterrupt if number == signal.SIGINT else Hangup
