"""What was counted in videos, as tables in a run directory."""

from collections import Counter
from collections.abc import Mapping, Sequence

from fieldtrial.disk.files import write_atomically
from fieldtrial.video.geometry import Line, Zone
from fieldtrial.video.moments import Crossing
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.tracking.analysis import Followed
from fieldtrial.video.tracking.paths import Step
from fieldtrial.video.tracking.zones import MINUTE, minutes_of, occupancy

Row = tuple[str | int | float, ...]

DIRECTIONS = ("right", "left")
DECIMALS = 3  # of seconds
COUNTS = ("video", "line", "direction", "class", "minute", "count")
CROSSINGS = (
    *("video", "line", "direction", "class", "track", "time"),
    *("x", "y", "left", "top", "right", "bottom"),
)
TRACKS = ("video", "track", "class", "first", "last", "frames", "path")
ZONES = ("video", "zone", "minute", "mean", "most", "entered")
STAYS = ("video", "zone", "track", "class", "first", "last", "seconds")


def write_tables(
    outcome: Outcome,
    followed: Mapping[str, Followed],
    lines: Sequence[Line],
    zones: Sequence[Zone],
    class_names: Sequence[str],
) -> None:
    """Write the tables of the videos `followed`, by their names. Times are seconds of the video.

    counts.csv: how many crossed each line, for each direction, class and minute, zeros too.
    crossings.csv: each of them. tracks.csv: each track, with its path as "x y time;x y time;…".
    zones.csv: how many were in each zone, for each minute; see `zones.Occupancy`.
    stays.csv: each stay in a zone.

    Raises:
        OSError: a table could not be written.
    """
    names = list(class_names)
    crossings: list[Row] = [
        (
            *(video, one.line, one.direction, names[one.label], one.track, _second(one.time)),
            *(round(value, 1) for value in (*one.point, *one.box)),
        )
        for video, found in followed.items()
        for one in found.crossings
    ]
    tracks: list[Row] = [
        (
            *(video, one.number, names[one.label], _second(one.first), _second(one.last)),
            *(one.frames, ";".join(map(_shown, one.path))),
        )
        for video, found in followed.items()
        for one in found.tracks
    ]
    stays: list[Row] = [
        (
            *(video, one.zone, one.track, names[labels[one.track]]),
            *map(_second, (one.first, one.last, one.last - one.first)),
        )
        for video, found in followed.items()
        for labels in [{track.number: track.label for track in found.tracks}]
        for one in found.stays
    ]
    for path, columns, rows in (
        (outcome.counts_path, COUNTS, _counts(followed, lines, names)),
        (outcome.crossings_path, CROSSINGS, crossings),
        (outcome.tracks_path, TRACKS, tracks),
        (outcome.zones_path, ZONES, _zones(followed, zones)),
        (outcome.stays_path, STAYS, stays),
    ):
        write_atomically(path, _csv(columns, rows))


def _csv(columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    import pandas as pd  # late, and with it what needs it

    from fieldtrial.results.table.spreadsheet import to_csv

    return to_csv(pd.DataFrame(rows, columns=list(columns))).encode()


def _counts(
    followed: Mapping[str, Followed], lines: Sequence[Line], names: Sequence[str]
) -> list[Row]:
    rows = list[Row]()
    for video, found in followed.items():
        counts = Counter(map(_cell, found.crossings))
        rows += [
            (video, line.name, way, name, minute, counts[line.name, way, label, minute])
            for line in lines
            for way in DIRECTIONS
            for label, name in enumerate(names)
            for minute in range(minutes_of(found.seconds))
        ]
    return rows


def _cell(one: Crossing) -> tuple[str, str, int, int]:
    return one.line, one.direction, one.label, int(one.time // MINUTE)


def _zones(followed: Mapping[str, Followed], zones: Sequence[Zone]) -> list[Row]:
    return [
        (video, zone.name, one.minute, round(one.mean, DECIMALS), one.most, one.entered)
        for video, found in followed.items()
        for zone in zones
        for one in occupancy(
            [stay for stay in found.stays if stay.zone == zone.name], found.seconds
        )
    ]


def _second(time: float) -> float:
    return round(time, DECIMALS)


def _shown(step: Step) -> str:
    return f"{step.point[0]:.1f} {step.point[1]:.1f} {step.time:.{DECIMALS}f}"
