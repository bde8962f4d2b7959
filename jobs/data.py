"""Prepares a data set ahead of all trials: python jobs/data.py NAME [--data-root DIR] [--show]

It is downloaded if it is not there and can be, unpacked, and decoded once at its own size, or at
--image_size. Images that cannot be read are named. With --show, two pictures are drawn: class
counts per split, and samples with names.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from fieldtrial.config import TrainConfig
from fieldtrial.flags import add_flags

FIELDS = (
    "classes",
    "image_size",
    "validation_fraction",
    "train_fraction",
    "images_per_class",
    "seed",
)


def main() -> None:
    """Prepare, print what there is, and draw it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", metavar="NAME", help="a data set's name, or folder:PATH")
    parser.add_argument(
        "--data-root", metavar="DIR", help="where data sets are and come to [$FIELDTRIAL_DATA]"
    )
    parser.add_argument("--show", action="store_true", help="draw class counts and samples")
    parser.add_argument("--out", default=".", metavar="DIR", help="where the pictures come to [.]")
    add_flags(parser, FIELDS)
    flags = parser.parse_args()
    if flags.data_root:
        os.environ["FIELDTRIAL_DATA"] = flags.data_root
    try:
        prepare(TrainConfig.from_flags(flags), Path(flags.out) if flags.show else None)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on where the download stopped")


def prepare(config: TrainConfig, out: Path | None) -> None:
    """Open the data set of `config` as a trial would, print its counts, and draw it into `out`
    unless that is None.
    """
    # late: wrong flags are reported without a wait
    from fieldtrial.insight.dataset import draw_class_counts, draw_samples
    from fieldtrial.training.data.load import load
    from fieldtrial.training.data.sets.registry import data_root

    data = load(config, config.image_size)
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    counts = ", ".join(f"{len(part):,} {name}" for name, part in splits.items())
    kind = "grey" if data.channels == 1 else "colour"
    print(
        f"{config.dataset}: {len(data.class_names)} classes, {kind}, {data.image_size} pixels;"
        f" {counts} images"
    )
    print(f"data sets are in {data_root()}")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]", "_", Path(config.dataset.removeprefix("folder:")).name)
        for draw, what in ((draw_class_counts, "classes"), (draw_samples, "samples")):
            draw(data, config.dataset, out / f"{name}-{what}.png")
            print(out / f"{name}-{what}.png")


if __name__ == "__main__":
    main()
