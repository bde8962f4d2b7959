"""What darknet's sections say: modules, and whose outputs they take."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from fieldtrial.detection.darknet.heads import Head
from fieldtrial.detection.darknet.layers import (
    ACTIVATIONS,
    Convolution,
    MaxPool,
    Route,
    Shortcut,
    Upsample,
)
from fieldtrial.detection.darknet.sections import Section

LARGEST = 2**16  # channels or kernel; more is a mistake that would fill the memory


@dataclass(frozen=True)
class Shape:
    """The channels of an output, and how many pixels of the input one of its pixels stands for."""

    channels: int
    stride: int


@dataclass(frozen=True)
class Node:
    """A layer: its module, whose outputs it takes, and the shape of its own."""

    module: nn.Module
    sources: tuple[int, ...]
    shape: Shape


Maker = Callable[[int, Section, list[Node], Section], Node]


def _source(number: int, key: str, section: Section, layer: int, nodes: list[Node]) -> int:
    """Return the number of the layer that `layer` in `section` means."""
    source = number + layer if layer < 0 else layer
    if not 0 <= source < number:
        raise section.problem(key, f"there is no layer {source} before layer {number}")
    if not nodes[source].sources:
        raise section.problem(key, f"layer {source} is [yolo], and its output is no layer's input")
    return source


def _before(number: int, section: Section, nodes: list[Node], net: Section) -> tuple[int, Shape]:
    """Return the number and shape of the layer before; -1: the images."""
    if not number:
        if (channels := net.whole("channels", 3)) != 3:
            raise net.problem("channels", f"{channels} channels; must be 3, for colour images")
        return -1, Shape(3, 1)
    if not nodes[-1].sources:
        raise section.problem(
            "input", "is [yolo]'s output, which no layer takes; begin with [route]"
        )
    return number - 1, nodes[-1].shape


def _whole(section: Section, key: str, default: int, least: int = 1) -> int:
    found = section.whole(key, default, least)
    if found > LARGEST:
        raise section.problem(key, f"must be at most {LARGEST}")
    return found


def _convolutional(number: int, section: Section, nodes: list[Node], net: Section) -> Node:
    source, shape = _before(number, section, nodes, net)
    size = _whole(section, "size", 1)
    groups, filters = _whole(section, "groups", 1), _whole(section, "filters", 1)
    if shape.channels % groups or filters % groups:
        rule = f"must divide its {shape.channels} input channels and its {filters} filters"
        raise section.problem("groups", rule)
    stride = _whole(section, "stride", 1)
    padding = size // 2 if _whole(section, "pad", 0, 0) else _whole(section, "padding", 0, 0)
    if padding != size // 2 or size % 2 == 0:
        # Its output would not have the size that shortcuts and routes need.
        raise section.problem("size", "must be odd, with pad=1 unless it is 1")
    module = Convolution(
        shape.channels,
        filters,
        size,
        stride,
        padding,
        groups,
        bool(_whole(section, "batch_normalize", 0, 0)),
        section.text("activation", "linear", tuple(ACTIVATIONS)),
    )
    return Node(module, (source,), Shape(filters, shape.stride * stride))


def _shortcut(number: int, section: Section, nodes: list[Node], net: Section) -> Node:
    before, shape = _before(number, section, nodes, net)
    others = [_source(number, "from", section, n, nodes) for n in section.wholes("from")]
    for other in others:
        if nodes[other].shape != shape:
            rule = "must be a layer with as many channels and pixels as the one before:"
            raise section.problem("from", f"{rule} {nodes[other].shape} is not {shape}")
    name = section.text("activation", "linear", tuple(ACTIVATIONS))
    return Node(Shortcut(name), (before, *others), shape)


def _route(number: int, section: Section, nodes: list[Node], _: Section) -> Node:
    sources = tuple(_source(number, "layers", section, n, nodes) for n in section.wholes("layers"))
    groups, group = _whole(section, "groups", 1), _whole(section, "group_id", 0, 0)
    channels = [nodes[source].shape.channels for source in sources]
    strides = {nodes[source].shape.stride for source in sources}
    if len(strides) > 1:
        raise section.problem("layers", "must be layers whose outputs have equally many pixels")
    if any(count % groups for count in channels):
        raise section.problem("groups", f"must divide the {channels} channels of its layers")
    if group >= groups:
        raise section.problem("group_id", f"must be below groups = {groups}")
    return Node(Route(groups, group), sources, Shape(sum(channels) // groups, strides.pop()))


def _upsample(number: int, section: Section, nodes: list[Node], net: Section) -> Node:
    source, shape = _before(number, section, nodes, net)
    factor = _whole(section, "stride", 2)
    if shape.stride % factor:
        raise section.problem(
            "stride", f"must divide {shape.stride}, how much the input is reduced"
        )
    return Node(Upsample(factor), (source,), Shape(shape.channels, shape.stride // factor))


def _maxpool(number: int, section: Section, nodes: list[Node], net: Section) -> Node:
    source, shape = _before(number, section, nodes, net)
    stride = _whole(section, "stride", 1)
    size = _whole(section, "size", stride)
    padding = _whole(section, "padding", size - 1, 0)
    if padding != size - 1:
        raise section.problem(
            "padding", "must be size - 1, darknet's own, so that no pixel is lost"
        )
    return Node(
        MaxPool(size, stride, padding), (source,), Shape(shape.channels, shape.stride * stride)
    )


def _same(number: int, section: Section, nodes: list[Node], net: Section) -> Node:
    # Darknet's dropout is for its own training, and does nothing in a trained network.
    source, shape = _before(number, section, nodes, net)
    return Node(nn.Identity(), (source,), shape)


def _yolo(number: int, section: Section, nodes: list[Node], net: Section) -> Node:
    _, shape = _before(number, section, nodes, net)
    return Node(nn.Identity(), (), shape)


def head_of(number: int, section: Section, nodes: list[Node]) -> Head:
    """Return what the `[yolo]` layer `number` says. Raises ValueError."""
    sizes = section.reals("anchors")
    chosen = section.wholes("mask", tuple(range(section.whole("num", 1))))
    if len(sizes) % 2 or any(size <= 0 for size in sizes):
        raise section.problem("anchors", "must be pairs of widths and heights above 0")
    pairs = tuple(zip(sizes[::2], sizes[1::2], strict=True))
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= n < len(pairs) for n in chosen):
        raise section.problem("mask", f"must be numbers of the {len(pairs)} anchors, each once")
    classes = _whole(section, "classes", 20)
    layer = nodes[number - 1].module if number else None
    channels = len(chosen) * (5 + classes)
    if not isinstance(layer, Convolution) or nodes[number - 1].shape.channels != channels:
        rule = "with this mask and these classes, the layer before must be [convolutional] with"
        raise section.problem("classes", f"{rule} {channels} filters")
    scale = section.real("scale_x_y", 1.0)
    if scale < 1:
        raise section.problem("scale_x_y", "must be at least 1")
    return Head(
        layer=number,
        source=number - 1,
        anchors=tuple(pairs[n] for n in chosen),
        classes=classes,
        scale_x_y=scale,
        ignore_thresh=section.real("ignore_thresh", 0.5),
    )


MAKERS: dict[str, Maker] = {
    "convolutional": _convolutional,
    "shortcut": _shortcut,
    "route": _route,
    "upsample": _upsample,
    "maxpool": _maxpool,
    "dropout": _same,
    "yolo": _yolo,
}
