"""What was found in videos, as files in a run directory: the only module that knows their names."""

import hashlib
import re
from dataclasses import dataclass

from fieldtrial.disk.inside import Inside

LONGEST = 60  # letters of a text in the name of a file
UNSAFE = re.compile(r"[^\w.+-]+")  # in the name of a file, on any system


@dataclass(frozen=True)
class Outcome:
    """The files with what was found in the videos of the run directory `folder`.

    `video` is the name that the tables have for a video.
    """

    folder: Inside

    @property
    def summary_path(self) -> Inside:
        """The videos, lines, zones, settings and weights: `summary.Summary` as JSON."""
        return self.folder / "summary.json"

    @property
    def counts_path(self) -> Inside:
        """How many vehicles crossed: video, line, direction, class, minute and count."""
        return self.folder / "counts.csv"

    @property
    def crossings_path(self) -> Inside:
        """Each crossing, with its time, point and box."""
        return self.folder / "crossings.csv"

    @property
    def tracks_path(self) -> Inside:
        """Each track, with its class, first and last time, and path."""
        return self.folder / "tracks.csv"

    @property
    def zones_path(self) -> Inside:
        """How many vehicles were in each zone, by minute."""
        return self.folder / "zones.csv"

    @property
    def stays_path(self) -> Inside:
        """Each track's time in each zone."""
        return self.folder / "stays.csv"

    @property
    def detections_path(self) -> Inside:
        """Each detection of each frame, with its track."""
        return self.folder / "detections.parquet"

    @property
    def report_path(self) -> Inside:
        """The page that shows all this."""
        return self.folder / "report.html"

    @property
    def snapshots_folder(self) -> Inside:
        """A picture of each counted vehicle at its crossing."""
        return self.folder / "snapshots"

    def annotated_path(self, video: str) -> Inside:
        """Return where the video with tracks and counts drawn in is."""
        return self.folder / f"{file_name(video)}.annotated.mp4"

    def still_path(self, video: str) -> Inside:
        """Return where the picture of the place without vehicles is, as JPEG."""
        return self.folder / "stills" / f"{file_name(video)}.jpg"


def file_name(text: str) -> str:
    """Return a text as part of a file's name: other texts give other names.

    What is not a letter, a digit or one of _ . + - becomes _; a text that changes gets a digest.
    """
    name = UNSAFE.sub("_", text)[:LONGEST]
    changed = name != text or name.startswith(".") or len(name.encode()) > LONGEST
    if not changed:
        return name
    short = name.lstrip(".").encode()[:LONGEST].decode(errors="ignore")
    return f"{short}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"
