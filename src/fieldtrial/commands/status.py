"""Show how a sweep or an analysis stands, and which jobs live: fieldtrial status runs/NAME"""

import os
from collections import Counter
from collections.abc import Sequence

from fieldtrial.command_line import job, job_parser, parse, say
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import Job, SlurmOutageError
from fieldtrial.control.places.slurm.polling import job_name
from fieldtrial.disk.files import is_there
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.work.folder import WorkFolder
from fieldtrial.disk.work.videos import VideosFolder
from fieldtrial.installed.extras import require_extras


@job()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the panel of the sweep's driver, from the files, and the jobs that SLURM shows."""
    parser = job_parser(__doc__)
    parser.add_argument("folder", metavar="DIR", help="the folder of the sweep or the videos")
    path = parse(parser, arguments).folder
    sweep, videos = SweepFolder(path), VideosFolder(path)
    is_sweep = not videos.exists()
    if is_sweep:
        sweep.require()
    folder: WorkFolder = sweep if is_sweep else videos
    jobs: list[Job] | None = None
    unknown = list[str]()
    if is_there(folder.jobs_path):  # otherwise it has never had a job
        try:
            jobs = slurm_commands.jobs_named(job_name(folder))
        except SlurmOutageError as error:
            unknown = [f"which jobs live is not known: {error}"]
    if is_sweep:
        require_extras("report")
        from fieldtrial.results.status import show  # late: pandas

        show(sweep, None if jobs is None else {one.id for one in jobs})
    for line in (*([] if is_sweep else videos.lines()), *unknown):
        say(line)
    if jobs is None:
        return 0
    say(f"jobs in SLURM's queue: {_counted(jobs)}")
    if jobs and folder.path.stat().st_uid == os.geteuid():
        say(f"fieldtrial cancel {folder.path} cancels them")
    return 0


def _counted(jobs: Sequence[Job]) -> str:
    """Return how many jobs are in which state, and why they wait."""
    states = Counter(
        f"{one.state.lower()} ({one.reason})" if one.pending else one.state.lower() for one in jobs
    )
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
