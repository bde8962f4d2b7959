"""What a training step costs: this project's beside loops written by hand, on a CPU.

python benchmarks/step.py [--repeats 5] [--compile]

CPU milliseconds of a step, on one thread, all with AdamW, on made-up images in memory, of

- an MLP on 8 × 8 pixels, 64 images a step;
- a CNN of five blocks on 64 × 64 pixels, 32 images a step, with crops, flips and colour jitter;
- a ResNet-18 on 128 × 128 pixels, 16 images a step.

Sides:

- ours: `train_epoch` as it is, with everything that a record has;
- plain: the same with FIELDTRIAL_MEMORY_FORMAT=contiguous, FIELDTRIAL_FUSED=off and
  FIELDTRIAL_MALLOC=default;
- by hand: the same arithmetic in a short loop that knows what is quick: channels last, AdamW fused,
  augmentation in batches and normalisation as one multiply-add by this project's functions,
  gradients dropped by hand, freed memory kept;
- tutorial: a loop as tutorials have it: channels first, AdamW and `zero_grad` as they come,
  augmentation an image at a time by torchvision;
- compiled, with --compile: ours with compile = on; its first turn, which compiles, does not count.

Sides that share an environment take turns in one process, and these processes take turns. Also
AdamW's step alone, on ResNet-18's weights. Writes benchmarks/results/step.json.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from machine import spread, write_result
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import v2

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.fields.choices import Augmentation
from fieldtrial.training.attempt.memory import keep_freed_memory
from fieldtrial.training.augment.transforms import augment
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.epoch import Learner, train_epoch
from fieldtrial.training.loop.optimizers import build_optimizer
from fieldtrial.training.loop.strategy import prepare
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.source import ModelSource, build
from fieldtrial.training.tasks.registry import task_of

OFF = {
    "FIELDTRIAL_MEMORY_FORMAT": "contiguous",
    "FIELDTRIAL_FUSED": "off",
    "FIELDTRIAL_MALLOC": "default",
}
TURNS = 5  # of each loop in a process, after one that does not count


@dataclass(frozen=True)
class Case:
    """A model with its images: `channels` and `side` in pixels, `steps` in a turn."""

    config: TrainConfig
    channels: int
    side: int
    steps: int

    @property
    def images(self) -> int:
        """How many images a turn sees."""
        return self.steps * self.config.batch_size


AUGMENTED: tuple[Augmentation, ...] = ("crop", "horizontal_flip", "color_jitter")
CASES = {
    "MLP": Case(TrainConfig(model="mlp", epochs=10**6), 1, 8, 200),
    "five-block CNN, augmented": Case(
        TrainConfig(model="cnn", batch_size=32, augmentation=AUGMENTED, epochs=10**6), 3, 64, 6
    ),
    "ResNet-18": Case(
        TrainConfig(model="torchvision:resnet18", batch_size=16, epochs=10**6), 3, 128, 3
    ),
}


def data_of(case: Case) -> Data:
    """Return made-up images and labels, all of them to train on, in the place of the digits."""
    generator = np.random.default_rng(0)
    shape = (case.images, case.side, case.side, case.channels)
    every = np.arange(case.images)
    return replace(
        load(TrainConfig(), None),
        images=generator.integers(256, size=shape, dtype=np.uint8),
        labels=generator.integers(10, size=case.images),
        train=every,
        validation=every[:1],
        test=every[:1],
        mean=(0.5,) * case.channels,
        std=(0.3,) * case.channels,
    )


def ours(data: Data, config: TrainConfig, folder: Path) -> Callable[[], object]:
    """Return an epoch of this project's training."""
    attempt = Attempt.at(Run.create(folder / config.id, config))
    attempt = replace(attempt, stop=lambda: False)
    network, world, task = network_of(config, data), World(), task_of(config)
    objective = task.objective(network, config, data, world)
    learner = Learner(task, network, objective, prepare(network, config, world))
    epochs = iter(range(1, 10**6))
    return lambda: train_epoch(attempt, learner, data, next(epochs))


def network_of(config: TrainConfig, data: Data) -> Network:
    """Return the network of `config`."""
    return build(ModelSource.of(config), data.shape, data.mean, data.std)


