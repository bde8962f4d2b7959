"""One task of a video, done in this process: detection or drawing in a segment."""

import functools
import time
from collections.abc import Callable
from typing import Any

from fieldtrial.detection.detector import Detector
from fieldtrial.detection.settings import DetectorSettings
from fieldtrial.disk.files import RecordWriter
from fieldtrial.disk.run import Run
from fieldtrial.disk.work.videos import SegmentRun, VideosFolder
from fieldtrial.training.loop.attempt import Superseded
from fieldtrial.video.media.stored import read_index
from fieldtrial.video.options import Options
from fieldtrial.video.segments.detect import detect_segment
from fieldtrial.video.segments.draw import draw_segment


def work_at(
    run: Run,
    attempt: int,
    accumulate: int = 1,
    device: Any = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Do the task of a run directory to its end, and write its result.

    accumulate: by how much the batches are cut, where memory is short.
    device: torch's; by default a GPU where there is one. on_progress: gets the frames done so far.

    Raises:
        Superseded: a newer attempt has begun.
        ValueError: the video has changed, or a file of the analysis is damaged.
        OSError: the disk is full, or a file cannot be read.
    """
    task = SegmentRun(run)
    segment, folder = task.segment(), VideosFolder(run.folder.parent)
    options = Options.from_json(folder.options() or {}, str(folder.path))
    index = read_index(folder.index_path(segment.video))
    with run.recorder(attempt) as recorder:
        report = _Reporter(run, attempt, recorder, on_progress)
        if segment.stage == "detect":
            detector = open_detector(options.detector, device)
            size = max(1, options.detector.batch_size // accumulate)
            detect_segment(task, segment, index, options.stride, detector, size, report)
            facts: dict[str, Any] = {"class_names": list(detector.class_names)}
        else:
            facts = {"begins": draw_segment(folder, task, segment, index, options, report)}
    run.write_result({"outcome": "finished", "attempt": attempt, "frames": report.frames, **facts})


@functools.lru_cache(maxsize=1)  # a warm worker goes on with the network that it has
def open_detector(settings: DetectorSettings, device: Any = None) -> Detector:
    """Return a detector. Raises what Detector raises."""
    return Detector(settings, device)


class _Reporter:
    """Records how far an attempt is, and ends it if a newer one has begun."""

    def __init__(
        self,
        run: Run,
        attempt: int,
        recorder: RecordWriter,
        on_progress: Callable[[int], None],
    ) -> None:
        self._run, self._attempt, self._recorder = run, attempt, recorder
        self._on_progress, self._since = on_progress, time.monotonic()
        self.frames = 0

    def __call__(self, part: int, frames: int) -> None:
        """Record that so many parts and so many frames are done."""
        if (newest := self._run.newest_attempt) > self._attempt:
            what = f"attempt {newest} has taken over from attempt {self._attempt}"
            raise Superseded(f"{self._run.path}: {what}")
        now, self.frames = time.monotonic(), frames
        seconds, self._since = now - self._since, now
        # A part is to a video's task what an epoch is to a trial: it is not done again.
        self._recorder.write({"epoch": part, "seconds": seconds, "frames": frames})
        self._on_progress(frames)
