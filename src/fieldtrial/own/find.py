"""Where a module's source is, found without importing anything."""

import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

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


def require(module: str, roots: Sequence[Path]) -> Source:
    """Return where a module is. Raises ValueError with the places where it was looked for."""
    if (found := find(module, roots)) is None:
        places = [*map(str, roots), "the installed packages"]
        raise ValueError(f"no module {module}; looked in {', '.join(places)}")
    return found


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
