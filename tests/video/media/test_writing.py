"""Videos that are written: a browser plays them, parts join, and they are valid at any moment."""

import base64
import contextlib
import functools
import http.server
import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser

from fieldtrial.disk.inside import Inside, RefusedError
from fieldtrial.video.media.index import index_video
from fieldtrial.video.media.joining import join_videos
from fieldtrial.video.media.reading import read_frames
from fieldtrial.video.media.writing import VideoWriter
from tests.video.media.made import Image, pictures, seen_by_opencv

COLORS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (40, 60, 200)}


def plain(color: tuple[int, int, int], width: int = 96, height: int = 64) -> Image:
    return np.full((height, width, 3), color, np.uint8)


def write_colors(path: Path) -> Path:
    """Write two seconds of each color, ten images a second."""
    with VideoWriter(path, 96, 64) as writer:
        for number, color in enumerate(COLORS.values()):
            for tenth in range(20):
                writer.write(plain(color), 2 * number + tenth / 10)
    return path


def test_what_is_written_is_h264_of_the_right_colors_and_times(tmp_path: Path) -> None:
    path = write_colors(tmp_path / "colors.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.profile, context.pix_fmt) == ("h264", "High", "yuv420p")
        assert (context.colorspace, context.color_range) == (1, 1)
    kinds = [kind for kind, _ in boxes(path)]
    assert kinds == [b"ftyp", b"free", b"mdat", b"moov"]  # finished: a plain MP4 file
    index = index_video(path)
    np.testing.assert_allclose(index.times, np.arange(60) / 10, atol=1e-9)
    assert index.missing_seconds == 0
    for frame in read_frames(index):
        color = list(COLORS.values())[frame.number // 20]
        assert np.abs(frame.image.astype(int) - color).max() <= 4


def boxes(path: Path) -> Iterator[tuple[bytes, int]]:
    data, at = path.read_bytes(), 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big") or len(data) - at
        yield data[at + 4 : at + 8], length
        at += length


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


SEEN = """async (times) => {
  const video = document.querySelector('video'), seen = [];
  await new Promise((yes, no) => {
    if (video.readyState >= 1) yes();
    video.onloadedmetadata = yes; video.onerror = () => no(video.error.message);
  });
  const canvas = document.createElement('canvas'), drawing = canvas.getContext('2d');
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  for (const time of times) {
    const there = new Promise(yes => { video.onseeked = yes; });
    video.currentTime = time; await there;
    drawing.drawImage(video, 0, 0);
    seen.push(Array.from(drawing.getImageData(48, 32, 1, 1).data).slice(0, 3));
  }
  return [video.videoWidth, video.videoHeight, video.duration, seen];
}"""


def test_chromium_plays_it_jumps_in_it_and_shows_its_colors(
    browser: Browser, tmp_path: Path, address: str
) -> None:
    data = base64.b64encode(write_colors(tmp_path / "colors.mp4").read_bytes()).decode()
    (tmp_path / "page.html").write_text(f'<video muted src="data:video/mp4;base64,{data}"></video>')
    page = browser.new_page()
    page.goto(f"{address}/page.html")
    width, height, duration, seen = page.evaluate(SEEN, [4.5, 0.5, 2.5])
    page.close()
    assert (width, height) == (96, 64)
    assert duration == pytest.approx(6, abs=0.11)
    expected = [COLORS["blue"], COLORS["red"], COLORS["green"]]
    np.testing.assert_allclose(seen, expected, atol=10)  # BT.601 would be 20 off


def test_odd_sizes_keep_their_coordinates(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    image = plain(COLORS["red"], 97, 65)
    image[:, 96], image[64] = COLORS["blue"], COLORS["blue"]
    with VideoWriter(path, 97, 65) as writer:
        for number in range(5):
            writer.write(image, number / 25)
    shown = next(read_frames(index_video(path))).image.astype(int)
    assert shown.shape == (66, 98, 3)
    assert np.abs(shown[20:40, 20:40] - COLORS["red"]).max() < 12
    # Red is 110 away.
    assert np.abs(shown[64:] - COLORS["blue"]).mean() < 30
    assert np.abs(shown[:, 96:] - COLORS["blue"]).mean() < 30


def test_parts_are_joined_without_a_gap(tmp_path: Path) -> None:
    shown = list(pictures(90))
    times = [0.04 * number + (5 if number > 40 else 0) for number in range(90)]
    parts, single = [], []
    for first, last in ((0, 30), (30, 31), (31, 90)):
        part = Inside(tmp_path, (f"part{first}.mp4",))
        with VideoWriter(part, 96, 64) as writer:
            for number in range(first, last):
                writer.write(shown[number], times[number])
        parts.append((part, times[first]))
        single += [frame.image for frame in read_frames(index_video(part.path))]
    join_videos(parts, Inside(tmp_path, ("joined.mp4",)))
    index = index_video(tmp_path / "joined.mp4")
    np.testing.assert_allclose(index.times, times, atol=1 / 90_000)
    np.testing.assert_array_equal([frame.image for frame in read_frames(index)], single)
    assert cv2.VideoCapture(str(tmp_path / "joined.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 90
    other = tmp_path / "other.mp4"
    with VideoWriter(other, 64, 64) as writer:
        writer.write(plain(COLORS["red"], 64), 0)
    with pytest.raises(ValueError, match=r"other\.mp4: must have the size and the encoding"):
        join_videos([*parts, (other, 9)], tmp_path / "second.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("joined.mp4", "other.mp4", "part0.mp4", "part30.mp4", "part31.mp4")
    ]


def _playable(path: Path) -> int:
    """Return how many frames can be played; all of them must be right."""
    index = index_video(path)
    frames = list(read_frames(index))
    assert [frame.number for frame in frames] == list(range(len(index)))
    for frame, image in zip(frames, pictures(len(frames), 320, 240), strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 15
    assert seen_by_opencv(path)[0][-1].shape == (240, 320, 3)
    return len(frames)


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file be longer than `size` bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write(path: Path, count: int) -> None:
    """Write pictures, five a second."""
    with VideoWriter(path, 320, 240) as writer:
        for number, image in enumerate(pictures(count, 320, 240)):
            writer.write(image, number / 5)


def test_on_a_full_disk_what_is_written_stays_valid(tmp_path: Path) -> None:
    path, size = tmp_path / "full.mp4", 1_000_000
    with full_disk(size), pytest.raises(OSError, match=r"File too large: '.*full\.mp4'"):
        write(path, 1000)
    kinds = list(boxes(path))
    assert 0.3 * size < sum(length for _, length in kinds) == path.stat().st_size <= size
    assert kinds[-1][0] == b"mdat"  # a whole fragment
    assert _playable(path) >= 20
    # And where only the table at the end does not fit.
    write(path, 30)
    size = path.stat().st_size - 300
    with full_disk(size), pytest.raises(OSError, match="File too large"):
        write(path, 30)
    assert _playable(path) >= 20
    # A file that has failed is not written on: FFmpeg's muxer would crash.
    writer = VideoWriter(path, 320, 240)
    with full_disk(20_000), contextlib.suppress(OSError):
        for number, image in enumerate(pictures(100, 320, 240)):
            writer.write(image, number / 5)
    with pytest.raises(OSError, match="File too large"):
        writer.close()


WRITE_ON = """
import sys
from pathlib import Path
from fieldtrial.video.media.writing import VideoWriter
from tests.video.media.made import pictures

writer = VideoWriter(Path(sys.argv[1]), 320, 240)
for number, image in enumerate(pictures(10**6, 320, 240)):
    writer.write(image, number / 10)
    if number == 200:
        print("well on", flush=True)
"""


def test_a_killed_program_leaves_a_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "killed.mp4"
    command = [sys.executable, "-c", WRITE_ON, str(path)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"well on\n"
        process.send_signal(signal.SIGKILL)
    assert _playable(path) >= 100


def test_a_program_that_dies_while_it_writes_leaves_a_valid_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, calls = os.pwrite, itertools.count()

    def dying(file: int, data: memoryview, place: int) -> int:
        if next(calls) < 12:
            return pwrite(file, data, place)
        pwrite(file, data[: len(data) // 2], place)
        raise SystemExit

    monkeypatch.setattr(os, "pwrite", dying)
    path = tmp_path / "dead.mp4"
    with pytest.raises(SystemExit):
        write(path, 1000)
    assert _playable(path) >= 20


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "video.mp4").symlink_to(victim)
    (tmp_path / "folder").symlink_to(tmp_path)
    with VideoWriter(Inside(tmp_path, ("video.mp4",)), 96, 64) as writer:
        writer.write(plain(COLORS["red"]), 0)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "video.mp4").is_symlink()
    with pytest.raises(RefusedError):
        VideoWriter(Inside(tmp_path, ("folder", "video.mp4")), 96, 64)
