"""The driver: runs a sweep from its command to its table, and can be ended at any time."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from fieldtrial.command_line import BAD_RESULT, INTERRUPTED, said_if_long
from fieldtrial.config import ConfigError
from fieldtrial.control.driver.claim import Claim, claim_folder
from fieldtrial.control.driver.contest import runs_wanted
from fieldtrial.control.driver.live_panel import LivePanel, print_overview
from fieldtrial.control.driver.live_report import LiveReport, write_report
from fieldtrial.control.driver.ownership import DeposedError, OwnedError, Ownership
from fieldtrial.control.driver.preflight import Preflight
from fieldtrial.control.driver.shortcomings import shortcomings
from fieldtrial.control.engine.loop import DISK_ADVICE, Engine, SweepError
from fieldtrial.control.places.interface import Place, PlaceError, RayError, UnreachableError
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings, Settings
from fieldtrial.disk.outages import await_folder, is_outage
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.panel.terminal import console
from fieldtrial.processes import python
from fieldtrial.sweep import Sweep

UNREACHABLE_SECONDS = 10.0  # between two attempts to reach SLURM after an outage
# So many outages in a row, each within so many seconds of a start, are a broken disk.
MOST_QUICK, QUICK_SECONDS = 5, 60.0
QUICK = "FIELDTRIAL_QUICK_OUTAGES"  # their number so far, for the command that is run again
RAY_AGAIN = "FIELDTRIAL_RAY_AGAIN"  # whether the command is run again because Ray was lost
RAY_ADVICE = (
    "Ray was started twice. See that the machine has memory left, and Ray's folder space, or give"
    " another ray_folder; then run the same command again: nothing is lost"
)
RESUME_ADVICE = "Interrupted. Nothing is lost: run the same command again to resume."
CANCELLED = f"The sweep's jobs are cancelled. {RESUME_ADVICE}"
DETACHED = (
    "Detached: the jobs run on. Run the same command again to follow them, or python jobs/cancel.py"
    " {} to cancel them."
)

FORESEEN = (SweepError, PlaceError, DeposedError, ConfigError, OSError)  # that end a driver
UNFORESEEN = f"The driver ends by an error of this program, which follows. {DETACHED}"


class Hangup(KeyboardInterrupt):
    """The driver got SIGTERM or SIGHUP, and cannot ask the user anything."""


def drive(
    sweep: Sweep, folder: SweepFolder, settings: Settings, retry: bool, takeover: bool = False
) -> int:
    """Run the sweep in its folder and print its table. Returns the exit status.

    0: every row that is run has its winner and test result, and the table was written; 1: something
    lacks (see `shortcomings`); 130: interrupted. After an outage of the folder's file system, and
    once where Ray is lost, this process is replaced by the same command, which resumes the sweep.

    Raises:
        ConfigError: the rows cannot be run, or the folder is another sweep's.
        SweepError: another process runs this sweep; the first trials all fail with the same error;
            the disk is full or broken.
        RayError: Ray did not start or has died, twice.
        DeposedError: another driver has taken the sweep over, with its jobs.
        ForeignStateError: the engine's state cannot be read; the sweep's jobs run on.
    """
    started, is_restart = time.monotonic(), QUICK in os.environ
    quick, applied, out = int(os.environ.pop(QUICK, "0")), list[str](), console()
    is_second_ray = os.environ.pop(RAY_AGAIN, None) is not None
    try:
        return _drive(sweep, folder, settings, retry, takeover, applied)
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
            raise SweepError(f"{error.filename or folder.path}: {reason}; {DISK_ADVICE}") from error
        out.print(
            f"{folder.path}: {reason}; waiting for the file system, nothing is lost", soft_wrap=True
        )
        await_folder(folder.path)
        out.print("the file system answers again")
    return _run_again(applied, quick)


def _run_again(applied: list[str], quick: int) -> NoReturn:
    """Replace this process by the same command without the one-shot options that were applied."""
    words = [word for word in sys.orig_argv[1:] if not _abbreviates(word, applied)]
    os.environ[QUICK] = str(quick)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *words])


def _command() -> list[str]:
    """Return this command without its one-shot options."""
    words = [
        word for word in sys.orig_argv[1:] if not _abbreviates(word, ["--takeover", "--retry"])
    ]
    return [sys.orig_argv[0], *words]


def _abbreviates(word: str, options: list[str]) -> bool:
    return len(word) > 2 and any(option.startswith(word) for option in options)


def _drive(
    sweep: Sweep,
    folder: SweepFolder,
    settings: Settings,
    retry: bool,
    takeover: bool,
    applied: list[str],
) -> int:
    """Do what `drive` does, but raise OSError in an outage. Adds to the `applied` options."""
    interruption = Interruption()
    interruption.listen()
    first = claim_folder(sweep, folder)
    if takeover:  # what is refused ends no other driver
        _ = first.trials  # an engine.state that is another's
        with Preflight(sweep, settings.devices_per_trial, settings.uses_gpus, folder) as preflight:
            preflight.result()
    with only_driver(folder, takeover) as ownership:
        applied.append("--takeover")
        claim, is_here = claim_folder(sweep, folder), isinstance(settings, LocalSettings)
        with said_if_long("taking up the trials that there are"):
            trials = claim.trials  # which may be refused, before anything is changed
        with Preflight(sweep, settings.devices_per_trial, settings.uses_gpus, folder) as preflight:
            print_overview(console(), folder)
            if not is_here:  # a place that writes to the folder
                with said_if_long(checking(sweep)):
                    preflight.result()
            with said_if_long("starting Ray" if is_here else "copying the code, asking SLURM"):
                place = open_place(settings, folder)
            engine, ending = None, None
            try:
                interruption.listen()  # Ray has set its own handlers
                if is_here:
                    with said_if_long(checking(sweep)):
                        preflight.result()
                progress = LivePanel(console(), place.processes)
                with said_if_long("taking up the trials that there are"):
                    _write(claim)
                    engine = Engine(
                        *(sweep, folder, place, progress.on_event, ownership.check),
                        contest=runs_wanted,
                        trials=trials,
                    )
                    lost = engine.repair()
                if lost:
                    console().print(f"{lost} trials that were done run again: their runs are gone")
                if retry:
                    console().print(f"{engine.retry()} failed trials run again")
                    applied.append("--retry")
                status = _run(engine, progress, ownership)
            except BaseException as error:
                ending = error
                if isinstance(error, DeposedError):
                    interruption.ignore_sigterm()
                if engine is None or not isinstance(error, KeyboardInterrupt):
                    raise
                status = INTERRUPTED
            finally:
                place.close(detach=_detaches(engine, ending, settings, folder))
        table = subprocess.run(
            python("-m", "fieldtrial.results.table.command", str(folder.path)),
            check=False,
        )
        if status != INTERRUPTED:  # an interruption should not take long, and a report exists
            with said_if_long("writing the report"):
                write_report(folder)
    return status or (BAD_RESULT if table.returncode else 0)


def _write(claim: Claim) -> None:
    """Make the folder the sweep's, and say what has changed since it was last."""
    try:
        claim.write()
        claim.folder.write_command(_command(), Path.cwd())
    except OSError as error:
        raise _unwritable(claim.folder, error) from None
    for line in claim.changes():
        console().print(f"{claim.folder.path}: {line}", soft_wrap=True)


