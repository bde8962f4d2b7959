"""Batches that a thread prepares: the same ones, the same errors, and no thread left behind."""

import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from PIL import Image

from fieldtrial.config import TrainConfig
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.batches import AHEAD, Batch, Waiting, ahead, batches, crops, shuffled
from tests.training.photos import cut


def threads() -> int:
    """Return how many threads prepare batches."""
    return sum(thread.name.startswith("batches") for thread in threading.enumerate())


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[TrainConfig, Data]:
    monkeypatch.setenv("FIELDTRIAL_CACHE", str(tmp_path / "stores"))
    for number in range(40):
        path = tmp_path / "photos" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cut(number, 60, 80)).save(path)
    config = TrainConfig(
        dataset=f"folder:{tmp_path / 'photos'}",
        augmentation=("random_resized_crop",),
        image_size=32,
    )
    return config, load(config, 32)


@pytest.mark.parametrize("batch_size", [4, 64])
def test_prepared_batches_are_those_of_one_thread(
    photos: tuple[TrainConfig, Data], monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    config, data = photos
    order = shuffled(data.train, config, 1)
    found = []
    for value in ("off", "on"):
        monkeypatch.setenv("FIELDTRIAL_PREFETCH", value)
        source = batches(data, order, batch_size, World(), crops(data, config, 0, 0))
        found.append([next(source)])
        assert threads() == (value == "on")
        found[-1] += source
        assert threads() == 0
    for alone, prepared in zip(*found, strict=True):
        assert torch.equal(alone.images, prepared.images)
        assert torch.equal(alone.targets, prepared.targets)


def numbered(made: list[int], last: int) -> Generator[Batch]:
    """Yield batches, noting their numbers, and fail after the last one."""
    for number in range(last):
        made.append(number)
        yield Batch(torch.full((1,), number), torch.zeros(1), torch.ones(1), 1)
    raise OSError("the disk is gone")


def images_until(stop: int, made: list[int], last: int, seen: list[int]) -> None:
    """Add the batches' numbers to `seen`, and leave at the number `stop`."""
    for batch in Waiting(ahead(numbered(made, last))):
        time.sleep(0.05)  # enough for a thread that does not wait to make them all
        seen.append(int(batch.images))
        if seen[-1] == stop:
            raise InterruptedError


def test_an_error_comes_where_its_batch_would_have_come() -> None:
    seen: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        images_until(9, [], 5, seen)
    assert seen == [0, 1, 2, 3, 4]
    assert threads() == 0


def test_few_batches_are_prepared_and_leaving_an_epoch_ends_the_thread() -> None:
    made: list[int] = []
    with pytest.raises(InterruptedError):
        images_until(3, made, 100, [])
    assert threads() == 0
    assert made == list(range(len(made)))
    assert len(made) <= 4 + AHEAD
