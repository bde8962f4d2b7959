"""A part of a video is read as the whole is; what is damaged is skipped."""

import random
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from fieldtrial.video.frames import Frame
from fieldtrial.video.media.decoding import containers
from fieldtrial.video.media.decoding.losses import Gap, broken_frames, gaps
from fieldtrial.video.media.index import index_video
from fieldtrial.video.media.reading import Damage, read_frames
from tests.video.media.made import KINDS, Image, make, make_kind


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name in KINDS:
        make_kind(folder, name, 60)
    _overwrite(make(folder / "damaged.mp4", size=(160, 120)), 0.3, 0.45, b"mdat")
    _overwrite(make(folder / "damaged.ts", size=(160, 120)), 0.3, 0.45)
    return folder


def _overwrite(path: Path, begin: float, end: float, behind: bytes = b"") -> Path:
    """Overwrite a stretch of a file by chance: shares of what comes behind a name."""
    data = bytearray(path.read_bytes())
    start = data.index(behind) if behind else 0
    chance = random.Random(0)
    length = len(data) - start if behind != b"mdat" else data.index(b"moov") - start
    for place in range(start + int(begin * length), start + int(end * length)):
        data[place] = chance.randrange(256)
    path.write_bytes(data)
    return path


@cache
def _whole(path: Path) -> tuple[tuple[Frame, ...], tuple[tuple[int, int], ...], int]:
    index, damage = index_video(path), Damage()
    frames = tuple(read_frames(index, damage=damage))
    return frames, tuple(damage.stretches), len(index)


@pytest.mark.parametrize("name", [*KINDS, "damaged.mp4", "damaged.ts"])
def test_every_part_is_as_in_the_whole(folder: Path, name: str) -> None:
    path = folder / name
    frames, stretches, count = _whole(path)
    index = index_video(path)
    skipped = {number for first, last in stretches for number in range(first, last)}
    assert bool(skipped) == name.startswith("damaged")
    assert skipped | {frame.number for frame in frames} == set(range(count))

    @hypothesis.settings(max_examples=12)
    @hypothesis.given(strategies.data())
    def check(data: strategies.DataObject) -> None:
        keys = strategies.sampled_from(index.key_frames.tolist())
        first = data.draw(keys | strategies.integers(0, count))
        last = data.draw(strategies.integers(first, min(count, first + 15)) | keys)
        last = max(first, last)
        stride = data.draw(strategies.integers(1, 3))
        damage = Damage()
        part = list(read_frames(index, first, last, stride, damage))
        expected = [
            frame for frame in frames if first <= frame.number < last and not frame.number % stride
        ]
        assert [frame.number for frame in part] == [frame.number for frame in expected]
        for frame, same in zip(part, expected, strict=True):
            assert frame.time == same.time
            np.testing.assert_array_equal(frame.image, same.image)
        assert damage.frames == len(skipped & set(range(first, last)))

    check()


