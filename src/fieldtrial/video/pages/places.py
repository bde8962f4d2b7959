"""Pictures of the place for a report: with the paths of vehicles drawn in, and with a heat map."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import UnreadableError, open_file
from fieldtrial.results.report.pictures import MOST_PIXELS, webp_address
from fieldtrial.video.geometry import Point
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.pages.arrows import BEYOND, COUNT, SIGNS, TIP, arrow, before, head
from fieldtrial.video.pages.heat import HeatMap, read_path
from fieldtrial.video.pages.paint import Colour, Pixels, class_colour
from fieldtrial.video.pages.tables import Names, read_tracks
from fieldtrial.video.summary import Summary, VideoSummary

MOST_PATHS = 300  # drawn for each video; half as many at least, where there are more
MOST_VIDEOS = 8  # that have pictures of their own; all videos of one size have common ones, too
LONGEST = 1000  # pixels of a picture's longer side
QUALITY = 78  # of WebP
DARKENED = 0.55
LETTERS = 0.05  # of the frame's shorter side: the arrows are so many times as long as it
GREY = 70  # where no picture of the place has been kept


@dataclass
class _Found:
    """What is collected of a video, or of several."""

    size: tuple[int, int]
    heat: HeatMap
    paths: list[tuple[int, NDArray[np.float64]]] = field(default_factory=list)
    every: int = 1
    seen: int = 0

    def add(self, label: int, path: NDArray[np.float64]) -> None:
        self.heat.add(path)
        if self.seen % self.every == 0:
            self.paths.append((label, path))
        self.seen += 1
        if len(self.paths) > MOST_PATHS:
            self.paths, self.every = self.paths[::2], 2 * self.every


def places(outcome: Outcome, summary: Summary, names: Names) -> list[dict[str, Any]]:
    """Return the pictures of the place: of all videos together if there are several, then of each.

    Each has title, video (its number, None for all), width and height in pixels of the video,
    `tracks` and `heat` as data URLs, how many paths are `drawn` of how many, labels (the numbers of
    the classes drawn), and colours and ticks of the heat map's scale.
    """
    videos = summary["videos"]
    own = {at: _empty(video) for at, video in enumerate(videos[:MOST_VIDEOS])}
    together = _empty(videos[0]) if _are_alike(videos) else None
    for video, label, text, where in read_tracks(outcome, names):
        try:
            path = read_path(text)
        except ValueError as error:
            raise UnreadableError(f"{where}: {error}") from None
        for found in filter(None, (own.get(video), together)):
            found.add(label, path)
    pictures = []
    if together:
        still = _still(outcome, videos[0])
        pictures.append(_pictures(f"All {len(videos)} videos", None, together, still))
    for at, found in own.items():
        still = _still(outcome, videos[at])
        pictures.append(_pictures(videos[at]["name"], at, found, still))
    return pictures


def _empty(video: VideoSummary) -> _Found:
    size = video["width"], video["height"]
    return _Found(size, HeatMap(size))


def _are_alike(videos: list[VideoSummary]) -> bool:
    return len(videos) > 1 and len({(one["width"], one["height"]) for one in videos}) == 1


def _still(outcome: Outcome, video: VideoSummary) -> Pixels:
    """Return the picture of the place that was kept, or one of a single shade, LONGEST pixels."""
    scale = LONGEST / max(video["width"], video["height"])
    size = max(1, round(video["width"] * scale)), max(1, round(video["height"] * scale))
    known = _read(outcome.still_path(video["name"]))
    image = Image.new("RGB", size, (GREY, GREY, GREY)) if known is None else known
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def _read(path: Inside) -> Image.Image | None:
    try:
        with open_file(path) as file, Image.open(file, formats=["JPEG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # as Pillow raises
        return None


def _pictures(title: str, video: int | None, found: _Found, still: Pixels) -> dict[str, Any]:
    colours, ticks = found.heat.scale()
    return {
        "title": title,
        "video": video,
        "width": found.size[0],
        "height": found.size[1],
        "tracks": webp_address(_with_paths(still, found), QUALITY),
        "heat": webp_address(Image.fromarray(found.heat.over(still)), QUALITY),
        "drawn": len(found.paths),
        "found": found.seen,
        "labels": sorted({label for label, _ in found.paths}),
        "colours": colours,
        "ticks": [_seconds(seconds) for seconds in ticks],
        "cell": round(found.heat.cell),
    }


def _with_paths(still: Pixels, found: _Found) -> Image.Image:
    """Return the picture with the paths drawn in, a dot where each ends."""
    height, width = still.shape[:2]
    scale = 2 * width / found.size[0], 2 * height / found.size[1]
    shares = Image.new("L", (2 * width, 2 * height))
    colours = Image.new("RGB", (2 * width, 2 * height))
    of_shares, of_colours = ImageDraw.Draw(shares), ImageDraw.Draw(colours)
    for label, path in found.paths:
        points = [(x * scale[0], y * scale[1]) for x, y, _ in path.clip(-1e6, 1e6).tolist()]
        x, y = points[-1]
        fills: tuple[tuple[ImageDraw.ImageDraw, Any], ...]
        fills = (of_shares, 215), (of_colours, class_colour(label))
        for draw, fill in fills:
            draw.line(points, fill=fill, width=3, joint="curve")
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=fill)
    dark = Image.fromarray((still * DARKENED).astype(np.uint8))
    return Image.composite(colours.reduce(2), dark, shares.reduce(2))


def _seconds(value: float) -> str:
    """Return seconds with two digits, or as minutes and hours."""
    if value < 100:
        return f"{value:.2g} s"
    return f"{value / 60:.2g} min" if value < 6000 else f"{value / 3600:.3g} h"


@dataclass(frozen=True)
class Overlay:
    """Lines and zones as they are drawn over the pictures of the page."""

    summary: Summary

    def on(self, picture: dict[str, Any], counts: list[list[int]]) -> dict[str, Any]:
        """Return the picture with `paths` of lines and arrows, and `marks`: texts at places.

        counts: of each line to the right and to the left. Places are in per cent of the picture.
        """
        size = picture["width"], picture["height"]
        letters = LETTERS * min(size)
        paths, marks = [], []
        middles = [_middle(line["start"], line["end"]) for line in self.summary["lines"]]
        for zone in self.summary["zones"]:
            corner = max(zone["points"], key=lambda one: _nearest(one, middles))
            marks.append(_mark(zone["name"], corner, size))
        for line, own in zip(self.summary["lines"], counts, strict=True):
            start, end = line["start"], line["end"]
            parts: list[list[Point]] = [[start, end]]
            for direction, count in zip(SIGNS, own, strict=True):
                foot, tip = arrow(start, end, direction, TIP * letters)
                parts += [[foot, tip], head(foot, tip, 0.5 * letters)]
                _, place = arrow(start, end, direction, COUNT * letters)
                marks.append(_mark(f"{count:,}", place, size) | {"kind": "count"})
            paths.append(" ".join(map(_path, parts)))
            marks.append(_mark(line["name"], before(start, end, BEYOND * letters), size))
        legend = [
            {"name": self.summary["classes"][label], "colour": _css(class_colour(label))}
            for label in picture["labels"]
        ]
        return picture | {"paths": paths, "marks": marks, "legend": legend}


def _middle(start: Point, end: Point) -> Point:
    return (start[0] + end[0]) / 2, (start[1] + end[1]) / 2


def _nearest(point: Point, others: list[Point]) -> float:
    """Return how far the nearest of the others is: arrows and counts stand at lines' middles."""
    return min((math.dist(point, other) for other in others), default=-point[1])


def _mark(text: str, place: Point, size: tuple[int, int]) -> dict[str, Any]:
    """Return a text at a place: its own part that far to the right and below stands there."""
    left, top = (min(max(0.0, 100 * at / side), 100) for at, side in zip(place, size, strict=True))
    return {"text": text, "left": round(left, 2), "top": round(top, 2), "kind": ""}


def _css(colour: Colour) -> str:
    return f"rgb({','.join(map(str, colour))})"


def _path(points: list[Point]) -> str:
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
