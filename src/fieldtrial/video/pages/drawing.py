"""A frame with what was found drawn in: vehicles, their tails, lines and zones with counts, time.

Made for 320 × 240 to 1920 × 1080 and beyond, on dark and on bright video: letters stand on opaque
plates, coloured edges have dark rims, and no colour says what a word does not.
"""

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fieldtrial.video.geometry import Line, Point, Zone
from fieldtrial.video.moments import Moment
from fieldtrial.video.pages.arrows import BEYOND, COUNT, SIGNS, TIP, arrow, before, head
from fieldtrial.video.pages.paint import (
    BLACK,
    WHITE,
    YELLOW,
    Layer,
    Layers,
    Pixels,
    Rectangle,
    class_colour,
    covered,
    frame_box,
    plate,
    put,
    shortened,
    strokes,
)
from fieldtrial.video.tracking.analysis import anchor_of
from fieldtrial.video.tracking.settings import Anchor

TAIL_SECONDS = 1.0
LIT_SECONDS = 0.5  # how long a count is lit after a crossing
MOST_SPREAD = 60  # vehicles; the names of more are not moved out of each other's way
FAINT, FULL = 40, 230  # of a tail, at its end and at the vehicle
FARTHER = (1.0, 1.5, 2.0)  # times as far is a count from its line, if another plate is there
Shade = tuple[int, int, int, int]
Key = tuple[str, ...]


