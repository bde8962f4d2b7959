"""Networks against OpenCV's reader of the same files, and against the original descriptions."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from fieldtrial.config import ConfigError
from fieldtrial.detection.darknet.architectures import ARCHITECTURES
from fieldtrial.detection.darknet.heads import decode
from fieldtrial.detection.darknet.network import Darknet, with_classes
from fieldtrial.detection.darknet.sections import parse_sections, read_sections
from fieldtrial.detection.darknet.weights import load_weights
from tests.detection.darknet_files import (
    EVERY_LAYER,
    REAL,
    needs_real,
    random_network,
    weights_bytes,
)

Numbers = NDArray[np.float32]


def by_opencv(network: Darknet, files: tuple[Path, Path], blob: Numbers) -> list[Numbers]:
    """Return the raw outputs of the heads, then what they mean, as OpenCV computes both."""
    opencv = cv2.dnn.readNetFromDarknet(*map(str, files))
    opencv.setInput(blob)
    raw = [f"conv_{head.source}" for head in network.heads]
    return list(opencv.forward(raw + [f"yolo_{head.layer}" for head in network.heads]))


def test_every_layer_type_agrees_with_opencv(tmp_path: Path) -> None:
    config, weights = tmp_path / "net.cfg", tmp_path / "net.weights"
    config.write_text(EVERY_LAYER)
    weights.write_bytes(weights_bytes(random_network()))
    network = Darknet(read_sections(config)).eval()
    load_weights(network, weights)
    images = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    theirs = by_opencv(network, (config, weights), images)
    with torch.inference_mode():
        ours = network(torch.from_numpy(images))
    for our, their in zip(ours, theirs[:2], strict=True):
        assert their.std() > 0.3  # something to agree on
        np.testing.assert_allclose(our.numpy(), their, atol=1e-4)
    for our, head, their in zip(ours, network.heads, theirs[2:], strict=True):
        anchors, (rows, columns) = len(head.anchors), our.shape[2:]
        count = anchors * rows * columns
        every = decode(our[0], head, 64 // rows).numpy()
        grid = every.reshape(anchors, rows, columns, -1)
        mine = grid.transpose(1, 2, 0, 3).reshape(count, -1)  # OpenCV's order
        # OpenCV's sides are shares of the image.
        np.testing.assert_allclose(
            mine[:, :4], their[:, :4] * [96, 64, 96, 64], rtol=1e-4, atol=1e-3
        )
        np.testing.assert_allclose(mine[:, 4], their[:, 4], atol=1e-5)
        scores = mine[:, 4:5] * mine[:, 5:]
        is_shown = their[:, 5:] > 0
        assert is_shown.any()
        np.testing.assert_allclose(scores[is_shown], their[:, 5:][is_shown], atol=1e-5)
        likely = decode(our[0], head, 64 // rows, 0.5).numpy()
        np.testing.assert_allclose(likely, every[every[:, 4] >= 0.5], rtol=1e-5)


@needs_real
def test_real_weights_agree_with_opencv() -> None:
    files = REAL / "yolo-fastest-1.1-xl.cfg", REAL / "yolo-fastest-1.1-xl.weights"
    network = Darknet(read_sections(files[0])).eval()
    assert load_weights(network, files[1]) == 80
    image = Image.open(REAL / "dog.jpg").convert("RGB").resize((320, 320))
    blob = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / np.float32(255)
    with torch.inference_mode():
        ours = network(torch.from_numpy(blob))
    for our, their in zip(ours, by_opencv(network, files, blob), strict=False):
        assert np.abs(their).max() > 10
        np.testing.assert_allclose(our.numpy(), their, atol=1e-4)


# Darknet's own files of weights have 248,007,048, 35,434,956 and 252,209,544 bytes, of which 20 are
# the header. What is no parameter are the running statistics.
@pytest.mark.parametrize(
    ("name", "parameters", "in_file", "layers", "backbone"),
    [
        ("yolov3", 61_949_149, (248_007_048 - 20) // 4, 107, 75),
        ("yolov3-tiny", 8_852_366, (35_434_956 - 20) // 4, 24, 13),
        ("yolov3-spp", 62_998_749, (252_209_544 - 20) // 4, 114, 75),
    ],
)
def test_built_in_networks_have_the_published_sizes(
    name: str, parameters: int, in_file: int, layers: int, backbone: int
) -> None:
    with torch.device("meta"):
        network = Darknet(ARCHITECTURES[name](80))
    assert sum(p.numel() for p in network.parameters()) == parameters
    statistics = [b.numel() for key, b in network.named_buffers() if "running" in key]
    assert parameters + sum(statistics) == in_file
    assert len(network.layers) == layers
    assert network.stride == 32
    assert len(network.backbone) == backbone  # Darknet-53 has 52 convolutions and 23 shortcuts
    side = network.image_size[0]
    outputs = network.to("meta")(torch.zeros(2, 3, side, side, device="meta"))
    assert [tuple(o.shape) for o in outputs] == [
        (2, 255, side * 2**n // 32, side * 2**n // 32) for n in range(len(network.heads))
    ]


@needs_real
@pytest.mark.parametrize("name", ["yolov3", "yolov3-tiny"])
def test_built_in_networks_are_the_original_ones(name: str) -> None:
    with torch.device("meta"):
        built, original = (
            Darknet(ARCHITECTURES[name](80)),
            Darknet(read_sections(REAL / f"{name}.cfg")),
        )
    assert len(built.sections) == len(original.sections)
    for ours, theirs in zip(built.sections[1:], original.sections[1:], strict=True):
        assert ours.kind == theirs.kind
        for key, value in ours.options.items():
            assert ours.reals(key) == theirs.reals(key) if key != "activation" else True, key
            assert key != "activation" or value == theirs.options[key]
    assert str(built) == str(original)  # modules with their sizes, strides and slopes
    assert (built.heads, built.shapes, built.image_size) == (
        original.heads,
        original.shapes,
        original.image_size,
    )


def test_another_number_of_classes_changes_the_heads_alone() -> None:
    sections = parse_sections(EVERY_LAYER, "net.cfg")
    before, after = Darknet(sections), Darknet(with_classes(sections, 7))
    assert (before.class_count, after.class_count) == (2, 7)
    shapes = {key: value.shape for key, value in before.state_dict().items()}
    changed = {
        key.rsplit(".", 2)[0]
        for key, value in after.state_dict().items()
        if value.shape != shapes[key]
    }
    assert changed == set(after.head_names) == {"layers.9", "layers.16"}


def test_a_fresh_head_takes_nearly_nothing_for_an_object() -> None:
    network = Darknet(parse_sections(EVERY_LAYER, "net.cfg")).eval()
    with torch.inference_mode():
        for output, head in zip(network(torch.rand(1, 3, 64, 96)), network.heads, strict=True):
            decoded = decode(output[0], head, 64 // output.shape[2])
            assert 0.005 < decoded[:, 4].mean() < 0.02


def test_gradients_reach_every_parameter() -> None:
    network = random_network().train()
    outputs = network(torch.rand(1, 3, 64, 96))
    pairs = zip(outputs, network.heads, strict=True)
    totals = [decode(output[0], head, 64 // output.shape[2]).sum() for output, head in pairs]
    torch.autograd.backward(totals)
    # A bias before normalisation would get none; there is none.
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


CONV = "[net]\n[convolutional]\nfilters=14\n"
YOLO = "[yolo]\nclasses=2\nanchors=1,2,3,4\nmask=0,1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[net]\n[lstm]\n",
            "net.cfg, line 2: [lstm]: no such layer; there are convolutional, short",
        ),
        ("[net]\n[yolo]\nfoo=1", "net.cfg, line 3: [yolo] foo: no such key"),
        (
            "[yolo]\n[net]",
            "net.cfg, line 1: [yolo]: the first section, and no other, must be [net]",
        ),
        ("filters=3", "net.cfg, line 1: filters=3: must be [section], or key=value"),
        ("[net]\nwidth=1\nwidth=2\n[dropout]", "net.cfg, line 3: [net] width: is there twice"),
        ("[net]", "net.cfg: has 1 sections; must be [net] and 1 to 2000 layers"),
        (CONV + "stride=x", "line 4: [convolutional] stride = x: must be whole numbers"),
        (CONV + "size=2", "line 4: [convolutional] size = 2: must be odd, with pad=1 unless it"),
        (CONV + "groups=2", "groups = 2: must divide its 3 input channels and its 14 filters"),
        (CONV + "activation=elu", "must be one of leaky, linear, relu, mish, swish"),
        (CONV + "[shortcut]\nfrom=-2", "from = -2: there is no layer -1 before layer 1 (layer 1)"),
        (CONV + "[route]\nlayers=1", "layers = 1: there is no layer 1 before layer 1"),
        (CONV + "[yolo]\nclasses=3\nanchors=1,2\nmask=0", "must be [convolutional] with 8 filters"),
        (CONV + YOLO + "[dropout]", "[dropout] input: is [yolo]'s output, which no layer takes"),
        (CONV + YOLO.replace("=1,2,3,4", "=1,2,3"), "must be pairs of widths and heights above 0"),
        (
            CONV + YOLO.replace("mask=0,1", "mask=0,2"),
            "mask = 0,2: must be numbers of the 2 anchors",
        ),
        (CONV + "[maxpool]\nsize=3\npadding=1", "padding = 1: must be size - 1, darknet's own"),
        (CONV + "[upsample]\nstride=2", "stride = 2: must divide 1, how much the input is reduced"),
        (CONV, "net.cfg, line 1: has no [yolo] layer, so it finds nothing"),
        ("[net]\nchannels=1\n[convolutional]", "channels = 1: 1 channels; must be 3"),
    ],
)
def test_a_bad_description_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Darknet(parse_sections(text, "net.cfg"))
    assert message in str(raised.value)


def test_all_problems_of_a_description_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_sections("[net]\n[lstm]\n[yolo]\nfoo=1\nbar", "net.cfg")
    assert [problem.split(":")[0] for problem in raised.value.problems] == [
        f"net.cfg, line {line}" for line in (2, 4, 5)
    ]


def test_comments_and_spaces_are_read_as_darknet_reads_them() -> None:
    text = EVERY_LAYER.replace("filters=16", " filters = 16 # wide").replace("\n\n", "\n; x\n")
    assert str(Darknet(parse_sections(text, "a"))) == str(Darknet(parse_sections(EVERY_LAYER, "b")))


def test_dropout_does_nothing() -> None:
    assert isinstance(random_network().layers[8], nn.Identity)
