"""How detections become tracks, and when a track counts."""

from dataclasses import dataclass
from typing import Literal, get_args

from fieldtrial.config import ConfigError

Anchor = Literal["centre", "bottom"]


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """What a user may set; a field has the name of its flag.

    Attributes:
        confidence: the detector's: no detection has a lower score.
        start_confidence: a detection begins a track from this score on. Weaker ones go on with a
            track, and only where no stronger one does. None: `confidence` + 0.1, and at most half
            of what is left to 1.
        lost_seconds: a track without a detection for longer is over.
        match_overlap: the least intersection over union of a track's expected box and a detection,
            each with its buffer; see `tracker`.
        margin: how far beyond a line a vehicle must be to have crossed it, as a share of its size,
            the root of its box's area.
        anchor: the point of a box that crosses lines and is in zones: its centre, or the middle of
            its lower edge, which is where a vehicle stands.

    Raises:
        ConfigError: values out of bounds, all at once.
    """

    confidence: float
    start_confidence: float | None = None
    lost_seconds: float = 1.0
    match_overlap: float = 0.1
    margin: float = 0.1
    anchor: Anchor = "centre"

    def __post_init__(self) -> None:
        bounds = {
            "confidence": (0.0, 1.0),
            "start_confidence": (self.confidence, 1.0),
            "lost_seconds": (0.0, 60.0),
            "match_overlap": (0.01, 0.9),
            "margin": (0.0, 2.0),
        }
        problems = [
            f"{name} = {value!r}: must be from {low:g} to {high:g}"
            for name, (low, high) in bounds.items()
            if (value := getattr(self, name)) is not None and not low <= value <= high
        ]
        if self.anchor not in get_args(Anchor):
            problems.append(
                f"anchor = {self.anchor!r}: must be one of {', '.join(get_args(Anchor))}"
            )
        if problems:
            raise ConfigError(problems)

    @property
    def starts_from(self) -> float:
        """The score from which a detection begins a track."""
        if self.start_confidence is not None:
            return self.start_confidence
        return self.confidence + min(0.1, (1 - self.confidence) / 2)
