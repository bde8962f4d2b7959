"""Detectors as models: their outputs, weights from darknet's files and runs, and freezing."""

import json
from pathlib import Path

import pytest
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.detection.darknet.architectures import ARCHITECTURES
from fieldtrial.detection.darknet.heads import decode
from fieldtrial.detection.darknet.network import Darknet, with_classes
from fieldtrial.detection.darknet.sections import read_sections
from fieldtrial.training.data.load import DataShape
from fieldtrial.training.freezing.depth_axis import units
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.models.library.of_darknet import FlatDetector
from fieldtrial.training.models.network import Network, count_parameters
from fieldtrial.training.models.source import ModelSource, build
from fieldtrial.training.tasks.detection.loss import Grid
from tests.training.darknets import write_description, write_weights
from tests.training.networks import create, finished_run, network_for

SIDE = 64


def config_of(folder: Path, **values: object) -> TrainConfig:
    path = write_description(folder)
    known = {"task": "detection", "select": "last", "model": f"darknet:{path}"}
    return TrainConfig.from_dict(known | values)


def detector(config: TrainConfig, classes: int = 3, folder: Path | None = None) -> Network:
    shape = DataShape(classes, 3, SIDE)
    return build(ModelSource.of(config, folder), shape, (0.0,) * 3, (1.0,) * 3)


def flat_of(network: Network) -> FlatDetector:
    assert isinstance(network.model, FlatDetector)
    return network.model


