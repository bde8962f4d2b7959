"""How long a run has held its devices, counted by hand from what its attempts have left."""

from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.device_time import device_time
from fieldtrial.disk.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", TrainConfig())


def record(run: Run, attempt: int, *moments: tuple[int, float, float | None]) -> None:
    """Write records of an epoch each: what it took, and how long the attempt had held devices."""
    with run.recorder(attempt) as recorder:
        for epoch, seconds, held in moments:
            told = {} if held is None else {"held_seconds": held, "alone_seconds": held + 100}
            recorder.write({"epoch": epoch, "seconds": seconds, **told})


def test_attempts_add_up_each_with_all_that_is_known_of_it(run: Run) -> None:
    record(run, 1, (0, 1.0, 10.0), (1, 5.0, 16.0))  # killed after that
    record(run, 2, (1, 5.0, 8.0), (2, 5.0, 14.0))  # failed, and says when
    record(run, 3)  # failed before its first record
    run.write_environment(2, {"world_size": 4, "held_seconds": 17.0})
    run.write_environment(3, {"held_seconds": 2.5})
    found = device_time(run)
    assert found is not None
    assert (found.seconds, found.device_seconds) == (16 + 17 + 2.5, 16 + 4 * 17 + 2.5)
    assert found.alone == 114
    assert found.entries() == {
        "minutes": pytest.approx(35.5 / 60),
        "device_hours": pytest.approx(86.5 / 3600),
        "minutes_alone": pytest.approx(114 / 60),
    }
    going_on = device_time(run, newest=(3, 9.0))
    assert going_on is not None
    assert going_on.seconds == 16 + 17 + 9


def test_what_cannot_be_read_hides_no_time_that_records_tell(run: Run) -> None:
    record(run, 1, (0, 1.0, 10.0))
    (run.path / "env.json").write_text("[")
    found = device_time(run)
    assert found is not None
    assert (found.seconds, found.device_seconds) == (10.0, 10.0)


def test_a_decision_to_stop_leaves_out_what_came_after_it_where_the_trial_is_alone(
    run: Run,
) -> None:
    record(run, 1, (0, 1.0, 10.0), (1, 5.0, 16.0), (2, 5.0, 22.0))
    found = device_time(run, last_epoch=1)
    assert found is not None
    assert (found.seconds, found.alone) == (22.0, 116.0)


def test_attempts_of_an_earlier_version_count_with_their_epochs(run: Run) -> None:
    record(run, 1, (0, 1.0, None), (1, 5.0, None))
    assert device_time(run) is None
    record(run, 2, (1, 5.0, None), (2, 6.0, None))  # the first is the checkpoint's, once more
    assert device_time(run) is None
    record(run, 3, (2, 6.0, 4.0))
    found = device_time(run)
    assert found is not None
    assert found.seconds == 1 + 5 + 6 + 4
