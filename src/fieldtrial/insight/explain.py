"""Pictures of a trained model: PNG files in its run directory, and in TensorBoard's image tab."""

import functools
import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.run import CHOSEN, Run
from fieldtrial.insight.chosen import choose
from fieldtrial.insight.classes import confused_pairs, embedding, judged, predictions_grid
from fieldtrial.insight.figures import Picture, grid
from fieldtrial.insight.maps import (
    EXCITING_IMAGES,
    Excitation,
    blocks,
    feature_maps,
    find_layer,
    first_filters,
    grad_cam,
    guided_backpropagation,
    guides,
)
from fieldtrial.insight.subject import NothingToDrawError, Subject, last_map, open_subject, sample
from fieldtrial.training.attempt.tensorboard import board_folder
from fieldtrial.training.distributed.world import World

CHANNELS = 9  # of a block's map: those with the strongest activation
ALL_CHANNELS = 64  # of a layer given by name
NEURONS = 10  # as in report 000
MAPPED_IMAGES = 3  # images with a picture of their feature maps
SINGLE = ("predictions", "feature-maps", "guided-backpropagation", "grad-cam")  # show single images
Drawn = Iterator[tuple[str, Callable[[], Figure]]]

log = logging.getLogger(__name__)


def explain(
    run: Run,
    world: World,
    images: int = 24,
    layer: str | None = None,
    seed: int = 0,
    files: Sequence[Path] = (),
) -> Iterator[Inside]:
    """Draw the pictures of a run that has ended well; yield each one's path as it is written.

    Args:
        run: the run.
        world: of one process.
        images: number of the split's images to show, drawn class by class by `seed`.
        layer: the layer of the feature maps, guided gradients and Grad-CAM; None: each block's
            maps, and the last layer with a map.
        seed: of the draw.
        files: images to show in the place of the split's, with names of pictures of their own.

    Raises:
        FileNotFoundError or ValueError: it is no run, has not ended well, has no such layer, or a
            file is no image.
    """
    subject = open_subject(run, world)
    if files:
        subject, images = choose(subject, files), len(files)
    if layer is not None:
        find_layer(subject, layer)
    board = _board(run)
    step = (run.result() or {}).get("best_epoch", 0)
    try:
        drawn = _pictures(subject, images, layer, seed)
        for name, draw in _of_chosen(drawn) if files else drawn:
            try:
                figure = draw()
            except NothingToDrawError as error:
                log.warning("no %s: %s", name, error)
                continue
            yield _write(figure, run.picture_path(name), board, step)
    finally:
        board.close()


def _pictures(subject: Subject, images: int, layer: str | None, seed: int) -> Drawn:
    yield "predictions", lambda: predictions_grid(subject, images, seed)
    yield "confused-pairs", lambda: confused_pairs(subject, seed)
    yield "embedding", lambda: embedding(subject, seed)
    yield "filters", lambda: _filters(subject)
    for number, image in enumerate(_drawn(subject, min(images, MAPPED_IMAGES), seed), start=1):
        yield f"feature-maps-{number}", functools.partial(_maps, subject, image, layer)
    yield "guided-backpropagation", lambda: _guided(subject, layer or last_map(subject), seed)
    yield (
        "grad-cam",
        lambda: _cam(subject, layer or last_map(subject), _drawn(subject, min(images, 12), seed)),
    )


def _drawn(subject: Subject, count: int, seed: int) -> list[int]:
    """Return the images to show one by one: those that were chosen, or as many of the split's."""
    every: list[int] = subject.predictions.index.tolist()
    return every if subject.is_chosen else sample(subject, count, seed)


def _of_chosen(drawn: Drawn) -> Drawn:
    """Yield the pictures that show single images, with the names that chosen images have."""
    for name, draw in drawn:
        kind = name.rstrip("-0123456789")
        if kind in SINGLE:
            yield name.replace(kind, f"{kind}{CHOSEN}"), draw


