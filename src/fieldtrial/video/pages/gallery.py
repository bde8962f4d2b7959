"""The crossings that a report lists, and pictures of some of them, small enough to stand in it."""

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from PIL import Image

from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import open_file
from fieldtrial.results.report.pictures import MOST_PIXELS, webp_address
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.pages.snapshots import snapshot_name
from fieldtrial.video.pages.tables import DIRECTIONS, Crossed, Names, read_crossings
from fieldtrial.video.pages.texts import is_shown
from fieldtrial.video.summary import Summary

MOST_LISTED = 4000  # crossings in a page
MOST_PICTURES = 800  # of them with a picture
PICTURE_BYTES = 4_000_000  # of all pictures, as text
WIDEST = 200  # pixels
QUALITY = 72  # of WebP
Group = tuple[int, int, int]  # numbers of a line, a direction and a class


def gallery(
    outcome: Outcome, summary: Summary, names: Names, sizes: Counter[Group]
) -> dict[str, Any]:
    """Return crossings for the page: `crossings`, `pictures`, `found` in all, `unreadable` files.

    sizes: how many crossings there are of each line, direction and class.

    crossings: columns video, line, direction, class, track, time, file ("" where there is none) and
    picture (a place in `pictures`, or -1). Where there are too many, those of each line, direction
    and class are thinned out evenly, the most frequent first.
    """
    listed = list(_chosen(read_crossings(outcome, names), sizes, MOST_LISTED))
    own = Counter(_group(crossed) for crossed in listed)
    pictured = set(map(id, _chosen(listed, own, MOST_PICTURES)))
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("video", "line", "direction", "class", "track", "time", "file", "picture")
    }
    pictures: list[str] = []
    size, unreadable = 0, 0
    for crossed in listed:
        path = outcome.snapshots_folder / _name(crossed, summary)
        is_there, place = is_shown(path), -1
        if is_there and id(crossed) in pictured and size < PICTURE_BYTES:
            if picture := _small(path):
                place = len(pictures)
                pictures.append(picture)
                size += len(picture)
            else:
                unreadable += 1
        row = (*crossed.stream, crossed.track, crossed.time, path.name if is_there else "", place)
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    return {
        "crossings": columns,
        "pictures": pictures,
        "found": sizes.total(),
        "unreadable": unreadable,
    }


def _group(crossed: Crossed) -> Group:
    return crossed.stream[1:]


def _chosen(crossings: Iterable[Crossed], sizes: Counter[Group], most: int) -> Iterator[Crossed]:
    """Yield at most `most` of the crossings, evenly spread within each group of these sizes."""
    quotas = range(1, max(sizes.values(), default=1) + 1)
    # the largest quota with which all groups together have at most `most`
    quota = bisect.bisect_right(
        quotas, most, key=lambda quota: sum(min(size, quota) for size in sizes.values())
    )
    seen: Counter[Group] = Counter()
    for crossed in crossings:
        group = _group(crossed)
        wanted, size = min(quota, sizes[group]), sizes[group]
        # the places 0, size / wanted, 2 size / wanted …, rounded up
        if wanted and (seen[group] * wanted) % size < wanted:
            yield crossed
        seen[group] += 1


def _name(crossed: Crossed, summary: Summary) -> str:
    video, line, direction, label = crossed.stream
    return snapshot_name(
        summary["videos"][video]["name"],
        summary["lines"][line]["name"],
        list(DIRECTIONS)[direction],
        summary["classes"][label],
        crossed.track,
        crossed.time,
    )


def _small(path: Inside) -> str | None:
    """Return a JPEG file as a small WebP data URL, or None if it cannot be shown."""
    try:
        with open_file(path) as file, Image.open(file, formats=["JPEG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            image.draft("RGB", (WIDEST, WIDEST))
            smaller = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # as Pillow raises
        return None
    smaller.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    return webp_address(smaller, QUALITY)
