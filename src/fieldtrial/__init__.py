"""What notebooks and sweep files take from the package: `import fieldtrial as ft`.

Each name is imported when it is first used: `import fieldtrial` alone imports nothing else.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldtrial.config import TrainConfig
    from fieldtrial.results.notebook import plot
    from fieldtrial.results.notebook.loaded import load, table, verdicts
    from fieldtrial.sweep import Sweep, grid

__all__ = ["Sweep", "TrainConfig", "grid", "load", "plot", "table", "verdicts"]

_HOMES = {
    "Sweep": "fieldtrial.sweep",
    "TrainConfig": "fieldtrial.config",
    "grid": "fieldtrial.sweep",
    "load": "fieldtrial.results.notebook.loaded",
    "plot": "fieldtrial.results.notebook",
    "table": "fieldtrial.results.notebook.loaded",
    "verdicts": "fieldtrial.results.notebook.loaded",
}

if not TYPE_CHECKING:  # a name that is not there would be no error of types

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "plot":
            return importlib.import_module(f"{_HOMES[name]}.{name}")
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
