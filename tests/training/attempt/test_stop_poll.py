"""How often a worker looks whether it was asked to stop."""

import time
from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.training.attempt.stop_poll import StopPoll


def test_a_stop_file_is_looked_for_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    looks: list[float] = []
    run = Run.create(tmp_path / "run", TrainConfig())

    def look() -> bool:
        looks.append(clock[0])
        return False

    monkeypatch.setattr(run, "stop_requested", look)
    stop = StopPoll(run)
    for _ in range(250):
        assert not stop()
        clock[0] += 0.01
    assert looks == pytest.approx([100.0, 101.0, 102.0], abs=0.02)
    monkeypatch.undo()
    clock[0] += 10
    run.request_stop()
    assert StopPoll(run)()
