"""Energy of processors from counters as Linux shows them, and of cards as NVML does."""

import contextlib
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed import energy
from fieldtrial.training.distributed.energy import EnergyMeter
from fieldtrial.training.distributed.world import World
from fieldtrial.training.heads.clock import GroupClock
from fieldtrial.training.loop.attempt import Attempt

MOST = 65_532_610_987  # microjoules, after which a real counter begins anew


def count(powercap: Path, name: str, kind: str, value: int) -> None:
    """Show the counter of a socket, or of a part of it, at `value` microjoules."""
    folder = powercap / name
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "max_energy_range_uj").write_text(f"{MOST}\n")
    (folder / "energy_uj").write_text(f"{value}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Two sockets, of which one counts its memory apart, and parts that are counted with them."""
    folder = tmp_path / "powercap"
    folder.mkdir()
    count(folder, "intel-rapl:0", "package-0", 1_000_000)
    count(folder, "intel-rapl:0:0", "core", 77)
    count(folder, "intel-rapl:0:1", "dram", 5_000_000)
    count(folder, "intel-rapl:1", "package-1", MOST - 2_000_000)
    count(folder, "intel-rapl:2", "psys", 123)
    return folder


def test_sockets_and_memory_add_up_over_the_counters_end(powercap: Path) -> None:
    with EnergyMeter(World(), powercap) as meter:
        assert meter.entries() == {"energy_joules": 0}
        count(powercap, "intel-rapl:0", "package-0", 4_000_000)
        count(powercap, "intel-rapl:0:0", "core", 9_000_000)
        count(powercap, "intel-rapl:0:1", "dram", 5_500_000)
        count(powercap, "intel-rapl:1", "package-1", 999_999)
        count(powercap, "intel-rapl:2", "psys", 9_000_000)
        assert meter.joules() == pytest.approx(3 + 0.5 + 3)
        count(powercap, "intel-rapl:0", "package-0", 5_000_000)
        assert meter.joules() == pytest.approx(7.5)


def test_a_trial_has_the_share_of_the_energy_that_it_has_of_the_time(
    powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    group = GroupClock()
    clocks = [group.join() for _ in range(4)]
    with EnergyMeter(World(), powercap, clocks[0]) as first:
        now = 108.0
        for clock in clocks[2:]:
            group.leave(clock)  # two trials are left
        now = 112.0
        count(powercap, "intel-rapl:0", "package-0", 13_000_000)
        assert first.joules() == pytest.approx(12 * (8 / 4 + 4 / 2) / 12)


def test_a_counter_that_is_lost_leaves_the_energy_unknown(powercap: Path) -> None:
    with EnergyMeter(World(), powercap) as meter:
        lost = powercap / "intel-rapl:1" / "energy_uj"
        value = lost.read_text()
        lost.unlink()
        assert meter.entries() == {}
        lost.write_text(value)
        assert meter.joules() is None


def test_between_records_a_thread_reads(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a counter that began anew twice would count once."""
    monkeypatch.setattr(energy, "READ_EVERY", 0.01)
    with EnergyMeter(World(), powercap) as meter:
        (counter,) = meter._counters or ()
        count(powercap, "intel-rapl:0", "package-0", 3_000_000)
        while counter._domains[0].last != 3_000_000:  # type: ignore[attr-defined]
            pass
        assert meter.joules() == pytest.approx(2)


@pytest.mark.parametrize("hidden", ["intel-rapl:1/energy_uj", "intel-rapl:0:1/name"])
def test_without_each_counter_nothing_is_said(powercap: Path, hidden: str) -> None:
    (powercap / hidden).unlink()
    with EnergyMeter(World(), powercap) as meter:
        assert meter.entries() == {}


def test_processors_are_shared_by_a_trial_of_fewer_threads(
    powercap: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number, core in enumerate((0, 0, 1, 1)):  # two threads a core
        topology = tmp_path / "cpu" / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text("0\n")
        (topology / "core_id").write_text(f"{core}\n")
    monkeypatch.setattr(energy, "CORES", tmp_path / "cpu")
    monkeypatch.setattr(energy, "_cores", energy._cores.__wrapped__)
    with EnergyMeter(World(), powercap) as meter:
        meter.joules()
        assert meter.shared  # one thread of two cores
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with EnergyMeter(World(), powercap) as meter:
        meter.joules()
        assert not meter.shared
    monkeypatch.setenv("LOCAL_RANK", "1")  # the other process counts for both
    with EnergyMeter(World(), powercap) as meter:
        count(powercap, "intel-rapl:0", "package-0", 9_000_000)
        assert meter.joules() == 0


def test_without_nvml_a_card_tells_nothing() -> None:
    if energy._nvml():
        pytest.skip("this machine has NVML")
    assert energy._Card.of(torch.device("cuda", 0)) is None


def test_a_card_counts_from_the_attempts_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML is stood in for, by the names that nvidia-ml-py has."""
    counted, users = [5_000, 12_500, 12_500, 40], [[1], [1, 2], [1]]
    real = pytest.importorskip("pynvml")
    asked: list[str] = []

    def handle(name: str) -> str:
        asked.append(name)
        return "card"

    stand_in = SimpleNamespace(
        NVMLError=real.NVMLError,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetTotalEnergyConsumption=lambda _: counted.pop(0),
        nvmlDeviceGetComputeRunningProcesses=lambda _: users.pop(0),
    )
    assert all(hasattr(real, name) for name in vars(stand_in))
    monkeypatch.setattr(energy, "_nvml", lambda: stand_in)
    properties = SimpleNamespace(uuid="12345678-aaaa")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    card = energy._Card.of(torch.device("cuda", 0))
    assert card is not None
    assert (card.read(), card.is_shared()) == (7.5, False)
    assert (card.read(), card.is_shared()) == (7.5, True)
    assert card.read() is None  # the driver was loaded anew
    monkeypatch.setenv("FIELDTRIAL_GPU_FRACTION", "0.25")
    assert card.is_shared()
    assert asked == ["GPU-12345678-aaaa"]


def test_a_trial_records_energy_and_its_result_that_of_all_attempts(
    powercap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "POWERCAP", powercap)
    small = {"model": "mlp", "classes": "3", "epochs": 2, "dense_width": [8]}
    config = TrainConfig.from_dict(small)
    run = Run.create(tmp_path / "run", config)
    for attempt in (1, 2):
        with contextlib.closing(train(Attempt.at(run, World(), attempt))) as records:
            for record in records:  # after each, the processor takes a joule
                value = int((powercap / "intel-rapl:0" / "energy_uj").read_text())
                count(powercap, "intel-rapl:0", "package-0", value + 1_000_000)
                if (record["epoch"], attempt) == (1, 1):
                    break
    # The first attempt recorded the epochs 0 and 1, and ended with 2 J; the second 1 and 2.
    assert [record["energy_joules"] for record in run.records()] == pytest.approx([0, 0, 1])
    result = run.result()
    assert result is not None
    assert result["energy_kwh"] == pytest.approx((2 + 2) / 3.6e6)
    assert result["energy_shared"] == (energy._cores() > torch.get_num_threads())
