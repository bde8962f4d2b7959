"""A process that stays warm: tasks done one after another, and what it tidies up in between."""

import gc
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fieldtrial.disk.task_queue import Task
from fieldtrial.training.attempt.memory import keep_freed_memory, return_freed_memory
from fieldtrial.training.distributed.device_clock import DeviceClock
from fieldtrial.training.distributed.world import World
from fieldtrial.worker.groups import work_together
from fieldtrial.worker.logs import printing_to
from fieldtrial.worker.tasks import work

Answer = Callable[[Task, dict[str, Any]], None]


class WarmProcess:
    """Does tasks in this process, which keeps imports, images and networks for the next ones.

    start: seconds that the start of the process took; they are charged to its first tasks.
    """

    def __init__(self, world: World, start: float = 0.0) -> None:
        self._world, self._start, self._is_first = world, start, True
        self._modules = 0
        keep_freed_memory()

    def do(self, tasks: Sequence[Task], answer: Answer) -> None:
        """Do one task, or several together; call `answer` with each and what became of it.

        What is printed meanwhile goes to the runs' log files. See `work` and `work_together`.
        """
        first, *others = tasks
        if others:
            start = self._start if self._is_first else 0.0
            work_together(tasks, self._world, start, answer)
            self._tidy()
        else:
            clock = DeviceClock(self._start, is_charged=self._is_first)
            with printing_to(first.log_path(self._world.rank)):
                told = work(first, self._world, clock)
                self._tidy()
            answer(first, told)
        self._is_first = False

    def close(self) -> None:
        """Let the end of the process free everything: libraries report what is left as leaks."""
        gc.unfreeze()

    def _tidy(self) -> None:
        """Free memory."""
        gc.collect()
        return_freed_memory()
        if len(sys.modules) > self._modules:
            # Imported objects stay: later collections skip them, and save 0.2 s each.
            gc.freeze()
            self._modules = len(sys.modules)
        if self._world.device.type == "cuda":
            torch.cuda.empty_cache()
