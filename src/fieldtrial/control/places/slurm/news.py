"""What the user should know of SLURM, each thing once: outages, notices, and why jobs wait."""

from collections.abc import Callable, Collection

from fieldtrial.control.places.slurm.commands import Job, Unknown

# Reasons for waiting of jobs that will start by themselves. For others the user may have to act.
ORDINARY = {"Priority", "Resources", "None", "BeginTime", "Dependency"}
ORDINARY |= {"JobArrayTaskLimit", "Cleaning", "Prolog"}
MOST_NAMED = 10  # jobs in a message


class News:
    """Tells the user.

    notify: is called with each line.
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify
        self._outage: str | None = None
        self._commands: set[str] = set()  # of whose notices the user knows
        self._reasons: set[str] = set()  # for waiting, of which the user knows
        self._held: set[tuple[str, str]] = set()  # holders and ids of jobs that are held now

    def tell_outage(self, outage: str | None) -> None:
        """Tell that SLURM does not answer, or that it answers again: None."""
        if outage and not self._outage:
            self._notify(outage)
        elif self._outage and not outage:
            self._notify("SLURM answers again")
        self._outage = outage

    def tell_unknown(self, unknown: Unknown) -> None:
        """Tell the first line that a command has printed beside what was asked for."""
        for command in unknown.first.keys() - self._commands:
            line = unknown.first[command]
            self._notify(f"{command} prints more than was asked for, which is ignored: {line}")
            self._commands.add(command)

    def tell_why_jobs_wait(self, jobs: Collection[Job]) -> tuple[str, ...]:
        """Return the reasons of those of the jobs that wait to start, in SLURM's words, sorted.

        A job that is held is told once, until it has been released and is held once more.
        """
        waiting = [job for job in jobs if job.pending and not job.dead]
        self._tell_holds([job for job in waiting if job.holder])
        free = {job.reason for job in waiting if not job.holder}
        for reason in sorted(free - ORDINARY - self._reasons):
            self._notify(f"jobs wait in the queue, squeue's reason: {reason}")
            self._reasons.add(reason)
        return tuple(sorted({job.reason for job in waiting} - {"None"}))

    def _tell_holds(self, held: Collection[Job]) -> None:
        """Tell which jobs are held that were not at the last call, a line for each holder.

        SLURM holds the jobs of one command one by one, so that a poll may see the first of them.
        """
        known = self._held
        self._held = {(job.holder, job.id) for job in held if job.holder}
        news = self._held - known
        reasons = {job.holder: job.reason for job in held}
        for holder in sorted({holder for holder, _ in news}):
            ids = sorted(job for who, job in news if who == holder)
            named = ",".join(ids[:MOST_NAMED])
            further = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
            self._notify(
                f"jobs {named}{further} are held by {holder} (squeue's reason: {reasons[holder]});"
                f" the sweep waits until they are released: scontrol release {named}"
            )
