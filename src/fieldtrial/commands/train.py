"""Train one trial: fieldtrial train --run DIR [--FIELD VALUE ...]

The same command again resumes from the last epoch. On several processes:
python -m fieldtrial.training.distributed.launcher --processes 2 -m fieldtrial train --run DIR ...
"""

from collections.abc import Sequence

from fieldtrial.command_line import (
    add_data_root,
    add_run,
    job,
    job_parser,
    parse,
    typed_config,
    warn_of_no_effect,
)
from fieldtrial.config import FIELDS, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.flags import add_flags
from fieldtrial.installed.extras import require_extras

USAGE = "--run DIR [--test] [--prepare] [--accumulate N] [--data-root DIR] [--FIELD VALUE ...]"
PREPARE = (
    "make directory and data ready for WORLD_SIZE processes (LOCAL_WORLD_SIZE on this machine), or"
    " say what is wrong"
)


@job(FloatingPointError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and print one line per epoch."""
    parser = job_parser(__doc__, USAGE)
    add_run(parser, "the run's directory: new, or of the same config")
    parser.add_argument(
        "--test", action="store_true", help="evaluate the best epoch's weights on the test images"
    )
    parser.add_argument("--prepare", action="store_true", help=PREPARE)
    parser.add_argument(
        "--accumulate", type=int, metavar="N", default=1, help="gradient accumulation steps [1]"
    )
    add_data_root(parser)
    add_flags(parser)
    flags = parse(parser, arguments)
    config, run = typed_config(TrainConfig.from_flags(flags)), Run(flags.run)
    if run.exists():
        config = run.as_begun(config, [name for name in FIELDS if name in flags])
    warn_of_no_effect(flags, config)
    require_extras("train")
    from fieldtrial.training.attempt.single_run import prepare_run, train_run  # late: torch

    if flags.prepare:
        prepare_run(config, run, flags.accumulate)
    else:
        train_run(config, run, flags.test, flags.accumulate)
    return 0
