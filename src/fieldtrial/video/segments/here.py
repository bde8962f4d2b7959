"""The tasks of an analysis in this process, one after another."""

from collections.abc import Callable, Mapping

from fieldtrial.disk.run import Run
from fieldtrial.disk.work.videos import VideosFolder
from fieldtrial.panel.progress import Advance
from fieldtrial.panel.terminal import console
from fieldtrial.training.attempt.failures import kind_of, message_of, tell
from fieldtrial.training.loop.attempt import Superseded
from fieldtrial.video.segments.work import work_at

MOST_CUT = 64  # by which batches are cut at most where memory runs out


def runner(
    folder: VideosFolder, check_ownership: Callable[[], None]
) -> Callable[[str, Mapping[str, int], int], list[str]]:
    """Return what does the tasks of a folder; see `files.RunTasks`.

    check_ownership: is called before each task, and raises if another process has taken over.

    It raises OSError where the disk is full or a file system is away: other tasks would fail, too.
    """

    def run_tasks(what: str, sizes: Mapping[str, int], done: int) -> list[str]:
        if not sizes:
            return []
        with Advance(console(), what, sum(sizes.values()) + done, done) as progress:
            problems = [_do(folder.run(name), progress, check_ownership) for name in sizes]
        return [
            f"{name}: {problem}"
            for name, problem in zip(sizes, problems, strict=True)
            if problem is not None
        ]

    return run_tasks


def _do(run: Run, progress: Advance, check_ownership: Callable[[], None]) -> str | None:
    """Do a task, with smaller batches where memory is short. Returns why it failed, if it has."""
    check_ownership()
    earlier = (run.error() or {}).get("attempt", 0)
    attempt, accumulate, done = 1 + max([0, earlier, *run.attempts()]), 1, [0]

    def advance(frames: int) -> None:
        progress.add(frames - done[0])
        done[0] = frames

    while True:
        try:
            work_at(run, attempt, accumulate, on_progress=advance)
        except Superseded:  # by the process that has taken over
            check_ownership()
            raise
        except Exception as error:
            kind = kind_of(error)
            if kind in ("disk", "outage"):
                raise
            if kind == "memory" and accumulate < MOST_CUT:
                attempt, accumulate = attempt + 1, 2 * accumulate
                continue
            message = message_of(error, kind, run)
            tell(run, kind, message, error, attempt)
            return f"{kind}: {message}"
        return None
