import socket
import threading
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import torchvision.models
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.run import Run
from fieldtrial.training import pretrained
from fieldtrial.training.freezing import freeze, hold_frozen
from fieldtrial.training.network import (
    Network,
    build,
    count_flops,
    count_parameters,
    count_trainable,
    flatten_features,
    input_size,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
SQUEEZENET = TrainConfig(model="torchvision:squeezenet1_1")


def network_for(config: TrainConfig, size: int = 8, channels: int = 1, classes: int = 5, **rest: Any) -> Network:
    mean, std = tuple([0.3] * channels), tuple([0.4] * channels)
    return build(config, classes, channels, mean, std, size, rest.get("run_folder"))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if torch.equal(one[name], other[name])]


def digits() -> Tensor:
    """Eight real 8×8 images, uint8 (n, h, w, 1)."""
    return torch.from_numpy((load_digits().images[:8, :, :, None] * 15.9375).astype(np.uint8))


def finished_run(path: Path, config: TrainConfig, network: Network) -> Run:
    run = Run.create(path, config)
    save_file(network.state_dict(), run.weights_path)
    return run


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No name can be looked up, and the caches of weights are empty."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("FIELDTRIAL_DATA", str(tmp_path / "data"))
    pretrained._trouble.cache_clear()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))


def test_stored_images_and_float_images_give_the_same_logits() -> None:
    network = network_for(TrainConfig(filters=(4,))).eval()
    stored = digits()
    logits = network(stored)
    assert logits.shape == (8, 5)
    assert logits.dtype == torch.float32
    as_float = stored.permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(network(as_float), logits)
    torch.testing.assert_close(network.model((as_float - 0.3) / 0.4), logits)


def test_bf16_computes_in_bf16_and_returns_float32() -> None:
    seen = []
    network = network_for(TrainConfig(filters=(4,), precision="bf16")).eval()
    network.get_submodule(network.head).register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    logits = network(digits())
    assert seen == [torch.bfloat16]
    assert logits.dtype == torch.float32
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_what_a_last_layer_gets_is_averaged_over_its_places() -> None:
    values = torch.rand(2, 3, 4, 5)
    assert torch.allclose(flatten_features(nn.Conv2d(3, 7, 1), values), values.mean((2, 3)))
    assert torch.allclose(flatten_features(nn.Linear(5, 7), values), values.mean((1, 2)))  # channels last
    assert torch.allclose(flatten_features(nn.Linear(5, 7), values[:, 0]), values[:, 0].mean(1))
    assert torch.equal(flatten_features(nn.Linear(5, 7), values[:, 0, 0]), values[:, 0, 0])


def test_grey_images_are_repeated_for_a_library_model() -> None:
    network = network_for(SQUEEZENET, size=32).eval()
    grey = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(network(grey), network(grey.repeat(1, 3, 1, 1)))
    with pytest.raises(ValueError, match="1 or 3 channels, the data's have 4"):
        network_for(SQUEEZENET, size=32, channels=4)


@pytest.mark.parametrize("model", ["cnn", "torchvision:resnet18", "timm:vit_tiny_patch16_224"])
def test_the_seed_alone_draws_the_weights(model: str) -> None:
    size = 8 if model == "cnn" else 32
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = network_for(TrainConfig(model=model), size).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(100)
    again = network_for(TrainConfig(model=model), size).state_dict()
    assert same(first, again) == list(first)
    other = network_for(TrainConfig(model=model, seed=1), size)
    changed = set(first) - set(same(first, other.state_dict()))
    assert f"{other.head}.weight" in changed


def test_counts() -> None:
    network = network_for(TrainConfig(model="mlp", dense_width=(16,)))
    assert count_parameters(network) == 64 * 16 + 16 + 16 * 5 + 5
    network.get_submodule(network.head).requires_grad_(False)
    assert count_trainable(network) == 64 * 16 + 16
    assert count_flops(network, 8, 1) == 2 * (64 * 16 + 16 * 5)
    network = network_for(TrainConfig(filters=(4,), kernel_size=(1,), dense_width=(8,), batch_norm=False))
    convolutions = 64 * 1 * 4 + (16 + 4 + 1 + 1) * 4 * 4
    assert count_flops(network, 8, 1) == 2 * (convolutions + 4 * 8 + 8 * 5)


def test_counting_flops_changes_nothing() -> None:
    network = network_for(TrainConfig(filters=(4,)))
    network.model.get_submodule("block1").eval()
    before = ({n: t.clone() for n, t in network.state_dict().items()}, [m.training for m in network.modules()])
    count_flops(network, 8, 1)
    assert same(before[0], network.state_dict()) == list(before[0])
    assert [m.training for m in network.modules()] == before[1]


