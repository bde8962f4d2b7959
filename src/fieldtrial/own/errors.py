"""Errors of a user's own code, told in one line with the place in it."""

import sys
import traceback
from pathlib import Path

from fieldtrial.own.project import roots

PACKAGE = Path(__file__).parents[1]  # this one
PREFIXES = (Path(sys.prefix), Path(sys.base_prefix))  # of the environment


class OwnCodeError(Exception):
    """An own part has raised something: a mistake in it, and no problem of the config.

    The message has the field, the part, the file, the line, and what was raised, which is the
    cause.
    """


def is_of_own_code(details: str) -> bool:
    """Return whether error.json's `details` are of an OwnCodeError, whose message says enough."""
    return f"{OwnCodeError.__module__}.{OwnCodeError.__name__}: " in details


def text_of(error: BaseException) -> str:
    """Return an error's type and message in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def place_of(error: BaseException, module: str) -> str:
    """Return where in a user's code an error was raised: 'FILE, line N'.

    It is the last line of the project, or of the package of `module`, that was on the way to it;
    the module's file, where the call came back to none of its lines.
    """
    found = [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [(file, line) for file, line in found if _is_users(file, module)]
    if own:
        return f"{own[-1][0]}, line {own[-1][1]}"
    return str(getattr(sys.modules.get(module), "__file__", None) or module)


def _is_users(file: str, module: str) -> bool:
    """Return whether a file is of the project, or of the package that has `module`."""
    path = Path(file)
    top = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None)
    if top and (file == top or (Path(top).stem == "__init__" and Path(top).parent in path.parents)):
        return True
    # An environment, and this package itself, may be in the project's folder.
    within = [folder for folder in (PACKAGE, *PREFIXES) if _is_in_project(folder)]
    return _is_in_project(path) and not any(folder in path.parents for folder in within)


def _is_in_project(path: Path) -> bool:
    return any(root in path.parents for root in roots())
