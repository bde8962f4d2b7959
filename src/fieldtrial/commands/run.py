"""Run a sweep file, or resume it: fieldtrial run SWEEP [--cluster NAME] [--smoke] [--dry-run] ...

It does what python SWEEP ... does, with the Python that fieldtrial is installed in.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fieldtrial.command_line import COMPLETING, complete, job, job_parser, parse
from fieldtrial.own.project import project_root
from fieldtrial.processes import TYPED, run_script

USAGE = "SWEEP [--cluster NAME] [--smoke] [--dry-run] [--FLAG ...]"


@job()
def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the sweep file's process. Raises ValueError if there is no such file."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if COMPLETING in os.environ and words:
        _complete_flags()
    parser = job_parser(__doc__, USAGE)
    parser.add_argument("sweep", metavar="SWEEP", help="a sweep file, such as sweeps/first.py")
    help_ = "the sweep's own; fieldtrial run SWEEP --help lists them"
    parser.add_argument("flags", nargs=argparse.REMAINDER, metavar="...", help=help_)
    given = parse(parser, arguments)
    if not Path(given.sweep).is_file():
        raise ValueError(f"{given.sweep}: no such file; {_known(Path.cwd())}")
    os.environ[TYPED] = shlex.join(_typed(sys.orig_argv))
    sys.stdout.flush()
    run_script([given.sweep, *given.flags])


def _complete_flags() -> None:
    """Answer a shell from the flags that all sweep files have: the file itself is not run."""
    from fieldtrial.control.flags import sweep_parser  # late: for shells alone

    os.environ[COMPLETING] = str(int(os.environ[COMPLETING]) + 1)
    complete(sweep_parser("fieldtrial run"))


def _known(folder: Path) -> str:
    """Return which sweep files there are in the project that `folder` is in."""
    if (root := project_root(folder)) is None:
        return "no folder here or above has sweeps/: fieldtrial new DIR makes a project"
    names = sorted(path.name for path in (root / "sweeps").glob("*.py"))
    return f"in {root / 'sweeps'}: {', '.join(names) or 'none'}"


def _typed(words: Sequence[str]) -> list[str]:
    """Return what a user typed before the sweep file, of the words that Python was started with.

    A script that pip has made names its Python by itself.
    """
    typed = list(words[: words.index("run") + 1])
    return typed[1:] if Path(typed[1]).name == "fieldtrial" else typed
