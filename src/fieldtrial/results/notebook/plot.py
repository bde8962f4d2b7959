"""The report's figures, for notebooks: each function returns a figure of plotly.

They take what `fieldtrial.load` returned, or the path of a sweep's folder.
"""

from fieldtrial.results.notebook.row_figures import (
    budget,
    class_accuracy,
    confusion,
    estimates,
    roc,
)
from fieldtrial.results.notebook.trial_figures import (
    cost,
    curves,
    importance,
    over_time,
    parallel,
    slices,
)

__all__ = [
    "budget",
    "class_accuracy",
    "confusion",
    "cost",
    "curves",
    "estimates",
    "importance",
    "over_time",
    "parallel",
    "roc",
    "slices",
]
