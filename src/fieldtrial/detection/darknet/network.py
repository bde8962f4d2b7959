"""A network that darknet describes, as a module."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from torch import Tensor, nn

from fieldtrial.config import ConfigError
from fieldtrial.detection.darknet.graph import MAKERS, Node, head_of
from fieldtrial.detection.darknet.heads import Head
from fieldtrial.detection.darknet.layers import Convolution, Shortcut
from fieldtrial.detection.darknet.sections import Section

PRIOR = 0.01  # probability of an object that a fresh head gives


class Darknet(nn.Module):
    """The network of `sections`, with weights drawn at random.

    Layers have the numbers that they have in the description: `layers.12.conv.weight`,
    `layers.12.norm.bias`.

    Attributes:
        sections: what it was made from.
        heads: its `[yolo]` layers.
        image_size: width and height of the images that the description is for, in pixels.
        stride: sides of images must be multiples of it.
        shapes: the channels of each layer's output, and how many pixels of the input one of its
            pixels stands for.

    Raises:
        ConfigError: a layer has a bad or missing value, or takes the output of a layer that is not
            there or does not fit; the message has the layer's line. One problem for each layer.
    """

    def __init__(self, sections: Sequence[Section]) -> None:
        super().__init__()
        self.sections = tuple(sections)
        net, *layers = self.sections
        nodes, heads, problems = list[Node](), list[Head](), list[str]()
        for number, section in enumerate(layers):
            try:
                node = MAKERS[section.kind](number, section, nodes, net)
                if section.kind == "yolo":
                    heads.append(head_of(number, section, nodes))
            except ValueError as error:
                problems.append(f"{error} (layer {number})")
                break  # what follows depends on it
            nodes.append(node)
        try:
            size = (net.whole("width", 416), net.whole("height", 416))
        except ValueError as error:
            problems.append(str(error))
        if not problems and not heads:
            problems.append(
                f"{net.where or 'the network'}: has no [yolo] layer, so it finds nothing"
            )
        if not problems and len({head.classes for head in heads}) > 1:
            counts = ", ".join(str(head.classes) for head in heads)
            problems.append(f"{net.where}: its [yolo] layers have {counts} classes; must be equal")
        if problems:
            raise ConfigError(problems)
        self.heads = tuple(heads)
        self.image_size = size
        self.stride = math.lcm(*(node.shape.stride for node in nodes))
        self.shapes = tuple((node.shape.channels, node.shape.stride) for node in nodes)
        self.layers = nn.ModuleList(node.module for node in nodes)
        self._sources = tuple(node.sources for node in nodes)
        last_uses = {source: number for number, node in enumerate(nodes) for source in node.sources}
        raw = {head.source for head in heads}
        self._done = tuple(
            tuple(
                source for source, last in last_uses.items() if last == number and source not in raw
            )
            for number in range(len(nodes))
        )
        self.draw_heads()

    @property
    def class_count(self) -> int:
        """How many classes it tells apart."""
        return self.heads[0].classes

    @cached_property
    def head_names(self) -> tuple[str, ...]:
        """Names of the modules whose shape depends on the number of classes: `layers.81`, …"""
        return tuple(f"layers.{head.source}" for head in self.heads)

    @cached_property
    def backbone(self) -> tuple[str, ...]:
        """Names of the layers before those that only detection needs, such as Darknet-53's.

        They are those up to the last shortcut before the first head; in a network without
        shortcuts, those before the fork to the second head; with one head, those before its
        source.
        """
        first = self.heads[0]
        sums = [n for n in range(first.layer) if isinstance(self.layers[n], Shortcut)]
        if sums:
            return self._names(sums[-1] + 1)
        forks = (
            min(sources) for n, sources in enumerate(self._sources) if n > first.layer and sources
        )
        return self._names(min(next(forks, first.source), first.source))

    def _names(self, end: int) -> tuple[str, ...]:
        return tuple(f"layers.{number}" for number in range(end))

    def draw_heads(self) -> None:
        """Draw the heads' weights, so that at first nearly nothing is taken for an object.

        The prior is that of focal loss (Lin et al. 2017, arXiv:1708.02002): without it, the many
        places without an object decide the first steps.
        """
        for head in self.heads:
            layer = self.layers[head.source]
            assert isinstance(layer, Convolution)
            nn.init.normal_(layer.conv.weight, std=0.01)
            if layer.conv.bias is not None:
                nn.init.zeros_(layer.conv.bias)
                bias = layer.conv.bias.detach().view(len(head.anchors), -1)
                bias[:, 4] = -math.log((1 - PRIOR) / PRIOR)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the raw outputs of each head.

        images: float (n, 3, height, width) in [0, 1], RGB; sides are multiples of `stride`.

        Returns:
            for each head (n, anchors * (5 + classes), height / s, width / s), with its stride s.
        """
        outputs: dict[int, Tensor] = {}
        for number, layer in enumerate(self.layers):
            sources = self._sources[number]
            if not isinstance(layer, nn.Identity):
                outputs[number] = layer(*(outputs[n] if n >= 0 else images for n in sources))
            elif sources:
                outputs[number] = outputs[sources[0]] if sources[0] >= 0 else images
            for done in self._done[number]:
                outputs.pop(done, None)
        return [outputs[head.source] for head in self.heads]


def with_classes(sections: Sequence[Section], count: int) -> tuple[Section, ...]:
    """Return the sections of the same network for `count` classes.

    Raises:
        ConfigError: the network is not one that `Darknet` takes.
    """
    network = Darknet(sections)
    changed = list(sections)
    for head in network.heads:
        filters = {"filters": str(len(head.anchors) * (5 + count))}
        for number, values in ((head.layer, {"classes": str(count)}), (head.source, filters)):
            section = changed[number + 1]
            changed[number + 1] = replace(section, options={**section.options, **values})
    return tuple(changed)
