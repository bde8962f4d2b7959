"""Files of weights: every version, other numbers of classes, and damaged ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fieldtrial.detection.darknet.network import Darknet, with_classes
from fieldtrial.detection.darknet.sections import parse_sections
from fieldtrial.detection.darknet.weights import load_weights
from tests.detection.darknet_files import EVERY_LAYER, numbers_of, random_network, weights_bytes

SECTIONS = parse_sections(EVERY_LAYER, "net.cfg")
HEADER = 20  # bytes


def state(network: Darknet) -> dict[str, torch.Tensor]:
    """Return what a file of weights has."""
    return {key: value for key, value in network.state_dict().items() if "num_" not in key}


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 0), (0, 2, 5)])
def test_weights_of_every_version_are_read(version: tuple[int, int, int], tmp_path: Path) -> None:
    path, written, network = tmp_path / "w", random_network(), Darknet(SECTIONS)
    path.write_bytes(weights_bytes(written, version))
    assert load_weights(network, path) == 2
    found = state(network)
    assert all(torch.equal(found[key], value) for key, value in state(written).items())


def test_all_but_the_heads_are_taken_from_a_network_of_other_classes(tmp_path: Path) -> None:
    path, written, network = tmp_path / "w", random_network(), Darknet(with_classes(SECTIONS, 7))
    path.write_bytes(weights_bytes(written))
    drawn = {key: value.clone() for key, value in state(network).items()}
    assert load_weights(network, path, but_heads=True) == 2
    for key, value in state(network).items():
        is_head = key.startswith(network.head_names)
        assert torch.equal(value, drawn[key] if is_head else state(written)[key]), key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Layer 1 begins behind the header and the 4 * 8 + 8 * 27 numbers of layer 0.
        (
            lambda data: data[: HEADER + 4 * 300],
            f"ends at byte {HEADER + 1200}, within layer 1 ([convolutional], net.cfg, line 14),"
            f" which takes bytes {HEADER + 4 * 248} to {HEADER + 4 * (248 + 64 + 16 * 72)}",
        ),
        (lambda data: data + b"12345", "has 5 bytes more than layer 16 ([convolutional], net.cfg"),
        (lambda data: data[:15], "ends at byte 15, within its header of 20 bytes"),
        (lambda data: data[:5], "byte 0: must be darknet's weights, which begin with a version"),
        (lambda _: b"<html><body>Not found</body>", "byte 0: must be darknet's weights"),
        (lambda data: b"PK\x03\x04" + data, "is a pickled file of PyTorch's, which could run code"),
        (lambda data: b"\x80\x02" + data, "is a pickled file of PyTorch's, which could run code"),
    ],
)
def test_a_file_of_another_size_or_kind_is_refused(
    change: "object", message: str, tmp_path: Path
) -> None:
    assert callable(change)
    path = tmp_path / "net.weights"
    path.write_bytes(change(weights_bytes(random_network())))
    with pytest.raises(ValueError, match=r"net\.weights: ") as raised:
        load_weights(Darknet(SECTIONS), path)
    assert message in str(raised.value)


@pytest.mark.parametrize(("value", "offset"), [(np.nan, 8 * 4 + 5), (np.inf, 3), (-0.5, 3 * 8 + 2)])
def test_a_number_that_cannot_be_is_refused_with_its_byte(
    value: float, offset: int, tmp_path: Path
) -> None:
    path, network = tmp_path / "net.weights", random_network()
    data = bytearray(weights_bytes(network))
    byte = HEADER + 4 * offset
    data[byte : byte + 4] = np.float32(value).tobytes()
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"layer 0 .*: byte {byte} has {value} as "):
        load_weights(Darknet(SECTIONS), path)


def test_a_file_for_other_classes_is_refused_with_their_number(tmp_path: Path) -> None:
    path, network = tmp_path / "net.weights", Darknet(SECTIONS)
    for classes, verb in ((1, "ends at byte"), (9, "bytes more than")):
        path.write_bytes(weights_bytes(Darknet(with_classes(SECTIONS, classes))))
        before = {key: value.clone() for key, value in network.state_dict().items()}
        with pytest.raises(
            ValueError, match=f"fits this one with {classes} instead of 2"
        ) as raised:
            load_weights(network, path)
        assert verb in str(raised.value)
        after = network.state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items())


def test_the_files_numbers_are_those_of_the_parameters() -> None:
    network = random_network()
    assert sum(map(len, numbers_of(network))) == sum(v.numel() for v in state(network).values())
