"""How long a run has held its devices, counted by hand from what its attempts have left."""

from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.device_time import Spent, device_time
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
    going_on = device_time(run, newest=Spent(3, 9.0))
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


def test_the_energy_of_all_attempts_adds_up(run: Run) -> None:
    for attempt, joules in ((1, (100.0, 900.0)), (2, (300.0, 500.0))):
        with run.recorder(attempt) as recorder:
            for epoch, taken in enumerate(joules):
                entries = {"held_seconds": 5.0, "energy_joules": taken}
                recorder.write({"epoch": epoch, "seconds": 1.0, **entries})
    run.write_environment(1, {"world_size": 4})  # the energy is of all its processes already
    run.write_environment(2, {"energy_joules": 700.0})  # failed, and says at what cost
    found = device_time(run)
    assert found is not None
    entries = found.entries()
    assert (entries["energy_kwh"], entries["energy_shared"]) == (1600 / 3.6e6, False)
    now = device_time(run, newest=Spent(2, 9.0, 800.0, shared=True))
    assert now is not None
    assert (now.joules, now.shared) == (1700, True)
    run.write_environment(1, {"energy_shared": True})
    again = device_time(run)
    assert again is not None
    assert again.shared


def test_energy_that_one_attempt_does_not_know_is_not_known(run: Run) -> None:
    with run.recorder(1) as recorder:
        recorder.write({"epoch": 0, "seconds": 1.0, "held_seconds": 5.0, "energy_joules": 100.0})
    record(run, 2, (1, 5.0, 8.0))
    found = device_time(run)
    assert found is not None
    assert found.joules is None
    assert not [name for name in found.entries() if name.startswith("energy")]
