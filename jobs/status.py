"""Show how a sweep stands, and which of its SLURM jobs live: python jobs/status.py runs/NAME"""

import os
import sys
from collections import Counter
from collections.abc import Sequence

from fieldtrial.command_line import job, job_parser, parse, say
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import Job, SlurmOutageError
from fieldtrial.control.places.slurm.polling import job_name
from fieldtrial.disk.files import is_there
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.status import show


@job()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the panel of the sweep's driver, from the files, and the jobs that SLURM shows."""
    parser = job_parser(__doc__)
    parser.add_argument("folder", metavar="DIR", help="the sweep's folder: runs/NAME")
    folder = SweepFolder(parse(parser, arguments).folder)
    folder.require()
    if not is_there(folder.jobs_path):  # it has never had a job
        show(folder)
        return 0
    try:
        jobs = slurm_commands.jobs_named(job_name(folder))
    except SlurmOutageError as error:
        show(folder)
        say(f"which jobs live is not known: {error}")
        return 0
    show(folder, {one.id for one in jobs})
    say(f"jobs in SLURM's queue: {_counted(jobs)}")
    if jobs and folder.path.stat().st_uid == os.geteuid():
        say(f"python jobs/cancel.py {folder.path} cancels them")
    return 0


def _counted(jobs: Sequence[Job]) -> str:
    """Return how many jobs are in which state, and why they wait."""
    states = Counter(
        f"{one.state.lower()} ({one.reason})" if one.pending else one.state.lower() for one in jobs
    )
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"


if __name__ == "__main__":
    sys.exit(main())
