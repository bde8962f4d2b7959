"""The energy that an attempt's devices take, by the counters of the GPUs or of the processors.

Cards of Volta and later count their energy; NVML reads it. Processors of Intel and AMD count that
of each socket; Linux shows it below /sys/class/powercap (RAPL), often to root alone. A counter is
of the whole card or socket, whoever uses it.
"""

import functools
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch

from fieldtrial.training.distributed.device_clock import DeviceClock
from fieldtrial.training.distributed.world import World

POWERCAP = Path("/sys/class/powercap")
CORES = Path("/sys/devices/system/cpu")
# RAPL's counters begin anew after 65 kJ or more: twice between two readings would take over 3 kW.
READ_EVERY = 20.0  # seconds


class Counter(Protocol):
    """Counts the energy of a device."""

    def read(self) -> float | None:
        """Return the joules since it was made; None where that is not known."""

    def is_shared(self) -> bool:
        """Return whether others are known to use the device now."""

    def close(self) -> None:
        """Count no longer."""


class EnergyMeter:
    """Counts the energy of the devices of `world` from now on, until it is left as a context.

    Args:
        world: the processes that train together. A GPU is counted by its process, processors by
            the first process of each machine.
        powercap: the folder of the processors' counters; by default, the system's.
        clock: of a trial that trains as one with others: it is given the share of the energy that
            it has of the devices' time. None: it has all of it.
    """

    def __init__(
        self, world: World, powercap: Path | None = None, clock: DeviceClock | None = None
    ) -> None:
        self._world = world
        self._clock = clock
        self._began, self._held = time.monotonic(), clock.held if clock else 0.0
        self._shared = False
        self._counters: Sequence[Counter] | None = _counters(world, powercap or POWERCAP)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for counter in self._counters or ():
            counter.close()

    def joules(self) -> float | None:
        """Return the energy so far, of all processes; None if one of them cannot tell.

        All processes call this together.
        """
        own = None if self._counters is None else [counter.read() for counter in self._counters]
        known = [] if own is None else [one for one in own if one is not None]
        unknown = 0 if own is not None and len(known) == len(own) else 1
        self._shared = self._shared or any(one.is_shared() for one in self._counters or ())
        told = torch.tensor(
            [sum(known), unknown, self._shared], dtype=torch.float64, device=self._world.device
        )
        whole, unknown_somewhere, shared = self._world.sum(told).tolist()
        self._shared = bool(shared)
        return None if unknown_somewhere else whole * self._share()

    def entries(self) -> dict[str, float]:
        """Return a record's entry about the energy until now, where it is known.

        All processes call this together.
        """
        joules = self.joules()
        return {} if joules is None else {"energy_joules": joules}

    def _share(self) -> float:
        """Return which share of the time since the start the attempt has held the devices."""
        passed = time.monotonic() - self._began
        if self._clock is None or not passed:
            return 1.0
        return min(1.0, (self._clock.held - self._held) / passed)

    @property
    def shared(self) -> bool:
        """Whether others were seen to use the devices, when `joules` was last asked."""
        return self._shared


def _counters(world: World, powercap: Path) -> Sequence[Counter] | None:
    """Return the counters that this process reads; None if there are none."""
    if world.device.type == "cuda":
        card = _Card.of(world.device)
        return [card] if card else None
    if int(os.environ.get("LOCAL_RANK", "0")):
        return []  # the machine's first process counts
    return [_Processors(domains)] if (domains := _domains(powercap)) else None


@dataclass(frozen=True)
class _Card:
    """An NVIDIA GPU: its counter of millijoules since its driver was loaded."""

    nvml: Any
    handle: Any
    began: int

    @classmethod
    def of(cls, device: torch.device) -> "_Card | None":
        """Return the card's counter; None without NVML, or if the card or part has none."""
        if (nvml := _nvml()) is None:
            return None
        try:
            name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            handle = nvml.nvmlDeviceGetHandleByUUID(name)
            return cls(nvml, handle, nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        except nvml.NVMLError:
            return None

    def read(self) -> float | None:
        """See Counter. A driver that was loaded anew counts from 0."""
        try:
            taken = self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) - self.began
        except self.nvml.NVMLError:
            return None
        return taken / 1000 if taken >= 0 else None

    def is_shared(self) -> bool:
        """See Counter: by the place that gave a fraction, or by the processes on the card.

        A container may hide the processes of others.
        """
        if os.environ.get("FIELDTRIAL_GPU_FRACTION"):
            return True
        try:
            return len(self.nvml.nvmlDeviceGetComputeRunningProcesses(self.handle)) > 1
        except self.nvml.NVMLError:
            return False

    def close(self) -> None:
        """See Counter: NVML stays open for the next trial."""


@functools.cache
def _nvml() -> Any:
    """Return NVML's module, opened for the rest of this process; None where there is no NVML."""
    import pynvml  # late: not where there is no GPU

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


@dataclass
class _Domain:
    """A counter of microjoules below /sys/class/powercap, which begins anew after `most`."""

    path: Path
    most: int
    last: int

    @classmethod
    def of(cls, folder: Path) -> "_Domain | None":
        """Return the counter in this folder; None if it cannot be read."""
        try:
            most = int((folder / "max_energy_range_uj").read_text())
            return cls(folder / "energy_uj", most, int((folder / "energy_uj").read_text()))
        except (OSError, ValueError):
            return None

    def advance(self) -> float:
        """Return the joules since the last call. Raises OSError or ValueError: not readable."""
        value = int(self.path.read_text())
        taken = (value - self.last) % (self.most + 1)
        self.last = value
        return taken / 1e6


class _Processors:
    """The sockets of this machine, read by a thread too, before their counters begin anew twice."""

    def __init__(self, domains: Sequence[_Domain]) -> None:
        self._domains = domains
        self._joules: float | None = 0.0
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep_reading, daemon=True)
        self._thread.start()

    def read(self) -> float | None:
        """See Counter. Once unknown, it stays so."""
        with self._lock:
            if self._joules is not None:
                try:
                    self._joules += sum(domain.advance() for domain in self._domains)
                except (OSError, ValueError):
                    self._joules = None
            return self._joules

    def is_shared(self) -> bool:
        """See Counter: whether the trial has fewer threads than the machine has cores."""
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return torch.get_num_threads() * processes < _cores()

    def close(self) -> None:
        """See Counter."""
        self._closed.set()
        self._thread.join()

    def _keep_reading(self) -> None:
        while not self._closed.wait(READ_EVERY):
            self.read()


@functools.cache
def _cores() -> int:
    """Return how many cores this machine has, each once where it runs two threads."""
    names = ("topology/physical_package_id", "topology/core_id")
    try:
        found = {
            tuple((core / name).read_text() for name in names) for core in CORES.glob("cpu[0-9]*")
        }
    except OSError:
        found = set()
    return len(found) or os.cpu_count() or 1


def _domains(powercap: Path) -> list[_Domain]:
    """Return the counters of the sockets, and of their memory where it has one of its own.

    None is left out: a sum without one of the sockets would be too low.
    """
    found = []
    for folder in sorted(powercap.glob("intel-rapl:*")):
        try:
            kind = (folder / "name").read_text().strip()
        except OSError:
            return []
        is_socket = folder.name.count(":") == 1 and kind.startswith("package")
        if is_socket or kind == "dram":
            domain = _Domain.of(folder)
            if domain is None:
                return []
            found.append(domain)
    return found
