"""A run to look into: its images, its network with the best epoch's weights, its predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.results.read.predictions import StoredPredictions, load_predictions
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.models.network import Network
from fieldtrial.training.scoring.evaluation import evaluate_run, open_ended
from fieldtrial.training.scoring.predictions import Split


@dataclass(frozen=True, eq=False)
class Subject:
    """A run that has ended well, with its predictions for `split`.

    network: in evaluation mode, on its device. split: test for runs that were tested, else
    validation, because pictures are no reason to touch test.
    """

    run: Run
    config: TrainConfig
    data: Data
    network: Network
    split: Split
    predictions: StoredPredictions
    world: World

    def images(self, indices: Sequence[int] | Indices) -> Tensor:
        """Return the images at these positions of the store, normalised: float (n, c, h, w)."""
        pixels = torch.from_numpy(np.asarray(self.data.images[np.asarray(indices)])).to(
            self.world.device
        )
        return self.network.normalise(pixels)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Return an image for people: uint8 (height, width) or (height, width, 3)."""
        image = np.asarray(self.data.images[index])
        return image[:, :, 0] if image.shape[2] == 1 else image

    def class_name(self, label: int) -> str:
        """Return the name of a class."""
        return self.data.class_names[label]


def open_subject(run: Run, world: World) -> Subject:
    """Return the run, ready to be looked into; missing predictions are made now, and stored.

    Raises:
        FileNotFoundError or ValueError: it is no run, has not ended well, or its weights or data
        cannot be had.
    """
    split: Split = "test" if run.predictions_path("test").exists() else "validation"
    if not run.predictions_path(split).exists():
        evaluate_run(run, world, (split,))
    data, network = open_ended(run, world)
    network.to(world.device).eval().requires_grad_(False)
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]  # else a ReLU would write over the output of the layer before it
    return Subject(run, run.config(), data, network, split, load_predictions(run, split), world)


def sample(subject: Subject, count: int, seed: int = 0) -> list[int]:
    """Return positions in the store of `count` images of the split, drawn class by class."""
    generator = np.random.default_rng(seed)
    label = subject.predictions.label
    queues = [
        generator.permutation(np.flatnonzero(label == number)).tolist()
        for number in np.unique(label)
    ]
    drawn: list[int] = []
    while len(drawn) < count and any(queues):
        drawn += [queue.pop() for queue in queues if queue]
    return [int(index) for index in subject.predictions.index[drawn[:count]]]


def last_map(subject: Subject) -> str:
    """Return the last layer before the head that gives maps. Raises as `mapping_layers`."""
    layers = mapping_layers(subject)
    # The head of some models is a convolution, which gives a map itself.
    head = subject.network.head.removeprefix("model.")
    return layers[layers.index(head) - 1] if head in layers else layers[-1]


def mapping_layers(subject: Subject) -> list[str]:
    """Return the modules that give maps (channels, height, width), in order of execution.

    Raises:
        ValueError: it has none: a perceptron, or a transformer.
    """
    found: list[str] = []

    def note(name: str) -> object:
        def hook(_module: nn.Module, _arguments: object, output: object) -> None:
            if (
                isinstance(output, Tensor)
                and output.ndim == 4
                and output.shape[2] * output.shape[3] > 1
            ):
                found.append(name)

        return hook

    modules = {name: module for name, module in subject.network.model.named_modules() if name}
    handles = [module.register_forward_hook(note(name)) for name, module in modules.items()]
    try:
        subject.network.model(subject.images([0]))
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError(f"{subject.run.path}: {subject.config.model} has no layer that gives maps")
    return list(dict.fromkeys(found))
