"""Submits a sweep's jobs in arrays, within SLURM's limits, and backs off when SLURM refuses.

It also excludes nodes on which jobs died, and gives up when further jobs are of no use.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, Future

from fieldtrial.control.places.interface import PlaceError
from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import SlurmOutageError
from fieldtrial.control.places.slurm.refusals import explained, is_hopeless
from fieldtrial.control.places.slurm.sbatch import Submitter
from fieldtrial.disk.task_queue import Task

MOST_BACK_OFF_SECONDS = 120.0
MOST_UNSTARTED = 3  # jobs in a row that ended before their workers had started
MOST_UNSTARTED_ON_NODE = 6  # the same if all of them were on one node, which may be broken
MOST_DOUBLINGS = 10  # of a pause
NODE_FAILURES = 2  # infrastructure failures of one node, before it is excluded


def jobs_for(tasks: Iterable[Task], more: int, together: int) -> int:
    """Return how many jobs do these tasks and `more` others, with so many of a group in one job."""
    groups = Counter(task.group or task.name for task in tasks)
    own = sum(math.ceil(count / together) for count in groups.values())
    return own + math.ceil(more / together)


def jobs_lacking(
    tasks: Mapping[str, Task],
    claimed: Mapping[str, str],
    takes_more: Mapping[str, bool],
    more: int,
    together: int,
    slots: int,
) -> int:
    """Return how many jobs are to be submitted for tasks, and for `more` others that may come.

    A job that has tasks takes others only when all of them have ended.

    tasks: by name. claimed: {task: job}, as far as is known: what a job has claimed since counts as
    waiting, and that job as one that waits for it.
    takes_more: {job: whether it takes another task at some time} of all jobs that are not leaving.
    slots: how many jobs there may be.
    """
    having = {name: job for name in tasks if (job := claimed.get(name)) in takes_more}
    busy = set(having.values())
    free = sum(takes for job, takes in takes_more.items() if job not in busy)
    waiting = [task for name, task in tasks.items() if name not in having]
    wanted = min(slots, len(busy) + jobs_for(waiting, more, together))
    return wanted - len(busy) - free


class Submissions:
    """Submits jobs, one array at a time, in a thread.

    notify: is called with a refusal, once.

    Raises:
        SlurmOutageError: SLURM does not answer.
    """

    def __init__(
        self,
        settings: SlurmSettings,
        submitter: Submitter,
        pool: Executor,
        notify: Callable[[str], None],
    ) -> None:
        self._settings, self._submitter, self._pool = settings, submitter, pool
        self._notify = notify
        self._limit = slurm_commands.submit_limit(settings.account)
        self._largest_array = slurm_commands.largest_array()
        self._most_at_once = settings.most_jobs  # less after a refusal: some limits are not shown
        self._submission: Future[list[str]] | None = None
        self._next = 0.0
        self._refusals = 0
        self._unstarted: list[str] = []  # the nodes of each job in a row whose worker did not start
        self.node_failures: Counter[str] = Counter()

    def ask(self, wanted: int, queued: int, others: int, known: Collection[str] = ()) -> list[str]:
        """Submit up to `wanted` jobs within the limits; return the ids of jobs submitted since.

        queued: the sweep's jobs in the queue.
        others: the user's other jobs, which count for the user's limit.
        known: the ids of all the sweep's jobs that are known.

        Raises:
            PlaceError: SLURM will never accept such a job.
        """
        if self._submission is not None:
            if not self._submission.done():
                return []
            submission, self._submission = self._submission, None
            return self._result(submission, queued)
        room = self._settings.most_jobs - queued
        if self._limit is not None:
            room = min(room, self._limit - queued - others)
        count = min(wanted, room, max(1, self._largest_array), self._most_at_once)
        if count > 0 and time.monotonic() > self._next:
            in_array = self._largest_array > 0
            self._submission = self._pool.submit(
                self._submitter.submit, count, self._excluded(), in_array, frozenset(known)
            )
        return []

    def finish(self) -> None:
        """Wait for a submission that is under way."""
        if self._submission:
            self._submission.exception()

    def note_start(self) -> None:
        """Note that a worker has started."""
        self._unstarted = []

    def note_unstarted(self, nodes: str, others_started: bool, detail: str) -> None:
        """Note that a job ended before it took a task. Further ones are submitted ever more rarely.

        nodes: the job's nodes, as far as SLURM knows them.
        others_started: whether the worker of a job that still runs has started, so that the sweep
            goes on.
        detail: the job's id, and what SLURM or its log says about it.

        Raises:
            PlaceError: this has happened too often in a row.
        """
        self._unstarted.append(nodes)
        on_one_node = nodes and len(set(self._unstarted)) == 1
        most = MOST_UNSTARTED_ON_NODE if on_one_node else MOST_UNSTARTED
        count = len(self._unstarted)
        what = f"{count} jobs in a row ended before they took a trial; {detail}"
        if count >= most and not others_started:
            raise PlaceError(what)
        if count == MOST_UNSTARTED:
            self._notify(f"{what}; further jobs are submitted at growing intervals")
        if count >= MOST_UNSTARTED:
            self._most_at_once = 1
            self._pause(count - MOST_UNSTARTED)

    def note_accepted(self) -> None:
        """Note that squeue shows new jobs of the sweep: what seemed to be a refusal was none."""
        if self._refusals:
            self._accept()
            self._next = 0.0

    def note_node_failure(self, nodes: str) -> None:
        """Note that a job died on these nodes, and that one of them may be the reason."""
        self.node_failures.update(slurm_commands.node_names(nodes))

    def _excluded(self) -> set[str]:
        """Return the nodes to exclude. A node with a single failure may not be the reason."""
        return {node for node, failures in self.node_failures.items() if failures >= NODE_FAILURES}

    def _result(self, submission: Future[list[str]], queued: int) -> list[str]:
        """Return the ids of a submission's jobs; if it was refused, back off."""
        error = submission.exception()
        if error is None:
            self._accept()
            return submission.result()
        if not isinstance(error, SlurmOutageError):
            raise error
        if queued == 0 and is_hopeless(str(error)):
            if not self._excluded():
                reason = explained(str(error), self._settings)
                raise PlaceError(f"SLURM accepts no job of this place: {reason}")
            self._notify(
                f"no nodes are left without {', '.join(sorted(self._excluded()))}, where jobs died:"
                " they are no longer excluded"
            )
            self.node_failures.clear()
            return []
        self._most_at_once = max(1, self._most_at_once // 2)
        self._refusals += 1
        self._pause(self._refusals)
        if self._refusals == 1:
            reason = "; ".join(line for line in str(error).splitlines() if line)
            self._notify(f"{reason}; trying again at growing intervals")
        return []

    def _accept(self) -> None:
        self._refusals = 0
        self._most_at_once = min(self._settings.most_jobs, 2 * self._most_at_once)

    def _pause(self, doublings: int) -> None:
        """Submit nothing for some time, which doubles from a second on."""
        pause = min(MOST_BACK_OFF_SECONDS, 2.0 ** min(doublings, MOST_DOUBLINGS))
        self._next = time.monotonic() + pause * random.uniform(0.5, 1.5)
