"""The end of an analysis: agreement with labels, summary.json, and the report."""

import platform
from collections.abc import Container, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from fieldtrial.command_line import say
from fieldtrial.config import ConfigError
from fieldtrial.detection.names import COCO, read_names
from fieldtrial.detection.settings import DetectorSettings
from fieldtrial.disk.files import write_json
from fieldtrial.disk.run import Run
from fieldtrial.disk.work.videos import VideosFolder
from fieldtrial.video.labelled.agreement import agreement
from fieldtrial.video.labelled.labels import Labels, read_labels
from fieldtrial.video.media.index import VideoIndex
from fieldtrial.video.options import Options
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.pages.report import write_report
from fieldtrial.video.summary import (
    AgreementSummary,
    LineSummary,
    Summary,
    VideoSummary,
    ZoneSummary,
)
from fieldtrial.video.tracking.analysis import Followed
from fieldtrial.video.tracking.detection_table import read_detections

PACKAGES = ("fieldtrial", "torch", "torchvision", "av", "trackers", "numpy")


def conclude(
    folder: VideosFolder,
    videos: Sequence[VideoSummary],
    options: Options,
    class_names: Sequence[str],
    agreed: AgreementSummary | None = None,
) -> None:
    """Write summary.json and the report, and print its path."""
    lines, zones = options.places
    summary = Summary(
        videos=list(videos),
        lines=[LineSummary(name=one.name, start=one.start, end=one.end) for one in lines],
        zones=[ZoneSummary(name=one.name, points=list(one.points)) for one in zones],
        classes=list(class_names),
        settings=options.settings(),
        weights={
            "file": Path(options.detector.weights or "").name,
            "sha256": options.weights_digest,
            "tag": None,
        },
        environment={
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        agreement=agreed,
    )
    outcome = Outcome(folder.folder)
    write_json(outcome.summary_path, summary)
    say(str(write_report(outcome)))


def labels_of(
    options: Options, indexes: Sequence[VideoIndex], class_names: Sequence[str]
) -> Labels | None:
    """Return the labels that --check names, or None without it.

    Raises:
        ConfigError: it does not hold labels of this one video; with all problems.
        OSError: it cannot be read.
    """
    if options.check is None:
        return None
    if len(indexes) != 1:
        raise ConfigError(
            [f"{options.check}: labels are of one video, and there are {len(indexes)}"], "--check"
        )
    (index,) = indexes
    numbers = {name: number for number, name in enumerate(index.names)} if index.names else None
    size = index.width, index.height
    all_names = _network_names(options.detector)
    return read_labels(Path(options.check), class_names, size, numbers, all_names)


def _network_names(detector: DetectorSettings) -> Sequence[str]:
    """Return the names of all classes of the network, whether they are looked for or not."""
    if detector.names:
        return read_names(Path(detector.names))
    weights = Path(detector.weights or "")
    result = (Run(weights).result() if weights.is_dir() else None) or {}
    names: Sequence[str] = result.get("class_names") or COCO
    return names


def agreed_with(
    labels: Labels,
    folder: VideosFolder,
    video: str,
    looked_at: Container[int],
    followed: Followed,
    options: Options,
    class_names: Sequence[str],
) -> AgreementSummary:
    """Return how well what was found in a video agrees with its labels."""
    found = read_detections(Outcome(folder.folder), video, class_names)
    lines, _ = options.places
    agreed = agreement(labels, found, looked_at, followed.crossings, lines, class_names)
    plain: AgreementSummary = msgspec.convert(dict(agreed), AgreementSummary)
    return plain
