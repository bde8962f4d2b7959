"""Evaluate a finished run's weights again, or a library's classifier as it was published.

fieldtrial evaluate --run DIR [--split validation] [--initial | --dataset NAME]
fieldtrial evaluate --model NAME --weights imagenet --head keep --dataset NAME [--split all]

A run: prints the metrics, adds those that result.json lacks, stores the predictions. A classifier:
keeps its own last layer, matches the data set's classes by name, preprocesses as its library does.
"""

from collections.abc import Sequence

from fieldtrial.command_line import (
    add_data_root,
    add_trust,
    job,
    job_parser,
    open_run,
    parse,
    refuse,
    say,
    typed_config,
)
from fieldtrial.config import TrainConfig
from fieldtrial.installed.extras import require_extras
from fieldtrial.own.names import is_own

SPLITS = ["test", "validation", "all"]
TEXTS = {
    "weights": "a classifier's weights: imagenet, which are the library's, or a file",
    "dataset": "a classifier's images; for a run, another data set with the same class names",
    "out": "a directory for a classifier's predictions, which are stored as a run's",
}


@job(FloatingPointError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, and print a line for each metric."""
    parser = job_parser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", metavar="DIR", help="the directory of a finished run")
    what.add_argument("--model", metavar="NAME", help="a classifier of torchvision or timm")
    for name, text in TEXTS.items():
        parser.add_argument(f"--{name}", metavar="DIR" if name == "out" else "NAME", help=text)
    parser.add_argument("--head", choices=["keep"], help="keep a classifier's own last layer")
    parser.add_argument("--split", choices=SPLITS, default="test", help="which images [test]")
    parser.add_argument("--initial", action="store_true", help="a run's weights before training")
    add_data_root(parser)
    add_trust(parser)
    flags = parse(parser, arguments)
    if flags.model:
        refuse(parser, flags, "model", ["initial"], ["weights", "head", "dataset"])
        config = TrainConfig(model=flags.model, weights=flags.weights, dataset=flags.dataset)
    else:
        refuse(parser, flags, "run", ["weights", "out", "head"])
        run = open_run(flags.run, flags.trust)  # before torch is imported
        if flags.dataset and is_own(flags.dataset):
            typed_config(TrainConfig(dataset=flags.dataset))
    require_extras("train")
    from fieldtrial.training.distributed.world import World  # late: torch
    from fieldtrial.training.scoring import evaluation, published

    world = World.from_environment()
    if flags.model:
        lines = published.evaluate_published(config, flags.split, world, flags.out).lines()
    else:
        lines = evaluation.evaluate_again(run, world, flags.split, flags.initial, flags.dataset)
    for line in lines if world.is_rank_0 else ():
        say(line)
    world.close()
    return 0
