import itertools
import typing

import pytest
import timm
import torch
import torchvision.models
from torch import nn

from fieldtrial.config import TrainConfig
from fieldtrial.fields.choices import Activation
from fieldtrial.training.data.load import DataShape
from fieldtrial.training.loop.strategy import DROPPING
from fieldtrial.training.models.architectures import ACTIVATIONS
from fieldtrial.training.models.network import Network, count_flops
from fieldtrial.training.models.source import FUNCTIONS, LIBRARIES, resolve
from tests.training.networks import create

DIGITS = DataShape(classes=10, channels=1, image_size=8)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(config: TrainConfig, shape: DataShape) -> tuple[nn.Module, str]:
    with torch.device("meta"):
        return create(config, shape)


def test_the_reports_cnn_has_exactly_its_parameters() -> None:
    config = TrainConfig(
        filters=(512, 256, 128, 64, 32), kernel_size=(3,), dense_width=(256,), batch_norm=False
    )
    model, head = on_meta(config, DataShape(classes=10, channels=3, image_size=224))
    assert parameters(model) == 1_985_770
    assert model.get_submodule(head) is list(model.children())[-1]
    assert model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 10)


def test_the_reports_cnn_has_its_formulas_computations() -> None:
    """The second report's formula: a multiply-add is one computation; biases are not counted.

    It comes to 16.5e9 with the filters whose parameters are the 1,985,770 above, and not to the
    19,549,180,416 that the
    report prints beside it: no uniform, doubling or halving filters of that network come to those.
    """
    filters, side, dense = (512, 256, 128, 64, 32), 224, 256
    config = TrainConfig(filters=filters, dense_width=(dense,), batch_norm=False)
    model, head = on_meta(config, DataShape(classes=10, channels=3, image_size=side))
    by_formula = (
        filters[0] * 3 * 3**2 * side**2 + filters[-1] * (side // 32) ** 2 * dense + dense * 10
    )
    by_formula += sum(
        own * before * 3**2 * (side // 2**block) ** 2
        for block, (before, own) in enumerate(itertools.pairwise(filters), start=1)
    )
    assert by_formula == 16_477_800_960
    assert (
        count_flops(Network(model, head, side, (0.5,) * 3, (0.5,) * 3), side, 3) == 2 * by_formula
    )


def test_filters_grow_from_block_to_block_and_stay_above_zero() -> None:
    def widths(config: TrainConfig) -> list[int]:
        return [
            m.out_channels for m in create(config, DIGITS)[0].modules() if isinstance(m, nn.Conv2d)
        ]

    assert widths(TrainConfig(filters=(8,), filter_growth=2.0)) == [8, 16, 32, 64, 128]
    assert widths(TrainConfig(filters=(3,), filter_growth=0.5)) == [3, 2, 1, 1, 1]
    assert widths(TrainConfig(filters=(5, 4, 3, 2, 1))) == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("size", [1, 8, 28, 33])
def test_the_cnn_takes_any_size_and_kernels_per_block(size: int) -> None:
    config = TrainConfig(filters=(2,), kernel_size=(7, 5, 3, 1, 1), dense_width=(4, 3))
    model, _ = create(config, DataShape(classes=5, channels=3, image_size=size))
    assert [m.kernel_size[0] for m in model.modules() if isinstance(m, nn.Conv2d)] == [
        7,
        5,
        3,
        1,
        1,
    ]
    assert all(m.bias is not None for m in model.modules() if isinstance(m, nn.Conv2d))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 5
    assert model(torch.rand(2, 3, size, size)).shape == (2, 5)


def layers(model: nn.Module) -> list[str]:
    return [
        type(layer).__name__ for layer in model.modules() if not isinstance(layer, nn.Sequential)
    ]


def test_blocks_of_two_convolutions_without_padding() -> None:
    """The fifth report's network: filters double, normalisation after pooling, 2 × 1024 dense."""
    config = TrainConfig(
        blocks=4,
        convolutions=2,
        filter_growth=2.0,
        padding="valid",
        batch_norm_after="pool",
        dense_width=(1024, 1024),
    )
    model, head = on_meta(config, DataShape(classes=104, channels=3, image_size=192))
    block = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d", "BatchNorm2d"]
    assert layers(model) == block * 4 + ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    # sides by hand: 192 → 188 → 94 → 90 → 45 → 41 → 20 → 16 → 8
    convolutions = sum(
        9 * a * b + b for a, b in [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    )
    convolutions += 9 * 128 * 256 + 256 + 9 * 256 * 256 + 256 + 2 * (32 + 64 + 128 + 256)
    dense = 8 * 8 * 256 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 104 + 104
    assert parameters(model) == convolutions + dense
    assert model(torch.empty(2, 3, 192, 192, device="meta")).shape == (2, 104)
    assert head == "head"


def test_an_image_of_which_nothing_is_left_is_an_error() -> None:
    config = TrainConfig(blocks=3, padding="valid")
    assert create(config, DataShape(10, 1, 22))[0](torch.rand(2, 1, 22, 22)).shape == (2, 10)
    with pytest.raises(
        ValueError,
        match=r"image_size = 21: too small for 3 blocks.*nothing is left of it after block 3",
    ):
        create(config, DataShape(10, 1, 21))


def test_dropout_in_the_blocks_of_the_own_models() -> None:
    cnn, _ = create(
        TrainConfig(blocks=2, batch_norm=False, dense_width=(4, 3), block_dropout=0.2, dropout=0.5),
        DIGITS,
    )
    dense = ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Dropout", "Linear"]
    assert layers(cnn) == ["Conv2d", "ReLU", "MaxPool2d", "Dropout"] * 2 + dense
    mlp, _ = create(
        TrainConfig(model="mlp", dense_width=(4, 3), block_dropout=0.2, dropout=0.5), DIGITS
    )
    assert layers(mlp) == [
        "Flatten",
        "Linear",
        "ReLU",
        "Dropout",
        "Linear",
        "ReLU",
        "Dropout",
        "Linear",
    ]
    for model in (cnn, mlp):
        assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)][-2:] == [0.2, 0.5]


def test_dropout_after_each_relu_in_the_blocks_of_a_resnet() -> None:
    shape = DataShape(7, channels=3, image_size=32)
    plain, _ = create(TrainConfig(model="torchvision:resnet18"), shape)
    model, _ = create(TrainConfig(model="torchvision:resnet18", block_dropout=0.2), shape)
    assert model.state_dict().keys() == plain.state_dict().keys()
    dropped: list[float] = []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(
                lambda _, given, out: dropped.append(((given[0] > 0) & (out == 0)).sum())
            )
    model(torch.rand(2, 3, 32, 32))
    assert len(dropped) == 8 * 2
    assert all(dropped)
    bottleneck, _ = on_meta(TrainConfig(model="torchvision:resnet50", block_dropout=0.2), shape)
    assert sum(isinstance(m, nn.Dropout) for m in bottleneck.modules()) == 16
    model.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model.eval()(images), plain.eval()(images))


