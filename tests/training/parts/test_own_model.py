"""Own models: built, frozen and cached as those of this package are."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.effects import has_effect
from fieldtrial.own.errors import OwnCodeError
from fieldtrial.training.freezing.depth_axis import units
from fieldtrial.training.freezing.feature_cache import FeatureData
from fieldtrial.training.freezing.freeze_point import find_freeze_point
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.fit import Fit
from tests.training.networks import network_for

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]
Project = Callable[..., str]

# The package's own perceptron, written by a user.
PERCEPTRON = """
from torch import nn

def mlp(shape, width: int = 4):
    pixels = shape.channels * shape.image_size**2
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(),
                         nn.Linear(width, shape.classes))
"""


def test_a_model_that_a_user_wrote_trains_as_the_packages_does(
    project: Project, new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    module = project(PERCEPTRON, "mlp")
    for freezing in ("none", "first:1"):
        fields = {"freeze": freezing, "epochs": 2, "lr": 0.02}
        own = new_run(f"own {freezing}", model=f"{module}:mlp", **{"model.width": 16}, **fields)
        built_in = new_run(f"built in {freezing}", model="mlp", dense_width=[16], **fields)
        for run in (own, built_in):
            train_until(run, test=True)
        assert numbers(own) == numbers(built_in)
        results = [one.result() or {} for one in (own, built_in)]
        assert results[0]["test_accuracy"] == results[1]["test_accuracy"]
        assert results[0]["flops"] == results[1]["flops"] > 0
    attempt = Attempt.at(new_run("kept", model=f"{module}:mlp", freeze="first:1"))
    fit = Fit(attempt)
    next(fit.records())
    assert isinstance(fit.data, FeatureData)


def test_options_and_code_make_another_network(project: Project) -> None:
    module = project(PERCEPTRON, "mlp")
    config = TrainConfig(model=f"{module}:mlp")
    wide = TrainConfig.from_dict({"model.width": 6}, config)
    codes = {network_for(one).code for one in (config, wide)}
    assert len(codes) == 2
    assert not has_effect("dropout", config)
    assert not has_effect("block_dropout", config)
    assert all(f"{module}:mlp" in code for code in codes)
    assert network_for(wide).get_parameter("model.1.weight").shape == (6, 64)


HEADLESS = "its last layer cannot be found"
WRONG = [
    ("def make(shape): return 3", "gave an int, a module was expected"),
    (
        "def make(shape): raise RuntimeError('no luck')",
        r"failed for images of 8 × 8 pixels and 1 channels in .*, line 2: RuntimeError: no luck",
    ),
    (
        "def make(shape): return nn.Flatten()",
        rf"{HEADLESS}: it has no modules inside; .* self.head = nn.Linear\(width, 5\)$",
    ),
    (
        "def make(shape): return nn.Sequential(nn.Flatten())",
        rf"{HEADLESS}: it has no linear layer and no convolution; name it .* modules are 0$",
    ),
    (
        "def make(shape): return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))",
        rf"{HEADLESS}: 1 gives 7 numbers, and the data have 5 classes; name it in the module",
    ),
    (
        "class make(nn.Sequential):\n"
        "    head = 'last'\n"
        "    def __init__(self, shape): super().__init__(nn.Flatten(), nn.Linear(64, 5))",
        r"head = 'last': its modules are 0, 1",
    ),
    (
        "class make(nn.Sequential):\n"
        "    blocks = ['0', '7']\n"
        "    def __init__(self, shape): super().__init__(nn.Flatten(), nn.Linear(64, 5))",
        r"blocks: no module '7'; its modules are 0, 1",
    ),
    (
        "def make(shape): return nn.Sequential(nn.Linear(8, 5))",
        r"gave a Tensor of shape \(2, 1, 8, 5\) for 2 images .* \(2, 5\) were expected",
    ),
    (
        "def make(shape): return nn.Sequential(nn.Flatten(), nn.Linear(65, 5))",
        r"failed on 2 images of 8 × 8 pixels and 1 channels in .*: RuntimeError: .*mat1 and mat2",
    ),
    (
        "class make(nn.Module):\n"
        "    def __init__(self, shape):\n"
        "        super().__init__()\n"
        "        self.first, self.head = nn.Linear(64, 5), nn.Linear(64, 5)\n"
        "    def forward(self, images): return self.first(images.flatten(1))",
        "its last layer head is not used for an output",
    ),
]


@pytest.mark.parametrize(("source", "says"), WRONG)
def test_what_is_no_model_is_refused_in_one_line(source: str, says: str, project: Project) -> None:
    module = project(f"from torch import nn\n{source}", "make")
    with pytest.raises(
        (ConfigError, OwnCodeError), match=rf"^model = '{module}:make': .*{says}"
    ) as caught:
        network_for(TrainConfig(model=f"{module}:make"))
    assert "\n" not in str(caught.value)


def test_blocks_are_units_in_the_order_that_the_model_gives_them(project: Project) -> None:
    module = project(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    blocks = ('body.first', 'body.second')\n"
        "    head = 'out.0'\n"
        "    def __init__(self, shape):\n"
        "        super().__init__()\n"
        "        self.stem = nn.Linear(64, 4)\n"
        "        self.body = nn.Module()\n"
        "        self.body.second = nn.Linear(4, 4)\n"
        "        self.body.first = nn.Linear(4, 4)\n"
        "        self.neck = nn.Linear(4, 4)\n"
        "        self.out = nn.Sequential(nn.Linear(4, shape.classes))\n"
        "    def forward(self, images):\n"
        "        hidden = self.body.second(self.body.first(self.stem(images.flatten(1))))\n"
        "        return self.out(self.neck(hidden))\n",
        "Net",
    )
    network = network_for(TrainConfig(model=f"{module}:Net"))
    axis = units(network)
    assert [unit.name for unit in axis] == ["body.first", "body.second", "out.0"]
    owned = {unit.name: {name.rpartition(".")[0] for name in unit.parameters} for unit in axis}
    # The stem stands before `second` in the model's registration, and the neck after `first`.
    assert owned["body.second"] == {"stem", "body.second"}
    assert owned["body.first"] == {"body.first", "neck"}
    freeze(network, "all_but_last:1")
    trains = {name for name, one in network.model.named_parameters() if one.requires_grad}
    assert trains == {"out.0.weight", "out.0.bias"}


TAIL = "return self.head(torch.relu(hidden))"
FORWARDS = {
    "fixed": ("hidden = self.first(images.flatten(1)) * self.scale", True),
    "noise": (
        "hidden = self.first(images.flatten(1)); hidden = hidden + torch.rand_like(hidden)",
        False,
    ),
    "drawn when traced": ("hidden = self.first(images.flatten(1)) + torch.rand(4)", False),
    "always dropped": (
        "hidden = torch.nn.functional.dropout(self.first(images.flatten(1)))",
        False,
    ),
    "dropped in training": (
        "hidden = self.first(torch.nn.functional.dropout(images.flatten(1), 0.5, self.training))",
        False,
    ),
    "by the images": ("hidden = self.first(images.flatten(1)) * float(images.mean())", False),
}


@pytest.mark.parametrize("kind", FORWARDS)
def test_features_are_kept_only_where_the_frozen_part_repeats_itself(
    kind: str, project: Project
) -> None:
    line, is_kept = FORWARDS[kind]
    module = project(
        "import torch\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, shape, scale: float = 1.0):\n"
        "        super().__init__()\n"
        "        self.scale = torch.tensor(scale)\n"
        "        self.first, self.head = nn.Linear(64, 4), nn.Linear(4, shape.classes)\n"
        f"    def forward(self, images):\n        {line}\n        {TAIL}\n",
        "Net",
    )
    config = TrainConfig(model=f"{module}:Net")
    network = network_for(config)
    freeze(network, "all_but_head")
    point = find_freeze_point(network)
    assert (point is not None) == is_kept
    if point:
        # A tensor that is neither parameter nor buffer is told of by the option that made it.
        other = network_for(TrainConfig.from_dict({"model.scale": 2.0}, config))
        freeze(other, "all_but_head")
        others = find_freeze_point(other)
        assert others
        assert others.cut.computation != point.cut.computation
        images = network.normalise(torch.rand(3, 1, 8, 8))
        assert torch.equal(point.tail.run(point.prefix.run(images)), network.model(images))
