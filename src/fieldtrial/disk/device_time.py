"""How long a run has held its devices, from its records and what its attempts left in env.json.

A record says how long its attempt had held the devices by then. An attempt that failed says so at
its end; of one that was killed, the time after its last record is not known.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from fieldtrial.disk.files import parse_record
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.disk.run import Run


@dataclass(frozen=True)
class DeviceTime:
    """What a run has taken, of all its attempts together.

    Attributes:
        seconds: that its processes have held their devices.
        device_seconds: the same, of each process.
        alone: the seconds that it takes alone, from nothing and without a restart, as far as it
            is; None where that is not known.
    """

    seconds: float
    device_seconds: float
    alone: float | None

    def entries(self) -> dict[str, float]:
        """Return result.json's entries."""
        known = {} if self.alone is None else {"minutes_alone": self.alone / 60}
        return {
            "minutes": self.seconds / 60,
            "device_hours": self.device_seconds / 3600,
            **known,
        }


def device_time(
    run: Run, last_epoch: int | None = None, newest: tuple[int, float] | None = None
) -> DeviceTime | None:
    """Return what the run has taken so far; None if none of its attempts has said so.

    Attempts of before this was recorded count with their epochs. Where env.json cannot be read, the
    records alone say what is known, and each attempt counts as one process.

    last_epoch: records after it do not count for `alone`; None: all do. newest: the number of an
    attempt, and the seconds that are known of it now.
    """
    environment = dict[str, Any]()
    with contextlib.suppress(OSError, UnreadableError):
        environment = run.environment()
    seconds = device_seconds = 0.0
    alone, is_known, seen = None, False, set[tuple[int, float]]()
    for attempt in run.attempts():
        records = [
            record
            for line in run.record_lines(attempt).split(b"\n")
            if (record := parse_record(line))
        ]
        about = environment.get(str(attempt), {})
        told = [*(_held(one) for one in (*records, about)), *_of(newest, attempt)]
        held = max((one for one in told if one is not None), default=None)
        is_known |= held is not None
        if held is None:
            new = {(one["epoch"], one.get("seconds") or 0.0) for one in records} - seen
            held = sum(taken for _, taken in new)
            seen |= new
        seconds += held
        device_seconds += held * about.get("world_size", 1)
        counted = [one for one in records if last_epoch is None or one["epoch"] <= last_epoch]
        if counted:
            alone = counted[-1].get("alone_seconds")
    return DeviceTime(seconds, device_seconds, alone) if is_known else None


def _held(about: dict[str, Any]) -> float | None:
    return about.get("held_seconds")


def _of(newest: tuple[int, float] | None, attempt: int) -> list[float]:
    return [newest[1]] if newest and newest[0] == attempt else []