def test_flops_of_a_transformer_include_its_attention() -> None:
    with torch.device("meta"):
        model = torchvision.models.vit_b_16()
    network = Network(model, "heads.head", 224, IMAGENET_MEAN, IMAGENET_MEAN)
    # torchvision states 17.56 GFLOPS of multiply-adds, by a counter that has the same rules
    assert count_flops(network, 224, 3) / 2e9 == pytest.approx(17.56, abs=0.01)


@pytest.mark.parametrize(
    ("model", "size", "says"),
    [
        ("timm:vit_tiny_patch16_224", 8, "multiple of its 16-pixel patches.*made for 224"),
        ("timm:vit_tiny_patch16_224", 40, "multiple of its 16-pixel patches.*made for 224"),
        ("torchvision:vit_b_32", 40, "patch size.*made for 224"),
        ("torchvision:alexnet", 8, "too small.*made for 224"),
    ],
)
def test_an_image_size_that_the_model_cannot_take_is_an_error(model: str, size: int, says: str) -> None:
    with pytest.raises(ValueError, match=f"image_size = {size}: {model} cannot take it .*{says}"):
        network_for(TrainConfig(model=model), size)


def test_a_transformer_takes_small_images_in_whole_patches() -> None:
    network = network_for(TrainConfig(model="vit_tiny_patch16_224"), 32, channels=3)
    assert network(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).shape == (2, 5)


def test_weights_of_a_run_bring_everything_but_the_head(tmp_path: Path) -> None:
    config = TrainConfig(filters=(4,), seed=3)
    source = network_for(config)
    with torch.no_grad():
        source.mean.fill_(0.7)
        source.get_buffer("model.block1.batch_norm.running_mean").fill_(0.5)
    run = finished_run(tmp_path / "source", config, source)
    expected = set(source.state_dict()) - {"model.head.weight", "model.head.bias"}
    for weights in ("run:source", str(run.path), str(run.weights_path)):
        loaded = network_for(TrainConfig(filters=(4,), weights=weights), run_folder=tmp_path / "target")
        assert set(same(source.state_dict(), loaded.state_dict())) == expected
        fresh = network_for(TrainConfig(filters=(4,))).state_dict()
        assert torch.equal(loaded.state_dict()["model.head.weight"], fresh["model.head.weight"])
    assert network_for(TrainConfig(filters=(4,), weights="run:source"), classes=3, run_folder=tmp_path / "target")


def test_weights_of_another_model_are_an_error_that_names_tensors_and_file(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "source", TrainConfig(), network_for(TrainConfig(filters=(4,))))
    with pytest.raises(ValueError, match=r"safetensors: .*another shape: model\.block1\..* \(4,\), here \(8,\).* more"):
        network_for(TrainConfig(filters=(8,), weights=str(run.path)))
    with pytest.raises(ValueError, match=r"missing: model\.dense2\.bias, model\.dense2\.weight$"):
        network_for(TrainConfig(filters=(4,), dense_width=(256, 8), weights=str(run.path)))
    with pytest.raises(ValueError, match=r"left over: model\.block1\.batch_norm\.bias"):
        network_for(TrainConfig(filters=(4,), batch_norm=False, weights=str(run.path)))


def test_weights_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    Run.create(tmp_path / "unfinished", TrainConfig())
    (tmp_path / "empty").mkdir()
    for weights, says in {
        "run:gone": "is not a run directory",
        str(tmp_path / "empty"): "is not a run directory",
        "run:unfinished": "has not ended well",
        "run:target": "this run itself",
        "no/such.pth": "no file or run directory at no/such.pth; write random",
        "imagenet": "there are none of cnn",
    }.items():
        with pytest.raises(ValueError, match=f"weights = '{weights}'.*{says}"):
            network_for(TrainConfig(weights=weights), run_folder=tmp_path / "target")
    with pytest.raises(ValueError, match="this one has no folder"):
        network_for(TrainConfig(weights="run:source"))


