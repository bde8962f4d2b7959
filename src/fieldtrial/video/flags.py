"""The flags of an analysis of videos."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from fieldtrial.detection.settings import DetectorSettings
from fieldtrial.video.tracking.settings import TrackingSettings

SEGMENT_SECONDS = 120.0
IMAGE_RATE = 25.0
# flag: (type, metavar, help). Those of the detector, then those of tracking.
DETECTOR: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "weights": (
        str,
        "FILE",
        "darknet's weights, or a run that was trained to detect [yolov3.weights]",
    ),
    "config": (str, "FILE", "the network, as darknet describes it [YOLOv3, built in]"),
    "names": (str, "FILE", "the names of the network's classes, a line each [COCO's]"),
    "classes": (
        lambda text: () if text == "all" else tuple(text.split(",")),
        "NAME,NAME",
        "what is looked for; all: every class [bicycle,car,motorbike,bus,truck]",
    ),
    "confidence": (float, "SHARE", "the least score of a detection"),
    "overlap": (float, "SHARE", "of two boxes that overlap by more, the weaker one goes"),
    "image_size": (int, "PIXELS", "the side of the network's input [as --config says]"),
    "batch_size": (int, "N", "frames that the network gets at once"),
    "precision": (str, "KIND", "fp32 or bf16"),
}
TRACKING: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "start_confidence": (
        float,
        "SHARE",
        "the least score of a track's first detection [--confidence + 0.1]",
    ),
    "lost_seconds": (float, "SECONDS", "how long a vehicle may be hidden"),
    "match_overlap": (float, "SHARE", "the least overlap of a vehicle's expected place and a box"),
    "margin": (float, "SHARE", "how far beyond a line a vehicle counts, in shares of its size"),
    "anchor": (str, "POINT", "the point of a box that crosses lines: centre or bottom"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of an analysis to a parser; those that are not given stay out."""
    parser.add_argument(
        "--video",
        nargs="+",
        required=True,
        metavar="VIDEO",
        help="video files, folders of them, folders of images, or a stream's address",
    )
    places = parser.add_argument_group("places")
    points = "x1,y1,x2,y2"
    places.add_argument(
        "--line",
        action="append",
        default=[],
        metavar=f"NAME:{points}",
        help="count who crosses it, in pixels; may repeat",
    )
    places.add_argument(
        "--zone",
        action="append",
        default=[],
        metavar=f"NAME:{points},x3,y3",
        help="count who is in it; may repeat",
    )
    places.add_argument("--check", metavar="FILE", help="labels to compare with: COCO or YOLO")
    groups = (("detector", DETECTOR, DetectorSettings), ("tracking", TRACKING, TrackingSettings))
    for title, flags, settings in groups:
        group = parser.add_argument_group(title)
        defaults = {field.name: field.default for field in fields(settings)}
        for name, (kind, metavar, words) in flags.items():
            text = words if words.endswith("]") else f"{words} [{defaults[name]}]"
            group.add_argument(
                f"--{name}", type=kind, metavar=metavar, help=text, default=argparse.SUPPRESS
            )
    reading = parser.add_argument_group("reading")
    numbers: dict[str, tuple[type, str]] = {
        "stride": (int, "look at every Nth frame [1]"),
        "rate": (float, f"frames/s of folders of images [{IMAGE_RATE:g}]"),
        "seconds": (float, "how long a stream is followed [to its end]"),
        "segment_seconds": (float, f"length of a task [{SEGMENT_SECONDS:g}]"),
    }
    for name, (number, text) in numbers.items():
        reading.add_argument(
            f"--{name}", type=number, metavar="N", help=text, default=argparse.SUPPRESS
        )
