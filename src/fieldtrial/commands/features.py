"""Fit support vector machines on a model's features: fieldtrial features --sweep DIR --model X

The features that the model's last layer gets are computed once and kept on disk. Nine machines are
fitted on them and tested: linear, RBF and cubic, each with none, standard and min-max scaling. Each
is a run in DIR, a sweep's folder with its table. --from RUN takes model, data and weights from a
finished run. The other flags are fields; --svm_penalty holds for all nine (a sweep can search it).
"""

from collections.abc import Sequence
from dataclasses import replace

from fieldtrial.command_line import (
    add_data_root,
    add_trust,
    job,
    job_parser,
    open_run,
    parse,
    typed_config,
    warn_of_no_effect,
)
from fieldtrial.config import TrainConfig
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.flags import add_flags
from fieldtrial.installed.extras import require_extras


@job()
def main(arguments: Sequence[str] | None = None) -> int:
    """Fit the machines that are missing, then print the table."""
    parser = job_parser(__doc__, "--sweep DIR [--from RUN] [--data-root DIR] [--FIELD VALUE ...]")
    parser.add_argument(
        "--sweep", required=True, metavar="DIR", help="the runs' folder: new, or of the same flags"
    )
    parser.add_argument("--from", dest="source", metavar="RUN", help="a finished run to start from")
    add_data_root(parser)
    add_trust(parser)
    add_flags(parser)
    flags = parse(parser, arguments)
    base = TrainConfig()
    if flags.source:
        base = replace(open_run(flags.source, flags.trust).config(), weights=flags.source)
    config = typed_config(TrainConfig.from_flags(flags, base))
    warn_of_no_effect(flags, replace(config, classifier="svm"))
    require_extras("train", "report")
    from fieldtrial.results.table import command  # late: bad flags are refused without a wait
    from fieldtrial.training.attempt.svm_grid import fit_grid
    from fieldtrial.training.distributed.world import World

    world = World.from_environment()
    fit_grid(config, SweepFolder(flags.sweep), world)
    world.close()
    return command.main([flags.sweep]) if world.is_rank_0 else 0
