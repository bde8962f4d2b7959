"""The flags of a sweep file's command."""

import argparse

from fieldtrial.budget import until


def sweep_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser of a sweep file's flags. program: what the user typed, up to the file."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument(
        "--cluster",
        default="local",
        metavar="NAME",
        help="where trials run: cluster/NAME.toml [local]",
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="test every row: 1 trial, 1 epoch, a few images",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print rows, trials and cost; start nothing"
    )
    _add_budget(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of every row; may repeat",
    )
    parser.add_argument(
        "--rows",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="run only the rows with this value now; of several for a field, one of them",
    )
    parser.add_argument("--name", help="the sweep's folder in --runs [the file's name]")
    parser.add_argument(
        "--runs", default="runs", metavar="DIR", help="where sweeps are kept [runs]"
    )
    parser.add_argument("--data-root", metavar="DIR", help="where data sets are [$FIELDTRIAL_DATA]")
    parser.add_argument(
        "--takeover",
        action="store_true",
        help="end the driver that runs this sweep, and continue it",
    )
    parser.add_argument("--retry", action="store_true", help="run failed trials again")
    return parser


def _add_budget(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how many trials there are, and what they are for."""
    parser.add_argument("--trials", type=int, metavar="N", help="configurations of each search")
    parser.add_argument(
        "--seeds",
        type=_seeds,
        metavar="N",
        help="fresh seeds for each winner; until:N gives up to N where it is undecided",
    )
    parser.add_argument(
        "--folds",
        type=int,
        metavar="N",
        help="cut all images into N folds, and test each winner on every fold instead of N seeds",
    )
    parser.add_argument(
        "--finalists",
        type=int,
        metavar="N",
        help="best configurations of each search, trained again to choose the winner",
    )
    parser.add_argument(
        "--searches", type=int, metavar="N", help="repetitions of each row's whole search"
    )
    parser.add_argument(
        "--max-failures", type=int, metavar="N", help="failed trials after which the sweep stops"
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="search in rounds: the same trials, however many run at once",
    )
    parser.add_argument(
        "--aa",
        action="store_true",
        help="run the first row twice, as two rows: their difference is the table's noise",
    )
    parser.add_argument(
        "--pairs",
        action="store_true",
        help="compare every pair of rows, not only each row with the best",
    )


def _seeds(text: str) -> int:
    """Return the value of --seeds. Raises argparse's error with the rule."""
    prefix, _, number = text.rpartition(":")
    try:
        if prefix in ("", "until"):
            return until(int(number)) if prefix else int(number)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r}: must be N or until:N")
