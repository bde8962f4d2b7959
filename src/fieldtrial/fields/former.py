"""Fields whose default has changed, and what their defaults were before.

Ids are hashed from the differences from the former defaults. So the trials of earlier versions keep
their ids, and a trial with a present default has another id wherever that means something else.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fieldtrial.fields.rules import has_crops

OWN_MODELS = ("cnn", "mlp")

# field -> its default before; it is also what a config.json without the field means
FORMER: Mapping[str, Any] = {"dropout": 0.0, "preprocessing": "square"}


def has_recipe(config: Any) -> bool:
    """Return whether the weights that a trial starts from may have a recipe for images."""
    return config.model not in OWN_MODELS and config.weights != "random"


def is_former(values: Mapping[str, Any]) -> bool:
    """Return whether a config's fields were written by a version with the former defaults.

    A present version writes every field, and so the one that has come with the present defaults.
    """
    return "preprocessing" not in values


# field -> whether its present default means for a config what the former one did
SAME: Mapping[str, Callable[[Any], bool]] = {
    "dropout": lambda config: config.model in OWN_MODELS or config.classifier == "svm",
    "preprocessing": lambda config: not has_recipe(config) and not has_crops(config),
}
