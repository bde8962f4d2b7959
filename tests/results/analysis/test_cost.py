"""What trials have cost, counted by hand."""

from typing import TYPE_CHECKING

import pytest

from fieldtrial.panel.terminal import format_hours
from fieldtrial.results.analysis.cost import account, cost_lines, cost_of_trials
from fieldtrial.results.read.sweeps import Sweeps, read_sweeps
from fieldtrial.results.table.tables import sweep_table

if TYPE_CHECKING:
    from tests.results.conftest import Written


def sweeps(written: "Written") -> Sweeps:
    return read_sweeps([written.folder.path])


def test_device_hours_by_outcome(written: "Written") -> None:
    written.describe()
    written.ended(0, lr=0.1)  # epochs 0 to 3, 6 seconds each
    two_devices = written.ended(0, lr=0.2)
    two_devices.write_environment(1, {"world_size": 2})
    written.ended(0, lr=0.3, result={"outcome": "stopped", "epochs": 3})
    written.failed(0, lr=0.4)  # epochs 0 to 2
    written.waiting(0, lr=0.5)
    read = sweeps(written)
    found = account(read.trials, cost_of_trials(read.records(), read.trials))
    seconds = {
        name: (count, round(3600 * hours, 6)) for name, (count, hours) in found.by_outcome.items()
    }
    assert seconds == {
        "finished": (2, 24 + 48),
        "stopped": (1, 24),
        "failed": (1, 18),
        "waiting": (1, 0),
    }
    assert (found.repeated, found.restarts, found.saved_epochs) == (0.0, 0, 0)
    assert found.total == pytest.approx(114 / 3600)


def test_a_trial_that_rows_share_is_counted_once(written: "Written") -> None:
    written.describe()
    run = written.ended(0)
    written.folder.list_trial(run.name, 1, "search")
    read = sweeps(written)
    assert (
        account(read.trials, cost_of_trials(read.records(), read.trials)).by_outcome["finished"][0]
        == 1
    )


def test_what_was_done_twice_and_what_was_cut_short(written: "Written") -> None:
    written.describe()
    run = written.running(0, epochs=2)
    with run.recorder(2) as recorder:  # from the checkpoint after epoch 1, whose record it repeats
        recorder.write({"epoch": 1, "seconds": 6.0})
        recorder.write({"epoch": 2, "seconds": 12.0})
        recorder.write({"epoch": 3, "seconds": 12.0})
    read = sweeps(written)
    found = account(read.trials, cost_of_trials(read.records(), read.trials))
    assert found.by_outcome["running"][1] == pytest.approx((6 + 6 + 12 + 12) / 3600)
    assert found.repeated == pytest.approx(6 / 3600)
    assert found.restarts == 1
    assert found.cut_short == pytest.approx(10 / 3600)  # the mean of the epochs 1 to 3
    assert cost_lines(found)[-1].startswith("1 restart: ")


def test_what_early_stopping_saved(written: "Written") -> None:
    written.describe()
    for lr, epochs in ((0.1, 10), (0.2, 6)):
        run = written.waiting(0, lr=lr, epochs=epochs)
        written.record(run, epochs=3)
        run.write_result(
            {"outcome": "stopped", "epochs": 3, "validation_accuracy": 0.5, "minutes": 0.3}
        )
    written.failed(0, lr=0.3)  # which saves nothing
    read = sweeps(written)
    found = account(read.trials, cost_of_trials(read.records(), read.trials))
    assert found.saved_epochs == (10 - 3) + (6 - 3)
    assert found.saved == pytest.approx(10 * 6 / 3600)
    assert any(
        "Early stopping saved 0.0167 device-hours" in line and "10 epochs" in line
        for line in cost_lines(found)
    )


