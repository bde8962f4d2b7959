"""Imports own parts, in the training half only, and only those that this process may run."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import Any

from fieldtrial.own.digest import code_digest
from fieldtrial.own.errors import place_of, text_of
from fieldtrial.own.find import find_in, require
from fieldtrial.own.project import roots, trusted


def load(kind: str, name: str) -> Callable[..., Any]:
    """Return the own part `name` of a kind.

    Raises:
        ValueError: this process was not told to run it; its module is not found, or fails to
            import; it has nothing of that name, or something that cannot be called. The message is
            one line.
    """
    what = f"{kind} = {name!r}"
    if name not in trusted():
        raise ValueError(
            f"{what}: is code that this command was not told to run: neither its sweep or flags"
            " name it, nor does --trust say that what a run's config names may run"
        )
    module, _, attribute = name.partition(":")
    try:
        source = require(module, roots(), attribute)
        code_digest(name)  # of what is imported now
    except (ValueError, OSError) as error:
        raise ValueError(f"{what}: {error}") from None
    try:
        found = getattr(_imported(module), attribute)
    except AttributeError:
        raise ValueError(f"{what}: {source.path} has no {attribute}") from None
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    if not callable(found):
        raise ValueError(f"{what}: must be callable, and is {type(found).__name__}")
    part: Callable[..., Any] = found
    return part


def load_all(parts: Mapping[str, Sequence[str]]) -> None:
    """Load own parts, given by their kinds. Raises ValueError as `load` does, all lines at once."""
    problems = []
    for kind, names in parts.items():
        for name in names:
            try:
                load(kind, name)
            except ValueError as error:
                problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))


def _imported(name: str) -> ModuleType:
    """Return a module. Raises ValueError, with the line that failed, where it does not import."""
    if not any(isinstance(one, ProjectFinder) for one in sys.meta_path):
        sys.meta_path.insert(sys.meta_path.index(PathFinder), ProjectFinder())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        where = place_of(error, name)
        raise ValueError(f"importing {name} failed in {where}: {text_of(error)}") from error


class ProjectFinder(MetaPathFinder):
    """Finds the modules of the project in its folders, before the installed ones.

    The path of imports stays as it is: a file in the project hides no module of Python's own, and
    a folder without __init__.py no installed package.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, *_: object) -> ModuleSpec | None:
        """Return where a module is, None for one that the project does not have."""
        if path is not None or name in sys.stdlib_module_names:  # inside of a found package
            return None
        for root in roots():
            if (found := find_in(root, name)) is not None:
                inner = [str(found.path.parent)] if found.path.name == "__init__.py" else None
                return spec_from_file_location(name, found.path, submodule_search_locations=inner)
            if (root / name).is_dir() and PathFinder.find_spec(name) is None:
                spec = ModuleSpec(name, None, is_package=True)
                spec.submodule_search_locations = [str(root / name)]
                return spec
        return None
