"""Which extras of the package are installed: fieldtrial[train], [control] and [report]."""

import importlib.util

# A module that the extra alone brings. Its presence stands for the others.
PROBES = {"train": "torch", "control": "ray", "report": "pandas"}


class MissingExtraError(ValueError):
    """What was asked for needs an extra that is not installed."""


def has_extra(name: str) -> bool:
    """Return whether an extra is installed, without importing any of it."""
    return importlib.util.find_spec(PROBES[name]) is not None


def require_extras(*names: str) -> None:
    """Raise MissingExtraError unless these extras are installed; it says how to get them."""
    if lacking := [name for name in names if not has_extra(name)]:
        modules = " and ".join(PROBES[name] for name in lacking)
        raise MissingExtraError(f"{modules} not installed: {install_command(*lacking)}")


def install_command(*names: str) -> str:
    """Return the command that adds extras to this installation."""
    return f"pip install 'fieldtrial[{','.join(names)}]'"
