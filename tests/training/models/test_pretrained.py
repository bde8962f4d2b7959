"""ImageNet's weights where there is no network: found where they were put, or a clear error."""

import socket
import threading
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import torchvision.models
from safetensors.torch import save_file

from fieldtrial.config import TrainConfig
from fieldtrial.training.models import pretrained
from tests.training.networks import IMAGENET_MEAN, SQUEEZENET, Code, finished_run, network_for, same


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No name can be looked up, and the caches of weights are empty."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("FIELDTRIAL_DATA", str(tmp_path / "data"))
    pretrained._connection_error.cache_clear()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))


@pytest.mark.usefixtures("offline")
def test_imagenet_weights_that_cannot_be_fetched_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    with pytest.raises(
        ValueError, match=f"squeezenet1_1-b8a52dc0.pth, .*failed.*put the file at {place}"
    ) as caught:
        network_for(TrainConfig(model=SQUEEZENET.model, weights="imagenet"), 32)
    given = tmp_path / "data" / "weights"
    assert "4.7 MB, with a SHA-256 that starts with b8a52dc0" in str(caught.value)
    assert f" or {given}/squeezenet1_1-b8a52dc0.pth, or give its path as weights" in str(
        caught.value
    )
    folder = tmp_path / "hf" / "models--timm--resnet18.a1_in1k"
    with pytest.raises(
        ValueError, match=f"model.safetensors of timm/resnet18.a1_in1k.*copy .* to {folder}"
    ) as caught:
        network_for(TrainConfig(model="timm:resnet18", weights="imagenet"), 32)
    assert f"copy the file to {given}/resnet18.a1_in1k/model.safetensors or the folder" in str(
        caught.value
    )
    with pytest.raises(
        ValueError,
        match=r"xception needs xception-43020ad28\.pth, and fetching .*failed.*not known",
    ):
        network_for(TrainConfig(model="xception", weights="imagenet"), 299)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"failed .HF_HUB_OFFLINE is set"):
        network_for(TrainConfig(model="timm:resnet18", weights="imagenet"), 32)


@pytest.mark.usefixtures("offline")
def test_a_network_that_swallows_questions_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered, asked = threading.Event(), []

    def silent(*question: object, **_: object) -> None:
        asked.append(question)
        answered.wait()
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr(pretrained, "CONNECT_SECONDS", 0.1)
    try:
        for model in ("squeezenet1_1", "resnet18", "alexnet"):
            with pytest.raises(
                ValueError, match=r"no answer from https://download\.pytorch\.org within 0\.1 s"
            ):
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
    loaded = network_for(
        TrainConfig(model=SQUEEZENET.model, weights="imagenet"), 32
    ).model.state_dict()
    assert torch.equal(loaded["features.0.weight"], squeezenet.state_dict()["features.0.weight"])
    loaded = network_for(
        TrainConfig(model="timm:resnet18", weights="imagenet"), 32
    ).model.state_dict()
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
    assert set(source.state_dict()) - set(taken) == {
        "classifier.1.weight"
    }  # its bias starts at 0 in both
    assert loaded.mean.flatten().tolist() == pytest.approx(IMAGENET_MEAN)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("size", [128, 299])
def test_inceptions_auxiliary_classifier_is_loaded_where_there_is_one(
    tmp_path: Path, size: int
) -> None:
    place = tmp_path / "hub" / "checkpoints" / "inception_v3_google-0cc3c7bd.pth"
    place.parent.mkdir(parents=True)
    source = torchvision.models.inception_v3(init_weights=False).state_dict()
    torch.save(source, place)
    config = TrainConfig(model="inception_v3", weights="imagenet")
    network = network_for(config, size)
    own = network.model.state_dict()
    assert torch.equal(
        own["Mixed_6e.branch_pool.conv.weight"], source["Mixed_6e.branch_pool.conv.weight"]
    )
    assert network.auxiliary == ("AuxLogits" if size == 299 else None)
    if network.auxiliary:
        assert torch.equal(
            own["AuxLogits.conv1.conv.weight"], source["AuxLogits.conv1.conv.weight"]
        )
        assert own["AuxLogits.fc.weight"].shape == (5, 768)
    run = finished_run(
        tmp_path / "source", config, network
    )  # and a run with one is the source of one without
    assert network_for(TrainConfig(model="inception_v3", weights=str(run.path)), 427 - size)


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
    with pytest.raises(
        ValueError, match=r"model\.safetensors: not the weights of timm:vit_tiny.*blocks\.3"
    ):
        network_for(TrainConfig(model="timm:vit_tiny_patch16_224", weights="imagenet"), 32)


@pytest.mark.usefixtures("offline")
def test_imagenet_weights_with_code_in_them_do_not_reach_timm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_as_older_releases_do(path: str, **_: object) -> object:
        return torch.load(path, weights_only=False)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("timm.models._builder.load_state_dict", read_as_older_releases_do)
    monkeypatch.setenv("FIELDTRIAL_DATA", str(tmp_path))
    folder = tmp_path / "weights" / "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    folder.mkdir(parents=True)
    torch.save({"weight": Code()}, folder / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"pytorch_model\.bin: cannot be read as tensors and plain data"
    ):
        network_for(TrainConfig(model="timm:vit_tiny_patch16_224", weights="imagenet"), 32)
    assert not Path("ran").exists()
