"""Train one trial: `python jobs/train.py --run DIR` and one flag per field; again, it goes on from where it stopped.

Under torchrun, with several processes: `torchrun --nproc-per-node 2 -- jobs/train.py --run DIR ...`.
"""

import argparse
import os
import sys

if not sys.flags.safe_path:
    sys.path.pop(0)  # this folder, whose tabulate.py would pass for the library of that name, which torch imports

from fieldtrial.config import TrainConfig, add_flags
from fieldtrial.run import Run
from fieldtrial.training.trial import train
from fieldtrial.training.world import World


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
        world = World.from_environment()
        config = TrainConfig.from_flags(flags)
        run = world.broadcast(Run.create(flags.run, config) if world.is_main else Run(flags.run))
        if world.broadcast(run.result()):
            say(world, f"{run.path} is finished: nothing to do")
        else:
            attempt = world.broadcast(max(run.attempts(), default=0) + 1)
            for record in train(run, world, attempt, flags.test):
                say(world, line(record, config.epochs))
        result = run.result() or {}
        say(world, ", ".join(f"{name} {value}" for name, value in result.items() if not isinstance(value, float)))
        world.close()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"{error}")


def line(record: dict[str, float], epochs: int) -> str:
    """Return an epoch's record for people."""
    return (
        f"epoch {record['epoch']}/{epochs}  train {record['train_loss']:.4f} {record['train_accuracy']:.2%}  "
        f"validation {record['validation_loss']:.4f} {record['validation_accuracy']:.2%}  "
        f"lr {record['lr']:.3g}  {record['images_per_second']:.0f} images/s"
    )


def say(world: World, text: str) -> None:
    """Print, once for all processes."""
    if world.is_main:
        print(text, flush=True)


if __name__ == "__main__":
    main()
