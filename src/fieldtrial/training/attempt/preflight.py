"""python -m fieldtrial.training.attempt.preflight: checks configs, and prepares their data.

Its argument is the sweep's folder. It reads a JSON list of {"config": ..., "shapes_only": ...,
"processes": ..., "on_gpus": ...} from the standard input, and writes a list of answers to the
standard output: for each config its problems or, if it has none, its numbers of parameters,
operations and images. Data and weights must be those of the sweep's earlier trials. Decoded images
and downloaded weights stay for the trials. With shapes_only no weights are allocated: the model may
be too large for this machine.
"""

import contextlib
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.fields.switches import require_switches
from fieldtrial.own.errors import OwnCodeError
from fieldtrial.own.load import load_all
from fieldtrial.own.names import is_own
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.cached_views import require_views
from fieldtrial.training.freezing.schemes import require_copies
from fieldtrial.training.freezing.trained_part import trained_part
from fieldtrial.training.inputs.facts import count
from fieldtrial.training.inputs.settle import standing_problems
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.batches import require_micro_batch
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.tasks.own_loss import try_loss


def main() -> None:
    """Answer for all configs of the standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    folder = Path(*sys.argv[1:2])  # of the sweep, which may not be there yet
    questions = json.load(sys.stdin)
    json.dump([_answer(folder, **question) for question in questions], answers)
    answers.close()


def _answer(
    folder: Path, config: dict[str, Any], shapes_only: bool, processes: int, on_gpus: bool | None
) -> dict[str, Any]:
    """Answer a question. on_gpus: whether a trial runs on GPUs; None: if this machine has any."""
    known = TrainConfig.from_dict(config)
    is_on_gpus = torch.cuda.is_available() if on_gpus is None else on_gpus
    world = World(size=processes, device=torch.device("cuda" if is_on_gpus else "cpu"))
    return check(Attempt(Run(folder / known.id), known, world), shapes_only)


def check(attempt: Attempt, shapes_only: bool = False) -> dict[str, Any]:
    """Return {"problems": texts}; without problems also "tensors", the numbers of `count` and what
    `trained_part` says.
    """
    try:
        require_switches()
        require_copies(attempt.config, attempt.world.size)
        load_all(attempt.config.own_parts)
        with torch.device("meta") if shapes_only else contextlib.nullcontext():
            data, network = open_trial(attempt.config, attempt.run)
            require_micro_batch(network, data, attempt)
            if not shapes_only:
                here = replace(attempt.world, device=torch.device("cpu"))
                require_views(network, data, attempt.config, here)
                if is_own(attempt.config.loss):
                    try_loss(network, attempt.config, data)
            own = (attempt.run, attempt.config, data, network)
            if problems := [] if shapes_only else standing_problems(*own):
                return {"problems": problems}
            tensors = sum(1 for _ in network.parameters())
            known = {"problems": [], "tensors": tensors, **count(network, data)}
            return known | asdict(trained_part(network, data))
    except (OwnCodeError, ValueError, OSError) as error:
        return {"problems": str(error).splitlines()}


if __name__ == "__main__":
    main()
