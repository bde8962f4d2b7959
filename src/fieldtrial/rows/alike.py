"""Rows of a sweep that are written alike: they would share their trials."""

from collections.abc import Mapping, Sequence

from fieldtrial.fields.row_names import rows_text
from fieldtrial.rows.planned_row import PlannedRow


def alike_problems(
    rows: Sequence[Mapping[str, object]], planned: Sequence[PlannedRow]
) -> list[str]:
    """Return a line for each set of rows with the same values in all compared fields.

    rows: as the sweep file has them. planned: what they are, perhaps with the first once more.
    """
    same: dict[tuple[str, ...], list[int]] = {}
    for row in planned[: len(rows)]:
        same.setdefault(row.cells, []).append(row.number)
    return [
        f"{rows_text(numbers, rows)}: are written alike, so there is nothing to compare; leave one"
        " of them (--aa runs a row twice)"
        for numbers in same.values()
        if len(numbers) > 1
    ]
