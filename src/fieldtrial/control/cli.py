"""The command of a sweep file: python sweeps/NAME.py [--cluster NAME] [--smoke] ..."""

import argparse
import math
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from rich.table import Table

from fieldtrial.budget import FIRST_SEEDS
from fieldtrial.command_line import BAD_INPUT, BAD_RESULT, INTERRUPTED, said_if_long
from fieldtrial.config import ConfigError, unknown_field
from fieldtrial.control.admitted import admit
from fieldtrial.control.changes import in_folds, with_rows, with_settings
from fieldtrial.control.driver.begun import as_begun
from fieldtrial.control.driver.claim import claim_folder
from fieldtrial.control.driver.preflight import (
    NOT_CHECKED,
    START_SECONDS,
    Preflight,
    SweepSizes,
    checking,
    trial_hours,
)
from fieldtrial.control.engine.journal.key import ForeignStateError
from fieldtrial.control.flags import sweep_parser
from fieldtrial.control.places.interface import PlaceError, RayError
from fieldtrial.control.places.lookup import find_settings, require_trusted
from fieldtrial.control.places.machine import require_fits
from fieldtrial.control.places.settings import LocalSettings, Settings, SlurmSettings
from fieldtrial.control.running.detaching import RESUME_ADVICE
from fieldtrial.control.running.errors import WorkError
from fieldtrial.control.running.ownership import DeposedError
from fieldtrial.control.smoke import smoke, stand_ins
from fieldtrial.disk.files import share_with_group
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.printable import counted
from fieldtrial.fields.task_metrics import WITH_CLASSES
from fieldtrial.installed.extras import MissingExtraError, has_extra, require_extras
from fieldtrial.own.project import enter_project, project_root
from fieldtrial.panel.terminal import console, format_hours
from fieldtrial.power import ACCURACY, SEED_DEVIATION, assumed, fold_factor
from fieldtrial.processes import TYPED
from fieldtrial.rows.alike import alike_problems
from fieldtrial.sweep import Sweep
from fieldtrial.targets.export import FILE as TARGETS_FILE
from fieldtrial.targets.export import Target, read_targets

FLAGS = ("deterministic", "aa", "pairs")
BUDGET = ("trials", "seeds", "folds", "finalists", "searches", "max_failures")


def main(build: Callable[[], Sweep], arguments: list[str] | None = None) -> None:
    """Run the sweep that `build` returns, as the command line says, and end the process.

    Exit status: that of the other commands. It is 1 also if the sweep could not start or go on.
    """
    share_with_group()
    script = Path(sys.argv[0]).resolve()
    program = "fieldtrial run" if TYPED in os.environ else "python"
    options = sweep_parser(f"{program} {script.parent.name}/{script.name}").parse_args(arguments)
    if options.data_root:
        os.environ["FIELDTRIAL_DATA"] = str(Path(options.data_root).resolve())
    enter_project(script)
    try:
        require_extras("control")
        sweep = _configured(_built(build), options)
        admit(sweep)
        settings = find_settings(options.cluster, script)
        targets = _targets(script)
        if isinstance(settings, LocalSettings):
            if not options.dry_run:
                require_extras("train")
            require_fits(settings)
        folder = SweepFolder(Path(options.runs) / _name(script, options))
        folder.require_name()
        if isinstance(settings, SlurmSettings):
            folder.require_path()
        given = [text.partition("=")[0] for text in options.set]
        sweep, kept = as_begun(sweep, folder, given)
        for line in kept:
            console().print(line, soft_wrap=True)
        if sweep.deterministic and settings.trials_together > 1:
            # Which heads meet depends on the slots, and rounding on which heads meet.
            console().print("trials_together = 1, because the sweep is deterministic")
            settings = replace(settings, trials_together=1)
        if options.dry_run:
            claim = claim_folder(sweep, folder)
            with Preflight(
                sweep, settings.devices_per_trial, settings.uses_gpus, folder
            ) as preflight:
                with said_if_long(checking(sweep)):
                    sizes = preflight.result()
                _show(sweep, folder, settings, sizes)
            for line in claim.changes():
                console().print(f"{folder.path}: {line}", soft_wrap=True)
        else:
            from fieldtrial.control.driver.drive import drive  # it needs Ray, which takes a second

            if not has_extra("train"):
                console().print(NOT_CHECKED, soft_wrap=True)
            sys.exit(drive(sweep, folder, settings, options.retry, options.takeover, targets))
    except (ConfigError, MissingExtraError) as error:
        _print_error(str(error))
        sys.exit(BAD_INPUT)
    except (DeposedError, RayError) as error:
        _print_error(str(error))
        os._exit(BAD_RESULT)  # an orderly exit may crash in Ray if its start was interrupted
    except (WorkError, PlaceError, ForeignStateError) as error:
        _print_error(str(error))
        sys.exit(BAD_RESULT)
    except KeyboardInterrupt:
        _print_error(RESUME_ADVICE)
        os._exit(INTERRUPTED)  # as above


