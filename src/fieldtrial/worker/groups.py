"""Several tasks at once: trials whose heads train as one, each with files and an answer of its own.

Those that cannot are done one after another.
"""

import contextlib
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

from fieldtrial.disk.run import Record
from fieldtrial.disk.task_queue import Task
from fieldtrial.training.attempt.failures import kind_of
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.heads.clock import GroupClock, SharedClock
from fieldtrial.training.heads.group import HeadGroup
from fieldtrial.training.heads.member import HeadFit
from fieldtrial.training.loop.attempt import Attempt, Superseded
from fieldtrial.worker.logs import printing_to
from fieldtrial.worker.tasks import failure, work

Tell = Callable[[Task, dict[str, Any]], None]
Records = Generator[Record]


def work_together(tasks: Sequence[Task], world: World, start: float, tell: Tell) -> None:
    """Do the tasks of one group in this process, which has no others beside it.

    A trial is done alone, after the others, if its head is not one linear layer, if its features
    are not those of the first one, or if it cannot be opened: it then tells why. So are all that
    are left if memory does not suffice for all together.

    start: seconds that the start of the process took, if they are charged to these tasks.
    tell: is called with each task and its answer as soon as that task has ended.
    """
    left = list(tasks)
    with contextlib.ExitStack() as stack:
        training = _begun(tasks, HeadGroup(world, start))
        for records in training.values():
            stack.enter_context(contextlib.closing(records))
        try:
            while training:
                for task in list(training):
                    if answer := _next(task, training[task], world):
                        del training[task]
                        left.remove(task)
                        tell(task, answer)
        except _TooLargeError as error:
            for task in left:
                with printing_to(task.log_path()):
                    print(f"trains alone from here: {error}", file=sys.stderr, flush=True)
    for task in left:
        again = task.again(task.open_run().attempts())
        with printing_to(again.log_path()):
            answer = work(again, world)
        tell(task, answer)


class _TooLargeError(MemoryError):
    """The group does not fit into memory."""


def _begun(tasks: Sequence[Task], group: HeadGroup) -> dict[Task, Records]:
    """Return the trainings of the trials that the group admits, if these are several."""
    clocks = {task: group.clock.join() for task in tasks}
    admitted = dict[Task, Attempt]()
    for task, clock in clocks.items():
        with printing_to(task.log_path()):
            try:
                run = task.open_run()
                attempt = Attempt.at(run, group.world, task.attempt, test=task.test, clock=clock)
                if run.result() is None and group.openings.admits(attempt):
                    admitted[task] = attempt
            except Exception:  # it comes again when the trial is done alone
                traceback.print_exc()
    count = len(admitted)
    if count == 1:
        admitted.clear()
    for task in clocks.keys() - admitted.keys():
        group.clock.leave(clocks[task])
    return {
        task: _clocked(
            train(replace(attempt, together=count), lambda own: HeadFit(own, group)),
            group.clock,
            clocks[task],
        )
        for task, attempt in admitted.items()
    }


def _clocked(records: Records, group: GroupClock, clock: SharedClock) -> Records:
    """Yield a trial's records. Once it has been scored, or failed, the others have its share."""
    try:
        yield from records
    finally:
        group.leave(clock)


def _next(task: Task, records: Records, world: World) -> dict[str, Any] | None:
    """Go on to a trial's next record; return its answer once it has ended.

    Raises:
        _TooLargeError: memory does not suffice.
    """
    with printing_to(task.log_path()):
        try:
            next(records)
        except StopIteration:
            result = task.open_run().result()
            assert result
            return {"outcome": result["outcome"]}
        except Superseded as end:
            print(end, file=sys.stderr, flush=True)
            return {"outcome": "superseded"}
        except Exception as error:
            if kind_of(error) == "memory":
                raise _TooLargeError(str(error)) from error
            return failure(task, world, error)
    return None
