"""Counts by minute -> what a report shows of them: totals, busiest times, and data for figures."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fieldtrial.video.pages.tables import Crossed, Occupied, Stream
from fieldtrial.video.summary import Summary

BINS = (1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)  # seconds
MINUTE = 60
MOST_CELLS = 60_000  # of the figures' data; longer bins where there are more
BUSY = 15  # minutes: traffic engineers compare quarters of an hour


def starts(summary: Summary) -> list[int]:
    """Return the second at which each video begins, as if they followed each other, and the end."""
    begins = [0]
    for video in summary["videos"]:
        begins.append(begins[-1] + max(1, math.ceil(video["seconds"])))
    return begins


def by_second(crossings: Iterable[Crossed]) -> dict[Stream, dict[int, int]]:
    """Return {stream: {second of the video: crossings}}; seconds without any are left out."""
    counts: dict[Stream, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for crossed in crossings:
        counts[crossed.stream][int(crossed.time)] += 1
    return {stream: dict(counted) for stream, counted in counts.items()}


def shortest_bin(
    entries: Iterable[Mapping[int, object]], least: int = 1, most: int = MOST_CELLS
) -> int:
    """Return the shortest bin with which the entries by second are at most `most`, in seconds.

    least: no shorter one.
    """
    seconds = [list(one) for one in entries]
    bins = [length for length in BINS if length >= least]
    for length in bins[:-1]:
        if sum(len({second // length for second in one}) for one in seconds) <= most:
            return length
    return bins[-1]


def count_data(counts: Mapping[Stream, Mapping[int, int]]) -> dict[str, Any]:
    """Return the counts by second for the page's figures, in bins of `seconds`; zeros are left out.

    columns: video, line, direction, class, bin of the video and count, as lists of one length.
    """
    length = shortest_bin(counts.values())
    cells: list[tuple[int, ...]] = []
    for stream, counted in sorted(counts.items()):
        binned: dict[int, int] = defaultdict(int)
        for second, count in counted.items():
            binned[second // length] += count
        cells += [(*stream, place, count) for place, count in sorted(binned.items())]
    names = ("video", "line", "direction", "class", "bin", "count")
    columns = zip(*cells, strict=True) if cells else [()] * len(names)
    return {
        "seconds": length,
        "columns": {name: list(column) for name, column in zip(names, columns, strict=True)},
    }


def zone_data(
    zones: Mapping[tuple[int, int], Mapping[int, Occupied]], lengths: Sequence[float]
) -> dict[str, Any]:
    """Return the zones' occupancy by minute for the page's figure, in bins of `seconds`.

    lengths: of the videos, in seconds.

    columns: video, zone, bin, mean, most and entered, as lists of one length.
    """
    seconds = [{MINUTE * minute: None for minute in by_minute} for by_minute in zones.values()]
    length = shortest_bin(seconds, MINUTE)
    columns: dict[str, list[float]] = {
        name: [] for name in ("video", "zone", "bin", "mean", "most", "entered")
    }
    for (video, zone), by_minute in sorted(zones.items()):
        binned: dict[int, list[tuple[Occupied, float]]] = defaultdict(list)
        for minute, occupied in by_minute.items():
            known = occupied, _seconds_of(minute, lengths[video])
            binned[MINUTE * minute // length].append(known)
        for place, together in sorted(binned.items()):
            mean, most, entered = _together(together)
            row = (video, zone, place, float(f"{mean:.4g}"), most, entered)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    return {"seconds": length, "columns": columns}


def busiest(
    counted: Sequence[tuple[int, Mapping[int, int]]], lengths: Sequence[float]
) -> tuple[int, int, int] | None:
    """Return the BUSY minutes in a row with most counts: video, its first minute, and the count.

    counted: (video, {second: count}). lengths: of the videos, in seconds. Only whole stretches of
    a video are looked at; None where no video is so long, or nothing was counted.
    """
    summed: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for video, own in counted:
        for second, count in own.items():
            summed[video][second // MINUTE] += count
    best: tuple[int, int, int] | None = None
    for video, counts in sorted(summed.items()):
        last = math.ceil(lengths[video] / MINUTE) - BUSY
        if last < 0:
            continue
        # the busiest stretch may begin where a counted minute begins it, or at the latest place
        for first in sorted({*(minute for minute in counts if minute <= last), last}):
            count = sum(counts.get(minute, 0) for minute in range(first, first + BUSY))
            if best is None or count > best[2]:
                best = video, first, count
    return best if best and best[2] else None


def zone_totals(
    zones: Mapping[tuple[int, int], Mapping[int, Occupied]], count: int, lengths: Sequence[float]
) -> list[tuple[float, int, int]]:
    """Return mean occupancy, most at once and vehicles that came in, of each of `count` zones.

    lengths: of the videos, in seconds.
    """
    known: list[list[tuple[Occupied, float]]] = [[] for _ in range(count)]
    for (video, zone), by_minute in zones.items():
        known[zone] += [(one, _seconds_of(at, lengths[video])) for at, one in by_minute.items()]
    return list(map(_together, known))


def _seconds_of(minute: int, length: float) -> float:
    """Return how much a video has of a minute; a little of the one that its last frame begins."""
    return min(MINUTE, max(length - MINUTE * minute, 1e-6))


def _together(known: Sequence[tuple[Occupied, float]]) -> tuple[float, int, int]:
    """Return the mean over so many seconds each, the most at once and the sum that came in."""
    seconds = sum(own for _, own in known)
    mean = sum(one.mean * own for one, own in known) / seconds if known else 0.0
    most = max((one.most for one, _ in known), default=0)
    return mean, most, sum(one.entered for one, _ in known)