class Drawing:
    """Draws on frames of `size`, width and height. The frames come in order of their times.

    Names of more letters than fit are shortened. anchor: the point of a box that leaves a tail; the
    same one crosses lines.
    """

    def __init__(
        self,
        size: tuple[int, int],
        lines: Sequence[Line],
        zones: Sequence[Zone],
        class_names: Sequence[str],
        anchor: Anchor = "centre",
    ) -> None:
        self._anchor = anchor
        self._size, self._lines, self._zones = size, lines, zones
        self._names = [shortened(name) for name in class_names]
        self._letters = max(10, round(min(size) / 40))
        self._stroke = max(1, round(min(size) / 360))
        self._tails: dict[int, deque[tuple[float, float, float]]] = {}
        self._crossed: dict[tuple[str, str], float] = {}
        self._layer = self._unchanging()
        self._places: dict[Key, Point] = {}  # the middles of the plates that stay where they are
        self._taken: list[Rectangle] = []
        self._arrange()

    def see(self, moment: Moment) -> None:
        """Take note of a moment whose frame is not drawn.

        Where a video is drawn in segments, the moments of the second before a segment make its
        first frames those that a drawing of the whole video would have.
        """
        for crossing in moment.crossings:
            self._crossed[crossing.line, crossing.direction] = moment.time
        for track, box in zip(
            moment.tracks.ids.tolist(), moment.tracks.boxes.tolist(), strict=True
        ):
            point = anchor_of(box, self._anchor)
            self._tails.setdefault(track, deque()).append((moment.time, *point))
        oldest = moment.time - TAIL_SECONDS
        for track, tail in list(self._tails.items()):
            while tail and tail[0][0] < oldest:
                tail.popleft()
            if not tail:
                del self._tails[track]

    def draw(self, image: Pixels, moment: Moment) -> Pixels:
        """Return the frame uint8 (height, width, 3), RGB, with the moment drawn in; `image` stays.

        Raises ValueError if the image has another size.
        """
        if image.shape != (self._size[1], self._size[0], 3):
            raise ValueError(f"an image of shape {image.shape}; must be {self._size} pixels")
        self.see(moment)
        frame = np.array(image, order="C")
        self._layer.apply(frame)
        tracks = moment.tracks
        self._draw_tails(frame, moment)
        for box, label in zip(tracks.boxes.tolist(), tracks.labels.tolist(), strict=True):
            frame_box(frame, box, self._stroke, class_colour(label))
        self._draw_names(frame, moment)
        self._draw_plates(frame, moment)
        return frame

    # What moves

    def _draw_tails(self, frame: Pixels, moment: Moment) -> None:
        """Draw the way that each vehicle has come, fading towards its end."""
        tracks, ends, shades = moment.tracks, list[tuple[float, ...]](), list[Shade]()
        for track, label in zip(tracks.ids.tolist(), tracks.labels.tolist(), strict=True):
            for (_, *start), (time, *end) in pairwise(self._tails[track]):
                share = max(0.0, 1 - (moment.time - time) / TAIL_SECONDS)
                ends.append((*start, *end))
                shades.append((*class_colour(label), round(FAINT + share * (FULL - FAINT))))
        if ends:
            strokes(frame, np.array(ends), np.array(shades, np.uint16), 1 + self._stroke)

    def _draw_names(self, frame: Pixels, moment: Moment) -> None:
        """Name each vehicle beside its box, out of the way of other names where there is room."""
        tracks, taken = moment.tracks, list(self._taken)
        named = zip(tracks.ids.tolist(), tracks.boxes.tolist(), tracks.labels.tolist(), strict=True)
        # the nearest, which are the lowest, choose first
        for track, box, label in sorted(named, key=lambda one: (-one[1][3], one[0])):
            picture = plate(
                f"{self._names[label]} {track}", self._letters, class_colour(label), BLACK
            )
            high, (left, top, _, bottom) = picture.shape[0], box
            places = [(left, top - high), (left, bottom), (left, top), (left, bottom - high)]
            if top < high:  # no room above
                places = [*places[1:], places[0]]
            if len(taken) > MOST_SPREAD:
                places = places[:1]
            place = self._free(picture, places, taken)
            taken.append(covered(self._size, picture, *place))
            put(frame, picture, *place)

    def _draw_plates(self, frame: Pixels, moment: Moment) -> None:
        """Put names of lines, counts, zones and the time where they have their places."""
        for line in self._lines:
            self._put(frame, (line.name,), self._plate(shortened(line.name)))
            for direction in SIGNS:
                key = line.name, direction
                lit = 0 <= moment.time - self._crossed.get(key, -math.inf) < LIT_SECONDS
                self._put(frame, key, self._plate(str(moment.counts.get(key, 0)), lit))
        for zone in self._zones:
            text = f"{shortened(zone.name)}: {moment.occupancy.get(zone.name, 0)}"
            self._put(frame, ("zone", zone.name, ""), self._plate(text))
        self._put(frame, (), self._plate(clock(moment.time)))

    def _put(self, frame: Pixels, key: Key, picture: Pixels) -> None:
        put(frame, picture, *_corner(self._places[key], picture))

    def _plate(self, text: str, lit: bool = False) -> Pixels:
        return plate(text, self._letters, YELLOW if lit else BLACK, BLACK if lit else WHITE)

    # What stays

    def _arrange(self) -> None:
        """Give the plates places where they do not cover each other, if there is room."""
        letters = self._letters
        for line in self._lines:
            ends = line.start, line.end
            for direction in SIGNS:
                tips = [arrow(*ends, direction, far * COUNT * letters)[1] for far in FARTHER]
                self._settle((line.name, direction), "8888", tips)
        for line in self._lines:
            # at the start, where somebody stands who sees right and left as the arrows have them
            start, far = line.start, BEYOND * letters
            names = [before(start, line.end, times * far) for times in (1, 2)]
            names += [start, (start[0], start[1] - far), (start[0], start[1] + far)]
            self._settle((line.name,), shortened(line.name), names)
        for zone in self._zones:
            highest_first = sorted(zone.points, key=lambda point: point[1])
            self._settle(("zone", zone.name, ""), f"{shortened(zone.name)}: 88", highest_first)
        width, height = self._size
        corners: list[Point] = [(0, height), (width, height), (0, 0), (width, 0)]
        self._settle((), clock(0), corners)

    def _settle(self, key: Key, text: str, middles: Sequence[Point]) -> None:
        picture = self._plate(text)
        place = self._free(picture, [_corner(one, picture) for one in middles], self._taken)
        self._taken.append(covered(self._size, picture, *place))
        self._places[key] = place[0] + picture.shape[1] / 2, place[1] + picture.shape[0] / 2

    def _free(self, picture: Pixels, places: Sequence[Point], taken: Sequence[Rectangle]) -> Point:
        """Return the first place, left and top, whose picture meets no taken rectangle."""
        for place in places:
            left, top, right, bottom = covered(self._size, picture, *place)
            if not any(
                x1 < right and left < x2 and y1 < bottom and top < y2 for x1, y1, x2, y2 in taken
            ):
                return place
        return places[0]

    def _unchanging(self) -> Layer:
        layers, stroke = Layers(self._size), self._stroke
        for zone in self._zones:
            closed = [*zone.points, zone.points[0]]
            layers.rim(zone.points, self._letters / 2, WHITE, 0.3)
            layers.line(closed, stroke + 2, BLACK, 0.6)
            layers.line(closed, stroke, WHITE)
        for line in self._lines:
            parts = [[line.start, line.end]]
            for direction in SIGNS:
                foot, tip = arrow(line.start, line.end, direction, TIP * self._letters)
                parts += [[foot, tip], head(foot, tip, 0.5 * self._letters)]
            for part in parts:
                layers.line(part, 1.5 * stroke + 2, BLACK, 0.7)
            for part in parts:
                layers.line(part, 1.5 * stroke, YELLOW)
        return layers.layer()


def clock(seconds: float) -> str:
    """Return a time as hours, minutes, seconds and tenths: 1:02:03.4."""
    tenths = max(0, round(10 * seconds))
    return f"{tenths // 36_000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def _corner(middle: Point, picture: Pixels) -> Point:
    """Return the left and top of a picture around a point."""
    return middle[0] - picture.shape[1] / 2, middle[1] - picture.shape[0] / 2