@pytest.mark.parametrize("wrapped", ["", "state_dict", "model"])
def test_a_file_of_a_library_models_weights(tmp_path: Path, wrapped: str) -> None:
    source = torchvision.models.squeezenet1_1()
    state = {f"module.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save({wrapped: state, "epoch": 3} if wrapped else state, tmp_path / "weights.pth")
    loaded = network_for(TrainConfig(model=SQUEEZENET.model, weights=str(tmp_path / "weights.pth")), 32)
    common = same(source.features.state_dict(), loaded.model.get_submodule("features").state_dict())
    assert common == list(source.features.state_dict())
    assert loaded.mean.flatten().tolist() == pytest.approx(IMAGENET_MEAN)


def test_a_file_with_features_only_and_old_batch_norm(tmp_path: Path) -> None:
    source = torchvision.models.densenet121().state_dict()
    old = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): tensor
        for name, tensor in source.items()
        if not name.startswith("classifier.") and not name.endswith("num_batches_tracked")
    }
    assert any(".norm.1." in name for name in old)
    torch.save(old, tmp_path / "densenet121.pth")
    loaded = network_for(TrainConfig(model="torchvision:densenet121", weights=str(tmp_path / "densenet121.pth")), 32)
    name = "features.denseblock4.denselayer16.conv2.weight"
    assert torch.equal(loaded.model.get_parameter(name), source[name])


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Code()}, "code.pth")
    Path("garbage.pth").write_bytes(b"not weights")
    Path("garbage.safetensors").write_bytes(b"not weights")
    torch.save({"weight": torch.ones(3)}, "damaged.pth", _use_new_zipfile_serialization=False)
    Path("damaged.pth").write_bytes(Path("damaged.pth").read_bytes()[:-10])
    torch.save({"epoch": 3}, "no_state.pth")
    for name in ("code.pth", "damaged.pth", "garbage.pth", "garbage.safetensors"):
        with pytest.raises(ValueError, match=f"{name}: cannot be read as tensors and plain data"):
            network_for(TrainConfig(weights=name))
    with pytest.raises(ValueError, match=r"no_state\.pth: holds no state dict"):
        network_for(TrainConfig(weights="no_state.pth"))
    assert not Path("ran").exists()


@pytest.mark.usefixtures("offline")
def test_imagenet_weights_that_cannot_be_fetched_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    with pytest.raises(ValueError, match=f"squeezenet1_1-b8a52dc0.pth, .*failed.*put the file at {place}") as caught:
        network_for(TrainConfig(model=SQUEEZENET.model, weights="imagenet"), 32)
    given = tmp_path / "data" / "weights"
    assert "4.7 MB, with a SHA-256 that starts with b8a52dc0" in str(caught.value)
    assert f" or {given}/squeezenet1_1-b8a52dc0.pth, or give its path as weights" in str(caught.value)
    folder = tmp_path / "hf" / "models--timm--resnet18.a1_in1k"
    with pytest.raises(ValueError, match=f"model.safetensors of timm/resnet18.a1_in1k.*copy .* to {folder}") as caught:
        network_for(TrainConfig(model="timm:resnet18", weights="imagenet"), 32)
    assert f"copy the file to {given}/resnet18.a1_in1k/model.safetensors or the folder" in str(caught.value)
    with pytest.raises(ValueError, match=r"xception needs xception-43020ad28\.pth, and fetching .*failed.*not known"):
        network_for(TrainConfig(model="xception", weights="imagenet"), 299)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"failed .HF_HUB_OFFLINE is set"):
        network_for(TrainConfig(model="timm:resnet18", weights="imagenet"), 32)


@pytest.mark.usefixtures("offline")
def test_a_network_that_swallows_questions_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, asked = threading.Event(), []

    def silent(*question: object, **_: object) -> None:
        asked.append(question)
        answered.wait()
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr(pretrained, "CONNECT_SECONDS", 0.1)
    try:
        for model in ("squeezenet1_1", "resnet18", "alexnet"):
            with pytest.raises(ValueError, match=r"no answer from https://download\.pytorch\.org within 0\.1 s"):
                network_for(TrainConfig(model=model, weights="imagenet"), 64)
    finally:
        answered.set()
    assert len(asked) <= 2  # once for all, unless a new minute has begun


@pytest.mark.usefixtures("offline")
def test_imagenet_weights_that_were_put_beside_the_data(tmp_path: Path) -> None:
    given = tmp_path / "data" / "weights"
    (given / "resnet18.a1_in1k").mkdir(parents=True)
    squeezenet, resnet = torchvision.models.squeezenet1_1(), timm.create_model("resnet18")
    torch.save(squeezenet.state_dict(), given / "squeezenet1_1-b8a52dc0.pth")
    save_file(resnet.state_dict(), given / "resnet18.a1_in1k" / "model.safetensors")
    loaded = network_for(TrainConfig(model=SQUEEZENET.model, weights="imagenet"), 32).model.state_dict()
    assert torch.equal(loaded["features.0.weight"], squeezenet.state_dict()["features.0.weight"])
    loaded = network_for(TrainConfig(model="timm:resnet18", weights="imagenet"), 32).model.state_dict()
    assert torch.equal(loaded["conv1.weight"], resnet.state_dict()["conv1.weight"])


@pytest.mark.usefixtures("offline")
def test_imagenet_weights_from_torchs_folder(tmp_path: Path) -> None:
    place = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    place.parent.mkdir(parents=True)
    source = torchvision.models.squeezenet1_1()
    torch.save(source.state_dict(), place)
    # 1000 classes: the file's head would fit, and stays out all the same
    loaded = network_for(TrainConfig(model=SQUEEZENET.model, weights="imagenet"), 32, classes=1000)
    taken = same(source.state_dict(), loaded.model.state_dict())
    assert set(source.state_dict()) - set(taken) == {"classifier.1.weight"}  # its bias starts at 0 in both
    assert loaded.mean.flatten().tolist() == pytest.approx(IMAGENET_MEAN)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("size", [128, 299])
