"""Ends a sweep's jobs, and no others: python jobs/cancel.py runs/NAME. Its trials resume when it is
run again.
"""

import argparse
import sys

from fieldtrial.control.driver.drive import only_driver
from fieldtrial.control.engine.loop import SweepError
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.sbatch import job_name
from fieldtrial.disk.files import share_with_group
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue


def main() -> None:
    """Withdraw the tasks that wait, and cancel the jobs."""
    share_with_group()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", metavar="DIR", help="the sweep's folder")
    parser.add_argument(
        "--takeover", action="store_true", help="have a driver that runs the sweep leave first"
    )
    options = parser.parse_args()
    folder = SweepFolder(options.sweep)
    try:
        folder.require()
        with only_driver(folder, options.takeover):  # one that runs would submit them again
            queue = TaskQueue(folder.queue_path)
            for name in queue.waiting():
                queue.withdraw(name)
            jobs = [job.id for job in slurm_commands.my_jobs() if job.name == job_name(folder)]
            slurm_commands.cancel(jobs)
            queue.forget_all()
    except (ValueError, OSError, SweepError) as error:
        sys.exit(f"error: {error}")
    print(f"{len(jobs)} jobs cancelled")


if __name__ == "__main__":
    main()
