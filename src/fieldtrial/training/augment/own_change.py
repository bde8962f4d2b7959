"""Own augmentations, as changes among those of this package."""

from typing import Any, Protocol

import torch
from torch import Tensor

from fieldtrial.config import TrainConfig
from fieldtrial.own.names import is_own
from fieldtrial.training.augment.change import Change
from fieldtrial.training.parts.part import Part, own_part
from fieldtrial.training.parts.saying import of_kind

# A seed has two random numbers of 24 bits each, which is what a float32 in [0, 1) has.
SEEDS, BITS = 2, 24


class BatchChange(Protocol):
    """What changes training images at random: a function."""

    def __call__(
        self, images: Tensor, generator: torch.Generator, /, *_: Any, **options: Any
    ) -> Tensor:
        """Return the images changed, of the same shape and type, on the same device.

        Args:
            images: float32 (n, channels, height, width) in [0, 1], on the trial's device. They are
                a batch, or a process's share of one, which gradient accumulation cuts up later.
            generator: on the CPU, for all that is random: then a resumed trial repeats it. Its seed
                is drawn from the config's for each batch.
        """


def own_changes(config: TrainConfig) -> dict[str, Change]:
    """Return the own augmentations in `config`, by their names."""
    options = config.options_of("augmentation")
    own = {
        name: own_part("augmentation", name, options)
        for name in config.augmentation
        if is_own(name)
    }
    return {name: _change(part) for name, part in own.items()}


def _change(part: Part) -> Change:
    def apply(images: Tensor, numbers: Tensor) -> Tensor:
        high, low = (numbers[:, 0].double() * 2**BITS).long().tolist()
        changed = part(images, torch.Generator().manual_seed((high << BITS) + low))
        if not isinstance(changed, Tensor):
            raise part.unexpected(changed, "a tensor")
        if (changed.shape, changed.dtype, changed.device) != (
            images.shape,
            images.dtype,
            images.device,
        ):
            raise part.refused(
                f"gave {of_kind(changed)}, {changed.dtype} on {changed.device}; {of_kind(images)},"
                f" {images.dtype} on {images.device} was expected, as it got"
            )
        return changed

    return Change(SEEDS, apply)
