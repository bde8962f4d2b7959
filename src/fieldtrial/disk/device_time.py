"""How long a run has held its devices, and the energy that these took, from its records and from
what its attempts left in env.json.

A record says how long its attempt had held the devices by then, and what energy they had taken. An
attempt that failed says so at its end; of one that was killed, what came after its last record is
not known.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from fieldtrial.disk.files import parse_record
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.disk.run import Run

JOULES = 3.6e6  # in a kilowatt-hour


@dataclass(frozen=True)
class Spent:
    """What is known now of an attempt: its number, the seconds that it has held its devices, the
    energy in joules that these took, if that is known, and whether others used them, too.
    """

    attempt: int
    seconds: float
    joules: float | None = None
    shared: bool = False


@dataclass(frozen=True)
class DeviceTime:
    """What a run has taken, of all its attempts together.

    Attributes:
        seconds: that its processes have held their devices.
        device_seconds: the same, of each process.
        alone: the seconds that it takes alone, from nothing and without a restart, as far as it
            is; None where that is not known.
        joules: the energy of its devices; None where that is not known of each attempt.
        shared: whether others were seen to use the devices, whose energy is counted with it.
    """

    seconds: float
    device_seconds: float
    alone: float | None
    joules: float | None = None
    shared: bool = False

    def entries(self) -> dict[str, float | bool]:
        """Return result.json's entries."""
        known: dict[str, float | bool] = (
            {} if self.alone is None else {"minutes_alone": self.alone / 60}
        )
        if self.joules is not None:
            known |= {"energy_kwh": self.joules / JOULES, "energy_shared": self.shared}
        return {
            "minutes": self.seconds / 60,
            "device_hours": self.device_seconds / 3600,
            **known,
        }


def device_time(
    run: Run, last_epoch: int | None = None, newest: Spent | None = None
) -> DeviceTime | None:
    """Return what the run has taken so far; None if none of its attempts has said so.

    Attempts of before this was recorded count with their epochs. Where env.json cannot be read, the
    records alone say what is known, and each attempt counts as one process.

    last_epoch: records after it do not count for `alone`; None: all do. newest: what is known now
    of the newest attempt.
    """
    environment = dict[str, Any]()
    with contextlib.suppress(OSError, UnreadableError):
        environment = run.environment()
    seconds = device_seconds = 0.0
    alone, is_known, seen = None, False, set[tuple[int, float]]()
    joules: float | None = 0.0
    shared = False
    for attempt in run.attempts():
        records = [
            record
            for line in run.record_lines(attempt).split(b"\n")
            if (record := parse_record(line))
        ]
        about = environment.get(str(attempt), {})
        own = newest if newest and newest.attempt == attempt else None
        held = _most("held_seconds", records, about, own.seconds if own else None)
        taken = _most("energy_joules", records, about, own.joules if own else None)
        shared |= bool(about.get("energy_shared")) or (own is not None and own.shared)
        is_known |= held is not None
        if held is None:
            new = {(one["epoch"], one.get("seconds") or 0.0) for one in records} - seen
            held = sum(lasted for _, lasted in new)
            seen |= new
        if held and joules is not None:
            joules = None if taken is None else joules + taken
        seconds += held
        device_seconds += held * about.get("world_size", 1)
        counted = [one for one in records if last_epoch is None or one["epoch"] <= last_epoch]
        if counted:
            alone = counted[-1].get("alone_seconds")
    return DeviceTime(seconds, device_seconds, alone, joules, shared) if is_known else None


def _most(
    name: str, records: list[dict[str, Any]], about: dict[str, Any], now: float | None
) -> float | None:
    """Return the largest that an attempt's records, env.json and what is known now say."""
    told = (*(one.get(name) for one in (*records, about)), now)
    return max((one for one in told if one is not None), default=None)