def _targets(script: Path) -> list[Target]:
    """Return what the sweeps of the project of `script` are exported to.

    Raises:
        ConfigError: its file is wrong, or belongs to somebody who did not write the sweep file.
    """
    if (root := project_root(script.parent)) is None:
        return []
    if (root / TARGETS_FILE).exists():
        require_trusted(root / TARGETS_FILE, script, "have your results sent anywhere")
    try:
        return read_targets(root)
    except ValueError as error:
        raise ConfigError(str(error).splitlines()) from None


def _built(build: Callable[[], Sweep]) -> Sweep:
    """Return the sweep of a file. Raises ConfigError if it makes none, or one with rows twice."""
    if not callable(build):
        kind = "nothing" if build is None else f"a {type(build).__name__}"
        problem = f"needs the function itself, as in main(sweep), and was given {kind}"
        raise ConfigError([problem], "main")
    try:
        sweep: object = build()
    except TypeError as error:  # Python's message about an argument that does not exist
        unexpected = r"(TrainConfig|Sweep).__init__\(\) got an unexpected keyword argument '(\w+)'"
        match = re.search(unexpected, str(error))
        if not match:
            raise
        names = ", ".join(item.name for item in fields(Sweep) if item.init)
        unknown = f"unknown argument {match[2]!r} of Sweep; it takes {names}"
        problem = unknown_field(match[2]) if match[1] == "TrainConfig" else unknown
        raise ConfigError([problem], "sweep") from None
    if not isinstance(sweep, Sweep):
        kind = "nothing" if sweep is None else f"a {type(sweep).__name__}"
        problem = f"returned {kind}; it must end with `return Sweep(...)`"
        raise ConfigError([problem], f"{getattr(build, '__name__', 'sweep')}()")
    # Not checked by Sweep: rows of a smoke may be alike.
    if problems := alike_problems(sweep.rows, sweep.planned):
        raise ConfigError(problems, "sweep")
    return sweep


def _configured(sweep: Sweep, options: argparse.Namespace) -> Sweep:
    pairs = [text.partition("=") for text in options.set]
    if malformed := [
        text for text, (_, sign, _) in zip(options.set, pairs, strict=True) if not sign
    ]:
        raise ConfigError([f"{text!r}: must be FIELD=VALUE" for text in malformed], "--set")
    sweep = with_settings(sweep, {name: value for name, _, value in pairs})
    budget = {name: getattr(options, name) for name in BUDGET if getattr(options, name) is not None}
    flags = {name: getattr(sweep, name) or getattr(options, name) for name in FLAGS}
    folded = {} if options.folds is None else in_folds(sweep, options.folds)
    sweep = with_rows(replace(sweep, **folded | budget | flags), options.rows)
    if not options.smoke:
        return sweep
    tiny = smoke(sweep)
    if line := stand_ins(sweep, tiny):
        console().print(line, soft_wrap=True)
    return tiny


def _name(script: Path, options: argparse.Namespace) -> str:
    return options.name or script.stem + ("-smoke" if options.smoke else "")


