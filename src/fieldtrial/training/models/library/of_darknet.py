"""Detectors of the family of YOLOv3, as darknet describes them: built in, or in a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.detection.darknet.architectures import ARCHITECTURES
from fieldtrial.detection.darknet.network import Darknet, with_classes
from fieldtrial.detection.darknet.sections import Section, find_description, read_sections
from fieldtrial.detection.darknet.weights import load_weights
from fieldtrial.training.data.load import DataShape

FILE = ".cfg"  # of a description
WEIGHTS = ".weights"  # of a file of darknet's
CHANNELS = 3


class FlatDetector(nn.Module):
    """A darknet network that gives the raw outputs of all heads side by side.

    Attributes:
        darknet: the network.
        head_names: of the last layers, one for each head.
        backbone_names: of the layers before those that only detection needs.
    """

    def __init__(self, darknet: Darknet) -> None:
        super().__init__()
        self.darknet = darknet
        self.head_names = tuple(f"darknet.{name}" for name in darknet.head_names)
        self.backbone_names = tuple(f"darknet.{name}" for name in darknet.backbone)

    def forward(self, images: Tensor) -> Tensor:
        """Return raw outputs (n, P, 5 + classes), in the order of head, anchor, row and column.

        images: float (n, 3, side, side) in [0, 1]; the side is a multiple of the stride.
        """
        return torch.cat([self._flat(output) for output in self.darknet(images)], 1)

    def grids(self, side: int) -> list[tuple[int, int]]:
        """Return rows and columns of each head's grid, for images of `side` pixels."""
        strides = [self.darknet.shapes[head.source][1] for head in self.darknet.heads]
        return [(side // stride, side // stride) for stride in strides]

    def _flat(self, output: Tensor) -> Tensor:
        n, _, rows, columns = output.shape
        wide = 5 + self.darknet.class_count
        return output.view(n, -1, wide, rows, columns).permute(0, 1, 3, 4, 2).flatten(1, 3)


@dataclass(frozen=True)
class Loaded:
    """What was loaded of a file of darknet's weights.

    Attributes:
        classes: of the file's network.
        keeps_heads: whether its heads were taken too, because the data have as many classes.
    """

    classes: int
    keeps_heads: bool

    def entries(self) -> dict[str, str]:
        """Return what result.json says about it."""
        drawn = f"drawn anew, for the file's are for {self.classes} classes"
        return {"heads": "the file's" if self.keeps_heads else drawn}


class DarknetModels:
    """See libraries.Library. A name is a built-in network's, or the path of a description."""

    def names(self) -> list[str]:
        """See Library."""
        return list(ARCHITECTURES)

    def has(self, name: str) -> bool:
        """See Library."""
        return name in ARCHITECTURES or name.endswith(FILE)

    def file(self, name: str) -> Path | None:
        """Return the file that describes a network; None of a built-in one. Raises ValueError."""
        return None if name in ARCHITECTURES else find_description(name)

    def tagged(self, name: str, tag: str) -> NoReturn:
        """See Library."""
        raise self._none(name, f"imagenet:{tag}")

    def origin(self, name: str) -> NoReturn:
        """See Library."""
        raise self._none(name, "imagenet")

    def pretraining(self, _name: str) -> None:
        """See Library: images have the data set's own size."""

    def channels(self, _data_channels: int) -> int:
        """See Library."""
        return CHANNELS

    def create(self, name: str, config: TrainConfig, shape: DataShape) -> tuple[nn.Module, str]:
        """See Library. The last layer is that of the last head; see `FlatDetector.head_names`.

        Raises:
            ValueError: the description cannot be read, or the image size is not a multiple of the
                network's stride.
        """
        if config.task != "detection":
            raise ValueError(
                f"model = {config.model!r}: a detector, which task = detection trains; task ="
                f" {config.task}"
            )
        darknet = Darknet(self._sections(name, shape.classes))
        if shape.image_size % darknet.stride:
            raise ValueError(
                f"image_size = {shape.image_size}: must be a multiple of {darknet.stride}, the"
                f" stride of {config.model}"
            )
        model = FlatDetector(darknet)
        return model, model.head_names[-1]

    def imagenet(self, name: str, _image_size: int) -> NoReturn:
        """See Library."""
        raise self._none(name, "imagenet")

    def published(self, name: str, _file: Path | None) -> NoReturn:
        """See Library."""
        raise ValueError(f"model = 'darknet:{name}': a detector, not a published classifier")

    def load(self, model: nn.Module, file: Path) -> Loaded:
        """Load a file of darknet's weights; heads of another number of classes stay drawn.

        Raises:
            ValueError: the file does not fit; see `load_weights`.
        """
        assert isinstance(model, FlatDetector)
        classes = load_weights(model.darknet, file, but_heads=True)
        keeps_heads = classes == model.darknet.class_count
        if keeps_heads:
            load_weights(model.darknet, file)
        return Loaded(classes, keeps_heads)

    def _sections(self, name: str, classes: int) -> tuple[Section, ...]:
        if name in ARCHITECTURES:
            return ARCHITECTURES[name](classes)
        return with_classes(read_sections(find_description(name)), classes)

    def _none(self, name: str, weights: str) -> ValueError:
        return ValueError(
            f"weights = {weights!r}: there are none of darknet:{name}; must be random, run:NAME, a"
            f" run directory, or a file of darknet's weights such as {name}{WEIGHTS}"
        )
