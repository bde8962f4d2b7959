"""Train one trial: `python jobs/train.py --run DIR` and one flag per field; again, it goes on from
where it stopped.

On several processes: `torchrun --nproc-per-node 2 -- jobs/train.py --run DIR ...` (the -- keeps
torchrun off --run).
"""

import argparse
import os
import sys

from fieldtrial.config import TrainConfig
from fieldtrial.disk.files import share_with_group
from fieldtrial.disk.run import Run
from fieldtrial.flags import add_flags


def main() -> None:
    """Train, and print a line an epoch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.usage = (
        "%(prog)s --run DIR [--test] [--prepare] [--accumulate N] [--data-root DIR] [--FIELD VALUE"
        " ...]"
    )
    parser.add_argument(
        "--run",
        required=True,
        metavar="DIR",
        help="the run's directory: new, or of this very config",
    )
    parser.add_argument(
        "--test", action="store_true", help="evaluate the best epoch's weights on the test images"
    )
    prepare = (
        "make directory and data ready for WORLD_SIZE processes (LOCAL_WORLD_SIZE here), or say"
        " what is wrong"
    )
    parser.add_argument("--prepare", action="store_true", help=prepare)
    parser.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        default=1,
        help="gradient accumulation steps [1]",
    )
    parser.add_argument(
        "--data-root", metavar="DIR", help="where data sets are and are downloaded to"
    )
    add_flags(parser)
    flags = parser.parse_args()
    share_with_group()
    if flags.data_root:
        os.environ["FIELDTRIAL_DATA"] = flags.data_root
    try:
        config = TrainConfig.from_flags(flags)
        # Late: wrong flags are reported without waiting for torch.
        from fieldtrial.training.attempt.single_run import prepare_run, train_run

        if flags.prepare:
            prepare_run(config, Run(flags.run), flags.accumulate)
        else:
            train_run(config, Run(flags.run), flags.test, flags.accumulate)
    except (ValueError, OSError, FloatingPointError, KeyboardInterrupt) as error:
        sys.exit(str(error) or "interrupted: the same command goes on from the last epoch")


if __name__ == "__main__":
    main()
