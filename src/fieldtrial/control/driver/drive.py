"""The driver: runs a sweep from its command to its table, and can be ended at any time."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from fieldtrial.command_line import INTERRUPTED, said_if_long
from fieldtrial.config import ConfigError
from fieldtrial.control.driver.contest import runs_wanted
from fieldtrial.control.driver.live_panel import LivePanel, print_overview
from fieldtrial.control.driver.live_report import LiveReport, write_report
from fieldtrial.control.driver.ownership import DeposedError, OwnedError, Ownership
from fieldtrial.control.driver.preflight import Preflight
from fieldtrial.control.engine.loop import DISK_ADVICE, Engine, SweepError
from fieldtrial.control.places.interface import Place, PlaceError, UnreachableError
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings, Settings
from fieldtrial.disk.outages import await_folder, is_outage
from fieldtrial.disk.sweep_description import MOST_ROWS, SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.panel import console
from fieldtrial.processes import python
from fieldtrial.sweep import Sweep

UNREACHABLE_SECONDS = 10.0  # between two attempts to reach SLURM after an outage
# So many outages in a row, each within so many seconds of a start, are a broken disk.
MOST_QUICK, QUICK_SECONDS = 5, 60.0
QUICK = "FIELDTRIAL_QUICK_OUTAGES"  # their number so far, for the command that is run again
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

    0: every row that is run has its winner; 1: some has none; 130: interrupted. After an outage of
    the folder's file system this process is replaced by the same command, which resumes the sweep.

    Raises:
        ConfigError: the rows cannot be run, or the folder is another sweep's.
        SweepError: another process runs this sweep; the first trials all fail with the same error;
            the disk is full or broken.
        DeposedError: another driver has taken the sweep over, with its jobs.
        ForeignStateError: the engine's state cannot be read; the sweep's jobs run on.
    """
    started, is_restart = time.monotonic(), QUICK in os.environ
    quick, applied, out = int(os.environ.pop(QUICK, "0")), list[str](), console()
    try:
        return _drive(sweep, folder, settings, retry, takeover, applied)
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
    with only_driver(folder, takeover) as ownership:
        applied.append("--takeover")
        claim(folder, sweep)
        folder.write_command(_command(), Path.cwd())
        with Preflight(sweep, settings.devices_per_trial, settings.uses_gpus) as preflight:
            print_overview(console(), folder)
            is_here = isinstance(settings, LocalSettings)
            with said_if_long("starting Ray" if is_here else "copying the code, asking SLURM"):
                place = open_place(settings, folder)
            engine, ending = None, None
            try:
                interruption.listen()  # Ray has set its own handlers
                with said_if_long(checking(sweep)):
                    preflight.result()
                progress = LivePanel(console(), place.processes)
                with said_if_long("taking up the trials that there are"):
                    engine = Engine(
                        sweep,
                        folder,
                        place,
                        progress.on_event,
                        ownership.check,
                        contest=runs_wanted,
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
    return status or table.returncode


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
    for source in engine.sources.values():
        if source.status == "failed":
            console().print(
                f"source {source.name} failed ({source.problem}), so its rows were not started;"
                " fix it and run the command again with --retry",
                soft_wrap=True,
            )
    rows = [row for row in engine.rows if engine.sweep.is_run(row.number)]
    return 0 if all(row.winner() for row in rows) else 1


def _detaches(
    engine: Engine | None, ending: BaseException | None, settings: Settings, folder: SweepFolder
) -> bool:
    """Return whether the sweep's jobs run on without this driver, and tell the user.

    They do if the driver has not adopted them, if another driver has, in an outage, after an error
    that nobody has foreseen, and if the user cannot be asked or wants it, or does not read on.
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


def claim(folder: SweepFolder, sweep: Sweep) -> None:
    """Describe the sweep in its folder. Raises ConfigError if the folder is another sweep's."""
    new, differences, old = sweep.describe(folder.name), list[str](), None
    if len(new.rows) > MOST_ROWS:  # its description could not be read
        raise ConfigError([f"{len(new.rows):,}; there must be at most {MOST_ROWS:,}"], "rows")
    try:
        old = folder.description()
        differences = [] if old is None else _differences(old, new)
    except ValueError as error:
        differences = [str(error)]
    listed = folder.trials()
    has_trials = listed or folder.state_path.exists()
    if differences and has_trials:  # without a trial, a change spoils nothing
        raise ConfigError(
            [*differences, "give another --name, or undo the change"],
            f"{folder.path} holds another sweep",
        )
    if old is not None and any(one["role"] == "final" for one in listed):
        # Seeds that are added after a look at the table give a false difference another chance.
        was_until, is_until = (one.most_seeds > one.seeds for one in (old, new))
        is_another = new.most_seeds > old.most_seeds or (was_until and not is_until)
        raised = (old.most_seeds,) if is_another else ()
        new = replace(new, earlier_seeds=(*old.earlier_seeds, *raised))
    try:
        folder.write_description(new)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _differences(old: SweepDescription, new: SweepDescription) -> list[str]:
    """Return what differs between two descriptions, their budgets aside: a line for each."""
    base = old.base.differences(new.base)
    pairs: dict[str, tuple[object, object]] = {f"base {name}": pair for name, pair in base.items()}
    rows = enumerate(itertools.zip_longest(old.rows, new.rows))
    pairs |= next(({f"row {number}": pair} for number, pair in rows if pair[0] != pair[1]), {})
    for name in {**old.search, **new.search}:
        was, now = (str(one.search.get(name, "not searched")) for one in (old, new))
        pairs[f"search {name}"] = was, now
    looks = ["pairs"] if old.most_seeds > old.seeds else []  # else it decides about no trial
    for name in ("select", "source", "deterministic", "aa", *looks):
        pairs[name] = getattr(old, name), getattr(new, name)
    return [
        f"{name} is {was!r} there and {now!r} now"
        for name, (was, now) in pairs.items()
        if was != now
    ]


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
