"""Evaluate a finished run's weights again: `python jobs/evaluate.py --run DIR [--split validation]
[--initial]`.

Prints the metrics, adds what result.json lacks of them, and stores the predictions. --initial: the
weights that it
started from, with a fresh last layer: before fine-tuning. --dataset: on another data set of the
same classes.
"""

import argparse
import os
import sys

from fieldtrial.disk.files import share_with_group
from fieldtrial.disk.run import Run


def main() -> None:
    """Evaluate, and print a line a metric."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", required=True, metavar="DIR", help="the directory of a run that has ended well"
    )
    parser.add_argument(
        "--split", choices=["test", "validation"], default="test", help="which images [test]"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--initial",
        action="store_true",
        help="the weights before training, instead of the kept ones",
    )
    which.add_argument(
        "--dataset", metavar="DATASET", help="another data set, whose classes have the same names"
    )
    parser.add_argument(
        "--data-root", metavar="DIR", help="where data sets are and are downloaded to"
    )
    flags = parser.parse_args()
    share_with_group()
    if flags.data_root:
        os.environ["FIELDTRIAL_DATA"] = flags.data_root
    run = Run(flags.run)
    try:
        run.config()
        from fieldtrial.training.distributed.world import World
        from fieldtrial.training.scoring.evaluation import (  # late: torch takes seconds
            evaluate_elsewhere,
            evaluate_run,
        )

        world = World.from_environment()
        if flags.dataset:
            scores = evaluate_elsewhere(run, world, flags.dataset, flags.split)
        else:
            scores = evaluate_run(run, world, (flags.split,), flags.initial)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(str(error))
    if world.is_rank_0:
        for name, value in scores.items():
            if name != "class_names":
                print(f"{name.replace('_', ' ')} {value:.4g}")
    world.close()


if __name__ == "__main__":
    main()
