"""What is given as a video: files, folders of videos or of images, addresses."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldtrial.video.media.index import index_video
from fieldtrial.video.media.reading import Damage, read_frames
from fieldtrial.video.media.sources import find_videos
from tests.video.media.made import pictures


def save_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, picture in zip(names, pictures(len(names)), strict=True):
        Image.fromarray(picture).save(folder / name)


def test_a_folder_of_images_is_a_video_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    names = [f"Bild {number}.png" for number in (1, 2, 9, 10, 11, 100)]
    save_images(tmp_path, names)
    (tmp_path / "notes.txt").write_text("no image")
    assert find_videos(str(tmp_path)) == [tmp_path]
    index = index_video(tmp_path, rate=10)
    assert index.names == tuple(names)
    assert (index.width, index.height, index.rate) == (96, 64, 10)
    np.testing.assert_allclose(index.times, np.arange(6) / 10)
    assert index.key_frames.tolist() == list(range(6))
    frames = list(read_frames(index, 1, stride=2))
    assert [frame.number for frame in frames] == [2, 4]
    for frame in frames:
        np.testing.assert_array_equal(frame.image, list(pictures(6))[frame.number])


def test_damaged_images_are_skipped_and_counted(tmp_path: Path) -> None:
    save_images(tmp_path, [f"{number}.jpg" for number in range(5)])
    whole = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(whole[:-200])
    (tmp_path / "3.jpg").write_text("no image")
    index, damage = index_video(tmp_path), Damage()
    assert [frame.number for frame in read_frames(index, damage=damage)] == [0, 2, 4]
    assert damage.stretches == [(1, 2), (3, 4)]


def test_images_are_turned_as_the_camera_says(tmp_path: Path) -> None:
    image = Image.fromarray(next(pictures(1)))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    index = index_video(tmp_path)
    assert (index.width, index.height) == (64, 96)
    expected = np.rot90(next(pictures(1)), -1)
    np.testing.assert_array_equal(next(read_frames(index)).image, expected)


def test_images_of_one_video_have_one_size(tmp_path: Path) -> None:
    save_images(tmp_path, ["1.png", "2.png"])
    Image.new("RGB", (10, 20)).save(tmp_path / "3.png")
    with pytest.raises(ValueError, match=r"1\.png has 96×64 pixels, and 3\.png 10×20"):
        index_video(tmp_path)
    for path in tmp_path.iterdir():
        path.write_text("no image")
    with pytest.raises(ValueError, match="has no image that can be read; 3 files named as one"):
        index_video(tmp_path)


def test_a_folder_of_videos_is_each_of_them(tmp_path: Path) -> None:
    for name in ("road 10.mp4", "road 9.MKV", "road 1.avi", ".hidden.mp4", "labels.json"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    found = find_videos(str(tmp_path))
    assert found == [tmp_path / name for name in ("road 1.avi", "road 9.MKV", "road 10.mp4")]
    save_images(tmp_path, ["1.png"])
    with pytest.raises(ValueError, match=r"it holds 3 videos \(road 1\.avi …\) and 1 image "):
        find_videos(str(tmp_path))


def test_other_things_are_refused(tmp_path: Path) -> None:
    assert find_videos("RTSP://user:secret@camera/1") == ["RTSP://user:secret@camera/1"]
    video = tmp_path / "any name"
    video.touch()
    assert find_videos(str(video)) == [video]
    with pytest.raises(ValueError, match=r"^ftp://user:…@camera/1: must begin with one of rtsp://"):
        find_videos("ftp://user:secret@camera/1")
    with pytest.raises(ValueError, match="missing: does not exist"):
        find_videos(str(tmp_path / "missing"))
    strange = tmp_path / os.fsdecode(b"\xff.mp4")
    strange.touch()
    for given in (strange, tmp_path):
        with pytest.raises(ValueError, match=r"\\udcff\.mp4': must have a name in UTF-8"):
            find_videos(str(given))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="empty: holds no video"):
        find_videos(str(empty))
