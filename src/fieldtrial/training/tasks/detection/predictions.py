"""What a detector finds in all images of a split, gathered from all processes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fieldtrial.detection.suppression import suppress
from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.inside import Inside
from fieldtrial.training.data.boxes.load import BoxData
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.inference import infer
from fieldtrial.training.models.network import Network
from fieldtrial.training.tasks.detection.average_precision import (
    MOST,
    Found,
    mean_average_precision,
)
from fieldtrial.training.tasks.detection.loss import Grid, YoloLoss

# As darknet validates: lower scores and boxes that overlap by more with a better one do not count.
LEAST, OVERLAP = 0.005, 0.45
# Of an image, so many of the best are looked at: an untrained network has an answer in every cell.
CANDIDATES = 3000
COLUMNS = 6  # of a detection: left, top, right, bottom, score, label


@dataclass(frozen=True, eq=False)
class Answers:
    """What was found in images.

    Attributes:
        index: the images' positions in the data set's store, int64 (n,).
        found: in each of them.
        loss: the mean loss.
    """

    index: Indices
    found: list[Found]
    loss: float


@dataclass(frozen=True, eq=False)
class ScoredBoxes:
    """The answers for a split's images, and the data that they are about."""

    answers: Answers
    data: BoxData

    def metrics(self, split: str) -> dict[str, float]:
        """Return {split}_loss, {split}_map and {split}_map50; see `mean_average_precision`."""
        return {f"{split}_{name}": value for name, value in scores(self.answers, self.data).items()}

    def write(self, path: Inside) -> None:
        """Write the answers, atomically, as an .npz file.

        index: (n,). starts: (n + 1,), image i has the detections from starts[i] to starts[i + 1].
        boxes: float32 (m, 4), left, top, right and bottom in pixels of the square image. score,
        label: (m,).
        """
        found = self.answers.found
        write_arrays(
            path,
            index=self.answers.index,
            starts=np.cumsum([0, *(len(one.scores) for one in found)]),
            boxes=np.concatenate([one.corners for one in found]),
            score=np.concatenate([one.scores for one in found]),
            label=np.concatenate([one.labels for one in found]),
        )


def scores(answers: Answers, data: BoxData) -> dict[str, float]:
    """Return the loss and the mean average precisions."""
    own = (answers.found, data.boxes, answers.index, data.image_size)
    return {"loss": answers.loss, **mean_average_precision(*own)}


def find_all(
    network: Network, grid: Grid, data: BoxData, index: Indices, attempt: Attempt
) -> Answers:
    """Return, to all processes, what `network`, in evaluation mode, finds in the images `index`."""
    world = attempt.world
    loss, total = YoloLoss(grid, len(data.class_names)), torch.zeros(1, dtype=torch.float64)
    rows: list[Tensor] = []
    for batch, outputs in infer(network, data, index, attempt):
        losses = loss(outputs, batch.targets) * batch.weights
        total += losses.double().sum().cpu()
        own = torch.stack([_padded(one) for one in detections(outputs, grid, data.image_size)])
        # Gathered rows are in the order of `index`, with a batch's padding at its end.
        rows.append(world.all_gather(own.to(world.device))[: batch.count].cpu())
    (summed,) = world.sum(total.to(world.device)).tolist()
    return Answers(index, [_found(one) for one in torch.cat(rows)], summed / len(index))


@torch.no_grad()
def detections(outputs: Tensor, grid: Grid, side: int) -> list[Tensor]:
    """Return the detections of each image, float32 (k, COLUMNS), by falling scores; k ≤ MOST.

    A prediction counts for each class whose probability times that of an object is at least LEAST.
    Of boxes of one class that overlap by more than OVERLAP, the best stays; the CANDIDATES with the
    highest scores are looked at. Boxes are in pixels of the square image, and cut at its border.

    outputs: raw, (n, P, 5 + classes).
    """
    corners = (grid.boxes(outputs) * side).clamp(0, side)
    probabilities = outputs[..., 4:5].sigmoid() * outputs[..., 5:].sigmoid()
    found = []
    for boxes, shares in zip(corners, probabilities, strict=True):
        number, label = (shares >= LEAST).nonzero(as_tuple=True)
        best = shares[number, label].argsort(descending=True, stable=True)[:CANDIDATES]
        number, label = number[best], label[best]
        score = shares[number, label]
        kept = suppress(boxes[number], score, label, OVERLAP)[:MOST]
        columns = [boxes[number[kept]], score[kept, None], label[kept, None].float()]
        found.append(torch.cat(columns, 1))
    return found


def _padded(found: Tensor) -> Tensor:
    """Return detections as (MOST, COLUMNS); the label of padding is -1."""
    rows = found.new_full((MOST, COLUMNS), -1.0)
    rows[: len(found)] = found
    return rows


def _found(rows: Tensor) -> Found:
    own = rows[rows[:, 5] >= 0].numpy()
    return Found(own[:, :4], own[:, 4], own[:, 5].astype(np.int64))


def score_split(
    network: Network, grid: Grid, data: BoxData, split: Split, attempt: Attempt
) -> ScoredBoxes:
    """Return, to all processes, the answers of `network`, in evaluation mode, for `split`.

    Raises:
        Diverged: its loss is not finite.
    """
    answers = find_all(network, grid, data, getattr(data, split), attempt)
    if not np.isfinite(answers.loss):
        raise Diverged(f"the {split} loss is {answers.loss} with the kept epoch's weights")
    return ScoredBoxes(answers, data)
