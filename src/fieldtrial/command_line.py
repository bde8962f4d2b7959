"""What the commands share: their parsers, one line per error, and exit statuses.

0: done. 1: it ran, and the result is bad. 2: bad input. 130: interrupted.
"""

import argparse
import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TextIO

from fieldtrial.config import FIELDS, TrainConfig
from fieldtrial.disk.files import share_with_group
from fieldtrial.disk.run import Run
from fieldtrial.effects import without_effect
from fieldtrial.fields.printable import printable_lines
from fieldtrial.own.errors import OwnCodeError
from fieldtrial.own.parser import Parser
from fieldtrial.own.project import enter_project, trust
from fieldtrial.parts.trusted import names_of, untrusted
from fieldtrial.parts.typed import with_types

LONG_SECONDS = 2.0  # a wait that is longer says what it waits for
BAD_RESULT, BAD_INPUT, INTERRUPTED = 1, 2, 130
COMPLETING = "_ARGCOMPLETE"  # argcomplete's: after so many words a command's own ones begin
ELSEWHERE = "give --output DIR to write it elsewhere"


class Main(Protocol):
    """A job's `main`: takes a command line's arguments, and returns the exit status."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        """Do the job; None: the arguments of this process's command line."""


def job(*failures: type[Exception]) -> Callable[[Main], Main]:
    """Return a decorator for a job's `main`, which turns errors into lines and an exit status.

    failures: errors that are a bad result, as those of own code are; other ValueErrors and OSErrors
    are bad input.
    """

    bad_results: tuple[type[Exception], ...] = (OwnCodeError, *failures)

    def decorate(main: Main) -> Main:
        @functools.wraps(main)
        def guarded(arguments: Sequence[str] | None = None) -> int:
            share_with_group()
            try:
                return main(arguments)
            except KeyboardInterrupt:
                complain("interrupted: run the same command again to resume")
                return INTERRUPTED
            except bad_results as error:
                complain(str(error))
                return BAD_RESULT
            except (ValueError, OSError) as error:
                complain(str(error))
                return BAD_INPUT

        return guarded

    return decorate


def complain(message: str, kind: str = "error") -> None:
    """Print the message on stderr; each of its lines starts with `kind`."""
    lines = message.splitlines() or [""]
    say("\n".join(f"{kind}: {line}" for line in lines), sys.stderr)


@contextlib.contextmanager
def said_if_long(what: str, seconds: float | None = None) -> Iterator[None]:
    """Say on stderr, in a line that ends with …, what is done here, if it takes long."""
    long = LONG_SECONDS if seconds is None else seconds
    timer = threading.Timer(long, say, [f"{what} …", sys.stderr])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def say(text: str, file: TextIO | None = None) -> None:
    """Print lines, of which parts may come from files: nothing in them is a terminal's command."""
    print(printable_lines(text), file=file, flush=True)


def job_parser(description: str | None, usage: str | None = None) -> Parser:
    """Return a parser with the job's docstring as its help. `usage` comes after the job's name."""
    return Parser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=usage and f"%(prog)s {usage}",
    )


def add_data_root(parser: argparse.ArgumentParser) -> None:
    """Add --data-root, which `parse` puts into $FIELDTRIAL_DATA."""
    text = "where data sets are, and are downloaded to [$FIELDTRIAL_DATA]"
    parser.add_argument("--data-root", metavar="DIR", type=Path, help=text)


def add_run(parser: argparse.ArgumentParser, text: str) -> None:
    """Add --run, a run's directory."""
    parser.add_argument("--run", required=True, metavar="DIR", type=Path, help=text)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add --trust, for `open_run`."""
    text = "run the code of somebody's own that the run's config names"
    parser.add_argument("--trust", action="store_true", help=text)


def open_run(folder: Path | str, is_trusted: bool) -> Run:
    """Return a run whose own parts this process may run, if --trust was given.

    Raises:
        FileNotFoundError, ConfigError: there is no run, or its config cannot be read.
        ValueError: its config names own parts, and they were not trusted; the line names them.
    """
    run = Run(folder)
    config = run.config()
    if (problem := untrusted(config, str(run.path))) and not is_trusted:
        raise ValueError(problem)
    _admit(config)
    return run


def typed_config(config: TrainConfig) -> TrainConfig:
    """Return what somebody has typed, with the options as the types that their own parts take.

    This process may run these parts. Raises ConfigError as `with_types` does.
    """
    _admit(config)
    return with_types(config)


def _admit(config: TrainConfig) -> None:
    """Let this process run the own parts of a config, found from the current folder."""
    if names := names_of([config]):
        enter_project(Path.cwd())
        trust(names)


def refuse(
    parser: argparse.ArgumentParser,
    flags: argparse.Namespace,
    mode: str,
    without: Iterable[str],
    needs: Iterable[str] = (),
) -> None:
    """End with a line if a flag was given beside --`mode` that is of no use there, or lacks."""
    given = [f"--{name}" for name in without if getattr(flags, name)]
    lacking = [f"--{name}" for name in needs if not getattr(flags, name)]
    if given:
        parser.error(f"{', '.join(given)}: not with --{mode}")
    if lacking:
        parser.error(f"--{mode} needs {', '.join(lacking)}")


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks how the command may go on, and end the process; else do nothing."""
    if COMPLETING in os.environ:
        import argcomplete  # late: for shells alone

        argcomplete.autocomplete(parser)


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed arguments; None: the command line's. Sets $FIELDTRIAL_DATA if asked to."""
    complete(parser)
    flags = parser.parse_args(arguments)
    if getattr(flags, "data_root", None):
        os.environ["FIELDTRIAL_DATA"] = str(flags.data_root.resolve())
    return flags


def warn_of_no_effect(flags: argparse.Namespace, config: TrainConfig) -> None:
    """Print a warning for each given field without effect in `config`, on rank 0."""
    if os.environ.get("RANK", "0") == "0":
        for line in without_effect(config, [name for name in FIELDS if name in flags]):
            complain(line, "warning")
