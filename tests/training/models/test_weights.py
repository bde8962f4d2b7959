"""Weights of runs and of files: what is taken over, what does not fit, and what is refused."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision.models

from fieldtrial.config import TrainConfig
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.run import Run
from fieldtrial.training.models.weights import DTYPES, require_types, write_state
from tests.training.networks import IMAGENET_MEAN, SQUEEZENET, Code, finished_run, network_for, same


def test_weights_of_a_run_bring_everything_but_the_head(tmp_path: Path) -> None:
    config = TrainConfig(filters=(4,), seed=3)
    source = network_for(config)
    with torch.no_grad():
        source.mean.fill_(0.7)
        source.get_buffer("model.block1.batch_norm.running_mean").fill_(0.5)
    run = finished_run(tmp_path / "source", config, source)
    expected = set(source.state_dict()) - {"model.head.weight", "model.head.bias"}
    for weights in ("run:source", str(run.path), str(run.weights_path)):
        loaded = network_for(
            TrainConfig(filters=(4,), weights=weights), run_folder=tmp_path / "target"
        )
        assert set(same(source.state_dict(), loaded.state_dict())) == expected
        fresh = network_for(TrainConfig(filters=(4,))).state_dict()
        assert torch.equal(loaded.state_dict()["model.head.weight"], fresh["model.head.weight"])
    assert network_for(
        TrainConfig(filters=(4,), weights="run:source"), classes=3, run_folder=tmp_path / "target"
    )


def test_weights_of_another_model_are_an_error_that_names_tensors_and_file(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "source", TrainConfig(), network_for(TrainConfig(filters=(4,))))
    with pytest.raises(
        ValueError,
        match=r"safetensors: .*another shape: model\.block1\..* \(4,\), here \(8,\).* more",
    ):
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
    loaded = network_for(
        TrainConfig(model=SQUEEZENET.model, weights=str(tmp_path / "weights.pth")), 32
    )
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
    loaded = network_for(
        TrainConfig(model="torchvision:densenet121", weights=str(tmp_path / "densenet121.pth")), 32
    )
    name = "features.denseblock4.denselayer16.conv2.weight"
    assert torch.equal(loaded.model.get_parameter(name), source[name])


def test_a_file_with_code_in_it_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    torch.save({0: torch.ones(3), "weight": torch.ones(3)}, "numbered.pth")
    for name in ("no_state.pth", "numbered.pth"):
        with pytest.raises(ValueError, match=f"{name}: holds no state dict"):
            network_for(TrainConfig(weights=name))
    assert not Path("ran").exists()


def test_types_that_cannot_be_written_are_refused_before_training() -> None:
    state = {"model.a": torch.ones(2), "model.b": torch.ones(2, dtype=torch.complex128)}
    with pytest.raises(ValueError, match=r"cannot be written .*: model\.b \(torch\.complex128\)"):
        require_types(state)
    require_types({str(kind): torch.empty(1, dtype=kind) for kind in DTYPES})


@pytest.mark.parametrize("is_last", [False, True])
def test_what_is_written_is_what_safetensors_reads(is_last: bool, tmp_path: Path) -> None:
    kinds = [one for one in DTYPES if one != torch.bool]
    state = {f"a.{kind}": torch.arange(6).to(kind).reshape(2, 3) for kind in kinds}
    tied, layout = torch.ones(2, 3, 5, 4), torch.channels_last
    state |= {
        "flags": torch.tensor([True, False, True]),
        "image": tied.contiguous(memory_format=layout) if is_last else tied,
        "tied": tied,
        "part": torch.arange(10.0)[::3],
        "number": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        'é, "quoted"': torch.ones(1),
    }
    path = Inside(tmp_path) / "state.safetensors"
    write_state(path, state)
    assert len(same(state, safetensors.torch.load_file(path))) == len(state)
    with safetensors.safe_open(path, "pt") as file:
        assert {name: file.get_slice(name).get_dtype() for name in file.keys()} == {  # noqa: SIM118
            name: DTYPES[tensor.dtype] for name, tensor in state.items()
        }
