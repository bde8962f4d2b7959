"""Combine runs that share a test split: fieldtrial ensemble --run DIR RUN RUN ... (or --sweep)

Prints accuracy, macro F1 and log loss of the members, their mean probability and their majority
vote, and stores the mean's result and predictions in DIR. Labels and numbers have other metrics,
and no vote. --sweep runs/x makes one ensemble of the rows' winners per fresh seed, in
runs/x/ensemble-1, ..., and prints the means over the seeds, with their interval.
"""

from collections.abc import Sequence

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
    from fieldtrial.results.analysis.ensemble import (  # late: pandas
        FOLDER,
        combine,
        lines,
        winners,
    )
    from fieldtrial.results.table.ensembles import means

    if flags.sweep:
        folder = SweepFolder(flags.sweep)
        members = enumerate(winners(folder), start=1)
        made = [(folder.run(f"{FOLDER}{n}"), combine(runs)) for n, runs in members]
    else:
        made = [(Run(flags.run), combine([Run(member) for member in flags.members]))]
    for run, ensemble in made:
        ensemble.write(run)
        say("\n".join([str(run.path), *lines(ensemble.scores())]))
    if flags.sweep:
        say("\n".join(means([run for run, _ in made], [one for _, one in made])))
    return 0
