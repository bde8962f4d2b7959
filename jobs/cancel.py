"""python jobs/cancel.py runs/NAME: cancels a sweep's jobs. Its trials resume with its next run."""

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
    """Withdraw the waiting tasks, and cancel the jobs."""
    share_with_group()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", metavar="DIR", help="the sweep's folder")
    parser.add_argument(
        "--takeover", action="store_true", help="end the driver that runs the sweep first"
    )
    options = parser.parse_args()
    folder = SweepFolder(options.sweep)
    try:
        folder.require()
        with only_driver(folder, options.takeover):  # another driver would submit them again
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
