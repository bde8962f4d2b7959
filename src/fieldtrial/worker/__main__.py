"""python -m fieldtrial.worker: a warm process that does one task after another.

A launcher or a job starts several such processes for trials that train on several devices. Tasks
come from the standard input, as lines {"run": "<directory>", "attempt": 3, "test": false}, or lists
of these where trials may train together. Answers go to the standard output, as lines
{"run": "<directory>", "outcome": "finished" | "stopped" | "superseded" | "failed"}; a failure's
answer has its kind and message too, because a full disk may keep them out of error.json. The kind
"group" says that trials failed together, and that each can go on alone. With --queue, tasks and
answers go through a sweep's task queue instead.

Everything else that is printed goes to the run's log file. So do, on SIGUSR1, the stack traces of
all threads. At the end of its input, an idle worker ends; a training worker dies at once, because
its owner is gone. If the run's file system is unreachable, the worker waits until it is back, and
then fails with an "outage", which is no fault of the trial. A worker that can no longer be trusted
ends without an answer; error.json says why.
"""

import faulthandler
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

from fieldtrial.disk.task_queue import Task
from fieldtrial.fields.switches import require_switches
from fieldtrial.processes import age
from fieldtrial.training.distributed.world import World
from fieldtrial.worker.task_source import TaskSource, open_task_source
from fieldtrial.worker.warm import WarmProcess


def main() -> None:
    """Run the tasks of the source until there are no more."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    # Descriptor 2 is a run's log file while there is a task.
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    try:
        require_switches()
        world = World.from_environment()
    except ValueError as error:
        sys.exit(str(error))
    process = WarmProcess(world, age())
    source = open_task_source(sys.argv[1:], answers) if world.is_rank_0 else None
    while fields := world.broadcast(_next(source)):
        process.do([Task(**one) for one in fields], source.answer if source else _leave_to_rank_0)
    world.close()
    process.close()


def _leave_to_rank_0(_task: Task, _answer: dict[str, Any]) -> None:
    """Do nothing: rank 0 has the source."""


def _next(source: TaskSource | None) -> list[dict[str, Any]]:
    """Return the fields of the next tasks, which are done together, to rank 0, which has the
    source; none if there are no more.
    """
    task = source.next() if source else None
    return [asdict(one) for one in (task, *source.beside(task))] if source and task else []


if __name__ == "__main__":
    main()
