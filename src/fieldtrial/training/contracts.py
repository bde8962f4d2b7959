"""The contracts of a user's own parts, and what they are given, to be imported from one place.

docs/extend.md has an example of each. `examples/own` is a project of such parts.
"""

from fieldtrial.training.augment.own_change import BatchChange
from fieldtrial.training.data.dataset import TEST, TRAIN, VALIDATION, Contents, Dataset
from fieldtrial.training.data.load import DataShape
from fieldtrial.training.data.sets.own_dataset import DatasetPart, Images
from fieldtrial.training.freezing.depth_axis import Unit
from fieldtrial.training.freezing.own_scheme import FreezeScheme
from fieldtrial.training.loop.optimizers import Groups, Moment, OptimizerPart, SchedulePart
from fieldtrial.training.models.library.of_functions import Model
from fieldtrial.training.parts.metrics import MetricPart
from fieldtrial.training.tasks.own_loss import LossPart

__all__ = [
    "TEST",
    "TRAIN",
    "VALIDATION",
    "BatchChange",
    "Contents",
    "DataShape",
    "Dataset",
    "DatasetPart",
    "FreezeScheme",
    "Groups",
    "Images",
    "LossPart",
    "MetricPart",
    "Model",
    "Moment",
    "OptimizerPart",
    "SchedulePart",
    "Unit",
]
