"""Several tasks at once: trials whose heads train as one, each with files and an answer of its own.

Those that cannot are done one after another.
"""

import contextlib
import os
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
from fieldtrial.training.heads.group import BrokenGroupError, HeadGroup
from fieldtrial.training.heads.member import HeadFit
from fieldtrial.training.loop.attempt import Attempt, Superseded
from fieldtrial.worker.logs import printing_to
from fieldtrial.worker.tasks import failure, work

Tell = Callable[[Task, dict[str, Any]], None]
Records = Generator[Record]


def work_together(tasks: Sequence[Task], world: World, start: float, tell: Tell) -> None:
    """Do the tasks of one group in this process, which has no others beside it.

    A trial is done alone, after the others, if its head is not one linear layer, if its features
    are not those of the first one, or if it cannot be opened: it then tells why.

    If what is computed for all of them fails, as where memory does not suffice, all that are left
    are answered at once with a failure of kind "group": each can go on alone, from its checkpoint.
    On a GPU, which may be in any state then, the process ends instead, unless memory was the cause.

    start: seconds that the start of the process took, if they are charged to these tasks.
    tell: is called with each task and its answer as soon as that task has ended.
    """
    left, problem = list(tasks), ""
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
        except BrokenGroupError as error:
            if world.device.type == "cuda" and kind_of(error) == "error":
                os._exit(1)
            problem = f"its group has failed, so it goes on alone: {error}"
    for task in training:  # whose files are closed by now
        left.remove(task)
        tell(task, {"outcome": "failed", "error": {"kind": "group", "message": problem}})
    for task in left:
        again = task.again(task.open_run().attempts())
        with printing_to(again.log_path()):
            answer = work(again, world)
        tell(task, answer)


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
        BrokenGroupError: no trial of the group can go on in it.
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
        except BrokenGroupError:
            traceback.print_exc()
            raise
        except Exception as error:
            if kind_of(error) == "memory":
                traceback.print_exc()
                raise BrokenGroupError(str(error)) from error
            return failure(task, world, error)
    return None
