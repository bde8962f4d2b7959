"""What videos can be read: the frames and times that OpenCV's own FFmpeg finds in them."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.video.media.decoding.containers import MOST_PIXELS
from fieldtrial.video.media.index import VideoIndex, index_video
from fieldtrial.video.media.reading import read_frames
from fieldtrial.video.media.stored import read_index, write_index
from tests.video.media.made import KINDS, Image, make, make_kind, patch, seen_by_opencv

ROAD = Path(__file__).parents[4] / "shared" / "data" / "video" / "video1.avi"


def images(index: VideoIndex) -> list[Image]:
    return [frame.image for frame in read_frames(index)]


@pytest.mark.parametrize("name", KINDS)
def test_all_frames_are_read_upright_in_order_and_at_their_times(name: str, tmp_path: Path) -> None:
    path = make_kind(tmp_path, name)
    index = index_video(path)
    expected, _ = seen_by_opencv(path)
    assert len(index) == len(expected) == 40
    np.testing.assert_allclose(index.times, np.arange(40) / 25, atol=1e-9)
    assert (index.width, index.height, index.lost, index.missing_seconds) == (96, 64, 0, 0)
    assert index.rate == pytest.approx(25)
    assert index.duration == pytest.approx(1.6)
    frames = list(read_frames(index))
    assert [frame.number for frame in frames] == list(range(40))
    assert [frame.time for frame in frames] == index.times.tolist()
    for frame, image in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.image, image)


def test_the_key_frames_are_where_the_encoder_was_told_to_put_them(tmp_path: Path) -> None:
    assert index_video(make_kind(tmp_path, "h264.mp4")).key_frames.tolist() == [0, 12, 24, 36]
    assert index_video(make_kind(tmp_path, "jpeg.avi")).key_frames.tolist() == list(range(40))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_times_are_those_of_presentation_not_numbers(suffix: str, tmp_path: Path) -> None:
    times = np.cumsum([5.0] + [0.04, 0.1, 0.02, 0.5] * 6)  # variable, and the first is not 0
    path = make(tmp_path / f"odd.{suffix}", count=25, times=times.tolist())
    index = index_video(path)
    np.testing.assert_allclose(index.times, times - 5, atol=1e-3)
    assert index.lost == 0
    assert index.rate == pytest.approx(24 / (times[-1] - 5))


def test_frames_of_one_time_follow_each_other(tmp_path: Path) -> None:
    path = make(tmp_path / "h264.mkv", count=5)
    data = path.read_bytes()
    # The block of the last frame that is decoded, 4th to be shown, gets the time of the third.
    at = data.rindex((120).to_bytes(2, "big") + b"\0")
    path.write_bytes(data[:at] + (80).to_bytes(2, "big") + data[at + 2 :])
    index = index_video(path)
    np.testing.assert_allclose(index.times, [0, 0.04, 0.08, 0.081, 0.16], atol=1e-9)
    assert len(images(index)) == 5


def test_an_edit_list_leaves_frames_out(tmp_path: Path) -> None:
    path = make(tmp_path / "edited.mp4")
    whole = images(index_video(path))
    # media_time is in ticks of 1/12800 s: 15 frames later, between key frames 12 and 24.
    data = path.read_bytes()
    start = int.from_bytes(data[data.index(b"elst") + 16 : data.index(b"elst") + 20], "big")
    patch(path, b"elst", 12, ">i", start + 15 * 512)
    index = index_video(path)
    assert len(index) == 25
    np.testing.assert_allclose(index.times, np.arange(25) / 25, atol=1e-9)
    np.testing.assert_array_equal(images(index), whole[15:])
    np.testing.assert_array_equal(next(read_frames(index, 3)).image, whole[18])


# The matrix of ISO/IEC 14496-12 (a b u, c d v, x y w), and the same with numpy.
TURNS = {
    "clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "upside down": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "anticlockwise": ((0, -1, 1, 0), lambda image: np.rot90(image)),
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "mirrored and turned": ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_frames_are_turned_as_the_file_says(turn: str, tmp_path: Path) -> None:
    path = make(tmp_path / "turned.mp4", count=3)
    stored = images(index_video(path))
    (a, b, c, d), turned = TURNS[turn]
    one = 1 << 16
    # Behind the name of the box, tkhd has 40 bytes before the matrix.
    patch(path, b"tkhd", 40, ">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    index = index_video(path)
    assert (index.width, index.height) == ((64, 96) if a == 0 else (96, 64))
    np.testing.assert_array_equal(images(index), [turned(image) for image in stored])
    if "mirrored" not in turn:  # OpenCV does not mirror
        np.testing.assert_array_equal(images(index), seen_by_opencv(path)[0])


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    path = make(tmp_path / "wide.mkv", count=2, aspect=Fraction(4, 3))
    index = index_video(path)
    assert (index.width, index.height) == (128, 64)
    assert images(index)[0].shape == (64, 128, 3)


def test_a_truncated_file_ends_early_and_says_so(tmp_path: Path) -> None:
    path = make(tmp_path / "whole.mp4", container_options={"movflags": "faststart"})
    whole = {round(frame.time, 3): frame.image for frame in read_frames(index_video(path))}
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    index = index_video(path)
    shown = list(read_frames(index))
    assert 10 < len(shown) < 38
    for frame in shown:
        np.testing.assert_array_equal(frame.image, whole[round(frame.time, 3)])
    assert index.missing_seconds == pytest.approx(1.6 - index.duration, abs=1e-3)
    assert index.missing_seconds > 0.2


@pytest.mark.parametrize("name", ["h264.ts", "h265.ts"])
def test_a_recording_may_begin_between_key_frames(name: str, tmp_path: Path) -> None:
    kind = "h265.mp4" if name == "h265.ts" else name
    path = make(tmp_path / name, *KINDS[kind])
    whole = {round(frame.time, 3): frame.image for frame in read_frames(index_video(path))}
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 188 // 5 * 188 :])
    index = index_video(path)
    assert len(index) == 28  # from key frame 12 on
    for frame in read_frames(index):
        np.testing.assert_array_equal(frame.image, whole[round(frame.time + 12 / 25, 3)])


def _only_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _without_table(path: Path) -> None:
    data = make(path).read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])


def _huge(path: Path) -> None:
    data = bytearray(make(path.with_suffix(".avi"), "rawvideo", {}, 1).read_bytes())
    at = data.index(b"strf") + 12
    data[at : at + 8] = (9000).to_bytes(4, "little") * 2
    path.write_bytes(data)


def _playlist(path: Path) -> None:
    make(path.with_name("elsewhere.mp4"))
    path.write_text("ffconcat version 1.0\nfile elsewhere.mp4\n")


BAD: dict[str, Callable[[Path], object]] = {
    "is empty": lambda path: path.touch(),
    "must be a video (MP4, MOV": lambda path: path.write_text("no video\n" * 1000),
    "must be a video (MP4": _playlist,  # would lead elsewhere
    "its table of frames (moov) is missing": _without_table,
    "has no video; it has audio": _only_sound,
    f"there must be at most {MOST_PIXELS:,} pixels": _huge,
    "must be a file or a folder": lambda path: os.mkfifo(path),
    "does not exist": lambda path: path.unlink(missing_ok=True),
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_no_video_is_told_from_others(message: str, tmp_path: Path) -> None:
    path = tmp_path / "Straße 東京.mp4"
    BAD[message](path)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is looked at below)
        index_video(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_names_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "Straße 東京 1.mp4",
        "http:no address.mp4",
        "%d.mp4",
        "-i.mp4",
        os.fsdecode(b"\xff.mp4"),
    ):
        make(tmp_path / "plain.mp4", count=2).rename(tmp_path / name)
        assert len(index_video(Path(name))) == 2


def test_a_frame_of_an_index_is_kept_in_a_file(tmp_path: Path) -> None:
    index = index_video(make_kind(tmp_path, "h265.mp4"))
    kept = Inside(tmp_path, ("index.json",))
    write_index(index, kept)
    again = read_index(kept)
    np.testing.assert_array_equal(images(again), images(index))
    assert vars(again).keys() == vars(index).keys()
    np.testing.assert_array_equal(again.key_frames, index.key_frames)
    np.testing.assert_array_equal(again.broken, index.broken)
    text = kept.read_bytes()
    for old, new in ((b'"keys":[0,', b'"keys":[true,'), (b'"numbers":[0', b'"numbers":[1')):
        (tmp_path / "index.json").write_bytes(text.replace(old, new))
        with pytest.raises(UnreadableError, match=r"index\.json"):
            read_index(kept)


@pytest.mark.skipif(not ROAD.exists(), reason="needs the real video in ../shared/data/video")
def test_the_road_has_its_500_frames() -> None:
    index = index_video(ROAD)
    assert (len(index), index.width, index.height) == (500, 320, 240)
    assert index.rate == pytest.approx(14.999, abs=1e-6)
    expected, _ = seen_by_opencv(ROAD)
    for number in (0, 299, 300, 499):
        np.testing.assert_array_equal(next(read_frames(index, number)).image, expected[number])
