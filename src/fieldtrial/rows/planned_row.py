"""A row of a sweep, as it will be run."""

from dataclasses import dataclass

from fieldtrial.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """One row of a sweep, as it will be run.

    number: the row's place in `rows`, from 0.
    label: its short name, which the sweep file gives it or `name_rows` makes of its fields.
    cells: the row's values of the compared fields as text; fields it does not set have the base's.
    config: the row's config before the search; with a source, it starts from that one's weights.
    source: the config of the trial whose weights the row starts from, or None.
    largest: `config` with each searched number of data and model at its most expensive value.
    most_epochs: epochs of the longest trial that the search may propose.
    smallest_batch: batch size of the trial with the most steps per epoch.
    """

    number: int
    label: str
    cells: tuple[str, ...]
    config: TrainConfig
    source: TrainConfig | None
    largest: TrainConfig
    most_epochs: int
    smallest_batch: int