def loop(
    case: Case,
    data: Data,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    prepare: Callable[[Tensor, int], Tensor],
    clear: Callable[[], None],
) -> Callable[[], object]:
    """Return an epoch of a loop by hand, with loss and accuracy.

    prepare: from stored images (n, h, w, c) and a seed to augmented and normalised ones.
    clear: drops the gradients of a step.
    """
    stored, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    seeds = iter(range(10**9))

    def epoch() -> tuple[float, int]:
        model.train()
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.long)
        for chosen in torch.split(torch.randperm(case.images), case.config.batch_size):
            logits = model(prepare(stored[chosen], next(seeds)))
            loss = functional.cross_entropy(logits, labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            clear()
            total += loss.detach() * len(chosen)
            correct += (logits.argmax(1) == labels[chosen]).sum()
        return total.item() / case.images, int(correct)

    return epoch


def by_hand(case: Case, data: Data) -> Callable[[], object]:
    """Return the loop that knows what is quick."""
    network = network_of(case.config, data)
    model = copy.deepcopy(network.model).to(memory_format=torch.channels_last)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=0.0, fused=True)

    def prepare(images: Tensor, seed: int) -> Tensor:
        changed = augment(images, AUGMENTED, seed) if case.config.augmentation else images
        return network.normalise(changed)

    def clear() -> None:
        for parameter in parameters:
            parameter.grad = None

    return loop(case, data, model, optimizer, prepare, clear)


def tutorial(case: Case, data: Data) -> Callable[[], object]:
    """Return the loop as tutorials have it."""
    model = copy.deepcopy(network_of(case.config, data).model).to(
        memory_format=torch.contiguous_format
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.0)
    mean, std = (torch.tensor(one).view(1, -1, 1, 1) for one in (data.mean, data.std))
    change = v2.Compose(
        [
            v2.RandomCrop(case.side, padding=case.side // 8, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
        ]
    )

    def prepare(images: Tensor, _seed: int) -> Tensor:
        images = images.permute(0, 3, 1, 2).float() / 255
        if case.config.augmentation:
            images = torch.stack([change(image) for image in images.contiguous()])
        return (images - mean) / std

    return loop(case, data, model, optimizer, prepare, optimizer.zero_grad)


def adamw(case: Case, data: Data) -> Callable[[], object]:
    """Return AdamW's step on the weights of the case's network."""
    parameters = list(network_of(case.config, data).parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer = build_optimizer(parameters, case.config)

    def steps() -> None:
        for _ in range(case.steps):
            optimizer.step()

    return steps


def measure(is_off: bool, compiles: bool) -> dict[str, dict[str, float]]:
    """Return {case: {side: CPU milliseconds of a step}} in this process's environment."""
    torch.set_num_threads(1)
    keep_freed_memory()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            data, path = data_of(case), Path(folder) / name.replace(" ", "-")
            path.mkdir()
            sides = {"plain" if is_off else "ours": ours(data, case.config, path)}
            if compiles and not is_off:
                sides["compiled"] = ours(data, replace(case.config, compile="on"), path)
            sides["tutorial" if is_off else "by hand"] = (tutorial if is_off else by_hand)(
                case, data
            )
            found[name] = turns(case, sides)
    case = CASES["ResNet-18"]
    step = turns(case, {"plain" if is_off else "ours": adamw(case, data_of(case))})
    return found | {"AdamW's step, ResNet-18": step}


def turns(case: Case, sides: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median milliseconds of a step of each side, which take turns."""
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(TURNS + 1):
        for side, epoch in sides.items():
            started = time.process_time()
            epoch()
            taken[side].append(1000 * (time.process_time() - started) / case.steps)
    return {side: statistics.median(times[1:]) for side, times in taken.items()}


def in_process(variables: dict[str, str], *flags: str) -> dict[str, dict[str, float]]:
    """Return what `measure` finds in a process of its own with these variables."""
    kept = {name: value for name, value in os.environ.items() if name not in OFF}
    command = [sys.executable, __file__, "--child", *flags]
    done = subprocess.run(command, env=kept | variables, stdout=subprocess.PIPE, check=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--compile", action="store_true", help="measure compile = on as well")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure("FIELDTRIAL_FUSED" in os.environ, options.compile)))
        return
    flags = ["--compile"] if options.compile else []
    rounds = []
    for _ in range(options.repeats):
        quick, slow = in_process({}, *flags), in_process(OFF)
        rounds.append({case: quick[case] | slow[case] for case in quick})
    figures = {
        case: {side: spread([one[case][side] for one in rounds]) for side in rounds[0][case]}
        for case in rounds[0]
    }
    over = {
        case: {
            f"ours over {side}": spread([one[case]["ours"] / one[case][side] for one in rounds])
            for side in own
            if side != "ours"
        }
        for case, own in figures.items()
    }
    what = "CPU milliseconds of a training step, one thread; and ours over the others, by rounds"
    write_result("step", {"what": what, "milliseconds": figures, "ratios": over})


if __name__ == "__main__":
    main()
