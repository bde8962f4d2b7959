"""What failures are called, and what is told of them."""

import errno
from collections.abc import Callable

import pytest
import torch

from fieldtrial.config import ConfigError
from fieldtrial.disk.run import Run
from fieldtrial.training.attempt.failures import kind_of, message_of, tell
from fieldtrial.training.loop.epoch import Diverged

NewRun = Callable[..., Run]


def _raised_in_handling(first: Exception, second: Exception) -> Exception:
    try:
        try:
            raise first
        except Exception:
            raise second  # noqa: B904 (as libraries do)
    except Exception as error:
        return error


def test_failures_have_kinds() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    away = OSError(errno.ESTALE, "Stale file handle")
    assert (
        kind_of(away)
        == kind_of(_raised_in_handling(away, RuntimeError("unexpected pos 64 vs 0")))
        == "outage"
    )
    assert kind_of(Diverged("at step 3")) == "diverged"
    assert kind_of(torch.OutOfMemoryError("CUDA out of memory")) == "memory"
    with pytest.raises(RuntimeError) as no_memory:
        torch.empty(2**60, dtype=torch.uint8)
    assert kind_of(no_memory.value) == "memory"
    assert kind_of(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")) == "memory"
    assert kind_of(full) == "disk"
    assert kind_of(OSError(errno.EDQUOT, "quota")) == "disk"
    assert kind_of(_raised_in_handling(full, RuntimeError("unexpected pos 64 vs 0"))) == "disk"
    assert kind_of(ConfigError(["lr: too high"])) == "config"
    assert kind_of(FileNotFoundError("data")) == "config"
    assert kind_of(RuntimeError("size mismatch")) == "error"
    assert kind_of(OSError(errno.EBADF, "Bad file descriptor")) == "error"


def test_a_full_disk_elsewhere_is_named(new_run: NewRun) -> None:
    run, store = new_run(), "/scratch/stores/digits/images.npy"
    full = OSError(errno.ENOSPC, "No space left on device", store)
    assert message_of(full, "disk", run) == f"no space left for {store}"
    shown = message_of(_raised_in_handling(full, RuntimeError("unexpected")), "disk", run)
    assert shown.endswith(store)
    quota = message_of(OSError(errno.EDQUOT, "quota"), "disk", run)
    assert quota == f"no space left for {run.path}"


def test_the_first_failure_of_an_attempt_is_the_one_that_is_told(new_run: NewRun) -> None:
    run = new_run()
    tell(run, "memory", "out of memory", torch.OutOfMemoryError("out of memory"), attempt=1)
    tell(run, "error", "connection closed", RuntimeError("connection closed by peer"), attempt=1)
    assert (run.error() or {})["kind"] == "memory"
    tell(run, "error", "something else", RuntimeError("something else"), attempt=2)
    assert (run.error() or {})["kind"] == "error"
