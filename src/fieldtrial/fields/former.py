"""Fields whose default has changed, and what their defaults were before.

Ids are hashed from the differences from the former defaults. So the trials of earlier versions keep
their ids, and a trial with a present default has another id wherever that means something else.
"""

from collections.abc import Callable, Mapping
from typing import Any

OWN_MODELS = ("cnn", "mlp")
# Augmentations that choose a part of the image.
CROPS = ("crop", "random_resized_crop")

# field -> its default before; it is also what a config.json without the field means
FORMER: Mapping[str, Any] = {"dropout": 0.0, "preprocessing": "square"}


def has_crops(config: Any) -> bool:
    """Return whether a part of each image is chosen at random in training."""
    return any(name in CROPS for name in config.augmentation)


def has_recipe(config: Any) -> bool:
    """Return whether the weights that a trial starts from may have a recipe for images."""
    return config.model not in OWN_MODELS and config.weights != "random"


# field -> whether its present default means for a config what the former one did
SAME: Mapping[str, Callable[[Any], bool]] = {
    "dropout": lambda config: config.model in OWN_MODELS or config.classifier == "svm",
    "preprocessing": lambda config: not has_recipe(config) and not has_crops(config),
}
