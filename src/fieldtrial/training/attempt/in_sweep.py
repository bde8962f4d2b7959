"""What a trial is in the sweep whose folder it is in: its row's name, and the fields that vary."""

import contextlib
import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from fieldtrial.config import FIELDS, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.work.shards import in_its_sweep
from fieldtrial.fields.identity import REPEATED
from fieldtrial.fields.values import format_value

APART = {*REPEATED, "weights"}  # what a trial may have other than its row, beside what is searched
SOURCE = "source"  # what a trial is called that the rows start from
LONGEST = 100  # letters of a name in a folder; each may take four bytes
UNFIT = re.compile(r"[/\x00-\x1f\x7f]|^\.")  # in such a name


@dataclass(frozen=True)
class InSweep:
    """A trial's place in its sweep.

    row: the name of its row, `source`, or empty where it is in no row. varying: the fields that
    rows set or the search proposes. seed: the trial's, None for the sweep's own.
    """

    row: str
    varying: tuple[str, ...]
    seed: int | None

    @property
    def name(self) -> str:
        """The trial's name as that of a folder; empty where it has none."""
        seed = "" if self.seed is None else f"seed {self.seed}"
        return UNFIT.sub("-", " ".join(filter(None, (self.row[:LONGEST], seed))))


def in_sweep(run: Run, config: TrainConfig) -> InSweep | None:
    """Return the place of the run in its sweep; None where it is in no sweep's folder.

    A sweep that cannot be read is none: a trial does not fail for its name.
    """
    path = Path(os.path.abspath(run.path))  # noqa: PTH100 (links stay)
    folder = SweepFolder(in_its_sweep(path).root)
    with contextlib.suppress(OSError, ValueError):
        about = folder.description_path.stat()
        return _rows_of(folder.path, about.st_mtime_ns, about.st_size).place(config)
    return None


class _Rows:
    """The rows of a sweep, by their values of the compared fields."""

    def __init__(self, description: SweepDescription) -> None:
        self._description = description
        self._by_cells: dict[tuple[str, ...], list[int]] = {}
        for number in range(len(description.rows)):
            self._by_cells.setdefault(description.cells(number), []).append(number)

    def place(self, config: TrainConfig) -> InSweep:
        known = self._description
        names = {*known.compared, *known.search}
        varying = tuple(name for name in (*FIELDS, *sorted(names - FIELDS.keys())) if name in names)
        allowed = {*known.search, *APART}
        cells = tuple(format_value(getattr(config, name)) for name in known.compared)
        row = SOURCE if known.source is not None else ""
        for number in self._by_cells.get(cells, []):
            if set(config.differences(known.row_configs[number])) <= allowed:
                row = known.labels[number]
                break
        return InSweep(row, varying, None if config.seed == known.base.seed else config.seed)


@functools.lru_cache(maxsize=4)  # a warm worker's trials are of one sweep
def _rows_of(folder: Path, _changed: int, _size: int) -> _Rows:
    return _Rows(SweepFolder(folder).require_description())