def test_all_heads_side_by_side_say_what_darknets_outputs_do(tmp_path: Path) -> None:
    network = detector(config_of(tmp_path), classes=4).eval()
    model = flat_of(network)
    images = torch.randint(256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.no_grad():
        outputs = network(images)
        raw = model.darknet(images.permute(0, 3, 1, 2).float() / 255)
    assert outputs.shape == (2, 3 * (16 + 64), 9)
    heads = model.darknet.heads
    known = torch.stack([
        torch.cat([
            decode(output[image], head, SIDE // output.shape[2])
            for output, head in zip(raw, heads, strict=True)
        ])
        for image in range(2)
    ])  # fmt: skip
    centre, sides = known[..., :2] / SIDE, known[..., 2:4] / SIDE
    grid = Grid.of(heads, model.grids(SIDE), SIDE, torch.device("cpu"))
    expected = torch.cat([centre - sides / 2, centre + sides / 2], -1)
    torch.testing.assert_close(grid.boxes(outputs), expected)
    torch.testing.assert_close(outputs[..., 4:].sigmoid(), known[..., 4:])


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [("yolov3", 80, 61_949_149), ("yolov3-tiny", 80, 8_852_366), ("yolov3", 5, 61_545_274)],
)
def test_the_built_in_networks_for_any_number_of_classes(
    name: str, classes: int, count: int
) -> None:
    """A head has 3 * (5 + classes) filters, on 1024, 512 and 256 channels, and as many biases."""
    config = TrainConfig.from_dict(
        {"task": "detection", "select": "last", "model": f"darknet:{name}"}
    )
    with torch.device("meta"):
        model, head = create(config, DataShape(classes, 3, 416))
    assert count_parameters(model) == count
    assert head == {"yolov3": "darknet.layers.105", "yolov3-tiny": "darknet.layers.22"}[name]


def test_weights_of_darknets_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads for as many classes are taken too; others are drawn, and the record says so."""
    config = config_of(tmp_path)
    source = Darknet(read_sections(tmp_path / "small.cfg"))
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter)
    file = write_weights(tmp_path / "trained.weights", source)
    for classes, heads in ((3, "the file's"), (5, "drawn anew, for the file's are for 3 classes")):
        network = detector(config_of(tmp_path, weights=str(file)), classes)
        assert network.origin["initial_weights"] == "file trained.weights"
        assert network.origin["heads"] == heads
        assert network.weights_file == file
        fresh = detector(config, classes).state_dict()
        for name, tensor in flat_of(network).darknet.state_dict().items():
            is_head = name.startswith(("layers.4.", "layers.10."))
            if is_head and classes == 5:
                assert torch.equal(tensor, fresh[f"model.darknet.{name}"])
            else:
                assert torch.equal(tensor, source.state_dict()[name])
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"trained\.weights: ends at byte .*layer 10"):
        detector(config_of(tmp_path, weights=str(file)))
    monkeypatch.setenv("FIELDTRIAL_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=f"no such file; .*{tmp_path}/weights/none.weights"):
        detector(config_of(tmp_path, weights="none.weights"))
    (tmp_path / "weights").mkdir()
    write_weights(tmp_path / "weights" / "none.weights", source)
    assert detector(config_of(tmp_path, weights="none.weights")).weights_file
    with pytest.raises(
        ValueError, match=r"there are none of darknet:.*a file of darknet's weights"
    ):
        detector(config_of(tmp_path, weights="imagenet"))


def test_weights_of_a_run_have_fresh_heads(tmp_path: Path) -> None:
    config = config_of(tmp_path, seed=1)
    trained = detector(config)
    run = finished_run(tmp_path / "run", config, trained)
    assert json.loads((run.path / "config.json").read_text())["model"] == config.model
    network = detector(config_of(tmp_path, weights=str(run.path)), classes=2)
    before, after = trained.state_dict(), network.state_dict()
    for name in after:
        is_head = any(name.startswith(f"{head}.") for head in network.heads)
        same = before[name].shape == after[name].shape and torch.equal(before[name], after[name])
        assert same != is_head


def trained(network: Network) -> set[str]:
    names = network.model.named_parameters()
    return {name.split(".")[2] for name, one in names if one.requires_grad}


def test_freezing_means_something_for_detectors(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    every = {"0", "1", "2", "3", "4", "7", "10"}
    axis = units(detector(config))
    names = [".".join(unit.name.split(".")[:3]) for unit in axis[:-1]]
    assert names == [f"darknet.layers.{number}" for number in (0, 1, 2, 3, 7)]
    for scheme, expected in {
        "none": every,
        "all_but_head": {"4", "10"},
        "all_but_last:2": {"4", "7", "10"},
        "first:2": every - {"0", "1"},
        "backbone": every - {"0", "1", "2"},  # both heads read layer 3
        "only:darknet.layers.1": {"1", "4", "10"},
    }.items():
        network = detector(config)
        freeze(network, scheme)
        assert trained(network) == expected, scheme
        network.train()
        norm = flat_of(network).darknet.get_submodule("layers.0.norm")
        assert norm.training == ("0" in expected)
    with pytest.raises(ValueError, match=r"the model is a classifier, .*; write all_but_head"):
        freeze(network_for(TrainConfig()), "backbone")


def test_the_backbone_of_yolov3_is_darknet_53() -> None:
    """52 convolutions: the 53rd layer of the paper is the classifier's."""
    config = TrainConfig.from_dict(
        {"task": "detection", "select": "last", "model": "darknet:yolov3"}
    )
    with torch.device("meta"):
        network = build(ModelSource.of(config), DataShape(2, 3, 96), (0.0,) * 3, (1.0,) * 3)
        freeze(network, "backbone")
    frozen = [name for name, one in network.model.named_parameters() if not one.requires_grad]
    assert sum(name.endswith("conv.weight") for name in frozen) == 52


def test_images_must_fit_the_stride(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image_size = 40: must be a multiple of 16, the stride"):
        create(config_of(tmp_path), DataShape(2, 3, 40))
    with pytest.raises(ValueError, match=r"no such file; looked for /no\.cfg"):
        create(config_of(tmp_path, model="darknet:/no.cfg"), DataShape(2, 3, 64))
    with pytest.raises(ValueError, match="a detector, which task = detection trains"):
        create(TrainConfig(model="darknet:yolov3"), DataShape(2, 3, 64))
    with pytest.raises(ValueError, match="close: yolov3-spp"):
        ModelSource.of(TrainConfig(model="darknet:yolov3-sp"))


def test_other_class_counts_of_a_description(tmp_path: Path) -> None:
    sections = read_sections(write_description(tmp_path))
    assert Darknet(with_classes(sections, 7)).class_count == 7
    assert set(ARCHITECTURES) == {"yolov3", "yolov3-tiny", "yolov3-spp"}
