"""Traffic that tests make: bright squares on a dark road, and a network that finds them."""

import contextlib
import signal
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SIDE, CELL, CAR = 96, 8, 16  # pixels
RATE, FRAMES, KEY = 25, 120, 10  # frames
# (first frame, row, pixels per frame): two go to the right and one to the left.
CARS = ((0, 8, 2), (30, 36, 2), (10, 68, -2))
LINE = "middle:48,0,48,96"
CONFIG = f"""[net]
width={SIDE}
height={SIDE}
channels=3

[convolutional]
size={CELL + 1}
stride={CELL}
pad=1
filters=6
activation=linear

[yolo]
mask=0
anchors={CAR},{CAR}
classes=1
num=1
"""


@contextlib.contextmanager
def kept_handlers() -> Iterator[None]:
    """Bring the handlers of signals back that a driver in this process replaces."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def frames(count: int = FRAMES) -> Iterator[NDArray[np.uint8]]:
    """Yield RGB frames."""
    for number in range(count):
        image = np.full((SIDE, SIDE, 3), 30, np.uint8)
        for first, row, speed in CARS:
            at = speed * (number - first)
            left = at - CAR if speed > 0 else SIDE + at
            if number >= first and left + CAR > 0:
                image[row : row + CAR, max(0, left) : left + CAR] = 250
        yield image


def write_traffic(path: Path, count: int = FRAMES) -> Path:
    """Write the frames as H.264 with a key frame now and then; return the path."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.options = {"g": str(KEY), "bf": "2", "sc_threshold": "0", "crf": "10"}
        stream.codec_context.time_base = Fraction(1, RATE)
        for number, image in enumerate(frames(count)):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def detector_flags(folder: Path) -> list[str]:
    """Write a network that finds what is bright, and return the flags of a detector with it."""
    folder.mkdir(exist_ok=True)
    (folder / "net.cfg").write_text(CONFIG)
    (folder / "net.names").write_text("car\n")
    kernels = np.zeros((6, 3, CELL + 1, CELL + 1), np.float32)
    half = CELL // 2  # the kernel's middle is at a cell's corner: what is inside of the cell counts
    kernels[4, :, half:, half:] = 30 / kernels[4, :, half:, half:].size  # of the objectness
    to_middle = np.log(5 / 11)  # 5/16 of a cell
    biases = np.array([to_middle, to_middle, 0, 0, -15, 20], np.float32)
    header = struct.pack("<3iq", 0, 2, 0, 0)
    (folder / "net.weights").write_bytes(header + biases.tobytes() + kernels.tobytes())
    names = {"config": "cfg", "weights": "weights", "names": "names"}
    files = [word for k, end in names.items() for word in (f"--{k}", str(folder / f"net.{end}"))]
    return [*files, "--classes", "car", "--overlap", "0.1", "--batch_size", "4"]
