import pytest
import timm
import torch
import torchvision.models
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.fields.freezing_schemes import SCHEMES
from fieldtrial.training.data.load import DataShape
from fieldtrial.training.freezing.depth_axis import Unit, units
from fieldtrial.training.freezing.schemes import FROZEN, OVER_TIME, freeze
from fieldtrial.training.models.network import Network, count_trainable
from tests.training.networks import create


def test_every_scheme_of_the_field_has_its_function_and_no_other() -> None:
    assert sorted([*FROZEN, *OVER_TIME]) == sorted(SCHEMES)


def network_on_meta(name: str, size: int = 224) -> Network:
    with torch.device("meta"):
        model, head = create(
            TrainConfig(model=name), DataShape(classes=10, channels=3, image_size=size)
        )
    return Network(model, head, size, (0.5,) * 3, (0.5,) * 3)


def axis_of(network: Network) -> list[Unit]:
    axis = units(network)
    named = [name for unit in axis for name in unit.parameters]
    assert sorted(named) == sorted(
        name for name, _ in network.model.named_parameters()
    )  # each once, none lost
    head = network.head.removeprefix("model.")
    assert axis[-1].name == head
    assert {name.rpartition(".")[0] for name in axis[-1].parameters} == {head}
    return axis


# The numbers are those of the literature: convolutions and dense layers of VGG-11, fire modules,
# transformer blocks...
@pytest.mark.parametrize(
    ("name", "count", "first", "before_head"),
    [
        ("cnn", 7, "block1.convolution", "dense1"),
        ("mlp", 2, "dense1", "dense1"),
        ("torchvision:resnet18", 1 + 8 + 1, "conv1", "layer4.1"),
        ("torchvision:resnet50", 1 + 16 + 1, "conv1", "layer4.2"),
        ("torchvision:vgg11", 11, "features.0", "classifier.3"),
        ("torchvision:vgg16_bn", 16, "features.0", "classifier.3"),
        ("torchvision:squeezenet1_1", 1 + 8 + 1, "features.0", "features.12"),
        ("torchvision:mobilenet_v3_small", 1 + 11 + 1 + 2, "features.0.0", "classifier.0"),
        (
            "torchvision:densenet121",
            1 + 58 + 3 + 1,
            "features.conv0",
            "features.denseblock4.denselayer16",
        ),
        ("torchvision:convnext_tiny", 1 + 18 + 3 + 1, "features.0.0", "features.7.2"),
        ("torchvision:vit_b_16", 1 + 12 + 1, "conv_proj", "encoder.layers.encoder_layer_11"),
        ("torchvision:swin_t", 1 + 12 + 3 + 1, "features.0.0", "features.7.1"),
        ("torchvision:inception_v3", 5 + 11 + 1, "Conv2d_1a_3x3", "Mixed_7c"),
        ("timm:resnet18", 1 + 8 + 1, "conv1", "layer4.1"),
        ("timm:vit_tiny_patch16_224", 1 + 12 + 1, "patch_embed", "blocks.11"),
        ("timm:vit_base_patch16_clip_224", 1 + 12 + 1, "patch_embed", "blocks.11"),
        ("timm:convnext_tiny", 1 + 18 + 3 + 1, "stem.0", "stages.3.blocks.2"),
        ("timm:swin_tiny_patch4_window7_224", 1 + 12 + 3 + 1, "patch_embed", "layers.3.blocks.1"),
    ],
)
def test_the_depth_axis(name: str, count: int, first: str, before_head: str) -> None:
    axis = axis_of(network_on_meta(name))
    assert (len(axis), axis[0].name, axis[-2].name) == (count, first, before_head)


def test_norms_join_the_unit_before_and_embeddings_the_first() -> None:
    resnet = axis_of(network_on_meta("torchvision:resnet18"))
    assert resnet[0].parameters == ("conv1.weight", "bn1.weight", "bn1.bias")
    vit = axis_of(network_on_meta("timm:vit_tiny_patch16_224"))
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight"} <= set(vit[0].parameters)
    assert "norm.weight" in vit[-2].parameters
    vit = axis_of(network_on_meta("torchvision:vit_b_16"))
    assert {"class_token", "encoder.pos_embedding"} <= set(vit[0].parameters)
    assert "encoder.ln.bias" in vit[-2].parameters
    convnext = axis_of(network_on_meta("timm:convnext_tiny"))
    assert "head.norm.weight" in convnext[-2].parameters
    clip = axis_of(network_on_meta("timm:vit_base_patch16_clip_224"))
    assert "norm_pre.weight" in clip[0].parameters


