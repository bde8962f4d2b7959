"""Saving a trial's checkpoints beside its training: a thread writes a copy of the state."""

import math
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from fieldtrial.disk.run import Run
from fieldtrial.training.loop import checkpoint

State = dict[str, Any]  # a checkpoint's entries
SECONDS = 5.0


class Saver:
    """Saves the checkpoints of one attempt at a run.

    Training goes on while a thread writes and syncs a copy of the state. Checkpoints of a single
    process are $FIELDTRIAL_CHECKPOINT_SECONDS apart at the least, so that a trial whose epochs take
    milliseconds does not wait for the disk. A process that is killed so loses the epoch that it is
    in, and those before it that ended in these seconds or while a checkpoint was being written.
    They are trained again, on CPUs to the same numbers. With 0 seconds, the checkpoint of each
    epoch is on disk before training goes on.

    attempt: its number. Once a newer one has begun, nothing more is written.

    Raises:
        ValueError: the variable is no number of seconds.
    """

    def __init__(self, run: Run, attempt: int) -> None:
        self._run, self._attempt, self._seconds = run, attempt, _seconds()
        self._next = time.monotonic() + self._seconds
        self._thread: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None
        self._best: State | None = None  # of the best epoch, until it is on disk
        self._saved = -1

    def is_due(self) -> bool:
        """Return whether a checkpoint is to be saved after the epoch that has just ended."""
        is_idle = self._writing is None or self._writing.done()
        return not self._seconds or (is_idle and time.monotonic() >= self._next)

    def has(self, epoch: int) -> bool:
        """Return whether the checkpoint after `epoch` was the last to be saved."""
        return self._saved == epoch

    def add(self, state: State, is_due: bool = True) -> None:
        """Save a copy of the state after an epoch, or only keep it where it is not due.

        Only the best epoch's state need be kept: it is saved with the next checkpoint. One that is
        still being written is waited for.

        Raises:
            OSError: the checkpoint before could not be written.
        """
        self.finish()
        state = copied(state)
        epoch, best_epoch = (state["progress"][name] for name in ("epoch", "best_epoch"))
        before, self._best = self._best, state if epoch == best_epoch else self._best
        if not is_due:
            return
        states = [state] if before is None or epoch == best_epoch else [before, state]
        self._thread = self._thread or ThreadPoolExecutor(1, "checkpoints")
        self._writing = self._thread.submit(self._write, states)
        self._saved, self._next = epoch, time.monotonic() + self._seconds
        if not self._seconds:
            self.finish()

    def finish(self) -> None:
        """Wait until what is being written is on disk.

        Raises:
            OSError: it could not be written.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()
            self._best = None

    def close(self) -> None:
        """Wait for the thread and end it, whatever came of the writing."""
        if self._thread is not None:
            self._thread.shutdown()

    def best(self, epoch: int) -> dict[str, torch.Tensor]:
        """Return the "model" of the best epoch, `epoch`, once nothing is being written."""
        state = self._best or checkpoint.read(self._run.checkpoint_path(epoch))
        model: dict[str, torch.Tensor] = state["model"]
        return model

    def _write(self, states: list[State]) -> None:
        for state in states:
            if self._run.newest_attempt > self._attempt:
                return  # the newer one has taken over, and clears up itself
            progress = state["progress"]
            checkpoint.save(self._run, state, progress["epoch"], progress["best_epoch"])


def copied(state: State) -> State:
    """Return a copy of nested dicts, with copies of their tensors on the CPU.

    What shares memory, such as tied weights, shares it in the copy too.
    """
    copies: dict[Any, torch.Tensor] = {}

    def copy(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: copy(one) for name, one in value.items()}
        if not isinstance(value, torch.Tensor):
            return value
        storage = value.untyped_storage().data_ptr(), value.storage_offset(), value.dtype
        key = (value.device, *storage, value.shape, value.stride())
        if key not in copies:
            copies[key] = value.detach().to("cpu", copy=True)
        return copies[key]

    copy_of: State = copy(state)
    return copy_of


def _seconds() -> float:
    """Return the least seconds between two checkpoints. Raises ValueError if it is no number."""
    text = os.environ.get("FIELDTRIAL_CHECKPOINT_SECONDS") or str(SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(
            f"FIELDTRIAL_CHECKPOINT_SECONDS = {text!r}: must be a number of seconds, 0 or more"
        )
    return seconds
