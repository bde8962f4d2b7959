"""Prepare a data set before any trial: fieldtrial data NAME [--data-root DIR] [--show]

Downloads it if it is missing, unpacks it, and decodes it once, at its own size or at --image_size.
Images that cannot be read are named. --show draws the class counts of each split, and samples.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from fieldtrial.command_line import add_data_root, job, job_parser, parse, say, typed_config
from fieldtrial.config import TrainConfig
from fieldtrial.flags import add_flags
from fieldtrial.installed.extras import require_extras
from fieldtrial.own.names import RULE

ANY = TrainConfig(select="last")  # which every task may choose by
CUTS = ("validation_fraction", "train_fraction", "images_per_class", "deduplicate", "folds", "fold")


@job()
def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the data set, print its counts, and draw it."""
    parser = job_parser(__doc__)
    text = f"a name, folder:PATH, boxes:PATH, or {RULE}"
    parser.add_argument("dataset", metavar="NAME", help=text)
    add_data_root(parser)
    parser.add_argument("--show", action="store_true", help="draw class counts and samples")
    parser.add_argument("--out", default=".", metavar="DIR", help="folder of the drawings [.]")
    add_flags(parser, ("task", "target", "classes", "image_size", *CUTS, "seed"))
    parser.kinds.add("dataset")  # which has no flag: it is the first argument
    flags = parse(parser, arguments)
    config = typed_config(TrainConfig.from_flags(flags, ANY))
    prepare(config, Path(flags.out) if flags.show else None)
    return 0


def prepare(config: TrainConfig, out: Path | None) -> None:
    """Open the data set of `config` as a trial does, print its counts, and draw it into `out`."""
    require_extras("train")
    from fieldtrial.insight.dataset import draw_class_counts, draw_samples
    from fieldtrial.processes import data_root
    from fieldtrial.training.data.labels.loaders import open_data  # late: bad flags need no wait

    data = open_data(config)
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    counts = ", ".join(f"{len(part):,} {name}" for name, part in splits.items())
    kind = f"{'grey' if data.channels == 1 else 'colour'}, {data.image_size} pixels"
    say(f"{config.dataset}: {data.classes_text()}, {kind}; {counts} images")
    remarks = [f"  {remark}" for remark in data.remarks]
    say("\n".join([*remarks, f"{data.called[1]}: {', '.join(data.class_names)}"]))
    say(f"data sets are in {data_root()}")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]", "_", Path(config.dataset.rpartition(":")[2]).name)
        for draw, what in ((draw_class_counts, "classes"), (draw_samples, "samples")):
            draw(data, config.dataset, out / f"{name}-{what}.png")
            say(str(out / f"{name}-{what}.png"))
