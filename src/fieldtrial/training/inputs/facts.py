"""What result.json says of a trial's network and data: how large they are, where they are from."""

from typing import Any

from fieldtrial.training.data.load import Data
from fieldtrial.training.data.recipe import text_of
from fieldtrial.training.models.network import Network, count_parameters, count_trainable


def count(network: Network, data: Data) -> dict[str, int]:
    """Return the numbers of parameters, operations per image, classes and images."""
    return {
        "parameters": count_parameters(network),
        "trainable_parameters": count_trainable(network),
        "flops": network.flops,
        "classes": len(data.class_names),
        "train_images": len(data.train),
        "validation_images": len(data.validation),
        "test_images": len(data.test),
    }


def facts_of(network: Network, data: Data) -> dict[str, Any]:
    """Return the numbers of `count`, how images became squares, and where the weights are from."""
    recipe = {"recipe": text_of(data.recipe, data.image_size)}
    return count(network, data) | recipe | data.facts() | network.origin
