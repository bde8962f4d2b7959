"""A finished run, opened to be explained: its images, its network and its predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.fields.task_metrics import classes_problem
from fieldtrial.results.read.predictions import StoredPredictions, load_predictions
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.depth_axis import units
from fieldtrial.training.loop.attempt import Split
from fieldtrial.training.models.network import Network
from fieldtrial.training.scoring.evaluation import evaluate_run, open_finished

HANDING_ON = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class NothingToDrawError(ValueError):
    """A picture has nothing to show for this model or these predictions."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A run that has ended well.

    Attributes:
        network: in evaluation mode, on its device.
        split: test for a tested run, else validation: explaining a run does not use its test set.
        predictions: of the split's images, or of chosen ones; the label of an image whose class is
            not known is -1.
        is_chosen: whether the images are files that somebody chose, see `insight.chosen`.
    """

    run: Run
    config: TrainConfig
    data: Data
    network: Network
    split: Split
    predictions: StoredPredictions
    world: World
    is_chosen: bool = False

    @property
    def images_name(self) -> str:
        """What its images are called: 'test images'."""
        return f"{'chosen' if self.is_chosen else self.split} images"

    def images(self, indices: Sequence[int] | Indices) -> Tensor:
        """Return the images at these positions of the store, normalised: float (n, c, h, w)."""
        pixels = torch.from_numpy(np.asarray(self.data.images[np.asarray(indices)]))
        return self.network.normalise(pixels.to(self.world.device))

    def outputs(self, layers: Sequence[str], indices: Sequence[int]) -> dict[str, Tensor]:
        """Return the outputs of `layers` of the inner model for these images, as they are computed.

        Layers whose output is no tensor are left out. They come in the order of their last call.
        Each output is that of the last call, copied:
        a residual block adds to its last norm's output in place.
        """
        found: dict[str, Tensor] = {}

        def hook(name: str, output: object) -> None:
            if isinstance(output, Tensor):
                found.pop(name, None)
                found[name] = output.clone()

        handles = [
            self.network.model.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: hook(name, output)
            )
            for name in layers
        ]
        try:
            with torch.no_grad():
                self.network.model(self.images(indices))
        finally:
            for handle in handles:
                handle.remove()
        return found

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Return an image as it is drawn: uint8 (height, width) or (height, width, 3)."""
        image = np.asarray(self.data.images[index])
        return image[:, :, 0] if image.shape[2] == 1 else image

    def class_name(self, label: int) -> str:
        """Return the name of a class."""
        return self.data.class_names[label] if label >= 0 else "unknown"


def open_subject(run: Run, world: World) -> Subject:
    """Return the run, opened. Missing predictions are computed and stored.

    Raises:
        FileNotFoundError or ValueError: it is no run, has not ended well, or its weights or data
            are not available; or its task has no probabilities of classes.
    """
    if why := classes_problem(run.config().task, f"{run.path}: explaining it"):
        raise ValueError(why)
    split: Split = "test" if run.predictions_path("test").exists() else "validation"
    if not run.predictions_path(split).exists():
        evaluate_run(run, world, (split,))
    data, network = open_finished(run, world)
    network.to(world.device).eval().requires_grad_(False)
    for module in network.modules():
        if hasattr(module, "inplace"):  # a ReLU would overwrite the output of the layer before
            module.inplace = False  # type: ignore[assignment]
    return Subject(run, run.config(), data, network, split, load_predictions(run, split), world)


def sample(subject: Subject, count: int, seed: int = 0) -> list[int]:
    """Return `count` images of the split, class by class in turn, as positions in the store."""
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
    """Return the last layer with a map before the head, and before the pooling that shrinks it.

    Raises:
        NothingToDrawError: no layer has a map, or only the first one, as in a transformer of
            tokens: its map does not say what the model looks at.
    """
    layers = mapping_layers(subject)
    head = subject.network.head.removeprefix("model.")  # in some models a convolution, with a map
    before = layers[: layers.index(head)] if head in layers else layers
    found = [name for name in before if not _is_pooled(subject.network.model.get_submodule(name))]
    last = (found or before)[-1]
    first = units(subject.network)[0].modules
    if len(layers) == 1 and any(f"{last}.".startswith(f"{name}.") for name in first):
        raise NothingToDrawError(
            f"{subject.run.path}: {subject.config.model} has a map at its first layer only; --layer"
            f" {last} shows that one"
        )
    return last


def mapping_layers(subject: Subject) -> list[str]:
    """Return the inner model's modules whose output is a map, first to last: see `as_map`.

    Modules that hand on what they get, such as dropout, are left out.

    Raises:
        NothingToDrawError: it has none: a perceptron.
    """
    modules = [
        name
        for name, module in subject.network.model.named_modules()
        if name and not isinstance(module, HANDING_ON)
    ]
    outputs = subject.outputs(modules, [0])
    found = [name for name, output in outputs.items() if as_map(output) is not None]
    if not found:
        raise NothingToDrawError(
            f"{subject.run.path}: {subject.config.model} has no layer with a spatial output"
        )
    return found


def as_map(output: Tensor) -> Tensor | None:
    """Return a layer's output as maps (n, channels, side, side), None if it is none.

    Images are square, so maps are. Other outputs of four dimensions are attention's. Transformers
    with windows have their channels last.
    """
    if output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
        return output
    return output.permute(0, 3, 1, 2) if has_channels_last(output) else None


def has_channels_last(output: Tensor) -> bool:
    """Return whether an output is a map (n, side, side, channels)."""
    return (
        output.ndim == 4
        and output.shape[2] != output.shape[3]
        and output.shape[1] == output.shape[2] > 1
    )


def _is_pooled(module: nn.Module) -> bool:
    """Return whether a module, or the last of those that it runs in turn, is a pooling layer."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return "pool" in type(module).__name__.lower()