def _show(sweep: Sweep, folder: SweepFolder, settings: Settings, sizes: SweepSizes | None) -> None:
    """Print the rows, the search, the cost and an example trial of the sweep.

    sizes: None where they are not known; the cost is not known then.
    """
    out = console()
    rows = sweep.run_now
    runs = len(rows) * sweep.runs_per_row
    sources = len({row.source.id for row in rows if row.source})
    workers = settings.workers(runs + sources)
    hours, source_hours = list[float](), 0.0
    if sizes:
        hours, source_hours = trial_hours(sweep, sizes, settings.teraflops, workers)
    # One search without finalists is the usual case, and needs no column of its own.
    further = [name for name in ("finalists", "searches") if getattr(sweep, name) > 1]
    counts = [str(sweep.trials_per_search), *(str(getattr(sweep, name)) for name in further)]
    known = ["parameters", "trainable", "hours at most"] if sizes else []
    repeated = "folds" if sweep.folds else "seeds"
    table = Table(*sweep.compared, "trials", *further, repeated, *known, box=None)
    for number, row in enumerate(rows):
        cells = [*row.cells, *counts, str(sweep.folds or sweep.seeds)]
        if sizes:
            size = sizes.rows[number]
            cells += [f"{size.parameters:,}", f"{size.trainable_parameters:,}"]
            cells.append(format_hours(hours[number]))
        table.add_row(*cells)
    out.print(table)
    for name, domain in sweep.describe(folder.name).search.items():
        out.print(f"search {name}: {domain}")
    most = "at most " if sweep.most_seeds > sweep.seeds else ""
    numbers = f"{counted(len(rows), 'row')}, {most}{counted(runs)} and {counted(sources, 'source')}"
    out.print(f"{numbers} in {folder.path}")
    if sizes:
        _show_cost(settings, sum(hours) + source_hours, workers)
        images = min((size.test_images for size in sizes.rows), default=0)
        repeats = sweep.folds or sweep.most_seeds
        can_compare = len(sweep.planned) > 1 and repeats >= FIRST_SEEDS
        can_compare &= sweep.base.task in WITH_CLASSES  # what is assumed is of accuracies
        if can_compare and images:
            out.print(_power_text(images, sweep), soft_wrap=True)
    else:
        out.print(NOT_CHECKED, soft_wrap=True)
    config = rows[0].config
    command = ["fieldtrial", "train", "--run", str(folder.run(config.id).path), *config.to_flags()]
    out.print(f"a trial: {shlex.join(command)}", soft_wrap=True)
    if isinstance(settings, SlurmSettings):
        _show_job(folder, settings, workers)


def _show_cost(settings: Settings, hours: float, workers: int) -> None:
    """Print the device-hours of trials that take so many hours by themselves."""
    start_hours = workers * START_SECONDS / 3600
    most = format_hours((hours + start_hours) * settings.devices_per_trial)
    console().print(
        f"device-hours at most: {most} (assumes {settings.teraflops:g} teraflops a trial,"
        f" {START_SECONDS:g} s for each start of {counted(workers, 'worker')}, the largest trials"
        " that the search may propose, no early stopping, and that each worker computes the"
        " features of frozen layers once for each row)",
        soft_wrap=True,
    )


def _power_text(images: int, sweep: Sweep) -> str:
    """Return which difference the sweep can show, as far as that can be said before it has run."""
    rows = len(sweep.planned)
    comparisons = math.comb(rows, 2) if sweep.pairs else rows - 1
    if sweep.folds:  # each is tested on images of its own
        images *= sweep.folds
        design = assumed(images, 1 / fold_factor(sweep.folds), comparisons)
    else:
        design = assumed(images, sweep.most_seeds, comparisons)
    difference = design.detectable()
    by_seeds = None if sweep.folds else design.seeds_for(difference / 2)
    ways = [
        f"{times * count:,.0f} {what}"
        for times, count, what in (
            (design.images_for(difference / 2), images, "test images"),
            (by_seeds, sweep.most_seeds, "seeds"),
        )
        if times
    ]
    between = "between two rows" if sweep.pairs else "to the best row"
    half = f"; half of that takes about {' or '.join(ways)}" if ways else ""
    return (
        f"a difference of about {100 * difference:.1f} points {between} is shown in 80 % of cases,"
        f" with {images:,} test images{half} (assumes an accuracy of {100 * ACCURACY:g} %,"
        f" half of the errors shared, and {100 * SEED_DEVIATION:g} points from seed to seed)"
    )


def _show_job(folder: SweepFolder, settings: SlurmSettings, jobs: int) -> None:
    """Print the sbatch file and SLURM's answer to a test of it. Raises PlaceError if it refuses."""
    from fieldtrial.control.places.slurm import commands as slurm_commands
    from fieldtrial.control.places.slurm.commands import SlurmOutageError
    from fieldtrial.control.places.slurm.refusals import explained
    from fieldtrial.control.places.slurm.sbatch import Submitter, to_be_read
    from fieldtrial.control.places.slurm.snapshot import planned_snapshot

    out = console()
    try:
        script = Submitter(settings, folder, planned_snapshot(folder.code_path)).script()
        out.print(
            f"jobs: at least {jobs}, at most {settings.most_jobs} at once, each:\n\n"
            f"{to_be_read(script)}",
            soft_wrap=True,
        )
        out.print(f"sbatch --test-only: {slurm_commands.test_submission(script)}", soft_wrap=True)
    except SlurmOutageError as error:
        raise PlaceError(f"sbatch --test-only: {explained(str(error), settings)}") from None


def _print_error(message: str) -> None:
    console(stderr=True).print(message, style="red", soft_wrap=True)
    sys.stderr.flush()
