"""The loss of YOLOv3 against one that is computed box by box, with plain numbers."""

import math
from collections.abc import Sequence

import pytest
import torch

from fieldtrial.detection.darknet.heads import Head
from fieldtrial.training.tasks.detection.loss import Grid, YoloLoss

SIDE, CLASSES = 64, 3
GRIDS = [(2, 2), (4, 4)]  # rows, columns
HEADS = (
    Head(1, 0, ((40.0, 30.0), (20.0, 50.0)), CLASSES, scale_x_y=1.0, ignore_thresh=0.3),
    Head(3, 2, ((10.0, 12.0), (24.0, 8.0), (6.0, 6.0)), CLASSES, scale_x_y=1.2, ignore_thresh=0.5),
)
COUNT = 2 * 4 + 3 * 16  # predictions of an image
Box = tuple[float, float, float, float]  # centre, width and height


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def entropy(logit: float, wanted: float) -> float:
    share = sigmoid(logit)
    return -wanted * math.log(share) - (1 - wanted) * math.log(1 - share)


def overlap(one: Box, other: Box) -> float:
    sides = [
        min(one[k] + one[k + 2] / 2, other[k] + other[k + 2] / 2)
        - max(one[k] - one[k + 2] / 2, other[k] - other[k + 2] / 2)
        for k in (0, 1)
    ]
    inner = max(0.0, sides[0]) * max(0.0, sides[1])
    return inner / (one[2] * one[3] + other[2] * other[3] - inner)


def places() -> list[tuple[Head, int, int, int]]:
    """The head, anchor, row and column of each prediction."""
    return [
        (head, anchor, row, column)
        for head, (rows, columns) in zip(HEADS, GRIDS, strict=True)
        for anchor in range(len(head.anchors))
        for row in range(rows)
        for column in range(columns)
    ]


def predicted(raw: Sequence[float], place: tuple[Head, int, int, int]) -> Box:
    head, anchor, row, column = place
    rows = GRIDS[HEADS.index(head)][0]
    spread = head.scale_x_y
    x, y = (sigmoid(value) * spread - (spread - 1) / 2 for value in raw[:2])
    width, height = head.anchors[anchor]
    wide, high = math.exp(raw[2]) * width / SIDE, math.exp(raw[3]) * height / SIDE
    return (column + x) / rows, (row + y) / rows, wide, high


def slow_loss(raw: list[list[float]], objects: list[tuple[int, Box]]) -> float:
    """The loss of one image."""
    total = 0.0
    owners: dict[int, list[int]] = {}
    for number, (_, box) in enumerate(objects):
        pairs = [(head, anchor) for head in HEADS for anchor in range(len(head.anchors))]
        shapes = [[side / SIDE for side in head.anchors[k]] for head, k in pairs]
        fits = [overlap((0, 0, *box[2:]), (0, 0, wide, high)) for wide, high in shapes]
        best = pairs[fits.index(max(fits))]
        rows = GRIDS[HEADS.index(best[0])][0]
        place = (*best, int(box[1] * rows), int(box[0] * rows))
        owners.setdefault(places().index(place), []).append(number)
    for number, (own, place) in enumerate(zip(raw, places(), strict=True)):
        head, anchor, row, column = place
        if number not in owners:
            most = max((overlap(predicted(own, place), box) for _, box in objects), default=0.0)
            total += entropy(own[4], 0) if most <= head.ignore_thresh else 0.0
            continue
        x, y, width, height = objects[owners[number][-1]][1]
        rows, spread = GRIDS[HEADS.index(head)][0], head.scale_x_y
        wanted = [(x * rows - column + (spread - 1) / 2) / spread]
        wanted += [(y * rows - row + (spread - 1) / 2) / spread]
        sides = [math.log(width * SIDE / head.anchors[anchor][0])]
        sides += [math.log(height * SIDE / head.anchors[anchor][1])]
        centre = sum(entropy(value, one) for value, one in zip(own[:2], wanted, strict=True))
        shape = sum((value - one) ** 2 / 2 for value, one in zip(own[2:4], sides, strict=True))
        total += (2 - width * height) * (spread * centre + shape) + entropy(own[4], 1)
        classes = {objects[one][0] for one in owners[number]}
        total += sum(entropy(own[5 + k], float(k in classes)) for k in range(CLASSES))
    return total


