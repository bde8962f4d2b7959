"""The data of a trial, by its task."""

from collections.abc import Callable
from dataclasses import replace

from fieldtrial.config import DEFAULTS, TrainConfig
from fieldtrial.disk.schemas import BY_CONTENT, Cut
from fieldtrial.fields.choices import TaskName
from fieldtrial.training.data.boxes.load import load_boxes
from fieldtrial.training.data.labels.load import load_labels, load_numbers
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.data.recipe import AnyRecipe
from fieldtrial.training.data.sets.registry import first_task

Loader = Callable[[TrainConfig, int | None, Cut, AnyRecipe | None], Data]
LOADERS: dict[TaskName, Loader] = {
    "classification": load,
    "multilabel": load_labels,
    "regression": load_numbers,
    "detection": lambda config, image_size, cut, _recipe: load_boxes(config, image_size, cut),
}


def open_data(config: TrainConfig) -> Data:
    """Return the data of `config` as a trial opens them, at its size or the data set's own.

    Where the task is the default and the data set has no labels for it, it is the first that the
    data set is for.

    Raises:
        ConfigError: as the task's loader.
    """
    task = first_task(config.dataset) if config.task == DEFAULTS.task else config.task
    return LOADERS[task](replace(config, task=task), config.image_size, BY_CONTENT, None)
