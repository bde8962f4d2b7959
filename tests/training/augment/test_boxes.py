"""Augmentation of images with boxes: the box is where the object went."""

import numpy as np
import pytest
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.training.augment.boxes import COLOURS, LEFT, MOVES, augment_boxes, window
from fieldtrial.training.data.boxes.load import load_boxes

SIDE = 64


def rectangles(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey images with a white rectangle each, and targets: its box, and padding."""
    random = np.random.default_rng(1)
    images, targets = torch.full((count, 3, SIDE, SIDE), 0.5), torch.zeros(count, 2, 5)
    targets[:, 1, 0] = -1
    for image, target in zip(images, targets, strict=True):
        width, height = random.integers(16, 30, 2).tolist()
        left, top = (int(random.integers(0, SIDE - side)) for side in (width, height))
        image[:, top : top + height, left : left + width] = 1
        box = [left + width / 2, top + height / 2, width, height]
        target[0, 1:] = torch.tensor(box) / SIDE
    return images, targets


def bounds(image: torch.Tensor) -> list[int] | None:
    """Left, top, right and bottom of what is white."""
    rows, columns = np.nonzero((image[0] > 0.75).numpy())
    if not len(rows):
        return None
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("name", MOVES)
def test_boxes_move_with_their_objects(name: str) -> None:
    images, targets = rectangles(40)
    moved, changed = augment_boxes(images, targets, (name,), seed=5)
    assert changed.shape == targets.shape
    assert not torch.equal(moved, images)
    gone = 0
    for image, (box, padding) in zip(moved, changed, strict=True):
        assert padding[0] == -1
        found = bounds(image)
        if box[0] < 0:
            gone += 1
            continue
        x, y, width, height = (SIDE * box[1:]).tolist()
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        assert found
        assert np.abs(np.array(found) - corners).max() <= 1.5
    assert gone < 20


def test_what_is_hardly_inside_is_gone() -> None:
    images, targets = rectangles(1)
    targets[0, 0] = torch.tensor([2, 0.5, 0.5, 0.5, 0.5])  # from 0.25 to 0.75
    for share, left in ((LEFT + 0.02, 2), (LEFT - 0.02, -1)):
        starts = torch.tensor([[0.75 - 0.5 * share, 0.0]])
        _, changed = window(images, targets, starts, torch.ones(1, 2))
        assert changed[0, 0, 0] == left
    box = window(images, targets, torch.tensor([[0.5, 0.0]]), torch.ones(1, 2))[1][0, 0]
    assert box.tolist() == pytest.approx([2, 0.125, 0.5, 0.25, 0.5])  # cut at the left border


def test_equal_seeds_give_equal_results_and_colours_leave_boxes_alone() -> None:
    images, targets = rectangles(8)
    before = torch.random.get_rng_state()
    names = (*MOVES, *COLOURS)
    one, other = (augment_boxes(images, targets, names, 3) for _ in range(2))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(augment_boxes(images, targets, names, 4)[1], one[1])
    pictures = torch.from_numpy(np.array(load_boxes(TrainConfig(dataset="shapes"), 96).images[:8]))
    pictures = pictures.permute(0, 3, 1, 2) / 255
    coloured, same = augment_boxes(pictures, targets, COLOURS, 3)
    assert torch.equal(same, targets)
    assert not torch.equal(coloured, pictures)