def test_inceptions_auxiliary_classifier_is_loaded_where_there_is_one(tmp_path: Path, size: int) -> None:
    place = tmp_path / "hub" / "checkpoints" / "inception_v3_google-0cc3c7bd.pth"
    place.parent.mkdir(parents=True)
    source = torchvision.models.inception_v3(init_weights=False).state_dict()
    torch.save(source, place)
    config = TrainConfig(model="inception_v3", weights="imagenet")
    network = network_for(config, size)
    own = network.model.state_dict()
    assert torch.equal(own["Mixed_6e.branch_pool.conv.weight"], source["Mixed_6e.branch_pool.conv.weight"])
    assert network.auxiliary == ("AuxLogits" if size == 299 else None)
    if network.auxiliary:
        assert torch.equal(own["AuxLogits.conv1.conv.weight"], source["AuxLogits.conv1.conv.weight"])
        assert own["AuxLogits.fc.weight"].shape == (5, 768)
    run = finished_run(tmp_path / "source", config, network)  # and a run with one is the source of one without
    assert network_for(TrainConfig(model="inception_v3", weights=str(run.path)), 427 - size)


def test_the_auxiliary_classifier_speaks_in_training_alone() -> None:
    network = network_for(TrainConfig(model="inception_v3"), 299, channels=3)
    images = torch.zeros(2, 3, 299, 299)
    assert network(images).shape == (2, 5)
    assert network.auxiliary_logits is not None
    assert network.auxiliary_logits.shape == (2, 5)
    with torch.no_grad():
        assert network.eval()(images[:1]).shape == (1, 5)
    assert network.auxiliary_logits is None
    freeze(network, "all_but_head")
    network.train()
    hold_frozen(network)
    network(images)
    assert network.auxiliary_logits is None


@pytest.mark.usefixtures("offline")
def test_imagenet_weights_from_the_hugging_face_cache_fit_the_image_size(tmp_path: Path) -> None:
    repository = tmp_path / "hf" / "models--timm--vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    source = timm.create_model("vit_tiny_patch16_224").state_dict()
    save_file(source, snapshot / "model.safetensors")
    loaded = network_for(TrainConfig(model="timm:vit_tiny_patch16_224", weights="imagenet"), 32)
    own = loaded.model.state_dict()
    assert torch.equal(own["blocks.11.mlp.fc2.weight"], source["blocks.11.mlp.fc2.weight"])
    assert own["pos_embed"].shape == (1, 5, 192)
    assert loaded.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    del source["blocks.3.attn.qkv.weight"]
    save_file(source, snapshot / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: not the weights of timm:vit_tiny.*blocks\.3"):
        network_for(TrainConfig(model="timm:vit_tiny_patch16_224", weights="imagenet"), 32)


@pytest.mark.usefixtures("offline")
def test_imagenet_weights_with_code_in_them_do_not_reach_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_as_older_releases_do(path: str, **_: object) -> object:
        return torch.load(path, weights_only=False)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("timm.models._builder.load_state_dict", read_as_older_releases_do)
    monkeypatch.setenv("FIELDTRIAL_DATA", str(tmp_path))
    folder = tmp_path / "weights" / "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    folder.mkdir(parents=True)
    torch.save({"weight": Code()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: cannot be read as tensors and plain data"):
        network_for(TrainConfig(model="timm:vit_tiny_patch16_224", weights="imagenet"), 32)
    assert not Path("ran").exists()


def test_the_size_that_data_should_have(tmp_path: Path) -> None:
    assert input_size(TrainConfig()) is None
    assert input_size(TrainConfig(model="resnet18")) is None
    assert input_size(TrainConfig(model="resnet18", weights="imagenet")) == 224
    assert input_size(TrainConfig(model="inception_v3", weights="imagenet")) == 299
    assert input_size(TrainConfig(model="timm:vit_base_patch16_384", weights="imagenet")) == 384
    assert input_size(TrainConfig(model="inception_v3", weights="imagenet", image_size=96)) == 96
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "bare.pth")
    assert input_size(TrainConfig(model="squeezenet1_1", weights=str(tmp_path / "bare.pth"))) == 224
    Run.create(tmp_path / "sized", TrainConfig(image_size=48))
    assert input_size(TrainConfig(weights="run:sized"), tmp_path / "target") == 48
    Run.create(tmp_path / "pretrained", TrainConfig(model="inception_v3", weights="imagenet"))
    assert input_size(TrainConfig(weights=str(tmp_path / "pretrained"))) == 299
