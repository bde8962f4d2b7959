"""Cancel the SLURM jobs of a sweep, or of videos: fieldtrial cancel runs/NAME

No other jobs are cancelled. All goes on when the same command is run again.
"""

import os
from collections.abc import Sequence

from fieldtrial.command_line import job, job_parser, parse
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.polling import job_name
from fieldtrial.control.running.errors import WorkError
from fieldtrial.control.running.ownership import only_driver
from fieldtrial.disk.files import is_there
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue
from fieldtrial.disk.work.folder import WorkFolder
from fieldtrial.disk.work.videos import VideosFolder
from fieldtrial.fields.printable import counted
from fieldtrial.processes import user_name


@job(WorkError, slurm_commands.SlurmOutageError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Withdraw the waiting tasks, cancel the jobs, and print how many there were."""
    parser = job_parser(__doc__)
    parser.add_argument("folder", metavar="DIR", help="the folder of the sweep or of the videos")
    parser.add_argument("--takeover", action="store_true", help="end a driver that runs it first")
    flags = parse(parser, arguments)
    videos, sweep = VideosFolder(flags.folder), SweepFolder(flags.folder)
    if not videos.exists():
        sweep.require()
    folder: WorkFolder = videos if videos.exists() else sweep
    if (owner := folder.path.stat().st_uid) != os.geteuid():  # SLURM shows and ends one's own jobs
        who = user_name(owner)
        raise WorkError(f"{folder.path}: belongs to {who}, and only {who} can cancel its jobs")
    with only_driver(folder, flags.takeover):  # a running driver would submit the jobs again
        queue = TaskQueue(folder.queue_path)
        for name in queue.waiting():
            queue.withdraw(name)
        jobs = list[str]()
        if had_jobs := is_there(folder.jobs_path):  # otherwise SLURM may not be there to be asked
            jobs = [one.id for one in slurm_commands.my_jobs() if one.name == job_name(folder)]
            slurm_commands.cancel(jobs)
        queue.forget_all()
    none = "no jobs to cancel: it has never had a SLURM job"
    print(f"{counted(len(jobs), 'job')} cancelled" if had_jobs else none)
    return 0
