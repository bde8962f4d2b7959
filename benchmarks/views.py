"""What cached views save, and what they change: a probe with random-resized crops and flips.

python benchmarks/views.py [--repeats 5] [--photos 400] [--epochs 10] [--views 1 4 8]

A linear probe at 128 pixels. Each round trains it with new views of each image in each epoch, and
with k cached views, from nothing and again with the features there; all with that round's seed. CPU
seconds of each trial, by how much the cached ones are quicker in the same round, and the difference
of their test accuracies from that with new views. The first round does not count. By default it is
of torchvision's ResNet-18 with drawn weights, on pieces of two photographs whose class is where
they were cut; accuracies mean more with --dataset, --model and --weights as in jobs/train.py.
Writes benchmarks/results/views.json.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import spread, write_result
from PIL import Image

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.loop.attempt import Attempt

HEIGHT, WIDTH = 160, 200  # pixels of a photo
CLASSES = 8

Trial = tuple[float, float]  # CPU seconds, and accuracy on test


def write_photos(folder: Path, count: int) -> None:
    """Write pieces of two photographs in folders of classes: each has its own region of one."""
    from sklearn.datasets import load_sample_image

    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    random = np.random.default_rng(0)
    for number in range(count):
        label = number % CLASSES
        region = divmod(label // 2, 2)
        top, left = (
            int(start * length / 2 + random.integers(max(1, length // 2 - own // 2)))
            for start, length, own in zip(
                region, (427 - HEIGHT, 640 - WIDTH), (80, 80), strict=True
            )
        )
        path = folder / f"class{label}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = random.normal(0, 25, (HEIGHT, WIDTH, 1))
        piece = photos[label % 2][top : top + HEIGHT, left : left + WIDTH] + noise
        Image.fromarray(piece.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def trial(path: Path, config: TrainConfig) -> Trial:
    """Train in this process; return the CPU seconds and the accuracy on test."""
    run = Run.create(path, config)
    started = time.process_time()
    for _ in train(Attempt(run, config, test=True)):
        pass
    seconds, result = time.process_time() - started, run.result()
    assert result is not None
    return seconds, float(result["test_accuracy"])


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--views", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--dataset", help="in the place of the pieces")
    parser.add_argument("--model", default="torchvision:resnet18")
    parser.add_argument("--weights", default="random")
    options = parser.parse_args()
    names = [f"{count} views, {when}" for count in options.views for when in ("first", "further")]
    rounds: list[dict[str, Trial]] = []
    with tempfile.TemporaryDirectory() as root:
        os.environ["FIELDTRIAL_CACHE"] = f"{root}/stores"
        if not options.dataset:
            write_photos(Path(root) / "photos", options.photos)
        for seed in range(options.repeats + 1):
            config = {
                "dataset": options.dataset or f"folder:{root}/photos",
                "model": options.model, "weights": options.weights,
                "image_size": 128, "freeze": "all_but_head", "epochs": options.epochs, "seed": seed,
                "augmentation": ["random_resized_crop", "horizontal_flip"], "lr": 0.01,
                "validation_fraction": 0.15,
            }  # fmt: skip
            wanted = {"new views": 0} | {name: int(name.split()[0]) for name in names}
            rounds.append({})
            for name, count in wanted.items():
                if name.endswith("first"):
                    shutil.rmtree(Path(root) / "stores/features", ignore_errors=True)
                one = TrainConfig.from_dict(config | {"cached_views": count})
                rounds[-1][name] = trial(Path(root) / f"{seed} {name}", one)
    counted = rounds[1:]
    write_result(
        "views",
        {
            "what": f"{options.dataset or options.photos} photos, {options.epochs} epochs,"
            f" {options.model}, {Path(options.weights).name} weights, 128 pixels",
            "CPU seconds": {name: spread([one[name][0] for one in counted]) for name in rounds[0]},
            "new views over it": {
                name: spread([one["new views"][0] / one[name][0] for one in counted])
                for name in names
            },
            "test accuracy": {
                name: spread([one[name][1] for one in counted]) for name in rounds[0]
            },
            "test accuracy beyond that of new views": {
                name: spread([one[name][1] - one["new views"][1] for one in counted])
                for name in names
                if name.endswith("first")
            },
        },
    )


if __name__ == "__main__":
    main()
