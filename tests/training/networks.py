"""What the tests of networks and of their weights share: small networks, runs of them, and files
that hold code.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.training.models.network import (
    Network,
    build,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
SQUEEZENET = TrainConfig(model="torchvision:squeezenet1_1")


def network_for(
    config: TrainConfig, size: int = 8, channels: int = 1, classes: int = 5, **rest: Any
) -> Network:
    mean, std = tuple([0.3] * channels), tuple([0.4] * channels)
    return build(config, classes, channels, mean, std, size, rest.get("run_folder"))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if torch.equal(one[name], other[name])]


def finished_run(path: Path, config: TrainConfig, network: Network) -> Run:
    run = Run.create(path, config)
    save_file(network.state_dict(), run.weights_path)
    return run


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)
