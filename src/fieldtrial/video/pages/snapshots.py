"""A picture of each counted vehicle at its crossing, whose file's name says what crossed."""

from collections.abc import Sequence

from fieldtrial.video.outcome import Outcome, file_name
from fieldtrial.video.pages.paint import Pixels
from fieldtrial.video.pages.stills import write_picture

MARGIN = 0.35  # of the box's longer side, on each side: a vehicle is judged by its surroundings
LEAST = 64  # pixels of a picture's sides


def snapshot(image: Pixels, box: Sequence[float]) -> Pixels:
    """Return the part of a frame around a box, with a margin, as far as it is in the frame.

    image: uint8 (height, width, 3). box: left, top, right and bottom in its pixels; what of it is
    outside is moved to the frame's edge. Each side has LEAST pixels where the frame has them.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = map(float, box)
    margin = MARGIN * max(right - left, bottom - top)
    x1, x2 = _span(left - margin, right + margin, width)
    y1, y2 = _span(top - margin, bottom + margin, height)
    return image[y1:y2, x1:x2].copy()


def snapshot_name(
    video: str, line: str, direction: str, class_name: str, track: int, time: float
) -> str:
    """Return the name of a crossing's picture: names sort by video and time.

    time: in seconds, as crossings.csv has it; milliseconds count.
    """
    milliseconds = round(1000 * float(f"{time:.3f}"))
    hours, rest = divmod(milliseconds, 3_600_000)
    moment = f"{hours:02d}-{rest // 60_000:02d}-{rest // 1000 % 60:02d}.{rest % 1000:03d}"
    parts = [file_name(video), moment, file_name(line), direction, file_name(class_name)]
    return f"{'_'.join(parts)}_{track}.jpg"


def write_snapshot(outcome: Outcome, name: str, image: Pixels, box: Sequence[float]) -> None:
    """Write the picture of a crossing into the run directory, as JPEG."""
    write_picture(outcome.snapshots_folder / name, snapshot(image, box))


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """Return whole pixels from `low` to `high`, cut to 0 to `size` and then widened to LEAST."""
    low, high = min(max(0.0, low), size), min(max(0.0, high), size)
    length = min(size, max(LEAST, round(high - low)))
    start = min(max(0, round((low + high - length) / 2)), size - length)
    return start, start + length
