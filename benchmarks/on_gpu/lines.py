"""The lines that the GPU benchmark prints: ours beside a peer's or a limit's, with the goal."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

HEAD = ("section", "what", "ours", "peer", "better by", "goal", "n", "remark")


@dataclass(frozen=True)
class Settings:
    """What all sections are given.

    Attributes:
        device: cuda or cpu.
        small: whether few and small images are taken: to see that everything runs.
        repeats: how often each figure is taken, in turn with its peer's.
        folder: for data, stores and runs.
        cifar: a folder with CIFAR-10's binary files, or with classes of images; None: images of its
            shape are made.
    """

    device: str
    small: bool
    repeats: int
    folder: Path
    cifar: Path | None = None


@dataclass(frozen=True)
class Line:
    """A figure, or what became of something.

    Attributes:
        ours, peer: the measurements, one for each repetition; empty where nothing is measured.
        unit: of both. Of times, less is better; of rates, more.
        goal: what the ratio, or ours, should be.
    """

    what: str
    ours: Sequence[float] = ()
    unit: str = ""
    peer: Sequence[float] = ()
    goal: str = ""
    remark: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is than the peer's, by medians."""
        if not self.ours or not self.peer or not median(self.ours) or not median(self.peer):
            return None
        ratio = median(self.ours) / median(self.peer)
        return 1 / ratio if self.unit in ("s", "ms") else ratio

    def cells(self, section: str) -> tuple[str, ...]:
        """Return the line's cells, as HEAD names them."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        n = str(len(self.ours)) if self.ours else ""
        figures = (_text(self.ours, self.unit), _text(self.peer, self.unit))
        return (section, self.what, *figures, ratio, self.goal, n, self.remark)

    def to_json(self, section: str) -> dict[str, Any]:
        """Return the line as plain data."""
        return {"section": section, **asdict(self), "ratio": self.ratio}


Say = Callable[[Line], None]


def _text(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    middle = f"{median(values):.4g}"
    spread = f" ({min(values):.4g} to {max(values):.4g})" if len(values) > 1 else ""
    return f"{middle}{spread} {unit}".rstrip()


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows of cells as a Markdown table."""
    rows = [HEAD, *rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEAD))]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:]))
