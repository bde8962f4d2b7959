"""What counts as found: classes apart, the best of overlapping boxes, and no endless candidates."""

import torch

from fieldtrial.detection.darknet.heads import Head
from fieldtrial.training.tasks.detection.average_precision import MOST
from fieldtrial.training.tasks.detection.loss import Grid
from fieldtrial.training.tasks.detection.predictions import LEAST, detections

SIDE, CELLS = 320, 40
HEADS = (Head(1, 0, ((16.0, 16.0), (16.5, 16.5)), 2),)
SURE, NEVER = 6.0, -20.0


def grid() -> Grid:
    return Grid.of(HEADS, [(CELLS, CELLS)], SIDE, torch.device("cpu"))


def nothing() -> torch.Tensor:
    """Raw outputs of two anchors in each cell, which find nothing."""
    outputs = torch.zeros(1, 2 * CELLS**2, 7)
    outputs[..., 4] = NEVER
    return outputs


def test_the_best_of_overlapping_boxes_of_one_class_stays() -> None:
    outputs = nothing()
    place = 10 * CELLS + 20  # its centre is at 164 and 84 pixels
    outputs[0, place, 4:] = torch.tensor([3.0, SURE, NEVER])
    outputs[0, place + CELLS**2, 4:] = torch.tensor([SURE, SURE, 0.0])
    (found,) = detections(outputs, grid(), SIDE)
    assert found[:, 5].tolist() == [0, 1]  # the second is of the other class
    assert found[0, 4] > 0.99
    torch.testing.assert_close(found[0, :4], torch.tensor([155.75, 75.75, 172.25, 92.25]))
    assert detections(nothing(), grid(), SIDE)[0].shape == (0, 6)


def test_an_untrained_network_has_an_answer_everywhere_and_few_of_them_count() -> None:
    outputs = torch.zeros(1, 2 * CELLS**2, 7)
    outputs[0, 77, 4] = SURE
    (found,) = detections(outputs, grid(), SIDE)
    assert len(found) == MOST
    assert (found[:, 4] >= LEAST).all()
    assert found[:, 4].tolist() == sorted(found[:, 4].tolist(), reverse=True)
    assert found[0, 4] > 0.45
    assert (found[:, :4] >= 0).all()
    assert (found[:, :4] <= SIDE).all()
