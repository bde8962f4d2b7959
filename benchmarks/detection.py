"""How fast objects are found: this project's detector against OpenCV's dnn module with the same
network, weights, input and cores; and where the detector's time goes.

python benchmarks/detection.py VIDEO --config C --weights W [--repeats 7] [--frames 64]
python benchmarks/detection.py --device cuda [--repeats 7]

The first reads the frames of a video beforehand. Both get them as arrays, letterbox them and
suppress double boxes, and take turns. The second has YOLOv3 itself with random weights, at 416 and
608 pixels and with batches of 1 and 16, on a device: images/s of the network alone. Writes
benchmarks/results/detection.json, or detection_DEVICE.json.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from machine import spread, write_result
from numpy.typing import NDArray

from fieldtrial.detection.darknet.architectures import ARCHITECTURES
from fieldtrial.detection.darknet.network import Darknet
from fieldtrial.detection.detector import DTYPES, Detector
from fieldtrial.detection.inference import for_inference
from fieldtrial.detection.letterbox import least_size, letterbox, place
from fieldtrial.detection.settings import DetectorSettings

Image = NDArray[np.uint8]
SIDES = (416, 608)  # of YOLOv3's input, in pixels


def read_frames(video: Path, count: int) -> tuple[list[Image], float]:
    """Return the first frames, RGB, and how many milliseconds decoding one took."""
    start = time.perf_counter()
    with av.open(str(video)) as container:
        decoded = itertools.islice(container.decode(video=0), count)
        frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
    return frames, 1000 * (time.perf_counter() - start) / len(frames)


class Peer:
    """OpenCV's dnn module, as its users detect objects with it."""

    def __init__(self, settings: DetectorSettings, size: tuple[int, int], batch: int) -> None:
        assert settings.config
        assert settings.weights
        self._net = cv2.dnn.readNetFromDarknet(settings.config, settings.weights)
        self._names = self._net.getUnconnectedOutLayersNames()
        self._settings, self._size, self._batch = settings, size, batch

    def detect(self, images: Sequence[Image]) -> list[Any]:
        """Return the boxes that stay, of each image."""
        found = []
        for start in range(0, len(images), self._batch):
            boxes = [self._boxed(image) for image in images[start : start + self._batch]]
            self._net.setInput(cv2.dnn.blobFromImages(boxes, 1 / 255))
            outputs = self._net.forward(self._names)
            for n in range(len(boxes)):
                rows = np.concatenate([o[n] if o.ndim == 3 else o for o in outputs])
                found.append(self._suppressed(rows))
        return found

    def _boxed(self, image: Image) -> Image:
        placement = place((image.shape[1], image.shape[0]), self._size)
        resized = cv2.resize(image, placement.inner)
        left, top = placement.offset
        right = self._size[0] - placement.inner[0] - left
        bottom = self._size[1] - placement.inner[1] - top
        grey = (128, 128, 128)
        boxed: Image = cv2.copyMakeBorder(
            resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=grey
        )
        return boxed

    def _suppressed(self, rows: NDArray[np.float32]) -> Any:
        scores = rows[:, 5:].max(1)
        is_enough = scores >= self._settings.confidence
        rows, scores = rows[is_enough], scores[is_enough]
        boxes = rows[:, :4] * [*self._size, *self._size]
        boxes[:, :2] -= boxes[:, 2:] / 2
        kept = cv2.dnn.NMSBoxes(
            boxes.tolist(), scores.tolist(), self._settings.confidence, self._settings.overlap
        )
        return [rows[n] for n in kept]


def rate(detect: Callable[[Sequence[Image]], object], frames: list[Image], batch: int) -> float:
    """Return frames/s."""
    start = time.perf_counter()
    for first in range(0, len(frames), batch):
        detect(frames[first : first + batch])
    return len(frames) / (time.perf_counter() - start)


