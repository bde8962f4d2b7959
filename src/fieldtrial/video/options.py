"""What an analysis of videos was asked for: flags, checks, and what may change from run to run."""

import argparse
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from fieldtrial.config import ConfigError
from fieldtrial.detection.settings import DetectorSettings
from fieldtrial.disk.reading import check
from fieldtrial.video.flags import DETECTOR, IMAGE_RATE, SEGMENT_SECONDS, TRACKING
from fieldtrial.video.geometry import Line, Zone, parse_lines, parse_zones
from fieldtrial.video.tracking.settings import TrackingSettings

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Options:
    """An analysis. In a run directory, what detections depend on stays; the rest may change.

    Attributes:
        videos: absolute paths or addresses of streams.
        detector: the network and its thresholds.
        weights_digest: the SHA-256 of the weights.
        description_digest: that of the network's description and of its classes' names, where these
            are files.
        stride: every so manieth frame is looked at.
        rate: frames/s of folders of images.
        segment_seconds: about how long a segment is.
        lines, zones: as they were given.
        tracking: settings of tracking, but for the detector's confidence.
        seconds: how long a stream is followed; None: until its end.
        check: a file of labels.
    """

    videos: tuple[str, ...]
    detector: DetectorSettings
    weights_digest: str
    description_digest: str
    stride: int = 1
    rate: float = IMAGE_RATE
    segment_seconds: float = SEGMENT_SECONDS
    lines: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    tracking: dict[str, Any]
    seconds: float | None = None
    check: str | None = None

    def __post_init__(self) -> None:
        problems = [
            *_bad(self.stride >= 1, "stride", self.stride, "at least 1"),
            *_bad(0 < self.rate <= 1000, "rate", self.rate, "above 0 and at most 1000"),
            *_bad(
                1 <= self.segment_seconds < math.inf,
                *("segment_seconds", self.segment_seconds, "at least 1"),
            ),
            *_bad(
                self.seconds is None or 0 < self.seconds < math.inf,
                *("seconds", self.seconds, "above 0"),
            ),
        ]
        for part in (self._lines, self._zones, self._tracking):
            try:
                part()
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)

    def _lines(self) -> tuple[Line, ...]:
        return parse_lines(self.lines)

    def _zones(self) -> tuple[Zone, ...]:
        return parse_zones(self.zones)

    def _tracking(self) -> TrackingSettings:
        return TrackingSettings(confidence=self.detector.confidence, **self.tracking)

    @property
    def places(self) -> tuple[tuple[Line, ...], tuple[Zone, ...]]:
        """The lines and zones."""
        return self._lines(), self._zones()

    @property
    def tracking_settings(self) -> TrackingSettings:
        """The settings of tracking."""
        return self._tracking()

    def fixed(self) -> dict[str, Any]:
        """Return what detections and segments depend on, as plain data."""
        names = (
            *("videos", "weights_digest", "description_digest"),
            *("stride", "rate", "segment_seconds", "seconds"),
        )
        detector = asdict(self.detector)
        return _plain({**{name: getattr(self, name) for name in names}, **detector})

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain data."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> "Options":
        """Return what `to_json` gave. Raises UnreadableError, which has `where`, for other data."""
        options: Options = check(dict(values), cls, where)
        return options

    def version(self) -> str:
        """Return eight digits that stand for all that a drawing depends on."""
        kept = {name: value for name, value in self.to_json().items() if name != "check"}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]

    def settings(self) -> dict[str, str]:
        """Return {flag: value as text} of what was asked for, without videos and places."""
        tracking = asdict(self.tracking_settings)
        own = {"stride": self.stride, "segment_seconds": self.segment_seconds}
        own |= {} if self.seconds is None else {"seconds": self.seconds}
        shown = {**asdict(self.detector), **own, **tracking}
        return {name: _text(value) for name, value in shown.items() if value is not None}

    def require_same(self, known: Mapping[str, Any], folder: Path) -> None:
        """Raise ConfigError, with each difference, unless detections of `known` hold for this."""
        earlier = Options.from_json(known, str(folder)).fixed()
        now = self.fixed()
        problems = [
            f"{name} = {_text(value)}: it was begun with {_text(earlier.get(name))}"
            for name, value in now.items()
            if value != earlier.get(name)
        ]
        if problems:
            advice = "give the values with which it was begun, or another --run"
            raise ConfigError([*problems, advice], f"{folder} holds another analysis")


def collected(parts: Sequence[Callable[[], Made]]) -> list[Made]:
    """Return what each part returns. Raises ConfigError with all problems of all parts."""
    made, problems = list[Made](), list[str]()
    for part in parts:
        try:
            made.append(part())
        except ConfigError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))  # parts may check the same
    return made


def detector_of(flags: argparse.Namespace) -> DetectorSettings:
    """Return the detector's settings that flags ask for. Raises ConfigError with all problems."""
    names = {item.name for item in fields(DetectorSettings)} & set(DETECTOR)
    given = {name: getattr(flags, name) for name in names if name in flags}
    return DetectorSettings(**given)


def options_of(
    flags: argparse.Namespace,
    videos: Sequence[str],
    detector: DetectorSettings,
    digests: tuple[str, str] = ("", ""),
) -> Options:
    """Return the options that flags ask for. Raises ConfigError with all problems.

    digests: of the weights, and of what describes the network.
    """
    numbers = ("stride", "rate", "seconds", "segment_seconds")
    return Options(
        videos=tuple(videos),
        detector=detector,
        weights_digest=digests[0],
        description_digest=digests[1],
        lines=tuple(flags.line),
        zones=tuple(flags.zone),
        tracking={name: getattr(flags, name) for name in TRACKING if name in flags},
        check=str(Path(flags.check).absolute()) if flags.check else None,
        **{name: getattr(flags, name) for name in numbers if name in flags},
    )


def _bad(holds: bool, name: str, value: object, rule: str) -> list[str]:
    return [] if holds else [f"{name} = {value}: must be {rule}"]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "all"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return data as JSON has it: a tuple is a list."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
