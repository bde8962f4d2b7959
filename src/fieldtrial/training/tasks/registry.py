"""The tasks by name."""

from fieldtrial.config import TrainConfig
from fieldtrial.fields.choices import TaskName
from fieldtrial.training.tasks.classification.task import Classification
from fieldtrial.training.tasks.detection.task import Detection
from fieldtrial.training.tasks.interface import Task
from fieldtrial.training.tasks.multilabel.task import MultiLabel
from fieldtrial.training.tasks.regression.task import Regression

TASKS: dict[TaskName, Task] = {
    "classification": Classification(),
    "multilabel": MultiLabel(),
    "regression": Regression(),
    "detection": Detection(),
}


def task_of(config: TrainConfig) -> Task:
    """Return the task of a trial."""
    return TASKS[config.task]