@pytest.mark.parametrize("name", ["torchvision:vgg11", "timm:resnet18", "torchvision:vit_b_16"])
def test_block_dropout_where_there_is_no_place_for_it_is_an_error(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"block_dropout = 0\.2: {name} has no residual blocks .* must be 0"
    ):
        on_meta(TrainConfig(model=name, block_dropout=0.2), DataShape(7, channels=3, image_size=32))


def test_the_mlp_is_dense_layers_alone() -> None:
    model, _ = create(TrainConfig(model="mlp", dense_width=(12, 6), dropout=0.3), DIGITS)
    assert parameters(model) == (64 * 12 + 12) + (12 * 6 + 6) + (6 * 10 + 10)
    assert [type(layer).__name__ for layer in model.children()][-2:] == ["Dropout", "Linear"]


def test_every_activation_is_there_and_used() -> None:
    assert set(ACTIVATIONS) == set(typing.get_args(Activation))
    model, _ = create(TrainConfig(activation="mish"), DIGITS)
    assert sum(isinstance(m, nn.Mish) for m in model.modules()) == 6


def test_a_name_says_whose_model_is_meant() -> None:
    assert resolve("cnn") == (FUNCTIONS, "cnn")
    assert resolve("resnet18") == ("torchvision", "resnet18")
    assert resolve("timm:resnet18") == ("timm", "resnet18")
    assert resolve("resnet18.a1_in1k") == ("timm", "resnet18.a1_in1k")
    assert resolve("vit_tiny_patch16_224") == ("timm", "vit_tiny_patch16_224")


@pytest.mark.parametrize(
    "name", ["resnet81", "timm:resnet81", "torchvision:resnet81", "resnet18.no_such_tag"]
)
def test_an_unknown_model_is_an_error_with_close_names(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"no such model in .*close: .*resnet18.*timm:NAME or torchvision:NAME"
    ):
        resolve(name)


# The numbers of classes differ from 1000, so a head that was not replaced shows.
@pytest.mark.parametrize(
    ("name", "head", "size"),
    [
        ("torchvision:resnet18", "fc", 32),
        ("torchvision:vgg11", "classifier.6", 32),
        ("torchvision:alexnet", "classifier.6", 64),
        ("torchvision:squeezenet1_1", "classifier.1", 32),
        ("torchvision:mobilenet_v3_small", "classifier.3", 32),
        ("torchvision:densenet121", "classifier", 32),
        ("torchvision:convnext_tiny", "classifier.2", 32),
        ("torchvision:vit_b_16", "heads.head", 32),
        ("torchvision:swin_t", "head", 32),
        ("torchvision:maxvit_t", "classifier.5", 224),
        ("torchvision:googlenet", "fc", 32),
        ("torchvision:inception_v3", "fc", 96),
        ("torchvision:inception_v3", "fc", 299),
        ("timm:resnet18", "fc", 32),
        ("timm:convnext_atto", "head.fc", 32),
        ("timm:vit_tiny_patch16_224", "head", 32),
        ("timm:densenet121", "classifier", 32),
    ],
)
def test_a_library_model_gets_a_head_of_the_datas_classes(name: str, head: str, size: int) -> None:
    model, found = on_meta(TrainConfig(model=name), DataShape(7, channels=3, image_size=size))
    assert found == head
    assert model.get_parameter(f"{head}.weight").shape[0] == 7
    model.eval()
    assert model(torch.empty(2, 3, size, size, device="meta")).shape == (2, 7)


