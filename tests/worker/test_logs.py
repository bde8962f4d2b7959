"""Where a worker's output goes."""

import os
from collections.abc import Callable

import pytest

from fieldtrial.disk.run import Run
from fieldtrial.worker.logs import printing_to


def test_output_goes_to_the_log_and_afterwards_where_it_went_before(
    new_run: Callable[..., Run], capfd: pytest.CaptureFixture[str]
) -> None:
    log = new_run().log_path(1)
    with printing_to(log):
        os.write(1, b"output\n")
        os.write(2, b"error\n")
    assert log.read_text() == "output\nerror\n"
    os.write(1, b"later output\n")
    os.write(2, b"later error\n")
    assert capfd.readouterr() == ("later output\n", "later error\n")
