"""The command behind `fieldtrial export`: a sweep's folder -> a tracker, or files of tables.

python -m fieldtrial.results.export.command runs/NAME --to mlflow sqlite:///mlflow.db
"""

import argparse
import contextlib
import fcntl
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fieldtrial.command_line import BAD_INPUT, complain, job, parse, said_if_long, say
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.installed.extras import require_extras
from fieldtrial.results.export.errors import TargetError
from fieldtrial.targets.export import LIBRARIES, OFFLINE, PLACES, Target, parse_target

if TYPE_CHECKING:
    from fieldtrial.results.read.sweeps import Sweeps


@job(TargetError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Export what is in a folder; return the exit status."""
    options = parse(_parser(), arguments)
    require_extras("report")
    target = parse_target(options.to, options.offline)
    from fieldtrial.results.read.sweeps import places, read_each  # late: pandas

    with said_if_long(f"exporting to {target.kind}"):
        parts, problems = read_each(options.folder)
        folders = [folder for part in parts for folder in part.folders.values()]
        if len(parts) > 1 and target.kind == "croissant":
            names = ", ".join(str(folder.path) for folder in folders)
            raise ValueError(f"a card is of one sweep; name one of {names}")
        if target.kind in LIBRARIES and len({folder.name for folder in folders}) < len(folders):
            raise ValueError(
                f"{options.folder}: several sweeps have one name, and {target.kind} knows them by"
                " it; export each of them to a place of its own"
            )
        for part, folder, below in zip(parts, folders, places(folders), strict=True):
            is_table = target.kind in ("csv", "parquet") and len(parts) > 1
            place = str(Path(target.place) / below) if is_table else target.place
            with _alone(folder):
                say(_export(part, Target(target.kind, place), options))
    if problems:
        complain("\n".join(problems), "not exported")
    return BAD_INPUT if problems else 0


def _export(sweeps: "Sweeps", target: Target, options: argparse.Namespace) -> str:
    """Export one sweep; return a line on what was done."""
    from fieldtrial.results.export.content import content_of
    from fieldtrial.results.export.croissant import export_croissant
    from fieldtrial.results.export.mlflow_store import export_mlflow
    from fieldtrial.results.export.tables import export_csv, export_parquet
    from fieldtrial.results.export.wandb_files import export_wandb

    place = Path(target.place)
    exports: dict[str, Callable[[], str]] = {
        "mlflow": lambda: export_mlflow(content_of(sweeps, options.weights), target.place),
        "wandb": lambda: export_wandb(content_of(sweeps, options.weights), place),
        "csv": lambda: export_csv(sweeps, place),
        "parquet": lambda: export_parquet(sweeps, place),
        "croissant": lambda: export_croissant(sweeps, place, options.dataset),
    }
    return exports[target.kind]()


@contextlib.contextmanager
def _alone(folder: SweepFolder) -> Iterator[None]:
    """Refuse a second export of the sweep at the same time: both would add the same runs.

    Where nothing may be written into the folder, nobody is kept out.

    Raises:
        TargetError: another export of it goes on.
    """
    with contextlib.ExitStack() as stack:
        lock = None
        if folder.exists():  # a sweep, and not runs of none
            with contextlib.suppress(OSError):
                lock = stack.enter_context(folder.export_lock.open("ab"))
        if lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TargetError(f"{folder.path}: another export of it goes on") from None
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Export a sweep, or runs of no sweep. The same again adds what is new."
    )
    parser.add_argument(
        "folder", type=Path, help="a sweep's folder, or one with sweeps or runs in it"
    )
    parser.add_argument(
        "--to", nargs="+", required=True, metavar=("TARGET", "PLACE"),
        help="; ".join(f"{kind}: {place}" for kind, place in PLACES.items()),
    )  # fmt: skip
    parser.add_argument(
        OFFLINE, action="store_true", help="with wandb: write its files here, send nothing"
    )
    parser.add_argument(
        "--weights", action="store_true", help="with mlflow and wandb: the trials' weights, too"
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="with croissant: which of the sweep's data sets"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
