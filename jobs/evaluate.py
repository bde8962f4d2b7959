"""Evaluate a finished run's weights again: python jobs/evaluate.py --run DIR [--split validation]

Prints the metrics, adds those that result.json lacks, and stores the predictions. --initial takes
the weights before training, with a fresh last layer. --dataset takes another data set with the
same class names.
"""

import sys
from collections.abc import Sequence

from fieldtrial.command_line import add_data_root, add_run, job, job_parser, parse
from fieldtrial.disk.run import Run


@job(FloatingPointError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, and print one line per metric."""
    parser = job_parser(__doc__)
    add_run(parser, "the directory of a finished run")
    parser.add_argument(
        "--split", choices=["test", "validation"], default="test", help="which images [test]"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--initial", action="store_true", help="the weights before training, not the kept ones"
    )
    which.add_argument("--dataset", metavar="NAME", help="another data set with the same classes")
    add_data_root(parser)
    flags = parse(parser, arguments)
    run = Run(flags.run)
    run.config()  # refuses a folder without a run before torch is imported
    from fieldtrial.training.distributed.world import World
    from fieldtrial.training.scoring.evaluation import evaluate_elsewhere, evaluate_run

    world = World.from_environment()
    if flags.dataset:
        scores = evaluate_elsewhere(run, world, flags.dataset, flags.split)
    else:
        scores = evaluate_run(run, world, (flags.split,), flags.initial)
    for name, value in scores.items() if world.is_rank_0 else ():
        if name != "class_names":
            print(f"{name.replace('_', ' ')} {value:.4g}")
    world.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
