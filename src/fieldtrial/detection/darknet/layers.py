"""Darknet's layers as modules."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

# In darknet, 1e-6 is added to the standard deviation or, in its later versions, to the variance.
NORM_EPSILON = 1e-6


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky": lambda: nn.LeakyReLU(0.1, inplace=True),
    "linear": nn.Identity,
    "relu": lambda: nn.ReLU(inplace=True),
    "mish": nn.Mish,
    "swish": nn.SiLU,
}


class Convolution(nn.Module):
    """A convolution, with batch normalisation or a bias, and an activation."""

    def __init__(
        self,
        given: int,
        filters: int,
        size: int,
        stride: int,
        padding: int,
        groups: int,
        is_normalised: bool,
        activation: str,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            given, filters, size, stride, padding, groups=groups, bias=not is_normalised
        )
        self.norm = nn.BatchNorm2d(filters, NORM_EPSILON) if is_normalised else nn.Identity()
        self.activation = ACTIVATIONS[activation]()

    def forward(self, images: Tensor) -> Tensor:
        """Return the layer's output."""
        made: Tensor = self.activation(self.norm(self.conv(images)))
        return made


class Shortcut(nn.Module):
    """The sum of layers' outputs, and an activation."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]()

    def forward(self, *given: Tensor) -> Tensor:
        """Return the sum."""
        total = given[0] + given[1]
        for other in given[2:]:
            total = total + other
        made: Tensor = self.activation(total)
        return made


class Route(nn.Module):
    """Layers' outputs one behind the other; with groups, one group of the channels of each."""

    def __init__(self, groups: int, group: int) -> None:
        super().__init__()
        self.groups, self.group = groups, group

    def forward(self, *given: Tensor) -> Tensor:
        """Return the channels taken."""
        parts = [part.chunk(self.groups, 1)[self.group] for part in given]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


class MaxPool(nn.Module):
    """The largest values in windows. Darknet puts the larger half of the padding at the end."""

    def __init__(self, size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, images: Tensor) -> Tensor:
        """Return the largest values; what is outside of the image does not count."""
        before, after = self.padding // 2, self.padding - self.padding // 2
        if before == after and before <= self.size // 2:
            return functional.max_pool2d(images, self.size, self.stride, before)
        if (
            before
            or images.shape[2] % self.stride
            or images.shape[3] % self.stride
            or (self.size != self.stride)
        ):
            images = functional.pad(images, (before, after, before, after), value=-torch.inf)
        return functional.max_pool2d(images, self.size, self.stride)


class Upsample(nn.Module):
    """Each pixel as `factor` × `factor` pixels."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        """Return the larger images."""
        return functional.interpolate(images, scale_factor=float(self.factor), mode="nearest")
