"""Detections in labelled frames, compared with the labels."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from fieldtrial.video.labelled.labels import LabelledFrame
from fieldtrial.video.labelled.shares import Share, share_of_boxes
from fieldtrial.video.tracking.detection_table import FrameRows
from fieldtrial.video.tracking.tracker import NONE

OVERLAP = 0.5  # least intersection over union of a box that was found
IN_CROWD = 0.5  # share of a box in a labelled crowd from which on it is left out, as COCO does


class Found(TypedDict):
    """precision: how many of the boxes are labelled ones. recall: how many labelled ones were
    found.
    """

    precision: Share
    recall: Share


@dataclass(frozen=True)
class Box:
    """A box that is right or not, with the numbers of its frame and of its vehicle."""

    hit: bool
    frame: int
    vehicle: int


@dataclass
class Compared:
    """Detections that belong to a label, labels that were found, and right classes among these."""

    detections: list[Box] = field(default_factory=list)
    labels: list[Box] = field(default_factory=list)
    classes: list[Box] = field(default_factory=list)

    def found(self) -> Found:
        """Return precision and recall."""
        return Found(precision=share(self.detections), recall=share(self.labels))

    def shared_frames(self) -> int:
        """Return how many frames have a known vehicle that another one has, too."""
        known = {(one.frame, one.vehicle) for one in self.labels if one.vehicle >= 0}
        often = Counter(vehicle for _, vehicle in known)
        return len({frame for frame, vehicle in known if often[vehicle] > 1})


def compare(
    frames: Mapping[int, LabelledFrame],
    found: Mapping[int, FrameRows],
    *,
    tracked: bool,
    label: int | None = None,
) -> Compared:
    """Return how all detections, or those with a track, compare with the labels.

    label: a class; detections and labels of others are left out.
    """
    compared = Compared()
    unknown = itertools.count(-1, -1)  # numbers for vehicles that are known from one frame alone
    for number, frame in frames.items():
        wanted = frame.labels == label if label is not None else frame.labels >= 0
        boxes, classes, vehicles = (
            frame.boxes[wanted],
            frame.labels[wanted],
            frame.vehicles[wanted],
        )
        own = _chosen(found.get(number), tracked, label)
        match = _match(own.boxes, boxes)
        tracks = np.full(len(boxes), NONE)
        tracks[match[match >= 0]] = own.tracks[match >= 0]
        named = [
            _vehicle(int(vehicle), int(track), unknown)
            for vehicle, track in zip(vehicles, tracks, strict=True)
        ]
        for place, vehicle in enumerate(named):
            compared.labels.append(Box(place in match, number, vehicle))
        in_crowd = _common(own.boxes, frame.crowds) >= IN_CROWD * _area(own.boxes)[:, None]
        for row, place in enumerate(match):
            if place >= 0:
                right = bool(classes[place] == own.labels[row])
                compared.classes.append(Box(right, number, named[place]))
                compared.detections.append(Box(True, number, named[place]))
            elif not in_crowd[row].any():
                vehicle = _vehicle(-1, int(own.tracks[row]), unknown)
                compared.detections.append(Box(False, number, vehicle))
    return compared


def _vehicle(labelled: int, track: int, unknown: Iterator[int]) -> int:
    """Return a number for a vehicle: of its label or else of its track, or else a new one."""
    if labelled >= 0:
        return 2 * labelled
    return 2 * track + 1 if track != NONE else next(unknown)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Boxes of a frame in the order of falling scores, with their classes and tracks."""

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    tracks: NDArray[np.int64]


def _chosen(rows: FrameRows | None, tracked: bool, label: int | None) -> _Chosen:
    if rows is None:
        return _Chosen(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.int64))
    found = rows.detections
    chosen = np.ones(len(found), bool)
    if tracked:
        chosen &= rows.tracks != NONE
    if label is not None:
        chosen &= found.labels == label
    return _Chosen(
        found.boxes[chosen].astype(np.float64), found.labels[chosen], rows.tracks[chosen]
    )


def _match(found: NDArray[np.float64], labelled: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each box found the place of the labelled one that it belongs to, or -1.

    The one with the highest score chooses first, as in COCO's evaluation.
    """
    common = _common(found, labelled)
    union = _area(found)[:, None] + _area(labelled) - common
    overlap = common / union
    match = np.full(len(found), -1)
    for place in range(len(found)):
        if len(labelled) and overlap[place].max() >= OVERLAP:
            match[place] = overlap[place].argmax()
            overlap[:, match[place]] = 0
    return match


def _common(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas (n, m) that boxes (n, 4) and others (m, 4) have in common."""
    start = np.maximum(boxes[:, None, :2], others[None, :, :2])
    end = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area: NDArray[np.float64] = (end - start).clip(0).prod(2)
    return area


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas (n,) of boxes (n, 4)."""
    area: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return area


def share(boxes: Sequence[Box]) -> Share:
    """Return how many of the boxes are right, with an interval."""
    return share_of_boxes(
        np.array([one.hit for one in boxes], bool),
        np.array([one.frame for one in boxes], np.int64),
        np.array([one.vehicle for one in boxes], np.int64),
    )
