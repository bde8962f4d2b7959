"""Counts by minute -> what a report shows of them: totals, busiest times, and data for figures."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fieldtrial.video.pages.tables import Occupied, Stream
from fieldtrial.video.summary import Summary

BINS = (1, 5, 15, 60, 240, 1440)  # minutes
MOST_CELLS = 60_000  # of the figures' data; longer bins where there are more
BUSY = 15  # minutes: traffic engineers compare quarters of an hour


def starts(summary: Summary) -> list[int]:
    """Return the minute at which each video begins, as if they followed each other, and the end."""
    begins = [0]
    for video in summary["videos"]:
        begins.append(begins[-1] + max(1, math.ceil(video["seconds"] / 60)))
    return begins


def shortest_bin(sizes: Iterable[Mapping[int, object]], most: int = MOST_CELLS) -> int:
    """Return the shortest bin with which the entries by minute are at most `most`, in minutes."""
    minutes = [list(one) for one in sizes]
    for length in BINS[:-1]:
        if sum(len({minute // length for minute in one}) for one in minutes) <= most:
            return length
    return BINS[-1]


def count_data(counts: Mapping[Stream, Mapping[int, int]]) -> dict[str, Any]:
    """Return the counts for the page's figures, those that are not 0, in bins of `minutes`.

    columns: video, line, direction, class, bin of the video and count, as lists of one length.
    """
    length = shortest_bin(counts.values())
    cells: list[tuple[int, ...]] = []
    for stream, by_minute in sorted(counts.items()):
        binned: dict[int, int] = defaultdict(int)
        for minute, count in by_minute.items():
            binned[minute // length] += count
        cells += [(*stream, place, count) for place, count in sorted(binned.items())]
    names = ("video", "line", "direction", "class", "bin", "count")
    columns = zip(*cells, strict=True) if cells else [()] * len(names)
    return {
        "minutes": length,
        "columns": {name: list(column) for name, column in zip(names, columns, strict=True)},
    }


def zone_data(zones: Mapping[tuple[int, int], Mapping[int, Occupied]]) -> dict[str, Any]:
    """Return the zones' occupancy for the page's figure, in bins of `minutes`.

    columns: video, zone, bin, mean, most and entered, as lists of one length.
    """
    length = shortest_bin(zones.values())
    columns: dict[str, list[float]] = {
        name: [] for name in ("video", "zone", "bin", "mean", "most", "entered")
    }
    for (video, zone), by_minute in sorted(zones.items()):
        binned: dict[int, list[Occupied]] = defaultdict(list)
        for minute, occupied in by_minute.items():
            binned[minute // length].append(occupied)
        for place, together in sorted(binned.items()):
            mean = sum(one.mean for one in together) / len(together)
            most, entered = max(o.most for o in together), sum(o.entered for o in together)
            row = (video, zone, place, float(f"{mean:.4g}"), most, entered)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    return {"minutes": length, "columns": columns}


def busiest(
    by_minutes: Sequence[tuple[int, Mapping[int, int]]], lengths: Sequence[int]
) -> tuple[int, int, int] | None:
    """Return the BUSY minutes in a row with most counts: video, its first minute, and the count.

    by_minutes: (video, {minute: count}). lengths: of the videos, in minutes. Only whole stretches
    of a video are looked at; None where no video is so long, or nothing was counted.
    """
    summed: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for video, by_minute in by_minutes:
        for minute, count in by_minute.items():
            summed[video][minute] += count
    best: tuple[int, int, int] | None = None
    for video, counts in sorted(summed.items()):
        last = lengths[video] - BUSY
        if last < 0:
            continue
        # the busiest stretch may begin where a counted minute begins it, or at the latest place
        for first in sorted({*(minute for minute in counts if minute <= last), last}):
            count = sum(counts.get(minute, 0) for minute in range(first, first + BUSY))
            if best is None or count > best[2]:
                best = video, first, count
    return best if best and best[2] else None


def zone_totals(
    zones: Mapping[tuple[int, int], Mapping[int, Occupied]], count: int
) -> list[tuple[float, int, int]]:
    """Return mean occupancy, most at once and vehicles that came in, of each of `count` zones."""
    found = []
    for zone in range(count):
        known = [one for (_, own), by in zones.items() if own == zone for one in by.values()]
        mean = sum(one.mean for one in known) / max(1, len(known))
        most = max((one.most for one in known), default=0)
        found.append((mean, most, sum(one.entered for one in known)))
    return found
