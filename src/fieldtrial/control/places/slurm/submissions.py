"""Asks SLURM for a sweep's jobs: as many as are wanted and may be, in arrays, more rarely where it
refuses.

It also knows which nodes jobs are to be kept from, and when there is no use in asking again.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future

from fieldtrial.control.places.interface import PlaceError
from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import SlurmOutageError
from fieldtrial.control.places.slurm.sbatch import Submitter

MOST_BACK_OFF_SECONDS = 120.0
MOST_SILENT_DEATHS = 3  # jobs in a row that ended before their workers had started
MOST_SILENT_DEATHS_THERE = (
    6  # the same where all of them were on one node, which alone may be broken
)
NODE_FAILURES = 2  # infrastructure failures of one node, before it is excluded
# What sbatch says of a request that will never do; other refusals, such as full limits, pass; so do
# these, which look alike: a partition in a maintenance window, munge's troubles.
HOPELESS = (
    "nvalid",
    "not available",
    "not permitted",
    "nrecognized",
    "Requested time limit",
    "Memory specification",
)
PASSING = ("inactive or drain", "credential", "uthentication")


class Submissions:
    """The jobs that have been asked for, one array at a time, in a thread. `say` hears of refusals,
    each thing once.

    Raises:
        SlurmOutageError: SLURM does not answer.
    """

    def __init__(
        self,
        settings: SlurmSettings,
        submitter: Submitter,
        pool: Executor,
        say: Callable[[str], None],
    ) -> None:
        self._settings, self._submitter, self._pool, self._say = settings, submitter, pool, say
        self._limit = slurm_commands.submit_limit(settings.account)
        self._largest_array = slurm_commands.largest_array()
        self._most_at_once = (
            settings.most_jobs
        )  # less, after a refusal: limits there are that nothing tells
        self._submission: Future[list[str]] | None = None
        self._next = 0.0
        self._refusals = 0
        self._silent_deaths: list[str] = []  # in a row: of each its nodes
        self.node_failures: Counter[str] = Counter()

    def ask(self, wanted: int, queued: int, others: int) -> list[str]:
        """Ask for `wanted` more jobs, or as many as may be; return the ids of those that have been
        submitted since.

        queued: jobs that the sweep has in the queue; others: what else counts for the user's limit.

        Raises:
            PlaceError: SLURM takes no such job.
        """
        if self._submission is not None:
            if not self._submission.done():
                return []
            submission, self._submission = self._submission, None
            return self._note(submission, queued)
        room = self._settings.most_jobs - queued
        if self._limit is not None:
            room = min(room, self._limit - queued - others)
        count = min(wanted, room, max(1, self._largest_array), self._most_at_once)
        if count > 0 and time.monotonic() > self._next:
            in_array = self._largest_array > 0
            self._submission = self._pool.submit(
                self._submitter.submit, count, self._excluded(), in_array
            )
        return []

    def finish(self) -> None:
        """Wait for what is being submitted."""
        if self._submission:
            self._submission.exception()

    def note_start(self) -> None:
        """Take in that a worker has started."""
        self._silent_deaths = []

    def note_silent_death(self, nodes: str, others_started: bool, story: str) -> None:
        """Take in that a job ended before its worker had started; give up where that becomes all
        that happens.

        nodes: where, as far as SLURM says; story: what is known of it.
        """
        self._silent_deaths.append(nodes)
        there = len(set(self._silent_deaths)) == 1 and nodes
        if len(self._silent_deaths) >= (
            MOST_SILENT_DEATHS_THERE if there else MOST_SILENT_DEATHS
        ) and (not others_started):
            raise PlaceError(
                f"{len(self._silent_deaths)} jobs in a row ended before they took a trial; {story}"
            )

    def note_node_failure(self, nodes: str) -> None:
        """Take in that a job died on these nodes, and that it may be one of theirs that is to
        blame.
        """
        self.node_failures.update(slurm_commands.node_names(nodes))

    def _excluded(self) -> set[str]:
        """Return the nodes that jobs are kept from: with one failure each may have had nothing to
        do.
        """
        return {node for node, failures in self.node_failures.items() if failures >= NODE_FAILURES}

    def _note(self, submission: Future[list[str]], queued: int) -> list[str]:
        """Return the ids of a submission's jobs; if it was refused, see when and how to
        ask again.
        """
        error = submission.exception()
        if error is None:
            self._refusals = 0
            self._most_at_once = min(self._settings.most_jobs, 2 * self._most_at_once)
            return submission.result()
        if not isinstance(error, SlurmOutageError):
            raise error
        if queued == 0 and _is_hopeless(str(error)):
            if not self._excluded():
                raise PlaceError(f"SLURM takes no job of this place: {error}")
            self._say(
                f"no nodes are left without {', '.join(sorted(self._excluded()))}, where jobs died:"
                " back to all"
            )
            self.node_failures.clear()
            return []
        self._most_at_once = max(1, self._most_at_once // 2)
        self._refusals += 1
        wait = min(MOST_BACK_OFF_SECONDS, 2.0**self._refusals) * random.uniform(0.5, 1.5)
        self._next = time.monotonic() + wait
        if self._refusals == 1:
            self._say(f"{str(error).splitlines()[-1]}; trying again, more and more rarely")
        return []


def _is_hopeless(refusal: str) -> bool:
    return any(words in refusal for words in HOPELESS) and not any(
        words in refusal for words in PASSING
    )