def test_dropout_belongs_to_the_layer_whose_input_it_changes() -> None:
    vgg = {unit.name: unit.modules for unit in axis_of(network_on_meta("torchvision:vgg11"))}
    assert vgg["classifier.3"] == ("classifier.1", "classifier.2", "classifier.3")
    assert vgg["classifier.6"] == ("classifier.4", "classifier.5", "classifier.6")


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:vit_tiny_patch16_224", "cnn"])
def test_schemes_cut_the_axis(name: str) -> None:
    network = network_on_meta(name, 32)
    axis = axis_of(network)

    def trained_units(scheme: str) -> list[bool]:
        freeze(network, scheme)
        trains = {
            name for name, parameter in network.model.named_parameters() if parameter.requires_grad
        }
        assert all(
            trains.isdisjoint(unit.parameters) or trains.issuperset(unit.parameters)
            for unit in axis
        )
        return [trains.issuperset(unit.parameters) for unit in axis]

    n = len(axis)
    assert (
        trained_units("all_but_head")
        == trained_units("all_but_last:1")
        == [False] * (n - 1) + [True]
    )
    assert trained_units("all_but_last:3") == [False] * (n - 3) + [True] * 3
    assert trained_units("first:2") == [False] * 2 + [True] * (n - 2)
    assert trained_units("first:" + str(n - 1)) == trained_units("all_but_head")
    assert trained_units("none") == [True] * n
    assert trained_units("block:2") == [False, True] + [False] * (n - 3) + [True]
    last = str(n)
    with pytest.raises(
        ValueError, match=rf"'block:{last}': must be the number .* are 1 {axis[0].name}"
    ):
        freeze(network, f"block:{last}")

    def in_epoch(scheme: str, epoch: int) -> int:
        """Return how many units train in an epoch, which are the last ones."""
        freeze(network, scheme, epoch)
        assert network.unfreezes
        named = dict(network.model.named_parameters())
        trains = [{named[name].requires_grad for name in unit.parameters} for unit in axis]
        count = trains.count({True})
        assert trains == [{False}] * (n - count) + [{True}] * count
        return count

    assert [in_epoch("probe_then_all:2", epoch) for epoch in (1, 2, 3, 99)] == [1, 1, n, n]
    assert [in_epoch("gradual:1", epoch) for epoch in (1, 2, 3, n, 99)] == [1, 2, 3, n, n]
    assert [in_epoch("gradual:3", epoch) for epoch in (1, 3, 4, 6, 7)] == [1, 1, 2, 2, 3]


def test_a_pattern_freezes_what_it_finds() -> None:
    network = network_on_meta("torchvision:resnet18")
    freeze(network, r"pattern:^conv1\.|bn\d")
    frozen = {
        name for name, parameter in network.model.named_parameters() if not parameter.requires_grad
    }
    assert {"conv1.weight", "bn1.weight", "layer3.1.bn2.bias"} <= frozen
    assert not any("layer3.1.conv1" in name or "fc" in name for name in frozen)
    freeze(network, "all_but_head")
    assert count_trainable(network) == 512 * 10 + 10


# Of the literature's ResNet-50: https://arxiv.org/abs/1512.03385, table 1; the head has 2048 × 10 +
# 10 parameters.
@pytest.mark.parametrize(
    ("name", "trainable"),
    [
        ("layer1", 215_808),
        ("layer2", 1_219_584),
        ("layer3", 7_098_368),
        ("layer4", 14_964_736),
        ("layer3.0.conv2", 9 * 256 * 256),
        ("convolutions", 23_454_912),
        ("batch_norm", 53_120),
        (
            "downsampling",
            64 * 256 + 256 * 512 + 512 * 1024 + 1024 * 2048 + 2 * (256 + 512 + 1024 + 2048),
        ),
        ("fc", 0),
    ],
)
def test_only_one_part_trains_and_the_head_always(name: str, trainable: int) -> None:
    network = network_on_meta("torchvision:resnet50")
    freeze(network, f"only:{name}")
    assert count_trainable(network) == trainable + 2048 * 10 + 10


def test_an_auxiliary_classifier_trains_where_a_layer_below_it_does() -> None:
    network = network_on_meta("torchvision:inception_v3", 299)
    assert len(axis_of(network)) == 5 + 11 + 1
    for scheme, trains in {
        "none": True,
        "first:5": True,
        "first:12": True,  # all but the Mixed_6e that it looks at
        "first:13": False,
        "all_but_last:4": False,
        "all_but_head": False,
        "only:batch_norm": True,
        "only:Mixed_5b": True,
        "only:Mixed_7a": False,
        "pattern:AuxLogits|Mixed_6e": True,
    }.items():
        freeze(network, scheme)
        named = network.model.named_parameters()
        assert {p.requires_grad for name, p in named if name.startswith("AuxLogits.")} == {
            trains
        }, scheme
        assert ("AuxLogits" in network.held) == (not trains), scheme