OBJECTS: list[list[tuple[int, Box]]] = [
    [],
    [(2, (0.3, 0.6, 0.5, 0.4))],
    [(0, (0.99, 0.01, 0.1, 0.12)), (1, (0.5, 0.5, 0.3, 0.75)), (2, (0.26, 0.4, 0.35, 0.1))],
    [(0, (0.3, 0.3, 0.1, 0.1)), (1, (0.31, 0.31, 0.1, 0.1)), (0, (0.2, 0.8, 1.0, 0.9))],  # one cell
]


def padded(objects: list[list[tuple[int, Box]]]) -> torch.Tensor:
    most = max(1, *map(len, objects))
    rows = [[[label, *box] for label, box in own] for own in objects]
    return torch.tensor([own + [[-1.0, 0, 0, 0, 0]] * (most - len(own)) for own in rows])


def outputs() -> torch.Tensor:
    """Raw outputs; each object also has predictions of other anchors that lie on it."""
    made = torch.randn(len(OBJECTS), COUNT, 5 + CLASSES, generator=torch.Generator().manual_seed(3))
    for image, own in zip(made, OBJECTS, strict=True):
        for number, (head, anchor, row, column) in enumerate(places()):
            rows = GRIDS[HEADS.index(head)][0]
            for _, (x, y, width, height) in own:
                inside = [x * rows - column, y * rows - row]
                if all(0 < share < 1 for share in inside):
                    spread, (wide, high) = head.scale_x_y, head.anchors[anchor]
                    shares = [(share + (spread - 1) / 2) / spread for share in inside]
                    sides = [math.log(width * SIDE / wide), math.log(height * SIDE / high)]
                    logits = [math.log(share / (1 - share)) for share in shares]
                    image[number, :4] = torch.tensor([*logits, *sides]) + 0.01
    return made.double()


def loss() -> YoloLoss:
    return YoloLoss(Grid.of(HEADS, GRIDS, SIDE, torch.device("cpu")), CLASSES)


def test_it_is_what_the_formula_says() -> None:
    raw = outputs()
    found = loss()(raw, padded(OBJECTS).double())
    expected = [slow_loss(own.tolist(), objects) for own, objects in zip(raw, OBJECTS, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    ignored = [
        sum(
            max((overlap(predicted(one, place), box) for _, box in objects), default=0)
            > place[0].ignore_thresh
            for one, place in zip(own.tolist(), places(), strict=True)
        )
        for own, objects in zip(raw, OBJECTS, strict=True)
    ]
    assert min(ignored[1:]) > 0  # so that the threshold has been tried


def test_boxes_are_those_of_the_formula() -> None:
    grid = Grid.of(HEADS, GRIDS, SIDE, torch.device("cpu"))
    raw = outputs()[:1].float()
    found = grid.boxes(raw)[0]
    for own, box, place in zip(raw[0].tolist(), found.tolist(), places(), strict=True):
        x, y, width, height = predicted(own, place)
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        assert box == pytest.approx(corners, abs=1e-5)


def test_padding_changes_nothing_and_large_outputs_stay_finite() -> None:
    raw, targets = outputs().float(), padded(OBJECTS)
    more = torch.cat([targets, padded([[]] * len(OBJECTS)).expand(-1, 4, -1)], 1)
    assert torch.equal(loss()(raw, targets), loss()(raw, more))
    wild = (100 * raw).requires_grad_()
    total = loss()(wild, targets).sum()
    total.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(total)
    assert wild.grad is not None
    assert torch.isfinite(wild.grad).all()


def test_its_gradient_is_darknets() -> None:
    """Darknet's layer hands down scale · (target − σ) for x and y, and target − σ for the rest."""
    raw = outputs()[1:2].float().requires_grad_()
    targets = padded(OBJECTS[1:2])
    loss()(raw, targets).sum().backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None
    own = [number for number, row in enumerate(raw.grad[0]) if row[0] != 0]
    assert len(own) == 1
    gradient, values = raw.grad[0, own[0]], raw.detach()[0, own[0]]
    head, anchor, row, column = places()[own[0]]
    assert (head.anchors[anchor], row, column) == ((40.0, 30.0), 1, 0)
    scale, share = 2 - 0.5 * 0.4, values.sigmoid()
    expected = [
        scale * (share[0] - 0.6),  # 0.3 of 2 columns
        scale * (share[1] - 0.2),
        scale * (values[2] - math.log(0.5 * SIDE / 40)),
        scale * (values[3] - math.log(0.4 * SIDE / 30)),
        share[4] - 1,
        share[5],
        share[6],
        share[7] - 1,
    ]
    assert gradient.tolist() == pytest.approx([float(one) for one in expected], rel=1e-4)
