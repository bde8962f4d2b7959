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
    for seconds, pause in ((0.05, 0.1), (3.0, 0.3), (600.0, 1.0)):
        stop.set_interval(seconds)
        clock[0] += 1
        first = len(looks)
        for _ in range(250):
            assert not stop()
            clock[0] += 0.01
        moments = looks[first:]
        assert moments[1] - moments[0] == pytest.approx(pause, abs=0.02)
        assert len(moments) == pytest.approx(2.5 / pause, abs=1 + 0.25 / pause)
    monkeypatch.undo()
    clock[0] += 10
    run.request_stop()
    assert StopPoll(run)()
