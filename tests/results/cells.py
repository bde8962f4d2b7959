"""What the tests of a sweep's summary and of its table share: a row, a cell, and what
stands below.
"""

from typing import TYPE_CHECKING

from fieldtrial.results.analysis.summary import Row, summarise
from fieldtrial.results.table.of_sweep import human_cells

if TYPE_CHECKING:
    from tests.results.conftest import Written

VALIDATION, TEST = "validation accuracy %", "test accuracy %"


def row(written: "Written", number: int = 0) -> Row:
    return {
        str(name): value
        for name, value in summarise(written.folder).rows.to_dict("records")[number].items()
    }


def cell(written: "Written", column: str, number: int = 0) -> str:
    return str(human_cells(summarise(written.folder))[column][number])


def footer(written: "Written") -> str:
    return "\n".join(summarise(written.folder).footer)