def _filters(subject: Subject) -> Figure:
    name, filters = first_filters(subject)
    colour = filters.shape[3] == 3
    cells = [Picture(one if colour else one[:, :, 0]) for one in filters[:ALL_CHANNELS]]
    of = "" if colour or filters.shape[3] == 1 else f", the first of {filters.shape[3]} channels in"
    shown = (
        f"{len(cells)} of {len(filters)}" if len(cells) < len(filters) else f"all {len(filters)}"
    )
    return grid(
        cells,
        8,
        f"Filters of the first convolution, {name}",
        f"{shown}{of}; each stretched to its own range",
    )


def _maps(subject: Subject, image: int, layer: str | None) -> Figure:
    original = judged(subject, _position(subject, image))
    if layer is not None:
        maps = feature_maps(subject, image, [layer])[layer]
        cells = [
            original,
            *(
                Picture(one, str(number), colour_map="viridis")
                for number, one in enumerate(maps[:ALL_CHANNELS])
            ),
        ]
        note = f"{len(cells) - 1} of {len(maps)} channels"
        return grid(cells, 8, f"Feature maps of {layer}", note)
    rows: list[Picture | None] = []
    for name, maps in feature_maps(subject, image, blocks(subject)).items():
        strongest = np.sort(np.argsort(-maps.mean((1, 2)), kind="stable")[:CHANNELS])
        cells = [
            Picture(maps[channel], f"{name}\n{channel}", colour_map="viridis")
            for channel in strongest
        ]
        rows += [original, *cells, *[None] * (CHANNELS - len(cells))]
        original = Picture(np.ones((1, 1, 3)))
    return grid(
        rows,
        CHANNELS + 1,
        "Feature maps of each block",
        f"its {CHANNELS} channels with the strongest mean activation",
    )


def _guided(subject: Subject, layer: str, seed: int) -> Figure:
    found = guided_backpropagation(subject, layer, NEURONS, seed)
    if not found:
        raise NothingToDrawError(f"no neuron of {layer} is active for any of the images")
    images = [
        Picture(subject.pixels(one.image), f"{_neuron(one)}\n{_actual(subject, one.image)}")
        for one in found
    ]
    gradients = [Picture(_stretched(one.gradient)) for one in found]
    what = "Guided backpropagation" if guides(subject) else "Gradients (no ReLU module guides them)"
    note = (
        f"{subject.images_name}: the one of {min(EXCITING_IMAGES, len(subject.predictions.index))}"
        " that excites each neuron most, with its actual class, and the gradient of its activation"
    )
    return grid(
        [*images, *gradients], len(found), f"{what} from {len(found)} neurons of {layer}", note
    )


def _stretched(gradient: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    # scaled by its maximum, a few pixels would leave all others dark
    scaled = gradient / max(float(np.quantile(gradient, 0.995)), 1e-12)
    clipped = np.clip(scaled, 0, 1)
    return clipped[:, :, 0] if clipped.shape[2] == 1 else clipped


def _cam(subject: Subject, layer: str, images: list[int]) -> Figure:
    cells = []
    for image in images:
        position = _position(subject, image)
        predicted = int(subject.predictions.predicted[position])
        cells.append(judged(subject, position, grad_cam(subject, layer, image, predicted)))
    return grid(
        cells,
        6,
        f"Grad-CAM at {layer}",
        f"predicted / actual, and the regions that speak for the predicted class;"
        f" {subject.images_name}",
    )


def _position(subject: Subject, image: int) -> int:
    """Return the place of an image of the store among the predictions."""
    return int(np.flatnonzero(subject.predictions.index == image)[0])


def _neuron(one: Excitation) -> str:
    return f"channel {one.channel}\nat {one.place[0]}, {one.place[1]}"


def _actual(subject: Subject, image: int) -> str:
    return subject.class_name(int(subject.predictions.label[_position(subject, image)]))


def _write(figure: Figure, path: Inside, board: Any, step: int) -> Inside:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
    board.add_image(f"explain/{path.stem}", pixels, step, dataformats="HWC")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    write_atomically(path, file.getvalue())
    return path


def _board(run: Run) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(os.fspath(board_folder(run, run.config())))
