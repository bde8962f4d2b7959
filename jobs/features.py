"""Support vector machines on the features of a model: `python jobs/features.py --sweep DIR --model
resnet50 ...`.

The features that the model's last layer gets are computed once, and kept on disk. Nine machines,
linear, RBF and cubic, each with none, standard and min-max scaling, are fitted on them and tested;
each is a run in DIR, a sweep's folder with its table. --from RUN: model, data and weights of a run
that has ended well. The other flags are fields; --svm_penalty is that of all nine (a sweep can
search it).
"""

import argparse
import os
import sys
from dataclasses import replace

from fieldtrial.config import HINTS, TrainConfig, add_flags
from fieldtrial.disk.files import share_with_group
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder


def main() -> None:
    """Fit what has not been fitted, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # there are fifty fields
    parser.usage = "%(prog)s --sweep DIR [--from RUN] [--data-root DIR] [--FIELD VALUE ...]"
    parser.add_argument(
        "--sweep",
        required=True,
        metavar="DIR",
        help="the folder of the runs: new, or of these flags",
    )
    parser.add_argument(
        "--from", dest="source", metavar="RUN", help="a run whose model, data and weights are taken"
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
        base = TrainConfig()
        if flags.source:
            base = replace(Run(flags.source).config(), weights=flags.source)
        config = TrainConfig.from_dict(
            {name: text for name, text in vars(flags).items() if name in HINTS}, base
        )
        from fieldtrial.results.table import command  # late: wrong flags are told without torch
        from fieldtrial.training.attempt.svm_grid import fit_grid
        from fieldtrial.training.distributed.world import World

        world = World.from_environment()
        fit_grid(config, SweepFolder(flags.sweep), world)
    except (ValueError, OSError, KeyboardInterrupt) as error:
        sys.exit(str(error) or "interrupted: the same command goes on")
    world.close()
    sys.exit(command.main([flags.sweep]) if world.is_main else 0)


if __name__ == "__main__":
    main()
