"""The groups that fields are in, and how a field is declared."""

from dataclasses import field
from typing import TypeVar

T = TypeVar("T")

GROUPS = ("data", "model", "optimisation", "run")


class Group:
    """Declares the fields of one group, each with its default, its help text and its bounds."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(
        self, default: T, text: str, low: float | None = None, high: float | None = None
    ) -> T:
        """Return a dataclass field; `low` and `high` are bounds, both inclusive."""
        metadata = {"group": self._name, "help": text, "low": low, "high": high}
        return field(default=default, metadata=metadata)
