"""Finds objects in images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldtrial.config import ConfigError
from fieldtrial.detection.boxes import Detections
from fieldtrial.detection.darknet.architectures import ARCHITECTURES
from fieldtrial.detection.darknet.heads import Head, decode
from fieldtrial.detection.darknet.network import Darknet
from fieldtrial.detection.darknet.sections import read_sections
from fieldtrial.detection.darknet.weights import load_weights
from fieldtrial.detection.inference import for_inference
from fieldtrial.detection.lanes import Lanes
from fieldtrial.detection.letterbox import Placement, least_size, letterbox, place
from fieldtrial.detection.names import COCO, VEHICLES, read_names
from fieldtrial.detection.of_run import network_of_run
from fieldtrial.detection.settings import DetectorSettings, located
from fieldtrial.detection.suppression import suppress

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Detector:
    """A network with its thresholds.

    Attributes:
        class_names: the names of what is looked for; labels of detections are their numbers.
        image_size: width and height of the network's input for square images, in pixels.

    Raises:
        ConfigError: files are missing, or do not belong together; names of classes are not known.
        ValueError: a file is not what it must be; the message has its path.
    """

    def __init__(self, settings: DetectorSettings, device: torch.device | None = None) -> None:
        settings = located(settings)
        name = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = device or torch.device(name)
        self._settings = settings
        network, names = _network(settings)
        self.class_names, kept = _classes(settings, network.class_count, names)
        self._kept = torch.tensor(kept)
        self.image_size = _size(settings, network)
        self._network = for_inference(network, self._device, DTYPES[settings.precision])
        # A core does more with images of its own than with a share of each layer, the more so if
        # it has to wait for a core that is busy with something else.
        is_cpu = self._device.type == "cpu"
        count = min(settings.batch_size, torch.get_num_threads()) if is_cpu else 1
        self._chunk_size = -(-settings.batch_size // count)
        self._lanes = Lanes(count)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Return what is found in each image, which does not depend on the others.

        images: uint8 (height, width, 3), RGB, of any size.
        """
        chunks = list[list[int]]()
        for size in dict.fromkeys(image.shape for image in images):
            numbers = [n for n, image in enumerate(images) if image.shape == size]
            step = self._chunk_size
            chunks += [numbers[start : start + step] for start in range(0, len(numbers), step)]
        found = self._lanes.map(self._detect_equal, [[images[n] for n in c] for c in chunks])
        pairs = zip(chunks, found, strict=True)
        by_number = {n: one for chunk, some in pairs for n, one in zip(chunk, some, strict=True)}
        return [by_number[n] for n in range(len(images))]

    @torch.inference_mode()
    def _detect_equal(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Return the detections of at most a chunk of images of one size."""
        height, width, _ = images[0].shape
        size = least_size((width, height), max(self.image_size), self._network.stride)
        # Libraries choose an algorithm by the number of images, and with it the last digits. With a
        # chunk that is always full, an image's detections depend on nothing else.
        batch = torch.zeros((self._chunk_size, size[1], size[0], 3), dtype=torch.uint8)
        for row, image in zip(batch, images, strict=False):
            row.copy_(letterbox(image, size)[0].permute(1, 2, 0))
        placement = place((width, height), size)
        outputs = self.raw_outputs(batch.permute(0, 3, 1, 2))
        return [
            self._detections([output[n] for output in outputs], size, placement)
            for n in range(len(images))
        ]

    @torch.inference_mode()
    def raw_outputs(self, images: Tensor) -> list[Tensor]:
        """Return the network's outputs, float32 on the CPU.

        images: uint8 (n, 3, height, width), channels last; sides are multiples of the stride.
        """
        inputs = images.to(self._device).float().div_(255)
        return [output.float().cpu() for output in self._network(inputs)]

    def _detections(
        self, outputs: Sequence[Tensor], size: tuple[int, int], placement: Placement
    ) -> Detections:
        """Return the detections of one image from its raw outputs."""
        pairs = zip(outputs, self._network.heads, strict=True)
        parts = [self._candidates(output, head, size) for output, head in pairs]
        boxes, scores, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        chosen = suppress(boxes, scores, None, self._settings.overlap)
        inside = placement.to_image(boxes[chosen].double().numpy())
        width, height = placement.image
        inside = inside.clip(0, [width, height, width, height])
        is_there = (inside[:, 2:] > inside[:, :2]).all(1)
        return Detections(
            boxes=inside[is_there].astype(np.float32),
            scores=scores[chosen].numpy()[is_there],
            labels=labels[chosen].numpy()[is_there],
        )

    def _candidates(
        self, output: Tensor, head: Head, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, scores and labels that reach the confidence, of one head."""
        decoded = decode(output, head, size[1] // output.shape[1], self._settings.confidence)
        best, labels = decoded[:, 5:].index_select(1, self._kept).max(1)
        scores = decoded[:, 4] * best
        is_enough = scores >= self._settings.confidence
        centres, sides = decoded[:, :2], decoded[:, 2:4]
        boxes = torch.cat([centres - sides / 2, centres + sides / 2], 1)
        return boxes[is_enough], scores[is_enough], labels[is_enough]


def _network(settings: DetectorSettings) -> tuple[Darknet, tuple[str, ...] | None]:
    """Return the network of `settings` with its weights, and the names of a run's classes.

    Raises as `Detector` does.
    """
    assert settings.weights
    weights = Path(settings.weights)
    if weights.is_dir():
        return network_of_run(weights, settings.config)
    if settings.architecture:
        names = read_names(Path(settings.names)) if settings.names else COCO
        sections = ARCHITECTURES[settings.architecture](len(names))
    else:
        assert settings.config
        sections = read_sections(Path(settings.config))
    network = Darknet(sections)
    load_weights(network, weights)
    return network, None


def _classes(
    settings: DetectorSettings, count: int, own: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Return the names of what is looked for, and their numbers in the network.

    own: the names that the network came with.
    """
    names = read_names(Path(settings.names)) if settings.names else own or COCO
    if len(names) != count:
        given = f"names = {settings.names!r}" if settings.names else "names: none given"
        problem = f"{given}: the network has {count} classes, and there are {len(names)} names"
        rule = "must be a file with a line for each class"
        raise ConfigError([f"{problem}{'' if settings.names else ' (COCO)'}; {rule}"])
    kept = settings.classes or names
    if own and kept == VEHICLES:
        kept = names
    if unknown := [name for name in kept if name not in names]:
        choices = ", ".join(names)
        raise ConfigError(
            [f"classes = {','.join(unknown)}: the network has no such class; choices: {choices}"]
        )
    return tuple(kept), [names.index(name) for name in kept]


def _size(settings: DetectorSettings, network: Darknet) -> tuple[int, int]:
    side, stride = settings.image_size, network.stride
    size = network.image_size if side is None else (side, side)
    if any(number % stride for number in size):
        what = f"image_size = {size[0]}" if side else f"config: width and height {size}"
        raise ConfigError([f"{what}: must be a multiple of {stride}, the network's stride"])
    return size