def test_what_is_not_the_part_is_held() -> None:
    network = Network(torchvision.models.resnet18(num_classes=4), "fc", 32, (0.5,) * 3, (0.5,) * 3)
    freeze(network, "only:batch_norm")
    before, after = train_two_steps(network, 32)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {
        name for name in before if ".bn" in name or ".downsample.1." in name or ".fc." in name
    }
    freeze(network, "only:convolutions")
    before, after = train_two_steps(network, 32)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {
        name for name in before if ".conv" in name or ".downsample.0." in name or ".fc." in name
    }


def test_a_part_that_the_model_does_not_have_is_an_error_that_lists_its_parts() -> None:
    with pytest.raises(
        ValueError, match="freeze = 'only:layer5': the model has no such part; "
    ) as caught:
        freeze(network_on_meta("torchvision:resnet18"), "only:layer5")
    assert str(caught.value).endswith(
        "it has conv1, bn1, layer1, layer2, layer3, layer4, fc, convolutions, batch_norm, norms,"
        " downsampling, biases, and modules inside these, such as layer1.0"
    )
    with pytest.raises(
        ValueError,
        match=r"it has features, classifier, convolutions, biases, and .* such as features\.0",
    ):
        freeze(network_on_meta("torchvision:vgg11"), "only:batch_norm")
    with pytest.raises(ValueError, match="freezes nothing"):
        freeze(network_on_meta("torchvision:squeezenet1_1"), "only:convolutions")


@pytest.mark.parametrize(
    ("scheme", "what"),
    [
        ("all_but_last:10", "nothing"),
        ("first:10", "everything"),
        ("first:99", "everything"),
        ("pattern:layer9", "nothing"),
        ("pattern:.", "everything"),
    ],
)
def test_freezing_nothing_or_everything_is_an_error_that_lists_the_units(
    scheme: str, what: str
) -> None:
    network = network_on_meta("torchvision:resnet18")
    with pytest.raises(
        ValueError,
        match=rf"{scheme}'?: freezes {what}; .* 10 units are 1 conv1, 2 layer1\.0, .*10 fc",
    ):
        freeze(network, scheme)


def train_two_steps(network: Network, size: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the network's state before and after two steps of training, frozen parts held."""
    torch.manual_seed(0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network.train()
    for _ in range(2):
        loss = nn.functional.cross_entropy(
            network(torch.rand(4, 3, size, size)), torch.tensor([0, 1, 2, 3])
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return before, network.state_dict()


@pytest.mark.parametrize("scheme", ["first:5", "pattern:^(conv1|bn1|layer1|layer2)"])
def test_frozen_batch_norm_does_not_move(scheme: str) -> None:
    network = Network(torchvision.models.resnet18(num_classes=4), "fc", 32, (0.5,) * 3, (0.5,) * 3)
    freeze(network, scheme)
    before, after = train_two_steps(network, 32)
    frozen = ("model.conv1.", "model.bn1.", "model.layer1.", "model.layer2.")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in moved if name.startswith(frozen)]
    assert {
        "model.layer3.0.bn1.running_mean",
        "model.layer3.0.bn1.running_var",
        "model.layer3.0.bn1.weight",
    } <= moved
    assert {
        "model.layer3.0.bn1.num_batches_tracked",
        "model.layer4.1.bn2.bias",
        "model.fc.weight",
    } <= moved


def test_a_frozen_batch_norm_inside_a_unit_that_trains_does_not_move() -> None:
    network = Network(torchvision.models.resnet18(num_classes=4), "fc", 32, (0.5,) * 3, (0.5,) * 3)
    freeze(network, r"pattern:bn\d|downsample\.1")
    before, after = train_two_steps(network, 32)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in moved if "bn" in name or "downsample.1" in name]
    assert "model.layer1.0.conv1.weight" in moved


def test_dropout_is_off_in_frozen_units_and_on_before_the_head() -> None:
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, num_classes=4, proj_drop_rate=0.5, drop_rate=0.5
    )
    network = Network(model, "head", 32, (0.5,) * 3, (0.5,) * 3)
    features: list[Tensor] = []
    model.head_drop.register_forward_hook(lambda _, given, __: features.append(given[0]))
    images = torch.rand(2, 3, 32, 32)

    def run_twice(scheme: str) -> tuple[bool, bool]:
        freeze(network, scheme)
        network.train()
        one, two = network(images), network(images)
        return torch.equal(features[-1], features[-2]), torch.equal(one, two)

    assert run_twice("none") == (False, False)
    assert run_twice("all_but_head") == (True, False)
    assert run_twice("all_but_last:2") == (False, False)