def checking(sweep: Sweep) -> str:
    """Return what is waited for before the first line about a sweep."""
    return f"checking {len(sweep.planned)} rows: their data, models and weights"


def _run(engine: Engine, progress: LivePanel, ownership: Ownership) -> int:
    """Run the engine to its end. Returns the exit status."""
    try:
        with progress.follow(engine), LiveReport(engine.folder):
            engine.run()
    except KeyboardInterrupt:
        _raise_if_deposed(ownership)
        raise
    lines = shortcomings(engine)
    for line in lines:
        console().print(line, soft_wrap=True)
    return BAD_RESULT if lines else 0


def _detaches(
    engine: Engine | None, ending: BaseException | None, settings: Settings, folder: SweepFolder
) -> bool:
    """Return whether the sweep's jobs run on without this driver, and tell the user.

    They do if the driver has not adopted them, if another driver has, in an outage, after an error
    that nobody has foreseen, and if the user cannot be asked or wants it, or does not read on. On a
    full disk they end: they write there too, and each trial that failed there would end the next
    driver.
    """
    if ending is None or engine is None:
        return engine is None
    has_jobs = not isinstance(settings, LocalSettings)
    if not isinstance(ending, KeyboardInterrupt):
        if has_jobs and not isinstance(ending, FORESEEN):
            # An error of this program says nothing against the trials.
            console(stderr=True).print(UNFORESEEN.format(folder.path), soft_wrap=True)
            return True
        if isinstance(ending.__cause__ or ending, BrokenPipeError):
            return has_jobs  # nobody reads what it prints, as after a hangup
        return isinstance(ending, DeposedError) or is_outage(ending)
    detaches = has_jobs and (isinstance(ending, Hangup) or _wants_to_detach())
    with contextlib.suppress(OSError):  # the terminal may be gone
        ended = CANCELLED if has_jobs else RESUME_ADVICE
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


