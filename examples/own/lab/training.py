"""How this lab trains, and what it looks at: a loss, a freezing scheme and a metric."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fieldtrial.training.contracts import Unit


def focal(outputs: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """Return the focal loss of each image, (n,): cross-entropy with less weight on sure answers.

    T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017. With gamma 0 it is
    cross-entropy.

    Args:
        outputs: logits, float (n, classes).
        targets: labels, int64 (n,).
        gamma: exponent of the probability of being wrong.
    """
    losses = functional.cross_entropy(outputs, targets, reduction="none")
    return (1 - (-losses).exp()) ** gamma * losses


def filters(_model: nn.Module, units: Sequence[Unit], count: int = 1) -> list[str]:
    """Return the parameters of the first `count` stages without their norms, to freeze them."""
    return [
        name
        for unit in units[:count]
        for name in unit.parameters
        if not name.startswith(f"{unit.name}.1.")
    ]


def worst_class(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the share of right answers in the class that has the fewest."""
    is_right = probabilities.argmax(1) == labels
    return float(min(is_right[labels == one].mean() for one in np.unique(labels)))
