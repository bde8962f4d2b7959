"""The store: built once, whole or not there, and an error on a full disk."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldtrial.config import ConfigError
from fieldtrial.disk.schemas import Cut
from fieldtrial.training.data.image_store import open_store
from fieldtrial.training.data.sets.registry import open_dataset

BUILDER = """
import hashlib, logging, pathlib, sys
logging.basicConfig(level=logging.INFO)
from fieldtrial.training.data.sets.registry import open_dataset
from fieldtrial.training.data.image_store import open_store
print("ready", flush=True)
sys.stdin.readline()
source = open_dataset("digits", pathlib.Path("unused"))
store = open_store(source, int(sys.argv[2]), pathlib.Path(sys.argv[1]))
print(hashlib.sha256(store.images.tobytes()).hexdigest())
"""


def start_builder(root: Path, image_size: int, *limit: str) -> "subprocess.Popen[str]":
    """Start a process that will build the digits' store once it is told to go."""
    builder = subprocess.Popen(
        [*limit, sys.executable, "-c", BUILDER, str(root), str(image_size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert builder.stdout is not None
    assert builder.stdout.readline() == "ready\n"
    return builder


def go(builder: "subprocess.Popen[str]") -> None:
    assert builder.stdin is not None
    builder.stdin.write("go\n")
    builder.stdin.flush()


def files(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if not path.name.endswith(".lock")}


def test_concurrent_builders_build_once(tmp_path: Path) -> None:
    builders = [start_builder(tmp_path, 64) for _ in range(3)]
    for builder in builders:
        go(builder)
    outputs = [builder.communicate(timeout=300) for builder in builders]
    assert len({output for output, _ in outputs}) == 1
    assert [len(output) for output, _ in outputs] == [65] * 3
    assert sum(log.count("decoding 1797 images") for _, log in outputs) == 1
    assert len(files(tmp_path)) == 1


def test_a_killed_builder_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    roots = (tmp_path / str(number) for number in range(9))
    root = next(root for root in roots if kill_a_builder(root))
    (left,) = files(root)
    source = open_dataset("digits", root)
    store = open_store(source, 224, root)
    assert files(root) == {left.removesuffix(".building")}
    assert np.array_equal(store.images, open_store(source, 224, tmp_path / "other").images)


def kill_a_builder(root: Path) -> bool:
    """Kill a builder while it builds; return False if it was quicker, and is done."""
    builder = start_builder(root, 224)
    go(builder)
    while not list(root.glob("*.building/images.npy")) and builder.poll() is None:
        time.sleep(0.002)
    builder.kill()
    builder.communicate()
    return all(name.endswith(".building") for name in files(root))


def test_a_disk_without_room_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    builder = start_builder(tmp_path, 64, "prlimit", "--fsize=1000000")  # 7 MB are asked for
    go(builder)
    _, log = builder.communicate(timeout=300)
    assert builder.returncode == 1
    assert "OSError: [Errno 27] File too large" in log
    assert "images.npy" in log.splitlines()[-1]
    assert files(tmp_path) == set()


@pytest.mark.parametrize("below", ["", "stores"])
def test_a_folder_that_cannot_be_written_to_says_how_to_choose_another(
    tmp_path: Path, below: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match=r"file.*cannot be kept there .* set FIELDTRIAL_CACHE to"):
        open_store(open_dataset("digits", tmp_path), 8, file / below)


def test_stores_of_other_sizes_and_contents_are_apart(tmp_path: Path) -> None:
    source = open_dataset("digits", tmp_path)
    small, large = (open_store(source, size, tmp_path) for size in (8, 12))
    assert small.images.shape[1:3] == (8, 8)
    assert large.images.shape[1:3] == (12, 12)
    assert len(files(tmp_path)) == 2


def test_a_file_is_read_once(tmp_path: Path) -> None:
    """What is hashed and what is decoded are the same bytes, whatever happens to the file."""
    data = tmp_path / "data"
    for name in ("a", "b"):
        (data / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(data / name / f"{number}.png")
    found = open_dataset(f"folder:{data}", data)
    contents, reads = found.contents(), list[int]()

    def content(index: int) -> bytes:
        reads.append(index)
        there = contents.content(index)
        Path(contents.where(index)).write_bytes(b"changed meanwhile")
        return there

    changing = replace(found, contents=lambda: replace(contents, content=content))
    store = open_store(changing, 8, tmp_path / "stores")
    assert sorted(reads) == list(range(20))
    assert store.images[:, 0, 0, 0].tolist() == [*range(10), *range(10)]
    (data / "a" / "0.png").write_bytes(b"not an image")
    with pytest.raises(ConfigError, match=r"0\.png is not a readable image: Pillow does"):
        open_store(found, 4, tmp_path / "stores")


def test_data_that_are_not_cut_have_one_store_whatever_the_cut(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "own" / part / name).mkdir(parents=True)
            for number in range(10):
                image = Image.new("RGB", (8, 8), (number, 0, 0))
                image.save(tmp_path / "own" / part / name / f"{number}.png")
    (tmp_path / "cut").symlink_to(tmp_path / "own" / "train")

    def names(folder: str) -> list[str]:
        found = open_dataset(f"folder:{tmp_path / folder}", tmp_path)
        cuts: tuple[Cut, ...] = ("position", "content")
        return [open_store(found, 8, tmp_path / "stores", cut).name for cut in cuts]

    assert len(set(names("own"))) == 1
    assert len(set(names("cut"))) == 2  # whose test sets differ


def test_pictures_of_too_many_pixels_are_named_and_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    for name in ("a", "b"):
        (data / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (20, 10), (number, 0, 0)).save(data / name / f"{number}.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    root = tmp_path / "stores"
    assert len(open_store(open_dataset(f"folder:{data}", data), 4, root).images) == 20
    Image.new("1", (20, 11)).save(data / "a" / "0.png")
    Image.new("RGB", (20, 20)).save(data / "b" / "1.jpg")  # which is decoded at a half
    (data / "b" / "0.png").unlink()
    os.mkfifo(data / "b" / "0.png")  # which is passed over
    Image.new("1", (30, 30)).save(data / "b" / "bomb", "png")  # Pillow itself does not open it
    with pytest.raises(ConfigError) as caught:
        open_store(open_dataset(f"folder:{data}", data), 4, root)
    pixels, bomb = caught.value.problems  # in the order of the files
    assert "a/0.png is not a readable image: 20 × 11 pixels; must be at most 200" in pixels
    assert "b/bomb is not a readable image: Image size (900 pixels) exceeds limit" in bomb