def open_place(settings: Settings, folder: SweepFolder) -> Place:
    """Return the place that the settings describe, for the sweep in `folder`."""
    if isinstance(settings, LocalSettings):
        return LocalPlace(settings)
    from fieldtrial.control.places.slurm.place import SlurmPlace
    from fieldtrial.control.places.slurm.sbatch import Submitter
    from fieldtrial.control.places.slurm.snapshot import take_snapshot

    submitter = Submitter(settings, folder, take_snapshot(folder.code_path))
    return SlurmPlace(settings, folder, submitter, notify=console().print)


@contextlib.contextmanager
def only_driver(folder: SweepFolder, takeover: bool = False) -> Iterator[Ownership]:
    """Own the sweep in a folder; with `takeover`, another driver of it is ended.

    Raises:
        SweepError: another process runs the sweep, or the folder cannot be written to.
        DeposedError: another process has taken the sweep over, and interrupted this one.
    """
    ownership = Ownership(folder, takeover, notify=console().print)
    try:
        ownership.take()
    except OwnedError as error:
        raise SweepError(f"{folder.path}: {error}") from None
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        yield ownership
    except (KeyboardInterrupt, SystemExit):  # while Ray starts, its handler of SIGTERM exits
        _raise_if_deposed(ownership)
        raise
    finally:
        ownership.release()


def _raise_if_deposed(ownership: Ownership) -> None:
    with contextlib.suppress(OSError):  # in an outage this is unknown
        ownership.check()


def _unwritable(folder: SweepFolder, error: OSError) -> Exception:
    """Return the error to raise where a sweep's folder cannot be written to."""
    if is_outage(error):
        return error
    return SweepError(f"{folder.path}: cannot be written to: {error.strerror}")


class Interruption:
    """Raises signals as exceptions. Ray handles SIGTERM itself, and may swallow an exception.

    SIGHUP stays ignored under nohup.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            self._numbers.remove(signal.SIGHUP)

    def listen(self) -> None:
        """Set the handlers. Raises KeyboardInterrupt or Hangup if a signal has come before."""
        for number in self._numbers:
            signal.signal(number, self._raise)
        if self._received is not None:
            self._raise(self._received, None)

    def ignore_sigterm(self) -> None:
        """Ignore SIGTERM: the driver that has taken over sends it, and this one ends already."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _raise(self, number: int, _frame: FrameType | None) -> NoReturn:
        self._received = number
        raise KeyboardInterrupt if number == signal.SIGINT else Hangup
