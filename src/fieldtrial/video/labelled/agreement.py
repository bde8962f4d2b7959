"""How well detections and counts agree with what people have labelled: for summary.json."""

from collections.abc import Container, Mapping, Sequence
from typing import TypedDict

from fieldtrial.config import ConfigError
from fieldtrial.video.geometry import Line
from fieldtrial.video.labelled.boxes import OVERLAP, Found, compare, share
from fieldtrial.video.labelled.counts import FrameCount, LineCount, line_count, per_frame
from fieldtrial.video.labelled.labels import Labels
from fieldtrial.video.labelled.shares import Share
from fieldtrial.video.moments import Crossing
from fieldtrial.video.tracking.detection_table import FrameRows


class ClassFound(Found):
    """The same for a class: a box of another one is none."""

    name: str


class Agreement(TypedDict):
    """How well a video's detections and counts agree with labels.

    overlap: the least intersection over union of a box that was found. frames: labelled ones that
    were looked at. shared_frames: those of them that have a vehicle with another one in common; the
    fewer the better. labelled: boxes. detections: all of them, whatever their class; tracked: those
    that belong to tracks. right_class: of the labelled boxes that tracked ones have found. passed:
    what was left out, and how often.
    """

    overlap: float
    frames: int
    shared_frames: int
    labelled: int
    detections: Found
    tracked: Found
    right_class: Share
    classes: list[ClassFound]
    per_frame: FrameCount | None
    counts: list[LineCount]
    passed: dict[str, int]


def agreement(
    labels: Labels,
    found: Mapping[int, FrameRows],
    looked_at: Container[int],
    crossings: Sequence[Crossing],
    lines: Sequence[Line],
    class_names: Sequence[str],
) -> Agreement:
    """Return how well a video's detections and crossings agree with its labels.

    A count without labels has no interval, because nothing says how many vehicles were missed.

    Args:
        found: the detections by the numbers of frames, as `read_detections` returns them.
        looked_at: numbers of the frames that were; with a stride, not all are.

    Raises:
        ConfigError: none of the labelled frames was looked at, or counts are of unknown lines.
    """
    passed = labels.passed.copy()
    frames = {number: frame for number, frame in labels.frames.items() if number in looked_at}
    passed["frames that were not looked at"] += len(labels.frames) - len(frames)
    names = [line.name for line in lines]
    problems = [
        f"counts: there is no line {name!r}; must be one of {', '.join(names) or 'none'}"
        for name in labels.counts
        if name not in names
    ]
    if labels.frames and not frames:
        first = ", ".join(map(str, sorted(labels.frames)[:5]))
        problems.append(f"none of the labelled frames ({first}, …) was looked at")
    if problems:
        raise ConfigError(problems, where="--check")
    tracked = compare(frames, found, tracked=True)
    return Agreement(
        overlap=OVERLAP,
        frames=len(frames),
        shared_frames=tracked.shared_frames(),
        labelled=len(tracked.labels),
        detections=compare(frames, found, tracked=False).found(),
        tracked=tracked.found(),
        right_class=share(tracked.classes),
        classes=[
            ClassFound(name=name, **compare(frames, found, tracked=True, label=label).found())
            for label, name in enumerate(class_names)
        ],
        per_frame=per_frame(tracked, list(frames)),
        counts=[
            line_count(labels, line, direction, by_hand, crossings)
            for line, ways in labels.counts.items()
            for direction, by_hand in ways.items()
        ],
        passed={what: count for what, count in sorted(passed.items()) if count},
    )
