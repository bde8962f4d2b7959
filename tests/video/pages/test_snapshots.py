"""Snapshots: what is cut out, and what files are called."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldtrial.disk.inside import Inside
from fieldtrial.video.outcome import Outcome, file_name
from fieldtrial.video.pages.snapshots import snapshot, snapshot_name, write_snapshot

ROWS, COLUMNS = np.mgrid[:240, :320]
FRAME = np.stack([COLUMNS % 256, ROWS, COLUMNS // 256], axis=2).astype(np.uint8)


def cut(box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """Return which columns and rows of FRAME a snapshot has, first and last."""
    picture = snapshot(FRAME, box).astype(int)
    xs = picture[..., 0] + 256 * picture[..., 2]
    return int(xs.min()), int(xs.max()), int(picture[..., 1].min()), int(picture[..., 1].max())


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((100, 100, 200, 160), (65, 234, 65, 194)),  # 35 pixels on each side
        ((100, 100, 110, 110), (73, 136, 73, 136)),  # the least, around the middle
        ((0, 0, 100, 60), (0, 134, 0, 94)),  # cut by the frame
        ((-200, 50, -100, 90), (0, 63, 15, 124)),  # outside: what is at the edge
        ((-900, -900, 900, 900), (0, 319, 0, 239)),
    ],
)
def test_a_snapshot_has_the_box_and_its_surroundings(
    box: tuple[float, float, float, float], expected: tuple[int, int, int, int]
) -> None:
    assert cut(box) == expected


def test_a_small_frame_is_shown_whole() -> None:
    assert snapshot(FRAME[:40, :50], (10, 10, 20, 20)).shape == (40, 50, 3)


def test_the_name_says_what_crossed_and_sorts_by_time() -> None:
    name = snapshot_name("cam.mp4", "main road", "left", "car", 12, 3723.4564)
    assert name.startswith("cam.mp4_01-02-03.456_main_road~")
    assert name.endswith("_left_car_12.jpg")
    times = [0.0, 0.0005, 9.99, 60.0, 600.0, 3599.9996, 36000.0]
    names = [snapshot_name("v", "l", "right", "bus", 1, time) for time in times]
    assert names == sorted(names)
    assert "01-00-00.000" in names[5]
    # the time as crossings.csv has it
    assert names == [snapshot_name("v", "l", "right", "bus", 1, float(f"{t:.3f}")) for t in times]


def test_texts_of_strangers_stay_in_the_folder_and_apart(tmp_path: Path) -> None:
    texts = ["../x", "a/b", "a?b", ".", "..", "", "\0", "x" * 300, "x" * 301, "Süd", "东" * 80]
    names = [snapshot_name(text, text, "left", text, 1, 0) for text in texts]
    assert len(set(names)) == len(names)
    assert len({file_name(text) for text in texts}) == len(texts)
    outcome = Outcome(Inside(tmp_path))
    for name in names:
        write_snapshot(outcome, name, FRAME, (10, 10, 50, 50))
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == sorted(names)
    with Image.open(tmp_path / "snapshots" / names[0]) as image:
        assert image.size == (64, 64)
