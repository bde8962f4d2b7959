"""The command line of a sweep file: python sweeps/NAME.py [--cluster NAME] [--smoke] [--dry-run] ..."""

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from filelock import FileLock, Timeout
from rich.console import Console
from rich.table import Table

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.engine import Engine, SweepError
from fieldtrial.control.local import LocalPlace
from fieldtrial.control.place import LocalSettings, read_place
from fieldtrial.control.preflight import Findings, Preflight, device_hours
from fieldtrial.control.progress import Progress
from fieldtrial.control.state import ForeignStateError
from fieldtrial.control.sweep import Sweep
from fieldtrial.run import SweepFolder

INTERRUPTED = 130
LOG_WIDTH = 160
GOES_ON = "Interrupted. Nothing is lost: the same command goes on from here."


def main(build: Callable[[], Sweep], arguments: list[str] | None = None) -> None:
    """Run the sweep that `build` returns as the command line says. Ends the process, with status 0 if all went well."""
    script = Path(sys.argv[0]).resolve()
    options = _parser(script).parse_args(arguments)
    if options.data_root:
        os.environ["FIELDTRIAL_DATA"] = str(Path(options.data_root).resolve())
    try:
        sweep = _configured(build(), options)
        settings = read_place(options.cluster, script.parent.parent / "cluster")
        folder = SweepFolder(Path(options.runs) / _name(script, options))
        if options.dry_run:
            with Preflight(sweep) as preflight:
                _show(sweep, folder, settings, preflight.result())
        else:
            _run(sweep, folder, settings, retry=options.retry)
    except (ConfigError, SweepError, ForeignStateError) as error:
        _complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        _complain(GOES_ON)
        os._exit(INTERRUPTED)  # Ray, if it was interrupted in its start, may crash in an orderly end


def _parser(script: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python {script.parent.name}/{script.name}")
    parser.add_argument(
        "--cluster", default="local", metavar="NAME", help="where trials run: cluster/NAME.toml [local]"
    )
    parser.add_argument("--smoke", action="store_true", help="every row, 1 trial, 1 epoch, embedded data: does it run?")
    parser.add_argument("--dry-run", action="store_true", help="show rows, trials and cost; start nothing")
    parser.add_argument("--trials", type=int, metavar="N", help="configurations tried in each row")
    parser.add_argument("--seeds", type=int, metavar="N", help="fresh seeds for each row's winner")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of every row; may repeat"
    )
    parser.add_argument("--name", help="the sweep's folder in --runs [the file's name]")
    parser.add_argument("--runs", default="runs", metavar="DIR", help="where sweeps are kept [runs]")
    parser.add_argument("--data-root", metavar="DIR", help="where data sets are [$FIELDTRIAL_DATA]")
    parser.add_argument("--retry", action="store_true", help="run failed trials again")
    return parser


def _configured(sweep: Sweep, options: argparse.Namespace) -> Sweep:
    pairs = [text.partition("=") for text in options.set]
    if malformed := [text for text, (_, sign, _) in zip(options.set, pairs, strict=True) if not sign]:
        raise ConfigError([f"{text!r}: must be FIELD=VALUE" for text in malformed], "--set")
    sweep = sweep.with_settings({name: value for name, _, value in pairs})
    budget = {name: getattr(options, name) for name in ("trials", "seeds") if getattr(options, name) is not None}
    sweep = replace(sweep, **budget)
    return sweep.smoke() if options.smoke else sweep


def _name(script: Path, options: argparse.Namespace) -> str:
    return options.name or script.stem + ("-smoke" if options.smoke else "")


def _run(sweep: Sweep, folder: SweepFolder, settings: LocalSettings, retry: bool) -> None:
    interruption = Interruption()
    interruption.hear()
    with _only_driver(folder):
        _claim(folder, sweep)
        with Preflight(sweep) as preflight:
            place = LocalPlace(settings)
            try:
                interruption.hear()
                preflight.result()
                status = _drive(sweep, folder, place, retry)
            finally:
                place.close()
        table = subprocess.run([sys.executable, "-m", "fieldtrial.results.table", str(folder.path)], check=False)
    sys.exit(status or table.returncode)


