"""Where a module's source is, found without importing anything."""

import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from fieldtrial.own.names import is_own
from fieldtrial.own.project import FOLDERS, project_root
from fieldtrial.own.project import roots as project_roots

OURS = f"{__package__}."  # modules that have finders of the project


@dataclass(frozen=True)
class Source:
    """A module's file. root: the folder that its name counts from; a package is its __init__."""

    module: str
    path: Path
    root: Path

    @property
    def name(self) -> str:
        """The path from the root, with slashes."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def package(self) -> str:
        """The package that relative imports in the module count from."""
        is_package = self.path.name == "__init__.py"
        return self.module if is_package else self.module.rpartition(".")[0]

    @property
    def top(self) -> str:
        """The first part of the module's name."""
        return self.module.partition(".")[0]


def find(module: str, roots: Sequence[Path]) -> Source | None:
    """Return where a module is: in the first of `roots` that has it, or an installed package.

    None: nowhere, or not as Python source. No file hides a module of Python's own.
    """
    top = module.partition(".")[0]
    before = () if top in sys.stdlib_module_names else roots
    for root in (*before, *_installed(top)):
        if (found := find_in(root, module)) is not None:
            return found
    return None


def find_in(root: Path, module: str) -> Source | None:
    """Return a module's source in the folder `root`, None where it has none."""
    stem = root.joinpath(*module.split("."))
    for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
        if path.is_file():
            return Source(module, path, root)
    return None


def require(module: str, roots: Sequence[Path], attribute: str = "NAME") -> Source:
    """Return where a module is. Raises ValueError with the places where it was looked for.

    attribute: what is wanted of the module, for the message.
    """
    if (found := find(module, roots)) is None:
        places = [*map(str, roots), "the installed packages"]
        problem = f"no module {module}; looked in {', '.join(places)}"
        stem = module.removesuffix(".py")
        if stem != module and find(stem, roots):
            problem += f"; did you mean {stem}:{attribute}?"
        elif not roots:
            problem += (
                "; this folder is in no project: give the command in the project's folder, the one"
                f" with {FOLDERS[0]}/ or {FOLDERS[1]}/"
            )
        raise ValueError(problem)
    return found


def meant(value: object) -> str:
    """Return '; did you mean nets:Net?' where a value has nets.Net, and the project has nets.

    Else return an empty text. The project is that of the current folder until one is entered.
    """
    above = project_root(Path.cwd())
    places = project_roots() or ((above, above / FOLDERS[0]) if above else ())
    for text in value if isinstance(value, tuple | list) else (value,):
        module, _, name = str(text).rpartition(".")
        if is_own(f"{module}:{name}") and any(find_in(root, module) for root in places):
            return f"; did you mean {module}:{name}?"
    return ""


@functools.lru_cache(maxsize=256)
def _installed(top: str) -> tuple[Path, ...]:
    """Return the folders that have an installed package, or module, of this name."""
    return tuple(_folders(top))


def _folders(top: str) -> Iterator[Path]:
    # Editable packages may have finders of their own.
    others = (one for one in sys.meta_path if not type(one).__module__.startswith(OURS))
    found = (one.find_spec(top, None) for one in others)
    spec = PathFinder.find_spec(top) or next((one for one in found if one), None)
    if spec is None:
        return
    if spec.origin and spec.submodule_search_locations is not None:
        yield Path(spec.origin).parent.parent
    elif spec.origin:
        yield Path(spec.origin).parent
    else:  # folders without __init__.py
        yield from (Path(place).parent for place in spec.submodule_search_locations or ())