def test_what_was_held_outside_of_epochs_is_charged(written: "Written") -> None:
    written.describe()
    result = {"device_hours": 0.1, "minutes": 3.0, "epoch_minutes": 0.4, "minutes_alone": 5.0}
    written.ended(0, lr=0.1, result={**result, "features_device_hours": 0.05})
    crashed = written.waiting(0, lr=0.2)  # before its first record
    with crashed.recorder(1):
        pass
    crashed.write_environment(1, {"held_seconds": 36.0, "world_size": 2})
    crashed.write_error("error", "no such layer", attempt=1)
    read = sweeps(written)
    found = account(read.trials, cost_of_trials(read.records(), read.trials))
    assert [*found.by_outcome] == ["finished", "failed"]
    assert [hours for _, hours in found.by_outcome.values()] == pytest.approx([0.1, 0.02])
    assert found.outside == pytest.approx(0.12 - 24 / 3600)
    assert cost_lines(found) == [
        "Device-hours: 0.12 in all: 0.1 finished (1), 0.02 failed (1).",
        "Of these, 0.113 were held outside of epochs: starts of workers, loading, checkpoints, the"
        " last evaluation, and features of frozen layers (0.05), which are charged to the first"
        " trial that needs them.",
    ]
    written.ended(0, lr=0.3)  # by an earlier version
    read = sweeps(written)
    table = sweep_table(read, read.records())
    assert "1 trial of an earlier version: of them, minutes and device-hours" in "\n".join(
        table.grid.footer
    )
    assert "minutes_alone" in table.frame


def test_stopped_epochs_would_have_cost_their_checkpoints_too(written: "Written") -> None:
    written.describe()
    run = written.waiting(0, lr=0.1, epochs=10)
    with run.recorder(1) as recorder:
        for epoch, held in ((0, 30.0), (1, 40.0), (2, 50.0)):
            recorder.write({"epoch": epoch, "seconds": 6.0, "held_seconds": held})
    with run.recorder(2) as recorder:  # from the checkpoint after epoch 2: a start, then 12 s
        recorder.write({"epoch": 2, "seconds": 6.0, "held_seconds": 33.0})
        recorder.write({"epoch": 3, "seconds": 6.0, "held_seconds": 45.0})
    run.write_result({"outcome": "stopped", "epochs": 3, "device_hours": 95 / 3600})
    read = sweeps(written)
    found = account(read.trials, cost_of_trials(read.records(), read.trials))
    # epochs of 10, 6 (the record before it is of another attempt) and 12 s
    assert found.saved == pytest.approx(7 * (10 + 6 + 12) / 3 / 3600)


def test_nothing_to_account_for(written: "Written") -> None:
    written.describe()
    read = sweeps(written)
    assert cost_lines(account(read.trials, cost_of_trials(read.records(), read.trials))) == []


@pytest.mark.parametrize(
    ("hours", "text"), [(0.01234, "0.0123"), (1.0, "1"), (12.345, "12.3"), (12345.6, "12,346")]
)
def test_hours_for_people(hours: float, text: str) -> None:
    assert format_hours(hours) == text


def test_energy_and_whose_else_it_is(written: "Written") -> None:
    written.describe()
    known = {"outcome": "finished", "epochs": 3}
    written.ended(0, lr=0.1, result={**known, "energy_kwh": 0.25, "energy_shared": False})
    alone = sweeps(written)
    (line,) = energy_lines(alone)
    assert line == (
        "Energy: 0.25 kWh, of the GPUs or, where there are none, of the processors alone."
    )
    shared = written.ended(0, lr=0.2, result={**known, "energy_kwh": 0.5, "energy_shared": True})
    written.folder.list_trial(shared.name, 1, "search")  # a row shares it: it counts once
    written.ended(0, lr=0.3)
    (line,) = energy_lines(sweeps(written))
    assert line.startswith("Energy: 0.75 kWh of 2 trials that tell it, ")
    assert line.endswith(" Others used the devices of 1, too: their energy is counted with it.")


def energy_lines(read: Sweeps) -> list[str]:
    found = account(read.trials, cost_of_trials(read.records(), read.trials))
    return [line for line in cost_lines(found) if "nergy" in line]
