"""The driver: runs a sweep from its command to its table, and can be ended at any time."""

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fieldtrial.command_line import BAD_RESULT, INTERRUPTED, said_if_long
from fieldtrial.control.driver.claim import Claim, claim_folder
from fieldtrial.control.driver.contest import runs_wanted
from fieldtrial.control.driver.live_export import LiveExport, export_at_the_end
from fieldtrial.control.driver.live_panel import LivePanel, print_overview
from fieldtrial.control.driver.live_report import LastReport, LiveReport
from fieldtrial.control.driver.preflight import Preflight, checking
from fieldtrial.control.driver.shortcomings import shortcomings
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.opening import open_place
from fieldtrial.control.places.settings import LocalSettings, Settings
from fieldtrial.control.running.again import outlasting, own_command
from fieldtrial.control.running.detaching import detaches
from fieldtrial.control.running.interruption import Interruption
from fieldtrial.control.running.ownership import (
    DeposedError,
    Ownership,
    only_driver,
    raise_if_deposed,
    unwritable,
)
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.panel.terminal import console
from fieldtrial.processes import python
from fieldtrial.sweep import Sweep
from fieldtrial.targets.export import Target


def drive(
    sweep: Sweep,
    folder: SweepFolder,
    settings: Settings,
    retry: bool,
    takeover: bool = False,
    targets: Sequence[Target] = (),
) -> int:
    """Run the sweep in its folder and print its table. Returns the exit status.

    targets: what it is exported to while it runs, and at its end. The status does not say how.

    0: every row that is run has its winner and test result, and the table was written; 1: something
    lacks (see `shortcomings`); 130: interrupted. After an outage of the folder's file system, and
    once where Ray is lost, this process is replaced by the same command, which resumes the sweep.

    Raises:
        ConfigError: the rows cannot be run, or the folder is another sweep's.
        WorkError: another process runs this sweep; the first trials all fail with the same error;
            the disk is full or broken.
        RayError: Ray did not start or has died, twice.
        DeposedError: another driver has taken the sweep over, with its jobs.
        ForeignStateError: the engine's state cannot be read; the sweep's jobs run on.
    """
    applied = list[str]()
    return outlasting(
        folder.path,
        applied,
        lambda: _drive(sweep, folder, settings, retry, takeover, targets, applied),
    )


def _drive(
    sweep: Sweep,
    folder: SweepFolder,
    settings: Settings,
    retry: bool,
    takeover: bool,
    targets: Sequence[Target],
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
                    what = "trials that were done run again: their runs are gone or damaged"
                    console().print(f"{lost} {what}")
                if retry:
                    console().print(f"{engine.retry()} failed trials run again")
                    applied.append("--retry")
                status = _run(engine, progress, ownership, targets)
            except BaseException as error:
                ending = error
                if isinstance(error, DeposedError):
                    interruption.ignore_sigterm()
                if engine is None or not isinstance(error, KeyboardInterrupt):
                    raise
                status = INTERRUPTED
            finally:
                place.close(detach=detaches(engine is not None, ending, not is_here, folder))
        with contextlib.ExitStack() as stack:
            # An interruption should not take long, and a report exists.
            report = None if status == INTERRUPTED else stack.enter_context(LastReport(folder))
            table = subprocess.run(
                python("-m", "fieldtrial.results.table.command", str(folder.path)),
                check=False,
            )
            if report:
                with said_if_long("writing the report"):
                    report.show()
        if targets and status != INTERRUPTED:  # an interruption should not take long
            with said_if_long("exporting"):
                for line in export_at_the_end(folder, targets):
                    console().print(line, soft_wrap=True)
    return status or (BAD_RESULT if table.returncode else 0)


def _write(claim: Claim) -> None:
    """Make the folder the sweep's, and say what has changed since it was last."""
    try:
        claim.write()
        claim.folder.write_command(own_command(), Path.cwd())
    except OSError as error:
        raise unwritable(claim.folder, error) from None
    for line in claim.changes():
        console().print(f"{claim.folder.path}: {line}", soft_wrap=True)


def _run(
    engine: Engine, progress: LivePanel, ownership: Ownership, targets: Sequence[Target] = ()
) -> int:
    """Run the engine to its end. Returns the exit status."""
    exports = LiveExport(engine.folder, targets, progress.say)
    try:
        with progress.follow(engine), LiveReport(engine.folder), exports:
            engine.run()
    except KeyboardInterrupt:
        raise_if_deposed(ownership)
        raise
    lines = shortcomings(engine)
    for line in lines:
        console().print(line, soft_wrap=True)
    return BAD_RESULT if lines else 0
