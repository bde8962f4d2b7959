"""A trial's event files for TensorBoard: scalars per epoch, and the hparams view."""

import os
from collections.abc import Mapping
from typing import Any

from fieldtrial.config import DEFAULTS, HINTS, TrainConfig, is_field
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.run import Record, Run
from fieldtrial.fields.identity import REPEATED
from fieldtrial.fields.task_metrics import CHOOSING
from fieldtrial.fields.values import format_value
from fieldtrial.training.attempt.in_sweep import in_sweep

NOT_SHOWN = ("epoch", "step", "notice")


def board_folder(run: Run, config: TrainConfig) -> Inside:
    """Return where the event files of a run go: TensorBoard calls a run as its folder is called.

    So in a sweep it is called as its row is, and with its seed where it is a final run.
    """
    place = in_sweep(run, config)
    return run.tensorboard_folder / place.name if place and place.name else run.tensorboard_folder


class Board:
    """Writes the event files of one attempt.

    The first record makes TensorBoard drop that epoch and later ones, which an earlier attempt may
    have written.
    """

    def __init__(self, run: Run, config: TrainConfig) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary  # late: only rank 0 needs them
        from torch.utils.tensorboard import SummaryWriter

        self._writer_class, self._summary = SummaryWriter, Summary
        self._config, self._sweep = config, in_sweep(run, config)
        self._folder = board_folder(run, config)
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

    def conclude(self, result: Mapping[str, Any]) -> None:
        """Add the trial to the hparams view: the fields that vary and the best epoch's scores.

        Those are the fields that the sweep's rows set or that it searches; of a run of no sweep,
        those that it does not leave as they are. Runs that differ in their seed alone are a group.
        """
        config, splits = self._config, ("validation", "test")
        names = [f"{split}_{name}" for split in splits for name in CHOOSING[config.task]]
        metrics = {f"result/{name}": result[name] for name in names if name in result}
        varying = self._sweep.varying if self._sweep else tuple(config.differences(DEFAULTS))
        fields = [name for name in varying if is_field(name) and name not in REPEATED]
        # The first run of a folder says which columns there are; in no sweep each has its own.
        if self._sweep:
            self._add(_experiment(fields, metrics))
        self._add(_session({name: getattr(config, name) for name in fields}, config.configuration))
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, result["best_epoch"])

    def close(self) -> None:
        """Write what is left and end the writer's thread."""
        if self._writer is not None:
            self._writer.close()

    def _add(self, tagged: tuple[str, Any]) -> None:
        from tensorboard.plugins.hparams import metadata

        tag, content = tagged
        about = metadata.create_summary_metadata(content)
        value = self._summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
        self._writer.file_writer.add_summary(self._summary(value=[value]))


def _experiment(fields: list[str], metrics: Mapping[str, float]) -> tuple[str, Any]:
    """Return the tag and content of what the hparams view has columns for."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    kinds = [api_pb2.DATA_TYPE_STRING, api_pb2.DATA_TYPE_BOOL, api_pb2.DATA_TYPE_FLOAT64]
    columns = [api_pb2.HParamInfo(name=name, type=kinds[_kind(HINTS.get(name))]) for name in fields]
    results = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in metrics]
    experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=results)
    content = plugin_data_pb2.HParamsPluginData(experiment=experiment)
    return metadata.EXPERIMENT_TAG, content


def _session(fields: Mapping[str, Any], group: str) -> tuple[str, Any]:
    """Return the tag and content of one run in it: its values of the columns, and its group."""
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    about = plugin_data_pb2.SessionStartInfo(group_name=group)
    for name, value in fields.items():
        kind = _kind(HINTS.get(name))
        if kind == 0:
            about.hparams[name].string_value = format_value(value)
        elif kind == 1:
            about.hparams[name].bool_value = value
        elif value is not None:  # a column of numbers has a gap there
            about.hparams[name].number_value = value
    content = plugin_data_pb2.HParamsPluginData(session_start_info=about)
    return metadata.SESSION_START_INFO_TAG, content


def _kind(hint: Any) -> int:
    """Return whether a field is a text (0), yes or no (1), or a number (2); an option is a text."""
    if hint is bool:
        return 1
    return 2 if hint in (int, float, int | None, float | None) else 0
