"""The driver of batches: runs given tasks at a place, and can be ended at any time."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from fieldtrial.command_line import INTERRUPTED, said_if_long
from fieldtrial.control.batch.item import Item
from fieldtrial.control.batch.loop import Batch
from fieldtrial.control.places.interface import Place
from fieldtrial.control.places.opening import open_place
from fieldtrial.control.places.settings import LocalSettings, Settings
from fieldtrial.control.running.again import outlasting
from fieldtrial.control.running.detaching import detaches
from fieldtrial.control.running.errors import DISK_ADVICE, WorkError
from fieldtrial.control.running.interruption import Interruption
from fieldtrial.control.running.ownership import (
    DeposedError,
    Ownership,
    only_driver,
    raise_if_deposed,
)
from fieldtrial.disk.work.folder import WorkFolder
from fieldtrial.panel.progress import Advance
from fieldtrial.panel.terminal import console

# Does tasks, {run directory: how much there is to do}, of which the first argument says what they
# are and the third how much of all is done. Returns a line for each task that has failed.
RunTasks = Callable[[str, Mapping[str, int], int], list[str]]


def drive_alone(
    folder: WorkFolder, takeover: bool, work: Callable[[Callable[[], None]], int]
) -> int:
    """Return the exit status of `work`, which is done in this process, alone in the folder.

    `work` gets what raises DeposedError once another process, on any machine, has taken over.

    Raises:
        WorkError: another process works in the folder; a file cannot be read or written.
        DeposedError: another process has taken the work over.
    """
    interruption = Interruption()
    interruption.listen()
    with only_driver(folder, takeover) as ownership:
        try:
            return work(ownership.check)
        except OSError as error:
            reason = error.strerror or str(error)
            where = error.filename or folder.path
            raise WorkError(f"{where}: {reason}; {DISK_ADVICE}") from error


def drive_at(
    folder: WorkFolder, settings: Settings, takeover: bool, work: Callable[[RunTasks], int]
) -> int:
    """Return the exit status of `work`, whose tasks run at a place, each in one process.

    `work` gets what runs tasks; it may call it several times. 130: interrupted. After an outage of
    the folder's file system, and once where Ray is lost, the same command takes this one's place.

    Raises:
        WorkError: another process works in the folder; the first tasks all fail with the same
            error; the disk is full or broken.
        PlaceError: the place cannot go on.
        DeposedError: another driver has taken the work over, with its jobs.
    """
    applied = list[str]()
    return outlasting(
        folder.path, applied, lambda: _drive(folder, _single(settings), takeover, work, applied)
    )


def _single(settings: Settings) -> Settings:
    """Return the settings with one process, and so at most one device, for a task."""
    if isinstance(settings, LocalSettings):
        gpus = settings.gpus_per_trial
        most = None if gpus is None else min(1.0, gpus)
        return replace(settings, processes_per_trial=1, gpus_per_trial=most)
    return replace(settings, processes_per_trial=1, gpus_per_trial=min(1, settings.gpus_per_trial))


def _drive(
    folder: WorkFolder,
    settings: Settings,
    takeover: bool,
    work: Callable[[RunTasks], int],
    applied: list[str],
) -> int:
    interruption, ending, status = Interruption(), None, INTERRUPTED
    interruption.listen()
    with only_driver(folder, takeover) as ownership:
        applied.append("--takeover")
        batches = _Batches(folder, settings, ownership, interruption)
        try:
            status = work(batches.run)
        except BaseException as error:
            ending = error
            if isinstance(error, DeposedError):
                interruption.ignore_sigterm()
            if not isinstance(error, KeyboardInterrupt) or not batches.has_adopted:
                raise
        finally:
            batches.close(ending)
    return status


class _Batches:
    """Batches at one place, which is opened for the first of them."""

    def __init__(
        self,
        folder: WorkFolder,
        settings: Settings,
        ownership: Ownership,
        interruption: Interruption,
    ) -> None:
        self._folder, self._settings, self._ownership = folder, settings, ownership
        self._interruption = interruption
        self._place: Place | None = None
        self.has_adopted = False

    def run(self, what: str, sizes: Mapping[str, int], done: int) -> list[str]:
        """Do a batch; see RunTasks."""
        if not sizes:
            return []
        out, place = console(), self._opened()
        progress = Advance(out, what, sum(sizes.values()) + done, done)

        def tell(event: str, item: Item) -> None:
            if event != "done":
                first = (item.problem or "").splitlines()[0]
                said = "resumes" if event == "again" else event
                out.print(f"{item.name}: {said}: {first}", soft_wrap=True)

        batch = Batch(
            *(self._folder, sizes, "frames", place, tell, progress.add, self._ownership.check)
        )
        self.has_adopted = True
        slots = min(place.slots, len(sizes))
        out.print(f"{what}: {len(sizes)} tasks, {slots} at once at most", soft_wrap=True)
        try:
            with progress:
                failed = batch.run()
        except KeyboardInterrupt:
            raise_if_deposed(self._ownership)
            raise
        return [f"{item.name}: {item.problem}" for item in failed]

    def close(self, ending: BaseException | None) -> None:
        """End the place, or leave its jobs running."""
        if self._place:
            has_jobs = not isinstance(self._settings, LocalSettings)
            self._place.close(detaches(self.has_adopted, ending, has_jobs, self._folder))

    def _opened(self) -> Place:
        if self._place is None:
            is_here = isinstance(self._settings, LocalSettings)
            with said_if_long("starting Ray" if is_here else "copying the code, asking SLURM"):
                self._place = open_place(self._settings, self._folder)
            self._interruption.listen()  # Ray has set its own handlers
        return self._place
