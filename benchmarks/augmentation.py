"""What augmentation costs: this project's batches of 32 against torchvision.transforms.v2 an image
at a time.

python benchmarks/augmentation.py [--repeats 7]

CPU milliseconds a batch of random colour images, on one thread, at 64 and 224 pixels. Both get
float images in [0, 1] and take turns. The two draw alike, but not the same numbers; RandAugment
interpolates here and does not there. The process keeps the memory that it frees, as a trial's does.
Writes benchmarks/results/augmentation.json.
"""

import argparse
import functools
import time
from collections.abc import Callable

import torch
from machine import spread, write_result
from torch import Tensor
from torchvision.transforms import v2

from fieldtrial.training.attempt.memory import keep_freed_memory
from fieldtrial.training.augment.transforms import CHANGES, augment

BATCH = 32
SIDES = (64, 224)


def peers(side: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return torchvision's changes by our names."""
    bilinear = v2.InterpolationMode.BILINEAR
    return {
        "horizontal_flip": v2.RandomHorizontalFlip(),
        "vertical_flip": v2.RandomVerticalFlip(),
        "crop": v2.RandomCrop(side, padding=side // 8, padding_mode="reflect"),
        "random_resized_crop": v2.RandomResizedCrop(side, antialias=False),
        "rotation": v2.RandomRotation(15, interpolation=bilinear),
        "affine": v2.RandomAffine(
            0, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation=bilinear
        ),
        "color_jitter": v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
        "sharpness": v2.RandomAdjustSharpness(2.0, p=1.0),
        "grayscale": v2.RandomGrayscale(0.1),
        "randaugment": v2.RandAugment(2, 9),
    }


def milliseconds(change: Callable[[], object]) -> float:
    """Return the CPU milliseconds that a call takes."""
    start = time.process_time()
    change()
    return 1000 * (time.process_time() - start)


def one_by_one(change: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return the images, changed one at a time."""
    return torch.stack([change(image) for image in images])


def measure(side: int, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return {change: {whose: spread}}; the first turn, which imports and warms up,
    does not count.
    """
    images = torch.rand(BATCH, 3, side, side, generator=torch.Generator().manual_seed(0))
    found = {}
    for name, theirs in peers(side).items():
        turns = [
            (
                milliseconds(functools.partial(augment, images, (name,), turn)),
                milliseconds(functools.partial(one_by_one, theirs, images)),
            )
            for turn in range(repeats + 1)
        ]
        ours, others = zip(*turns[1:], strict=True)
        found[name] = {"fieldtrial": spread(ours), "torchvision an image at a time": spread(others)}
    return found


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    assert set(peers(64)) == set(CHANGES)
    result = {
        "what": f"CPU milliseconds for a batch of {BATCH} colour images, one thread",
        "milliseconds": {f"{side} pixels": measure(side, options.repeats) for side in SIDES},
    }
    write_result("augmentation", result)


if __name__ == "__main__":
    main()
