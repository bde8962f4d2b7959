"""Opens the place that a file in cluster/ describes."""

from fieldtrial.control.places.interface import Place
from fieldtrial.control.places.settings import LocalSettings, Settings
from fieldtrial.disk.work.folder import WorkFolder
from fieldtrial.panel.terminal import console


def open_place(settings: Settings, folder: WorkFolder) -> Place:
    """Return the place that the settings describe, for the tasks in `folder`."""
    # Late: Ray takes a second, and a login node need not have it loaded for SLURM.
    if isinstance(settings, LocalSettings):
        from fieldtrial.control.places.local import LocalPlace

        return LocalPlace(settings)
    from fieldtrial.control.places.slurm.place import SlurmPlace
    from fieldtrial.control.places.slurm.sbatch import Submitter
    from fieldtrial.control.places.slurm.snapshot import take_snapshot

    submitter = Submitter(settings, folder, take_snapshot(folder.code_path))
    return SlurmPlace(settings, folder, submitter, notify=console().print)
