"""What makes no row of a sweep another one: fields that have no effect there."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fieldtrial.config import TrainConfig
from fieldtrial.effects import condition_text, effective, has_effect
from fieldtrial.fields.row_names import LABEL, rows_text
from fieldtrial.fields.values import format_value
from fieldtrial.rows.planned_row import PlannedRow

Written = Sequence[Mapping[str, object]]  # rows as the sweep file has them


def idle_fields(
    base: TrainConfig, rows: Written, planned: Sequence[PlannedRow], searched: Mapping[str, Any]
) -> list[str]:
    """Return a line for each field that has no effect: of a row that differs from the base, and of
    the search where some row does not read it. searched: {field: its values at the ends}.
    """
    idle = [
        (row, name)
        for row in planned
        for name in rows[row.number]
        if name != LABEL
        and getattr(row.config, name) != getattr(base, name)
        and not has_effect(name, row.config, searched)
    ]
    twins: dict[TrainConfig, list[PlannedRow]] = {}
    models = [effective(row.config, searched) for row in planned] if idle else []
    for row, model in zip(planned, models, strict=False):
        twins.setdefault(model, []).append(row)
    problems = []
    for row, name in idle:
        value = format_value(getattr(row.config, name))
        same = [twin.number for twin in twins[models[row.number]]]
        problems.append(
            f"{rows_text([row.number], rows)}: {name} = {value} has no effect: it needs"
            f" {condition_text(name)}"
            + (f"; {rows_text(same, rows)} are one model" if len(same) > 1 else "")
        )
    return problems + _idle_search_fields(rows, planned, searched)


def _idle_search_fields(
    rows: Written, planned: Sequence[PlannedRow], searched: Mapping[str, Any]
) -> list[str]:
    idle = {
        name: [row.number for row in planned if not has_effect(name, row.config, searched)]
        for name in searched
    }
    return [
        f"search {name}: has no effect in {rows_text(numbers, rows)}: it needs"
        f" {condition_text(name)}"
        for name, numbers in idle.items()
        if numbers
    ]


def idle_source_fields(
    base: TrainConfig, planned: Sequence[PlannedRow], names: Collection[str]
) -> list[str]:
    """Return a line for each field of the source, by its name, that no source reads."""
    sources = [row.source for row in planned if row.source]
    return [
        f"source {name}: has no effect: it needs {condition_text(name)}"
        for name in names
        if not any(
            has_effect(name, source) or getattr(source, name) == getattr(base, name)
            for source in sources
        )
    ]
