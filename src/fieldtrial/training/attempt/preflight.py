"""Looks at configs before anything is started, and prepares their data: python -m
fieldtrial.training.attempt.preflight

Reads a JSON list of {"config": ..., "shapes_only": ...} from the standard input, and writes one
answer for each to the
standard output: what is wrong with it, or what it comes to (parameters, operations, images).
Decoded images and downloaded weights stay for the trials. With shapes_only no weights are drawn:
the model may be too large for here.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.epoch import piece_size, require_normalisable
from fieldtrial.training.loop.fit import describe, open_trial
from fieldtrial.training.loop.losses import require_triplets

ALONE = World()


def main() -> None:
    """Answer for all configs of the standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    questions = json.load(sys.stdin)
    here = Run(Path.cwd())  # there is no trial's directory yet
    json.dump(
        [look_at(TrainConfig.from_dict(q["config"]), here, q["shapes_only"]) for q in questions],
        answers,
    )
    answers.close()


def look_at(
    config: TrainConfig,
    run: Run,
    shapes_only: bool = False,
    world: World = ALONE,
    accumulate: int = 1,
) -> dict[str, Any]:
    """Return {"problems": texts} and, if there are none, what a trial in `run` comes to.

    `world` is of what processes it will be trained by, and `accumulate` into how many pieces its
    batches will be cut.
    """
    try:
        with torch.device("meta") if shapes_only else contextlib.nullcontext():
            data, network = open_trial(config, run)
            require_normalisable(network, data, config, world, accumulate)
            require_triplets(config, piece_size(config, world, accumulate) * world.size)
            tensors = sum(1 for _ in network.parameters())
            return {"problems": [], "tensors": tensors, **describe(network, data)}
    except (ValueError, OSError) as error:
        return {"problems": str(error).splitlines()}


if __name__ == "__main__":
    main()