def _drive(sweep: Sweep, folder: SweepFolder, place: LocalPlace, retry: bool) -> int:
    """Run the engine to its end. Returns the exit status: 1 if a row has no winner, 130 after an interruption."""
    console = _console()
    progress = Progress(console)
    engine = Engine(sweep, folder, place, progress.hear)
    if retry:
        console.print(f"{engine.retry()} failed trials run again")
    try:
        with progress.follow(engine):
            engine.run()
    except KeyboardInterrupt:
        console.print(GOES_ON)
        return INTERRUPTED
    failed = [source for source in engine.sources.values() if source.status == "failed"]
    for source in failed:
        console.print(
            f"source {source.name} failed ({source.problem}), so its rows were not started; mend it and give --retry"
        )
    return 0 if all(row.winner() for row in engine.rows) else 1


class Interruption:
    """SIGINT and SIGTERM as KeyboardInterrupt. Ray takes SIGTERM for itself and may swallow what stops its start."""

    def __init__(self) -> None:
        self._has_come = False

    def hear(self) -> None:
        """Listen from now on. Raises KeyboardInterrupt if an interruption has come before."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._raise)
        if self._has_come:
            raise KeyboardInterrupt

    def _raise(self, _signal: int, _frame: FrameType | None) -> NoReturn:
        self._has_come = True
        raise KeyboardInterrupt


def _only_driver(folder: SweepFolder) -> FileLock:
    """Return the sweep folder's lock, held. Raises SweepError while another process runs the sweep."""
    lock = FileLock(folder.lock_path)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise SweepError(f"{folder.path}: another process runs this sweep; wait for it, or give --name") from None
    except OSError as error:
        raise SweepError(f"{folder.path}: cannot be written to: {error.strerror}") from None
    return lock


def _claim(folder: SweepFolder, sweep: Sweep) -> None:
    """Describe the sweep in its folder. Raises ConfigError if the folder is another sweep's."""
    new, old = sweep.describe(folder.name), folder.description()
    fixed = [name for name in new if name not in ("name", "trials", "seeds")]
    with contextlib.suppress(ConfigError, TypeError, KeyError):  # fields that have come since have their defaults there
        old = old and old | {"base": TrainConfig.from_dict(old["base"]).to_dict()}
    differing = [name for name in fixed if old is not None and old.get(name) != new[name]]
    started = folder.trials() or folder.state_path.exists()  # else there is nothing for which it would matter
    if old is not None and differing and started:
        problems = [f"{name} is {_first_difference(old.get(name), new[name])}" for name in differing]
        raise ConfigError([*problems, "give another --name, or undo the change"], f"{folder.path} holds another sweep")
    try:
        folder.describe(new)
    except OSError as error:
        raise SweepError(f"{folder.path}: cannot be written to: {error.strerror}") from None


def _first_difference(old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        name = next(key for key in {**old, **new} if key not in old or key not in new or old[key] != new[key])
        return f"{name}: {old.get(name)!r} there and {new.get(name)!r} now"
    return f"{old!r} there and {new!r} now"


def _show(sweep: Sweep, folder: SweepFolder, settings: LocalSettings, findings: Findings) -> None:
    """Print what the sweep would do."""
    console = _console()
    hours, source_hours = device_hours(sweep, findings, settings.teraflops)
    table = Table(*sweep.compared, "trials", "seeds", "parameters", "trainable", "hours at most", box=None)
    for number, (fact, cost) in enumerate(zip(findings.rows, hours, strict=True)):
        counts = (str(sweep.trials_per_row), str(sweep.seeds), f"{fact.parameters:,}", f"{fact.trainable_parameters:,}")
        table.add_row(*sweep.row_cells(number), *counts, f"{cost:.3g}")
    console.print(table)
    for name, domain in sweep.describe(folder.name)["search"].items():
        console.print(f"search {name}: {domain}")
    runs = len(sweep.rows) * (sweep.trials_per_row + sweep.seeds)
    console.print(f"{len(sweep.rows)} rows, {runs} trials and {len(findings.sources)} sources in {folder.path}")
    console.print(
        f"device-hours at most: {sum(hours) + source_hours:.3g} (at {settings.teraflops:g} teraflops; the largest "
        "trials that the search may propose, none stopped early)"
    )
    config = sweep.row_config(0)
    command = ["python", "jobs/train.py", "--run", str(folder.run(config.id).path), *config.to_flags()]
    console.print(f"a trial: {shlex.join(command)}", soft_wrap=True)


def _console() -> Console:
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console


def _complain(message: str) -> None:
    Console(stderr=True, markup=False, highlight=False).print(message, style="red", soft_wrap=True)
    sys.stderr.flush()
