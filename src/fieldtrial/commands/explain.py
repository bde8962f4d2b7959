"""Draw what a trained model sees: fieldtrial explain --run DIR [--images N] [--layer NAME]

Predictions, confused pairs, a map of features, filters, feature maps, guided backpropagation and
Grad-CAM, as PNG files in the run's directory and as images in TensorBoard. --images PATH ... shows
these files instead; a file's actual class is the name of its folder.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fieldtrial.command_line import (
    add_data_root,
    add_run,
    add_trust,
    job,
    job_parser,
    open_run,
    parse,
    say,
)
from fieldtrial.installed.extras import require_extras


@job()
def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the pictures, and print the path of each."""
    parser = job_parser(__doc__)
    add_run(parser, "the directory of a finished run")
    parser.add_argument(
        "--images",
        nargs="+",
        default=["24"],
        metavar="N|PATH",
        help="how many are shown, or files [24]",
    )
    parser.add_argument(
        "--layer", metavar="NAME", help="whose maps and gradients [every block's; the last one's]"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed for choosing images and neurons [0]"
    )
    add_data_root(parser)
    add_trust(parser)
    flags = parse(parser, arguments)
    count, files = _images(parser, flags.images)
    require_extras("train")
    run = open_run(flags.run, flags.trust)
    from fieldtrial.insight.explain import explain  # late: torch takes seconds
    from fieldtrial.training.distributed.world import World

    world = World.from_environment()
    try:
        for path in explain(run, world, count, flags.layer, flags.seed, files):
            say(str(path))
    finally:
        world.close()
    return 0


def _images(parser: argparse.ArgumentParser, texts: Sequence[str]) -> tuple[int, list[Path]]:
    if len(texts) == 1 and texts[0].isdecimal() and int(texts[0]):
        return int(texts[0]), []
    if missing := [text for text in texts if not Path(text).is_file()]:
        parser.error(f"--images {missing[0]!r}: must be a whole number from 1, or image files")
    return len(texts), [Path(text) for text in texts]
