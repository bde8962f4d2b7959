"""The run directory of analysed videos: options, the videos' indexes, and a task for each segment.

What was found in the videos lies beside it; see `fieldtrial.video.outcome`.
"""

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from fieldtrial.disk.files import is_there, read_json, write_json
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import Count
from fieldtrial.disk.work.folder import WorkFolder

Stage = Literal["detect", "draw"]
STAGES: tuple[Stage, ...] = ("detect", "draw")
TASK = re.compile(r"(detect|draw)(-[0-9a-f]{8})?-[0-9]{4,9}-[0-9]{9,}")
PART = re.compile(r"[0-9]{9,}\.part")


@dataclass(frozen=True)
class Segment:
    """A task: what is done with which frames of a video.

    video: its number among the videos. first, last: numbers of frames, of which the last is not in
    it. version: stands for what a drawing depends on.
    """

    stage: Stage
    video: Count
    first: Count
    last: Count
    version: Annotated[str, Meta(max_length=8)] = ""

    @property
    def name(self) -> str:
        """The task's run directory."""
        version = f"-{self.version}" if self.version else ""
        return f"{self.stage}{version}-{self.video:04d}-{self.first:09d}"


class SegmentRun:
    """The run directory of a segment's task: what it is, and what is done of it so far."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._about_path = run.folder / "segment.json"
        self._parts_folder = run.folder / "parts"

    def exists(self) -> bool:
        """Return whether this is a task of a video."""
        return is_there(self._about_path)

    def segment(self) -> Segment:
        """Return which frames it is about. Raises FileNotFoundError without such a task."""
        found: Segment | None = read_json(self._about_path, Segment)
        if found is None:
            raise FileNotFoundError(f"{self._about_path}: no such file")
        return found

    def create(self, segment: Segment) -> None:
        """Make the directory, unless it is there."""
        if not self.exists():
            write_json(self._about_path, asdict(segment))

    def part_path(self, first: int) -> Inside:
        """Return where the detections of frames from `first` on are kept."""
        return self._parts_folder / f"{first:09d}.part"

    def parts(self) -> list[Inside]:
        """Return the files of detections that are there, in order of their frames."""
        names = [name for name in self._parts_folder.names() if PART.fullmatch(name)]
        return [self._parts_folder / name for name in sorted(names, key=lambda one: int(one[:-5]))]

    @property
    def stretch_path(self) -> Inside:
        """What was counted in the segment, for its drawing."""
        return self.run.folder / "stretch.json"

    @property
    def video_path(self) -> Inside:
        """The segment with what was found drawn in."""
        return self.run.folder / "annotated.mp4"


class VideosFolder(WorkFolder):
    """The run directory of analysed videos."""

    kind = "analysis"

    @property
    def folder(self) -> Inside:
        """The directory itself."""
        return self._inside

    @property
    def _options_path(self) -> Inside:
        return self._inside / "analysis.json"

    def exists(self) -> bool:
        """Return whether an analysis was begun in it."""
        return is_there(self._options_path)

    def require(self) -> None:
        """Raise FileNotFoundError, with the missing file, where none was begun."""
        if not self.exists():
            raise FileNotFoundError(f"{self._options_path}: no such file")

    def options(self) -> dict[str, Any] | None:
        """Return what `write_options` wrote, or None."""
        found: dict[str, Any] | None = read_json(self._options_path, dict[str, Any])
        return found

    def write_options(self, options: dict[str, Any]) -> None:
        """Write what was asked for."""
        write_json(self._options_path, options)

    def index_path(self, video: int) -> Inside:
        """Return where the index of a video's frames is kept."""
        return self._inside / "videos" / f"{video:04d}.json"

    def segment_run(self, name: str) -> SegmentRun:
        """Return the task with this name."""
        return SegmentRun(self.run(name))

    def tasks(self, stage: Stage) -> list[str]:
        """Return the names of the tasks of a stage, in order of videos and frames."""
        return [
            name
            for name in self._inside.names()
            if TASK.fullmatch(name) and name.startswith(f"{stage}-")
        ]

    def standing(self) -> dict[Stage, Counter[str]]:
        """Return how many tasks of each stage are finished, failed, running or waiting."""
        return {
            stage: Counter(map(self._outcome, names))
            for stage in STAGES
            if (names := self.tasks(stage))
        }

    def lines(self) -> list[str]:
        """Return what `standing` does as text, a line for each stage."""
        return [
            f"{stage}: {outcomes.total()} task{'s' if outcomes.total() > 1 else ''}, "
            + ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
            for stage, outcomes in self.standing().items()
        ]

    def _outcome(self, name: str) -> str:
        try:
            return self.run(name).standing()[0]
        except (OSError, UnreadableError):
            return "unreadable"
