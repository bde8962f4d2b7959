"""Ensembles of runs that share a test split: `python jobs/ensemble.py --run DIR RUN RUN ...`, or
`--sweep runs/x`.

Mean probability and majority vote. Prints accuracy, macro F1 and log loss of members and ensemble,
and stores the mean's result and predictions in DIR. With --sweep, the winners of the sweep's rows
are the members, one ensemble for each of their fresh seeds, and the last lines are the means over
these; they are stored as runs/x/ensemble-1, ....
"""

import argparse
import sys
from pathlib import Path

from fieldtrial.disk.files import share_with_group
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.analysis.ensemble import Ensemble, combine, winners
from fieldtrial.results.analysis.statistics import estimate_mean


def main() -> None:
    """Combine, print and store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "members", metavar="RUN", nargs="*", help="directories of runs that were tested"
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--run", metavar="DIR", help="where the ensemble is stored")
    where.add_argument("--sweep", metavar="DIR", help="a sweep's folder, instead of RUN")
    flags = parser.parse_args()
    if flags.sweep and flags.members:
        parser.error("--sweep has its own members: give no RUN")
    share_with_group()
    try:
        if flags.sweep:
            folder = SweepFolder(flags.sweep)
            made = {
                folder.path / f"ensemble-{n}": combine(runs)
                for n, runs in enumerate(winners(folder), start=1)
            }
        else:
            made = {Path(flags.run): combine([Run(member) for member in flags.members])}
        for path, ensemble in made.items():
            ensemble.write(path)
            show(path, ensemble)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    for name in ("mean", "vote") if flags.sweep else ():
        mean, half_width, n = estimate_mean(
            [100 * (e.scores()[name]["accuracy"] or 0) for e in made.values()]
        )
        print(
            f"{name}: accuracy {mean:.2f} %{'' if half_width is None else f' ± {half_width:.2f}'}"
            f" (n={n})"
        )


def show(path: Path, ensemble: Ensemble) -> None:
    """Print a line for each member, the mean and the vote."""
    print(f"{path}\n  accuracy %  macro F1  log loss")
    for name, scores in ensemble.scores().items():
        loss = "–" if scores["log_loss"] is None else f"{scores['log_loss']:.4f}"
        print(
            f"  {100 * (scores['accuracy'] or 0):10.2f}  {scores['macro_f1']:8.4f}  {loss:>8} "
            f" {name}"
        )


if __name__ == "__main__":
    main()
