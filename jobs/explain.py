"""Draw what a trained model sees: `python jobs/explain.py --run DIR [--images N] [--layer NAME]`.

Predictions, confused pairs, a map of features, filters, feature maps, guided backpropagation and
Grad-CAM, as PNG files in the run's directory and in TensorBoard's image tab.
"""

import argparse
import os
import sys

from fieldtrial.disk.files import share_with_group
from fieldtrial.disk.run import Run


def main() -> None:
    """Draw the pictures, and print the path of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", required=True, metavar="DIR", help="the directory of a run that has ended well"
    )
    parser.add_argument(
        "--images", type=_count, default=24, metavar="N", help="how many images are shown [24]"
    )
    parser.add_argument(
        "--layer", metavar="NAME", help="whose maps and gradients [every block's; the last one's]"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the images and neurons that are drawn [0]",
    )
    parser.add_argument(
        "--data-root", metavar="DIR", help="where data sets are and are downloaded to"
    )
    flags = parser.parse_args()
    share_with_group()
    if flags.data_root:
        os.environ["FIELDTRIAL_DATA"] = flags.data_root
    from fieldtrial.insight.explain import explain  # late: torch takes seconds
    from fieldtrial.training.distributed.world import World

    world = World.from_environment()
    try:
        for path in explain(Run(flags.run), world, flags.images, flags.layer, flags.seed):
            print(path, flush=True)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    finally:
        world.close()


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 1")
    return int(text)


if __name__ == "__main__":
    main()