# What the models must come to; torchvision states its own counts with its weights.
@pytest.mark.parametrize(
    "name",
    [
        *[
            "resnet18",
            "resnet50",
            "resnet101",
            "inception_v3",
            "densenet161",
            "vgg11",
            "vgg16",
            "vgg19",
        ],
        *["squeezenet1_0", "squeezenet1_1", "alexnet", "vit_b_16"],
    ],
)
def test_parameters_are_those_that_torchvision_states(name: str) -> None:
    library, _ = resolve(name)
    assert library == "torchvision"
    pretraining = LIBRARIES[library].pretraining(name)
    assert pretraining is not None
    size = pretraining.image_size
    model, _ = on_meta(TrainConfig(model=name), DataShape(1000, channels=3, image_size=size))
    assert (
        parameters(model) == torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
    )


@pytest.mark.parametrize(
    ("name", "own", "millions"),
    [("xception", "legacy_xception", 22.86), ("inception_resnet_v2", "", 55.84)],
)
def test_parameters_are_those_of_timm(name: str, own: str, millions: float) -> None:
    assert resolve(name) == ("timm", name)
    model, _ = on_meta(TrainConfig(model=name), DataShape(classes=1000, channels=3, image_size=299))
    with torch.device("meta"):
        assert parameters(model) == parameters(timm.create_model(own or name))
    assert parameters(model) / 1e6 == pytest.approx(
        millions, abs=0.005
    )  # of timm's own table of results


def test_dropout_reaches_a_library_model_or_is_refused() -> None:
    shape = DataShape(7, channels=3, image_size=32)
    vgg, _ = on_meta(TrainConfig(model="torchvision:vgg11", dropout=0.25), shape)
    assert {m.p for m in vgg.modules() if isinstance(m, nn.Dropout)} == {0.25}
    vit, _ = on_meta(TrainConfig(model="timm:vit_tiny_patch16_224", dropout=0.25), shape)
    assert vit.head_drop.p == 0.25  # type: ignore[union-attr]
    on_meta(TrainConfig(model="torchvision:resnet18", dropout=0.0), shape)
    with pytest.raises(ValueError, match=r"dropout = 0\.25: resnet18 has none"):
        on_meta(TrainConfig(model="torchvision:resnet18", dropout=0.25), shape)


def test_stochastic_depth_rises_to_the_last_block_or_is_refused() -> None:
    def rates(model: str, rate: float | None) -> list[float]:
        built, _ = on_meta(
            TrainConfig(model=model, stochastic_depth=rate), DataShape(7, channels=3, image_size=64)
        )
        layers = [one for one in built.modules() if type(one).__name__ in DROPPING]
        return [float(vars(one)["p" if "p" in vars(one) else "drop_prob"]) for one in layers]

    blocks = 18  # ConvNeXt-T's: 3, 3, 9, 3
    expected = [0.3 * block / (blocks - 1) for block in range(blocks)]
    assert rates("torchvision:convnext_tiny", 0.3) == pytest.approx(expected)
    # timm leaves a layer out where the rate is 0
    assert rates("timm:convnext_tiny", 0.3) == pytest.approx(expected[1:])
    own = rates("torchvision:swin_t", None)
    assert max(own) == pytest.approx(0.2), "Liu et al. 2021, and torchvision"
    assert rates("torchvision:swin_t", 0.3) == pytest.approx([1.5 * rate for rate in own])
    assert set(rates("torchvision:swin_t", 0.0)) == {0.0}
    assert rates("torchvision:resnet18", 0.0) == []
    with pytest.raises(
        ValueError, match=r"stochastic_depth = 0\.3: resnet18 has none .* none or 0"
    ):
        rates("torchvision:resnet18", 0.3)


@pytest.mark.parametrize(
    ("model", "own"),  # what the papers and torchvision's and timm's documentation say
    [
        ("torchvision:squeezenet1_0", {0.5}),
        ("torchvision:alexnet", {0.5}),
        ("torchvision:vgg11", {0.5}),
        ("torchvision:mobilenet_v2", {0.2}),
        ("torchvision:mobilenet_v3_small", {0.2}),
        ("torchvision:efficientnet_b0", {0.2}),
        ("torchvision:efficientnet_b4", {0.4}),
        ("timm:rexnet_100", {0.2}),
    ],
)
def test_a_library_models_dropout_is_its_own_unless_the_config_says_otherwise(
    model: str, own: set[float]
) -> None:
    def dropouts(config: TrainConfig) -> set[float]:
        built, _ = on_meta(config, DataShape(7, channels=3, image_size=64))
        return {module.p for module in built.modules() if isinstance(module, nn.Dropout)} - {0.0}

    assert dropouts(TrainConfig(model=model)) == own
    assert dropouts(TrainConfig(model=model, dropout=0.0)) == set()
