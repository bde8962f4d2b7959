"""What decoding and augmenting images costs, beside torchvision's transforms in a DataLoader.

python benchmarks/input.py [--repeats 5] [--photos 600] [--small 20000]

Wall and CPU milliseconds an image, workers included, in batches of 64 normalised float images:
- photos: JPEG files of 500 × 375 pixels, cut from two photographs that scikit-learn has. Decoding
  alone; building the store and the originals of crops; random-resized crops of 224 pixels and flips
  from these; the same by ImageFolder and a DataLoader with two workers, as the usual tutorials do.
- small: random colour images of 32 × 32 pixels, as CIFAR-10 has them, shifted by up to 4 pixels and
  flipped; and the same images through torchvision's transforms in a DataLoader with two workers.
Tensors are computed on one thread, images decoded and cropped on one for each core. All take turns
in each round, and ratios are of one round. The first round does not count. Writes
benchmarks/results/input.json.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from machine import spread, write_result
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from fieldtrial.config import TrainConfig
from fieldtrial.training.attempt.memory import keep_freed_memory
from fieldtrial.training.data.dataset import TRAIN
from fieldtrial.training.data.image_store import open_store
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.originals import Originals, open_originals
from fieldtrial.training.data.recipe import Recipe
from fieldtrial.training.data.sets.registry import open_dataset
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.batches import augmented, batches, crops, shuffled
from fieldtrial.training.models.network import Network

BATCH, WORKERS, CLASSES = 64, 2, 10
HEIGHT, WIDTH, SIDE = 375, 500, 224  # of photos, and of their crops
SMALL = 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RECIPE = Recipe("shorter side", 256, "bilinear", SIDE)
NORMALISE = (transforms.ToTensor(), transforms.Normalize(MEAN, STD))

Cost = tuple[float, float]  # wall and CPU milliseconds an image


def cost(work: Callable[[], int]) -> Cost:
    """Return what `work` costs for each of the images whose number it returns."""

    def used() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(one.ru_utime + one.ru_stime for one in both)

    wall, cpu = time.perf_counter(), used()
    images = work()
    return 1000 * (time.perf_counter() - wall) / images, 1000 * (used() - cpu) / images


def write_photos(folder: Path, count: int) -> None:
    """Write JPEG files in folders of classes."""
    from sklearn.datasets import load_sample_image

    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    random = np.random.default_rng(0)
    for number in range(count):
        photo = photos[number % 2]
        top, left = random.integers((photo.shape[0] - HEIGHT, photo.shape[1] - WIDTH))
        path = folder / f"class{number % CLASSES}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo[top : top + HEIGHT, left : left + WIDTH]).save(path, quality=90)


def decode(folder: Path) -> int:
    """Decode all photos, one after another."""
    paths = list(folder.rglob("*.jpg"))
    for path in paths:
        with Image.open(path) as image:
            image.convert("RGB")
    return len(paths)


def consume(source: Iterable[torch.Tensor]) -> int:
    """Go through the batches; return the number of images."""
    return sum(len(images) for images in source)


def epoch(data: Data, config: TrainConfig, number: int) -> Iterable[torch.Tensor]:
    """Yield the normalised images of an epoch as a network of this project gets them."""
    network = Network(torch.nn.Identity(), "head", SIDE, MEAN, STD)
    steps = -(-len(data.train) // BATCH)
    draw = crops(data, config, number * steps, 0)
    order = shuffled(data.train, config, number)
    for step, batch in enumerate(batches(data, order, BATCH, World(), draw)):
        changed = augmented(batch, config, data, number * steps + step, 0)
        yield network.normalise(changed.images)


def data_of(images: np.ndarray, originals: Originals | None = None) -> Data:
    """Return images as a trial has them, all for training."""
    every = np.arange(len(images))
    return Data(
        images=images, labels=every % CLASSES, class_names=tuple(map(str, range(CLASSES))),
        train=every, validation=every[:0], test=every[:0], mean=MEAN, std=STD, store="", digest="",
        cut="content", remarks=(), originals=originals,
    )  # fmt: skip


def stores(folder: Path, root: Path) -> Data:
    """Decode the photos as the first trial with random crops does."""
    found = open_dataset(f"folder:{folder}", folder)
    originals = open_originals(found, SIDE, RECIPE, root)
    assert originals is not None
    store = open_store(found, SIDE, root, recipe=RECIPE, decoded=originals.whole)
    assert (store.parts[: len(store.parts) // 2] == TRAIN).any()
    return data_of(store.images, originals)


def loaded(dataset: Dataset[tuple[torch.Tensor, int]]) -> Iterable[torch.Tensor]:
    """Yield the images of a DataLoader's epoch."""
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS)
    return (images for images, _ in loader)


class Small(Dataset[tuple[torch.Tensor, int]]):
    """Small images, handed over as torchvision's CIFAR10 does it."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = images
        self._transform = transforms.Compose(
            [transforms.RandomCrop(SMALL, padding=4), transforms.RandomHorizontalFlip(), *NORMALISE]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), index % CLASSES


def photo_round(folder: Path, number: int) -> dict[str, Cost]:
    """Return what each way costs in one round."""
    config = TrainConfig(augmentation=("random_resized_crop", "horizontal_flip"))
    peer = datasets.ImageFolder(
        folder,
        transforms.Compose(
            [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip(), *NORMALISE]
        ),
    )
    with tempfile.TemporaryDirectory() as root:
        made = list[Data]()

        def build() -> int:
            made.append(stores(folder, Path(root)))
            return len(made[0].images)

        return {
            "decoding alone": cost(lambda: decode(folder)),
            "store": cost(build),
            "crops from it": cost(lambda: consume(epoch(made[0], config, number))),
            "DataLoader": cost(lambda: consume(loaded(peer))),
        }


def small_round(images: np.ndarray, number: int) -> dict[str, Cost]:
    """Return what each way costs in one round."""
    config = TrainConfig(augmentation=("crop", "horizontal_flip"))
    data, peer = data_of(images), Small(images)
    return {
        "fieldtrial": cost(lambda: consume(epoch(data, config, number))),
        "DataLoader": cost(lambda: consume(loaded(peer))),
    }


def summary(rounds: list[dict[str, Cost]], ours: str) -> dict[str, object]:
    """Return wall and CPU of each way, and by how much `ours` is quicker than the DataLoader."""
    found: dict[str, object] = {
        f"{name}, {kind} ms an image": spread([one[name][which] for one in rounds])
        for name in rounds[0]
        for which, kind in enumerate(("wall", "CPU"))
    }
    for which, kind in enumerate(("wall", "CPU")):
        ratios = [one["DataLoader"][which] / one[ours][which] for one in rounds]
        found[f"DataLoader over {ours}, {kind}"] = spread(ratios)
    return found


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--small", type=int, default=20_000)
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in a DataLoader's workers
    keep_freed_memory()  # as a worker does
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (options.small, SMALL, SMALL, 3), np.uint8)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "photos"
        write_photos(folder, options.photos)
        photos, small = [], []
        for number in range(options.repeats + 1):
            photos.append(photo_round(folder, number))
            small.append(small_round(images, number))
    first = [
        (one["store"][0] + one["crops from it"][0]) / one["DataLoader"][0] for one in photos[1:]
    ]
    write_result(
        "input",
        {
            "what": f"batches of {BATCH} normalised images, {os.cpu_count()} cores, two workers",
            "photos": summary(photos[1:], "crops from it"),
            "first epoch, store included, over the DataLoader's, wall": spread(first),
            "small images": summary(small[1:], "fieldtrial"),
        },
    )


if __name__ == "__main__":
    main()
