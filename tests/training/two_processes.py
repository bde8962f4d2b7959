"""What the two processes of test_world do; it is started with the folder of the runs.

One start trains all runs: a start takes longer than any of them.
"""

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.distributed import distributed_c10d

from fieldtrial.disk.run import Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.fit import Fit


def train_until(
    run: Run, world: World, attempt: int, last_epoch: int | None = None, accumulation: int = 1
) -> None:
    """Train, to the end and the test or until an epoch's record is there."""
    with contextlib.closing(
        train(Attempt.at(run, world, attempt, accumulation, test=True))
    ) as records:
        for record in records:
            if record["epoch"] == last_epoch:
                break


def main() -> None:
    """Train the runs in the folder as their names say.

    halved-* are stopped and resumed, half-* stopped, begun-* resumed; accumulatedN-* take N
    gradient accumulation steps; left is stopped in the middle of an epoch; the rest is trained
    whole.
    """
    # Whoever receives an object of Python's here fails.
    distributed_c10d._unpickler = None  # type: ignore[assignment]
    world, folder = World.from_environment(), Path(sys.argv[1])
    rows = torch.tensor([[world.rank], [world.rank + 2]])
    facts = {
        "gathered": world.all_gather(rows).flatten().tolist(),
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
        elif run.name.startswith("accumulated"):
            steps = int(run.name.removeprefix("accumulated")[0])
            train_until(run, world, attempt=1, accumulation=steps)
        elif run.name == "left":
            attempt = replace(Attempt.at(run, world), stop=lambda: world.is_rank_0)
            epochs = [record["epoch"] for record in Fit(attempt).records()]
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
