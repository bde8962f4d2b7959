"""The command `fieldtrial`: fieldtrial table runs/x and its like.

Each command is imported when it is asked for, so that one needs neither the time nor the libraries
of another.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

# Name: the module whose `main` it is, and what it does.
COMMANDS = {
    "new": ("fieldtrial.commands.new.create", "make a project: a first sweep, places, batch files"),
    "run": ("fieldtrial.commands.run", "run a sweep file, or resume it"),
    "train": ("fieldtrial.commands.train", "train one trial"),
    "table": ("fieldtrial.results.table.command", "make the table of sweeps and runs"),
    "report": ("fieldtrial.results.report.command", "write the report of a sweep or of runs"),
    "export": ("fieldtrial.results.export.command", "export to a tracker, or to files of tables"),
    "status": ("fieldtrial.commands.status", "show how a sweep stands"),
    "cancel": ("fieldtrial.commands.cancel", "cancel the SLURM jobs of a sweep"),
    "data": ("fieldtrial.commands.data", "prepare a data set, and draw it"),
    "evaluate": ("fieldtrial.commands.evaluate", "evaluate a run or a library's classifier"),
    "explain": ("fieldtrial.commands.explain", "draw what a trained model sees"),
    "ensemble": ("fieldtrial.commands.ensemble", "combine runs"),
    "features": ("fieldtrial.commands.features", "fit support vector machines on features"),
    "detect": ("fieldtrial.commands.detect", "count vehicles in video"),
}
HELP = "fieldtrial COMMAND --help lists what a command takes. Completion, for bash and zsh:\n" + (
    'eval "$(register-python-argcomplete fieldtrial)"'
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that is named first, with the other arguments; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if is_asked := "_ARGCOMPLETE" in os.environ:  # a shell asks how the line may go on
        words = _words_so_far()
    if words[:1] == ["--version"]:
        from importlib.metadata import version  # late: it takes longer than all else here

        print(f"fieldtrial {version('fieldtrial')}")
        return 0
    if not words or words[0] not in COMMANDS:
        _parse_name([] if is_asked else words[:1])
    name, *rest = words
    if is_asked:
        os.environ["_ARGCOMPLETE"] = str(int(os.environ["_ARGCOMPLETE"]) + 1)
    sys.argv = [f"fieldtrial {name}", *rest]  # whose first word stands in the usage
    status: int = importlib.import_module(COMMANDS[name][0]).main(rest)
    return status


def _parse_name(words: Sequence[str]) -> None:
    """End the process: with the help, what a shell asks for, or which commands there are."""
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="fieldtrial",
        usage="%(prog)s COMMAND ...",
        description="commands:\n" + "\n".join(lines),
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="one of these")
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete  # late: for shells alone

        argcomplete.autocomplete(parser)
    parser.parse_args(words)


def _words_so_far() -> list[str]:
    """Return the words after `fieldtrial` and before the one that a shell asks about."""
    from argcomplete.lexers import split_line

    words: list[str] = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    return words[int(os.environ["_ARGCOMPLETE"]) :]