def compare(
    settings: DetectorSettings, frames: list[Image], repeats: int, batches: Sequence[int]
) -> dict[str, Any]:
    """Return {batch: {whose: spread of frames/s}}; both take turns, and warm up first."""
    compared = {}
    for batch in batches:
        own = replace(settings, batch_size=batch)
        detectors = {
            "fp32": Detector(own, torch.device("cpu")),
            "bf16": Detector(replace(own, precision="bf16"), torch.device("cpu")),
        }
        size = least_size(frames[0].shape[1::-1], max(detectors["fp32"].image_size), 32)
        peers = {
            "opencv": Peer(settings, size, batch).detect,
            **{f"fieldtrial {name}": detector.detect for name, detector in detectors.items()},
        }
        turns: dict[str, list[float]] = {name: [] for name in peers}
        for turn in range(repeats + 1):
            for name, detect in peers.items():
                found = rate(detect, frames, batch)
                if turn:
                    turns[name].append(found)
        ratios = {
            name.removeprefix("fieldtrial "): [
                a / b for a, b in zip(values, turns["opencv"], strict=True)
            ]
            for name, values in turns.items()
            if name != "opencv"
        }
        compared[f"batch {batch}"] = {
            **{name: spread(values) for name, values in turns.items()},
            **{f"{name} / opencv": spread(values) for name, values in ratios.items()},
        }
    return compared


def parts(settings: DetectorSettings, frames: list[Image], decoding: float) -> dict[str, float]:
    """Return the milliseconds that each part takes for a frame on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    detector = Detector(settings, torch.device("cpu"))
    size = least_size(frames[0].shape[1::-1], max(detector.image_size), 32)
    step = settings.batch_size
    starts = range(0, len(frames), step)
    boxed = [torch.stack([letterbox(i, size)[0] for i in frames[n : n + step]]) for n in starts]
    inputs = [b.contiguous(memory_format=torch.channels_last) for b in boxed]

    def timed(part: Callable[[], object]) -> float:
        part()
        start = time.perf_counter()
        part()
        return 1000 * (time.perf_counter() - start) / len(frames)

    found = {
        "decoding": decoding,
        "letterbox": timed(lambda: [letterbox(image, size) for image in frames]),
        "network": timed(lambda: [detector.raw_outputs(images) for images in inputs]),
        "letterbox to boxes": timed(lambda: detector.detect(frames)),
    }
    torch.set_num_threads(threads)
    return {name: round(value, 3) for name, value in found.items()}


def on_device(device: torch.device, repeats: int, batches: Sequence[int]) -> dict[str, Any]:
    """Return {pixels, precision and batch: spread of images/s} of YOLOv3 with random weights."""
    network = Darknet(ARCHITECTURES["yolov3"](80))
    found = {}
    for precision, dtype in DTYPES.items():
        inferring = for_inference(network, device, dtype)
        for side, batch in itertools.product(SIDES, batches):
            images = torch.rand(batch, 3, side, side, device=device)
            images = images.contiguous(memory_format=torch.channels_last)
            rates = []
            with torch.inference_mode():
                for _ in range(repeats + 2):
                    count = 50 if device.type == "cuda" else 1
                    start = time.perf_counter()
                    for _ in range(count):
                        outputs = inferring(images)
                    float(outputs[0].sum())  # waits for the device
                    rates.append(count * batch / (time.perf_counter() - start))
            found[f"{side} pixels, {precision}, batch {batch}"] = spread(rates[2:])
    return found


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--config")
    parser.add_argument("--weights")
    parser.add_argument("--device", help="measures YOLOv3 with random weights on it")
    parser.add_argument("--batches", type=int, nargs="+", help="[1 4 8; on a device 1 16]")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    if options.device:
        device = torch.device(options.device)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the processor"
        result = {
            "what": f"images/s of YOLOv3's network with random weights on {name}",
            "images/s": on_device(device, options.repeats, options.batches or (1, 16)),
        }
        write_result(f"detection_{device.type}", result)
        return
    settings = DetectorSettings(weights=options.weights, config=options.config)
    frames, decoding = read_frames(options.video, options.frames)
    cv2.setNumThreads(torch.get_num_threads())
    result = {
        "what": f"frames/s of {options.frames} frames of {frames[0].shape[1::-1]} pixels with"
        f" {Path(options.weights).name}, {torch.get_num_threads()} threads",
        "opencv": cv2.__version__,
        "frames/s": compare(settings, frames, options.repeats, options.batches or (1, 4, 8)),
        "milliseconds a frame on one thread": parts(settings, frames, decoding),
    }
    write_result("detection", result)


if __name__ == "__main__":
    main()
