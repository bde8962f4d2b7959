"""The tasks by name."""

from fieldtrial.config import TrainConfig
from fieldtrial.fields.choices import TaskName
from fieldtrial.training.tasks.classification.task import Classification
from fieldtrial.training.tasks.detection.task import Detection
from fieldtrial.training.tasks.interface import Task

TASKS: dict[TaskName, Task] = {"classification": Classification(), "detection": Detection()}


def task_of(config: TrainConfig) -> Task:
    """Return the task of a trial."""
    return TASKS[config.task]
