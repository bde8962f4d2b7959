"""What test_world has two processes do, started by torchrun; the argument is a folder, where the
runs are left.

One start does everything: it takes longer than what it starts.
"""

import contextlib
import json
import sys
from pathlib import Path

import torch

from fieldtrial.disk.run import Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.fit import fit


def train_until(
    run: Run, world: World, attempt: int, last_epoch: int | None = None, accumulate: int = 1
) -> None:
    """Train, to the end and the test or until an epoch's record is there."""
    with contextlib.closing(
        train(run, world, attempt, test=True, accumulate=accumulate)
    ) as records:
        for record in records:
            if record["epoch"] == last_epoch:
                break


def main() -> None:
    """Train what lies in the folder: whole-*, halved-* (stopped and gone on with), half-*, begun-*,
    cut4-* (with each batch in four pieces), left (in the middle of an epoch), diverging, and
    others, whole.
    """
    world, folder = World.from_environment(), Path(sys.argv[1])
    facts = {
        "gathered": world.gather(torch.tensor([[world.rank], [world.rank + 2]])).flatten().tolist(),
        "sum": world.sum(torch.tensor([1.0, float(world.rank)])).tolist(),
        "any": world.any(world.rank == 1),
        "none": world.any(False),
        "broadcast": world.broadcast({"rank": world.rank}),
    }
    (folder / f"facts-{world.rank}.json").write_text(json.dumps(facts))
    for path in sorted(folder.glob("*/config.json")):
        run = Run(path.parent)
        if run.name.startswith("halved"):
            train_until(run, world, attempt=1, last_epoch=1)
            train_until(run, world, attempt=2)
        elif run.name.startswith("half"):
            train_until(run, world, attempt=1, last_epoch=1)
        elif run.name.startswith("cut"):
            train_until(run, world, attempt=1, accumulate=int(run.name[3]))
        elif run.name == "left":
            epochs = [
                record["epoch"]
                for record in fit(run.config(), run, world, stop=lambda: world.is_main)
            ]
            (folder / f"left-{world.rank}").write_text(str(epochs))
        elif run.name == "diverging":
            try:
                train_until(run, world, attempt=1)
            except Diverged as error:
                (folder / f"diverged-{world.rank}").write_text(str(error))
        else:
            train_until(run, world, attempt=2 if run.name.startswith("begun") else 1)
    world.close()


if __name__ == "__main__":
    main()
