"""Combine runs that share a test split: fieldtrial ensemble --run DIR RUN RUN ... (or --sweep)

Prints accuracy, macro F1 and log loss of the members, their mean probability and their majority
vote, and stores the mean's result and predictions in DIR. --sweep runs/x makes one ensemble of the
rows' winners per fresh seed, in runs/x/ensemble-1, ..., and prints the means over the seeds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fieldtrial.command_line import job, job_parser, parse, say
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.installed.extras import require_extras


@job()
def main(arguments: Sequence[str] | None = None) -> int:
    """Combine, print and store."""
    parser = job_parser(__doc__)
    parser.add_argument("members", metavar="RUN", nargs="*", help="directories of tested runs")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--run", metavar="DIR", help="where the ensemble is stored")
    where.add_argument("--sweep", metavar="DIR", help="a sweep's folder, instead of RUN")
    flags = parse(parser, arguments)
    if flags.sweep and flags.members:
        parser.error("--sweep has its own members: give no RUN")
    require_extras("report")
    from fieldtrial.results.analysis.ensemble import FOLDER, combine, winners  # late: pandas
    from fieldtrial.results.analysis.statistics import estimate_mean

    if flags.sweep:
        folder = SweepFolder(flags.sweep)
        members = enumerate(winners(folder), start=1)
        made = [(folder.run(f"{FOLDER}{n}"), combine(runs)) for n, runs in members]
    else:
        made = [(Run(flags.run), combine([Run(member) for member in flags.members]))]
    for run, ensemble in made:
        ensemble.write(run)
        show(run.path, ensemble.scores())
    for name in ("mean", "vote") if flags.sweep else ():
        accuracies = [100 * (e.scores()[name]["accuracy"] or 0) for _, e in made]
        mean, half_width, n = estimate_mean(accuracies)
        error = "" if half_width is None else f" ± {half_width:.2f}"
        few = ", too few for an interval" if half_width is None else ""
        say(f"{name}: accuracy {mean:.2f} %{error} (n={n}{few})")
    return 0


def show(path: Path, known: Mapping[str, Mapping[str, float | None]]) -> None:
    """Print a line for each member, the mean and the vote."""
    say(f"{path}\n  accuracy %  macro F1 %  log loss")
    for name, scores in known.items():
        loss = "–" if scores["log_loss"] is None else f"{scores['log_loss']:.4f}"
        accuracy, f1 = (100 * (scores[metric] or 0) for metric in ("accuracy", "macro_f1"))
        say(f"  {accuracy:10.2f}  {f1:10.2f}  {loss:>8}  {name}")
