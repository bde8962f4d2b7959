"""What the tests of a sweep's own table share: a line of it, a cell, and what stands below."""

from typing import TYPE_CHECKING, Any

from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.read.sweeps import read_sweeps
from fieldtrial.results.table.tables import Table, sweep_table

if TYPE_CHECKING:
    from tests.results.conftest import Written

VALIDATION, TEST = "validation accuracy %", "test accuracy %"


def own_table(folder: SweepFolder) -> Table:
    sweeps = read_sweeps([folder.path])
    return sweep_table(sweeps, sweeps.records())


def row(written: "Written", number: int = 0) -> dict[str, Any]:
    rows = own_table(written.folder).frame.to_dict("records")
    return {str(name): value for name, value in rows[number].items()}


def column(written: "Written", name: str) -> list[str]:
    grid = own_table(written.folder).grid
    return [line[list(grid.header).index(name)].text for line in grid.rows]


def cell(written: "Written", name: str, number: int = 0) -> str:
    return column(written, name)[number]


def footer(written: "Written") -> str:
    return "\n".join(own_table(written.folder).grid.footer)
