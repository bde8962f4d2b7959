"""LoRA: what is added to which layers, that it is merged right, and trials with it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models
from safetensors.torch import load_file
from timm.models.beit import Beit

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.depth_axis import units
from fieldtrial.training.freezing.low_rank import is_added, merge
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.models.network import Network, count_trainable
from fieldtrial.training.scoring.evaluation import evaluate_run
from tests.training.networks import network_for

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]

SIZE, RANK = 32, 2


def added(shapes: list[tuple[int, int]]) -> int:
    """Return how many numbers LoRA has for layers with so many (inputs, outputs)."""
    return sum(RANK * (inputs + outputs) for inputs, outputs in shapes)


def of_torchvision() -> Network:
    """Return a small vision transformer of torchvision, whose attention is torch's own."""
    model = torchvision.models.VisionTransformer(SIZE, 16, 2, 2, 16, 32, num_classes=5)
    torch.nn.init.normal_(model.heads.head.weight)  # which is 0
    return Network(model, "heads.head", SIZE, (0.5,) * 3, (0.5,) * 3)


def of_beit() -> Network:
    """Return a small BEiT, whose attention adds its biases itself."""
    model = Beit(img_size=SIZE, embed_dim=16, depth=2, num_heads=2, mlp_ratio=2, num_classes=5)
    return Network(model, "head", SIZE, (0.5,) * 3, (0.5,) * 3)


def of(**fields: Any) -> Callable[[], Network]:
    return lambda: network_for(TrainConfig(**fields), SIZE, channels=3)


# The numbers of inputs and outputs of the layers to which a product is added.
MODELS: dict[str, tuple[Callable[[], Network], list[tuple[int, int]]]] = {
    "cnn": (
        of(blocks=2, filters=(4,), dense_width=(8,)), [(3 * 9, 4), (4 * 9, 4), (4 * 64, 8)]
    ),
    # of each of six blocks: queries, keys and values; projection; two layers of 192 units
    "vit": (
        of(model="timm:test_vit"),
        [(3 * 256, 64), *([(64, 192), (64, 64), (64, 192), (192, 64)] * 6)],
    ),
    # without attention, and without queries, keys and values
    "torchvision": (of_torchvision, [(3 * 256, 16), *([(16, 32), (32, 16)] * 2)]),
    "beit": (of_beit, [(3 * 256, 16), *([(16, 16), (16, 32), (32, 16)] * 2)]),
    "squeezenet": (
        of(model="torchvision:squeezenet1_1"),
        [
            (27, 64),
            *(
                shape
                for given, narrow, wide in (
                    (64, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128),
                    (256, 48, 192), (384, 48, 192), (384, 64, 256), (512, 64, 256),
                )
                for shape in ((given, narrow), (narrow, wide), (9 * narrow, wide))
            ),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_products_are_added_to_layers_that_stay_and_merged(model: str) -> None:
    build, shapes = MODELS[model]
    network, images = build(), torch.rand(2, 3, SIZE, SIZE)
    names = set(network.state_dict())
    network.eval()
    with torch.no_grad():
        before = network(images)
    freeze(network, f"lora:{RANK}", seed=3)
    network.eval()
    head = network.get_submodule(network.head)
    in_head = sum(parameter.numel() for parameter in head.parameters())
    assert count_trainable(network) == added(shapes) + in_head
    assert {unit.name for unit in units(network)} == {unit.name for unit in units(build())}
    torch.manual_seed(0)
    with torch.no_grad():
        assert torch.equal(network(images), before)
        for name, parameter in network.named_parameters():
            if is_added(name):
                parameter.add_(0.02 * torch.randn_like(parameter))  # as after a training
        trained = network(images)
        merge(network)
        merged = network(images)
    assert float((trained - before).abs().max()) > 100 * float((merged - trained).abs().max())
    torch.testing.assert_close(merged, trained, rtol=1e-3, atol=1e-4)
    assert set(network.state_dict()) == names


def test_what_trains_is_what_is_added_and_depthwise_convolutions_stay() -> None:
    network = of(model="torchvision:mobilenet_v3_small")()
    freeze(network, "lora:3")
    before = {name: one.clone() for name, one in network.state_dict().items()}
    network.train()
    network(torch.rand(4, 3, SIZE, SIZE)).square().sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None
                parameter.add_(0.01)
    moved = {name for name, one in network.state_dict().items() if not one.equal(before[name])}
    head = {"model.classifier.3.weight", "model.classifier.3.bias"}
    assert moved == {name for name in before if is_added(name)} | head
    assert "features.4.block.0.0" in network.adapted
    assert "features.4.block.1.0" not in network.adapted  # depthwise


@pytest.mark.usefixtures("each_epoch_saved")
def test_a_trial_keeps_plain_weights_and_goes_on_to_the_same(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    whole, halted = (new_run(name, freeze="lora:2", lr=0.01) for name in ("whole", "halted"))
    train_until(whole, test=True)
    train_until(halted, last_epoch=1)
    train_until(halted, attempt=2, test=True)
    assert numbers(halted) == numbers(whole)
    assert halted.weights_path.read_bytes() == whole.weights_path.read_bytes()
    result = whole.result() or {}
    assert result["trainable_parameters"] == added([(64, 16)]) + 16 * 3 + 3
    assert result["validation_accuracy"] > 0.8
    # the tested network is the one in the file, and computes what the one in training did
    again = evaluate_run(whole, World())
    for name, value in again.items():
        exact = name.startswith("test_") or name == "class_names"
        assert result[name] == (value if exact else pytest.approx(value, rel=1e-5)), name
    # whose layers differ by a product of rank 2, and can be trained on
    run = new_run("next", weights=str(whole.path), freeze="all_but_head")
    kept = load_file(str(whole.weights_path))
    plain = new_run("plain")
    _, begun = open_trial(plain.config(), plain)
    change = kept["model.dense1.weight"] - begun.state_dict()["model.dense1.weight"]
    assert int(torch.linalg.matrix_rank(change, rtol=1e-4)) == 2
    assert torch.equal(kept["model.dense1.bias"], begun.state_dict()["model.dense1.bias"])
    train_until(run)
    stopped = new_run("stopped", freeze="lora:2", lr=0.01)
    stopped.request_stop()
    train_until(stopped)
    assert load_file(str(stopped.weights_path)).keys() == kept.keys()


def test_without_the_library_there_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    run = Run.create(tmp_path / "run", TrainConfig(freeze="lora:8", classes="2"))
    with pytest.raises(ValueError, match=r"^freeze = 'lora:8': needs the library peft.*train\]'$"):
        open_trial(run.config(), run)
    run = Run.create(tmp_path / "bare", TrainConfig(model="mlp", dense_width=(), freeze="lora:8"))
    with pytest.raises(ValueError, match=r"'lora:8': the model has no linear layer or convolution"):
        open_trial(run.config(), run)
