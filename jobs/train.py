"""Train one trial: `python jobs/train.py --run DIR` and one flag per field; again, it goes on from where it stopped.

On several processes: `torchrun --nproc-per-node 2 -- jobs/train.py --run DIR ...` (the -- keeps torchrun off --run).
"""

import argparse
import os
import sys
from typing import Any

from fieldtrial.config import TrainConfig, add_flags
from fieldtrial.run import Run


def main() -> None:
    """Train, and print a line an epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, metavar="DIR", help="the run's directory: new, or of this very config")
    parser.add_argument("--test", action="store_true", help="evaluate the best epoch's weights on the test images")
    parser.add_argument("--data-root", metavar="DIR", help="where data sets are and are downloaded to")
    add_flags(parser)
    flags = parser.parse_args()
    if flags.data_root:
        os.environ["FIELDTRIAL_DATA"] = flags.data_root
    try:
        train_run(TrainConfig.from_flags(flags), Run(flags.run), flags.test)
    except (ValueError, FileNotFoundError, FloatingPointError, KeyboardInterrupt) as error:
        sys.exit(str(error) or "interrupted: the same command goes on from the last epoch")


def train_run(config: TrainConfig, run: Run, test: bool) -> None:
    """Train `run` from where it is, or only test it; the first process prints."""
    from fieldtrial.training.trial import add_test_scores, train  # late: wrong flags are told without a wait for torch
    from fieldtrial.training.world import World

    world = World.from_environment()
    say = print if world.is_main else lambda *_, **__: None
    attempt = world.broadcast(max(run.attempts(), default=0) + 1)
    if world.is_main:
        Run.create(run.path, config)
    result = world.broadcast(run.result())
    if not result:
        for record in train(run, world, attempt, test):
            say(describe(record), flush=True)
    elif test and "test_accuracy" not in result:
        add_test_scores(run, world)
    else:
        say(f"{run.path} is finished: nothing to do")
    say(f"end: {describe(run.result() or {})}")
    world.close()


def describe(values: dict[str, Any]) -> str:
    """Return the epoch, losses and accuracies among `values` for people."""
    shown = [name for name in values if name in ("epoch", "best_epoch") or name.endswith(("_loss", "_accuracy"))]
    return "  ".join(f"{name.replace('_', ' ')} {values[name]:.4g}" for name in shown)


if __name__ == "__main__":
    main()
