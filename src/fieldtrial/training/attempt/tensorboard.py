"""A trial's event files for TensorBoard: scalars per epoch, and the hparams view."""

import os
from collections.abc import Mapping
from typing import Any

from fieldtrial.config import TrainConfig, field_names
from fieldtrial.disk.run import Record, Run
from fieldtrial.fields.task_metrics import CHOOSING
from fieldtrial.fields.values import format_value

NOT_SHOWN = ("epoch", "step", "notice")


class Board:
    """Writes the event files of one attempt.

    The first record makes TensorBoard drop that epoch and later ones, which an earlier attempt may
    have written.
    """

    def __init__(self, run: Run) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary  # late: only rank 0 needs them
        from torch.utils.tensorboard import SummaryWriter

        self._writer_class, self._summary = SummaryWriter, Summary
        self._folder = run.tensorboard_folder
        self._writer: Any = None

    def write(self, record: Record) -> None:
        """Add an epoch's numbers, with the epoch as TensorBoard's step."""
        if self._writer is None:
            again = self._folder.exists()
            self._writer = self._writer_class(
                os.fspath(self._folder), purge_step=record["epoch"] if again else None
            )
        shown = {name: value for name, value in record.items() if name not in NOT_SHOWN}
        # One event for all of them, where SummaryWriter's own method writes one for each.
        values = [self._summary.Value(tag=name, simple_value=one) for name, one in shown.items()]
        self._writer.file_writer.add_summary(self._summary(value=values), record["epoch"])
        self._writer.flush()

    def conclude(self, config: TrainConfig, result: Mapping[str, Any]) -> None:
        """Add the trial to the hparams view: the config's fields and the best epoch's scores."""
        from torch.utils.tensorboard.summary import hparams

        fields = {name: _shown(getattr(config, name)) for name in field_names([config])}
        splits = ("validation", "test")
        names = [f"{split}_{name}" for split in splits for name in CHOOSING[config.task]]
        metrics = {f"result/{name}": result[name] for name in names if name in result}
        for summary in hparams(fields, metrics):  # type: ignore[no-untyped-call]
            self._writer.file_writer.add_summary(summary)
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, result["best_epoch"])

    def close(self) -> None:
        """Write what is left and end the writer's thread."""
        if self._writer is not None:
            self._writer.close()


def _shown(value: Any) -> bool | int | float | str:
    if isinstance(value, bool | int | float):
        return value
    return format_value(value)
