"""Detection: where objects are in an image, and which; learned from labelled boxes."""

from dataclasses import replace

import torch
from torch import Tensor

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.schemas import Cut
from fieldtrial.fields.printable import counted
from fieldtrial.training.augment.boxes import COLOURS, MOVES, augment_boxes
from fieldtrial.training.data.boxes.load import BoxData, load_boxes
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.recipe import AnyRecipe
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.loop.batches import AUGMENTATION, Batch, random_number
from fieldtrial.training.models.library.of_darknet import FlatDetector
from fieldtrial.training.models.network import Network
from fieldtrial.training.tasks.detection.loss import Grid, YoloLoss
from fieldtrial.training.tasks.detection.predictions import (
    ScoredBoxes,
    find_all,
    score_split,
    scores,
)
from fieldtrial.training.tasks.interface import Scores

DARKNET = "darknet:"


class DetectionObjective:
    """The loss of YOLOv3; see `YoloLoss`."""

    def __init__(self, loss: YoloLoss) -> None:
        self._loss = loss

    def __call__(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See Objective."""
        losses = self._loss(outputs, targets)
        total = (losses if weights is None else losses * weights).sum()
        return total, total.detach()

    def end_batch(self) -> None:
        """See Objective."""

    def state(self) -> dict[str, Tensor]:
        """See Objective: there is none."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See Objective."""


class Detection:
    """Objects with boxes; see interface.Task."""

    seen: tuple[str, ...] = ()

    def load(
        self, config: TrainConfig, image_size: int | None, cut: Cut, _recipe: AnyRecipe | None
    ) -> Data:
        """See Task. Images are letterboxed.

        Raises:
            ConfigError: as `load_boxes`; or an augmentation that cannot move boxes, a part without
                a box, or a model that is no detector.
        """
        problems = [
            f"augmentation = {name!r}: moves no boxes; task detection has"
            f" {', '.join([*MOVES, *COLOURS])}"
            for name in config.augmentation
            if name not in (*MOVES, *COLOURS)
        ]
        if not config.model.startswith(DARKNET):
            problems.append(
                f"model = {config.model!r}: no detector; task detection has darknet:yolov3,"
                " darknet:yolov3-tiny, darknet:yolov3-spp and darknet:PATH.cfg"
            )
        problems += [f"metrics = {one!r}: task detection has its own" for one in config.metrics]
        if problems:
            raise ConfigError(problems)
        data = load_boxes(config, image_size, cut)
        _require_boxes(config, data)
        return data

    def objective(
        self, network: Network, _config: TrainConfig, data: Data, world: World
    ) -> DetectionObjective:
        """See Task."""
        loss = YoloLoss(_grid(network, world.device), len(data.class_names))
        return DetectionObjective(loss)

    def augment(
        self, batch: Batch, config: TrainConfig, _data: Data, step: int, rank: int
    ) -> Batch:
        """See Task."""
        if not config.augmentation:
            return batch
        images = batch.images.permute(0, 3, 1, 2).float() / 255
        seed = random_number(AUGMENTATION, config.seed, step, rank)
        images, targets = augment_boxes(images, batch.targets, config.augmentation, seed)
        return replace(batch, images=images, targets=targets)

    def count_seen(self, outputs: Tensor, _targets: Tensor, _weights: Tensor) -> Tensor:
        """See Task: nothing is counted."""
        return torch.zeros(0, device=outputs.device)

    def evaluate(self, network: Network, data: Data, indices: Indices, attempt: Attempt) -> Scores:
        """See Task: the loss, and the mean average precisions."""
        own = _boxed(data)
        grid = _grid(network, attempt.world.device)
        return scores(find_all(network, grid, own, indices, attempt), own)

    def score(self, network: Network, data: Data, split: Split, attempt: Attempt) -> ScoredBoxes:
        """See Task."""
        grid = _grid(network, attempt.world.device)
        return score_split(network, grid, _boxed(data), split, attempt)


def _boxed(data: Data) -> BoxData:
    assert isinstance(data, BoxData)
    return data


def _grid(network: Network, device: torch.device) -> Grid:
    model = network.model
    assert isinstance(model, FlatDetector)
    side = network.image_size
    return Grid.of(model.darknet.heads, model.grids(side), side, device)


def _require_boxes(config: TrainConfig, data: BoxData) -> None:
    """Raise ConfigError if the images of a part have no box of the chosen classes."""
    problems = []
    for name in ("train", "validation", "test"):
        index = getattr(data, name)
        if not data.count(index).any():
            images = counted(len(index), f"{name} image")
            problems.append(
                f"dataset = {config.dataset!r}: none of its {images} has a box of"
                f" {', '.join(data.class_names[:10])}"
            )
    if problems:
        raise ConfigError(problems)