def test_a_jump_leads_to_the_key_frame(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only formats without times are read from their start."""
    opened: list[Path] = []
    open_file = containers.open_file

    def counted(path: Path) -> Any:
        opened.append(path)
        return open_file(path)

    monkeypatch.setattr(containers, "open_file", counted)
    slow = set()
    for name in KINDS:
        index = index_video(folder / name)
        opened.clear()
        next(read_frames(index, int(index.key_frames[4])))
        if len(opened) > 1:
            slow.add(name)
    assert slow == {"raw.h264"}


# Where the damage is, as shares of the file; each in one stretch between two key frames or more.
@pytest.mark.parametrize("name", ["h264.mp4", "h264.mov", "h264.ts", "xvid.avi", "h264.avi"])
def test_damage_is_skipped_and_what_follows_is_right(name: str, tmp_path: Path) -> None:
    path = make(tmp_path / name, *KINDS[name], 60, size=(320, 240))
    right = {round(frame.time, 3): frame.image for frame in read_frames(index_video(path))}
    assert len(right) == 60
    _overwrite(path, 0.45, 0.55, b"mdat" if name.endswith(("mp4", "mov")) else b"")
    index, damage = index_video(path), Damage()
    shown = list(read_frames(index, damage=damage))
    assert len(shown) + damage.frames == len(index) == 60 - index.lost
    assert 3 <= damage.frames + index.lost <= 45
    assert len(damage.stretches) <= 3
    for frame in shown:
        np.testing.assert_array_equal(frame.image, right[round(frame.time, 3)])
    # What follows is there, up to the end.
    assert shown[-1].time == pytest.approx(59 / 25)
    assert sum(frame.time > 1.5 for frame in shown) > 10


# Here the decoder does not notice the first of the damaged packets, or notices it late.
@pytest.mark.parametrize("begin", [0.28, 0.34, 0.42, 0.74])
def test_what_the_decoder_does_not_notice_is_skipped_with_what_it_does(
    begin: float, tmp_path: Path
) -> None:
    path = make(tmp_path / "video.mp4", count=60, size=(160, 120))
    right = [frame.image for frame in read_frames(index_video(path))]
    shown = list(read_frames(index_video(_overwrite(path, begin, begin + 0.04, b"mdat"))))
    assert 40 < len(shown) < 60
    for frame in shown:
        np.testing.assert_array_equal(frame.image, right[frame.number])


@pytest.mark.parametrize("place", [0.07, 0.28, 0.47, 0.7])
def test_lost_packets_are_found_where_the_rate_is_constant(place: float, tmp_path: Path) -> None:
    path = make(tmp_path / "lost.ts", count=60, size=(160, 120))
    right = {round(frame.time, 3): frame.image for frame in read_frames(index_video(path))}
    packets = path.read_bytes()
    first = int(place * len(packets) / 188)
    path.write_bytes(packets[: first * 188] + packets[(first + 8) * 188 :])
    index, damage = index_video(path), Damage()
    shown = list(read_frames(index, damage=damage))
    assert 0 < 60 - len(index) == index.lost
    for frame in shown:
        np.testing.assert_array_equal(frame.image, right[round(frame.time, 3)])
    assert damage.frames < 14
    assert shown[-1].time == pytest.approx(59 / 25)


def test_gaps_are_told_from_a_variable_rate() -> None:
    constant = np.arange(100) * 3600
    assert gaps(constant) == []
    assert gaps(np.delete(constant, [50, 51, 70])) == [Gap(50, 2), Gap(68, 1)]
    assert gaps(constant + np.arange(100) % 7 * 100) == []  # variable
    assert gaps(np.delete(constant, np.arange(5, 100, 20))) == []  # so often: the camera leaves out
    assert gaps(np.delete(constant, np.arange(5, 20, 2))) == [Gap(5 + n, 1) for n in range(8)]


def test_damage_goes_as_far_as_the_next_key_frame() -> None:
    numbers = np.array([0, 3, 1, 2, 6, 4, 5, 9, 7, 8])  # in the order of decoding
    keys = np.isin(numbers, [0, 6])
    corrupt = numbers == 1
    broken = broken_frames(numbers, keys, corrupt, [])
    # 4 and 5 are decoded after key frame 6, and are made from frames before it, too.
    assert np.flatnonzero(broken).tolist() == [1, 2, 4, 5]
    broken = broken_frames(numbers, keys, ~(corrupt | ~corrupt), [Gap(4, 1)])
    assert np.flatnonzero(broken).tolist() == [2, 3, 4, 5]


def test_frames_that_a_decoder_gives_in_another_order_are_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_video(make(tmp_path / "video.mp4"))
    right = [frame.image for frame in read_frames(index)]
    decoded, held, turned = containers.decoded, list[Any](), list[Any]()

    def moved(decoder: Any, packet: Any) -> tuple[list[Any], bool]:
        """Give the last of each three frames first, as where a file hides their order."""
        frames, failed = decoded(decoder, packet)
        held.extend(frames)
        if len(held) > 2:
            turned.extend(held[2::-1])
            del held[:3]
        if packet is None:
            return [*turned, *held], failed
        return [turned.pop(0)] if turned else [], failed

    monkeypatch.setattr(containers, "decoded", moved)
    frames = list(read_frames(index))
    assert [frame.number for frame in frames] == list(range(40))
    np.testing.assert_array_equal([frame.image for frame in frames], right)


def test_a_file_that_has_changed_is_not_read_by_its_old_index(tmp_path: Path) -> None:
    path = make(tmp_path / "video.mp4", options={"bf": "0", "g": "3"}, count=10)
    index = index_video(path)
    old = path.read_bytes()
    path.write_bytes(old + b"more")
    with pytest.raises(ValueError, match="has changed since it was first read"):
        next(read_frames(index))
    _same_length(make(path, count=10), len(old))
    with pytest.raises(ValueError, match="has changed since it was first read: packet 0 is"):
        list(read_frames(index))
    path.unlink()
    with pytest.raises(ValueError, match="is gone"):
        next(read_frames(index))


def _same_length(path: Path, length: int) -> None:
    data = path.read_bytes()
    assert len(data) + 8 <= length, "make the first longer"
    path.write_bytes(
        data + (length - len(data)).to_bytes(4, "big") + b"free" + bytes(length - len(data) - 8)
    )


def test_a_camera_that_switches_does_not_change_the_size(tmp_path: Path) -> None:
    first = make(tmp_path / "first.ts", count=10).read_bytes()
    second = make(
        tmp_path / "second.ts", count=10, size=(160, 120), times=[5 + k / 25 for k in range(10)]
    )
    path = tmp_path / "both.ts"
    path.write_bytes(first + second.read_bytes())
    index = index_video(path)
    assert len(index) == 20
    shapes: set[tuple[int, ...]] = {frame.image.shape for frame in read_frames(index)}
    assert shapes == {(64, 96, 3)}
    later: Image = next(read_frames(index, int(index.key_frames[-1]))).image
    assert later.shape == (64, 96, 3)
