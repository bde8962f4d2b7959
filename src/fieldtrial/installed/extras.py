"""Which extras of the package are installed: fieldtrial[train], [control] and [report]."""

import importlib.util

# Modules that an extra brings. All must be there: an environment often has one for other reasons.
PROBES = {
    "train": ("torch", "timm", "captum"),
    "control": ("ray", "submitit"),
    "report": ("pandas", "plotly"),
}


class MissingExtraError(ValueError):
    """What was asked for needs an extra that is not installed."""


def has_extra(name: str) -> bool:
    """Return whether an extra is installed, without importing any of it."""
    return _missing(name) is None


def require_extras(*names: str) -> None:
    """Raise MissingExtraError unless these extras are installed; it says how to get them."""
    if lacking := [name for name in names if not has_extra(name)]:
        modules = " and ".join(str(_missing(name)) for name in lacking)
        raise MissingExtraError(f"{modules} not installed: {install_command(*lacking)}")


def _missing(name: str) -> str | None:
    """Return the first module of an extra that is not there, None where all are."""
    return next((one for one in PROBES[name] if importlib.util.find_spec(one) is None), None)


def install_command(*names: str) -> str:
    """Return the command that adds extras to this installation."""
    return f"pip install 'fieldtrial[{','.join(names)}]'"
