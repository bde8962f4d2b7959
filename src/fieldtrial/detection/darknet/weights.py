"""Darknet's files of weights."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor, nn

from fieldtrial.detection.darknet.layers import Convolution
from fieldtrial.detection.darknet.network import Darknet
from fieldtrial.disk.reading import open_file

NUMBER = np.dtype("<f4")
# What files of other kinds begin with.
PICKLED = (b"\x80", b"PK\x03\x04")
NEWEST = 10  # major and minor versions; darknet's own are 0.1, 0.2 and 0.2.5


@dataclass(frozen=True)
class _Stretch:
    """Numbers in a file, in one stretch: all of a convolution's.

    Attributes:
        layer: the convolution's number.
        classes: how many classes the file's convolution is for, where it is a head's.
        parts: what follows each other, with its count of numbers.
    """

    layer: int
    parts: list[tuple[str, int]]

    @property
    def count(self) -> int:
        return sum(count for _, count in self.parts)


def load_weights(network: Darknet, path: Path, but_heads: bool = False) -> int:
    """Load the weights in a file of darknet's, of any version, into `network`.

    but_heads: leave the convolutions of `network.head_names` as they are. The file may then be of
        the same network for another number of classes.

    Returns:
        the number of classes that the file's network has.

    Raises:
        ValueError: the file is not of darknet's, ends too early or too late, or has what is no
            number or a negative variance; the message names the layer and the byte. `network` may
            have been changed.
        OSError, UnreadableError: it cannot be read.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = _read_header(file, size, path)
        found, rest = divmod(size - start, NUMBER.itemsize)
        fitting = _classes(network, found) if not rest else None
        classes = fitting if but_heads and fitting else network.class_count
        stretches = list(_stretches(network, classes))
        _require_size(network, stretches, start, size, f"{path}: ", _hint(network, fitting))
        place = start
        for stretch in stretches:
            values = np.frombuffer(file.read(stretch.count * NUMBER.itemsize), NUMBER)
            where = f"{path}: {_where(network, stretch.layer)}"
            _load(network, stretch, values, where, place, but_heads)
            place += stretch.count * NUMBER.itemsize
    return classes


def _read_header(file: IO[bytes], size: int, path: Path) -> int:
    """Read the header, and return how many bytes it has. Raises ValueError."""
    begin = file.read(12)
    if begin.startswith(PICKLED):
        raise ValueError(
            f"{path}: is a pickled file of PyTorch's, which could run code when it is read; must be"
            " darknet's weights, usually called .weights"
        )
    major, minor, revision = np.frombuffer(begin.ljust(12, b"\xff"), "<i4").tolist()
    if not (0 <= major <= NEWEST and 0 <= minor <= NEWEST and 0 <= revision <= 1000):
        raise ValueError(
            f"{path}: byte 0: must be darknet's weights, which begin with a version such as 0.2.0;"
            f" has {major}.{minor}.{revision}"
        )
    # The count of images that were trained on follows, in four bytes before version 0.2.
    length = 12 + (8 if major * 10 + minor >= 2 else 4)
    if size < length:
        raise ValueError(f"{path}: ends at byte {size}, within its header of {length} bytes")
    file.seek(length)
    return length


def _stretches(network: Darknet, classes: int) -> Iterator[_Stretch]:
    """Yield what a file for so many classes has, in order."""
    heads = {head.source: head for head in network.heads}
    for number, layer in enumerate(network.layers):
        if not isinstance(layer, Convolution):
            continue
        head, conv = heads.get(number), layer.conv
        filters = len(head.anchors) * (5 + classes) if head else conv.out_channels
        own = conv.in_channels // conv.groups * math.prod(conv.kernel_size)
        names = ["bias"]
        if isinstance(layer.norm, nn.BatchNorm2d):
            names += ["weight", "running_mean", "running_var"]
        yield _Stretch(number, [*((name, filters) for name in names), ("kernels", filters * own)])


def _classes(network: Darknet, found: int) -> int | None:
    """Return for how many classes the network would have `found` numbers, or None if for none."""
    none, one = (sum(s.count for s in _stretches(network, classes)) for classes in (0, 1))
    count, rest = divmod(found - none, one - none)
    return count if not rest and count >= 1 else None


def _require_size(
    network: Darknet, stretches: list[_Stretch], start: int, size: int, path: str, hint: str
) -> None:
    """Raise ValueError unless `stretches` from byte `start` on end at byte `size`."""
    place = start
    for stretch in stretches:
        end = place + stretch.count * NUMBER.itemsize
        if end > size:
            raise ValueError(
                f"{path}ends at byte {size}, within {_where(network, stretch.layer)}, which takes"
                f" bytes {place} to {end}: the file is truncated, or belongs to another network"
                f"{hint}"
            )
        place = end
    if place < size:
        raise ValueError(
            f"{path}has {size - place} bytes more than {_where(network, stretches[-1].layer)}, the"
            f" last with weights, which ends at byte {place}: it belongs to another network{hint}"
        )


def _hint(network: Darknet, fitting: int | None) -> str:
    if fitting is None or fitting == network.class_count:
        return ""
    return f"; it fits this one with {fitting} instead of {network.class_count} classes"


def _where(network: Darknet, layer: int) -> str:
    section = network.sections[layer + 1]
    place = f", {section.where}" if section.where else ""
    return f"layer {layer} ([{section.kind}]{place})"


def _load(
    network: Darknet,
    stretch: _Stretch,
    values: "np.ndarray[tuple[int], np.dtype[np.float32]]",
    where: str,
    place: int,
    but_heads: bool,
) -> None:
    layer = network.layers[stretch.layer]
    assert isinstance(layer, Convolution)
    is_kept = but_heads and f"layers.{stretch.layer}" in network.head_names
    start = 0
    for name, count in stretch.parts:
        part = values[start : start + count]
        bad = ~np.isfinite(part) | ((part < 0) if name == "running_var" else False)
        if bad.any():
            which = int(bad.argmax())
            rule = "must be a number" + (" of at least 0" if name == "running_var" else "")
            byte = place + (start + which) * NUMBER.itemsize
            raise ValueError(
                f"{where}: byte {byte} has {part[which]} as {name}; {rule}: the file is damaged, or"
                " belongs to another network"
            )
        if not is_kept:
            target = _target(layer, name)
            with torch.no_grad():
                target.copy_(torch.from_numpy(part.astype(np.float32)).view_as(target))
        start += count


def _target(layer: Convolution, name: str) -> Tensor:
    if name == "kernels":
        return layer.conv.weight
    owner = layer.norm if isinstance(layer.norm, nn.BatchNorm2d) else layer.conv
    found: Tensor = getattr(owner, name)
    return found
