"""Network: a model with its normalisation inside. How one is built, with which weights, and what it
costs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from fieldtrial.config import Precision, TrainConfig
from fieldtrial.training.models.architectures import Facts, create, input_channels, resolve
from fieldtrial.training.models.libraries import LIBRARIES
from fieldtrial.training.models.weights import (
    is_bare,
    is_network,
    load_state,
    read_state,
    source_run,
    weights_file,
)

AUXILIARY_NAME = "AuxLogits"  # torchvision's Inception v3


class Network(nn.Module):
    """A classifier of images as they are stored: normalisation, the model, and float32 logits.

    Attributes:
        model: the inner model, which takes normalised images (n, channels, h, w).
        head: dotted name of the last layer inside this network, such as model.fc.
        image_size: side in pixels of the images that it was built for.
        auxiliary: name in `model` of its auxiliary classifier, which trains the layers below it, or
        None.
        auxiliary_logits: what that said in the last pass, float32 (n, classes); None where nothing
        trains by it.
        features: what the last layer got in the last pass, where `keep_features` was called:
        float32 (n, width).
        frozen_modules: names in `model` of the modules that training must not move; see freezing.
        tail: from features at the freeze point to the model's output, of that dtype, or None; see
        frozen_features.
        mean, std: buffers (1, channels, 1, 1), in [0, 1]: they travel with the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        head: str,
        image_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        precision: Precision = "fp32",
    ) -> None:
        super().__init__()
        self.model = model
        self.head = f"model.{head}"
        self.image_size = image_size
        self.auxiliary = AUXILIARY_NAME if getattr(model, AUXILIARY_NAME, None) else None
        self.auxiliary_logits: Tensor | None = None
        self.precision = precision
        self.features: Tensor | None = None
        self.frozen_modules: tuple[str, ...] = ()
        self.tail: Callable[[Tensor], Any] | None = None
        self.feature_dtype = torch.float32
        self.register_buffer("mean", _per_channel(mean))
        self.register_buffer("std", _per_channel(std))

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 logits (n, classes) of uint8 images (n, h, w, c) or float images (n, c, h,
        w) in [0, 1].

        Grey images are repeated over the channels of a model that takes more than one. With a
        `tail`, what is not uint8 is the features that it takes.
        """
        if self.tail and images.dtype != torch.uint8:
            output = self.compute(self.tail, images.to(self.feature_dtype))
        else:
            output = self.compute(self.model, self.normalise(images))
        logits, auxiliary = (output, None) if isinstance(output, Tensor) else output
        self.auxiliary_logits = (
            auxiliary.float() if auxiliary is not None and auxiliary.requires_grad else None
        )
        return logits.float()

    def compute(self, part: Callable[[Tensor], Any], given: Tensor) -> Any:
        """Return what a part of the model makes of `given`, in the network's precision."""
        with torch.autocast(given.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return part(given)

    def normalise(self, images: Tensor) -> Tensor:
        """Return normalised images (n, c, h, w), as the model takes them, of images as `forward`
        does.
        """
        if images.dtype == torch.uint8:
            images = images.permute(0, 3, 1, 2).float() / 255
        return (self.match_channels(images) - self.mean) / self.std

    def keep_features(self) -> None:
        """Have each pass leave in `features` what the last layer gets; maps and tokens are averaged
        over their places.

        A hook, so that the features are there whatever wraps this network, and with their gradient.
        """
        self.get_submodule(self.head).register_forward_pre_hook(self._keep_features)

    def _keep_features(self, head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.features = flatten_features(head, inputs[0])

    def match_channels(self, images: Tensor) -> Tensor:
        """Return images (n, c, h, w) with as many channels as the model takes: grey ones are
        repeated.
        """
        return images.expand(-1, self.mean.shape[1], -1, -1)


def flatten_features(head: nn.Module, given: Tensor) -> Tensor:
    """Return what a last layer is given as float32 (n, width): maps and tokens are averaged over
    their places.
    """
    features = given.float()
    if features.ndim > 2:
        channels = 1 if isinstance(head, nn.Conv2d) else features.ndim - 1
        features = features.movedim(channels, 1).flatten(2).mean(2)
    return features


def input_size(config: TrainConfig, run_folder: Path | None = None) -> int | None:
    """Return the side in pixels of the images that the network should get, or None for the data
    set's own.

    It is config.image_size, else what a library's ImageNet weights or bare weights in a file
    expect, else what the run that the weights come from got.

    Raises:
        ValueError: no such model, run or file.
    """
    if config.image_size is not None:
        return config.image_size
    library, name = resolve(config.model)
    if config.weights == "imagenet":
        return LIBRARIES[library].pretraining(name).image_size if library else None
    if run := source_run(config, run_folder):
        return input_size(run.config(), run.path)
    file = weights_file(config, run_folder)
    return (
        LIBRARIES[library].pretraining(name).image_size
        if library and file and is_bare(file)
        else None
    )


def build(
    config: TrainConfig,
    num_classes: int,
    channels: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    image_size: int,
    run_folder: Path | None,
) -> Network:
    """Return the network of `config` on the CPU: same config, data and files, same weights, bit for
    bit.

    Drawn weights come from config.seed alone; the global random state stays as it was. The last
    layer is always fresh.

    Args:
        config: which model and which initial weights.
        num_classes: length of the logits.
        channels: of the data's images.
        mean: per channel in [0, 1], of the data; weights that were trained on a normalisation bring
        their own.
        std: as `mean`.
        image_size: side of the data's images in pixels.
        run_folder: the run's directory: weights run:NAME lie beside it.

    Raises:
        ValueError: an unknown model, weights that are not there or do not fit, an image size that
        it cannot take.
    """
    library, name = resolve(config.model)
    file = weights_file(config, run_folder)
    if config.weights == "imagenet" and library is None:
        raise ValueError(
            f"weights = 'imagenet': there are none of {name}; only library models have them"
        )
    taken = input_channels(config.model, channels)
    if channels not in (1, taken):
        raise ValueError(
            f"model = {config.model!r}: takes images of 1 or {taken} channels, the data's have"
            f" {channels}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            config.seed
        )  # and not torch.manual_seed: that seeds the GPUs as well
        try:
            model, head = create(config, Facts(num_classes, taken, image_size))
            network = Network(
                model, head, image_size, _fill(mean, taken), _fill(std, taken), config.precision
            )
            _check_patches(model, image_size)
            count_flops(network, image_size, channels)
        except (RuntimeError, AssertionError) as error:
            own = (
                f"; it was made for {LIBRARIES[library].pretraining(name).image_size}"
                if library
                else ""
            )
            reason = str(error).strip().split("\n")[0]
            raise ValueError(
                f"image_size = {image_size}: {config.model} cannot take it ({reason}){own}"
            ) from None
        if config.weights == "imagenet" and library:
            state, path = LIBRARIES[library].imagenet(name, image_size)
            _load(network, state, path, library, name)
        elif file:
            _load(network, read_state(file), file, library, name)
    return network


def _load(
    network: Network, state: dict[str, Tensor], path: Path, library: str | None, name: str
) -> None:
    """Load `state` into `network`; a library model's bare weights come with the library's
    normalisation.
    """
    load_state(network, network.head, state, path)
    if library and not is_network(state):
        expected = LIBRARIES[library].pretraining(name)
        network.mean.copy_(_per_channel(expected.mean))
        network.std.copy_(_per_channel(expected.std))


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def _fill(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def _check_patches(model: nn.Module, image_size: int) -> None:
    """Raise RuntimeError where patches do not fill the image: timm would cut the rest off in
    silence.
    """
    size = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    patch = size[0] if isinstance(size, tuple) else size
    if isinstance(patch, int) and image_size % patch:
        raise RuntimeError(f"the size must be a multiple of its {patch}-pixel patches")


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_trainable(network: nn.Module) -> int:
    """Return the number of parameters that training moves."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def count_flops(network: Network, image_size: int, channels: int) -> int:
    """Return the floating-point operations of one image's forward pass; a multiply-add counts as
    two.

    Matrix products and convolutions are counted, nothing else.

    Raises:
        RuntimeError: the model cannot take an image of this size.
    """
    training = [module for module in network.model.modules() if module.training]
    network.model.eval()
    try:
        with FlopCounterMode(display=False) as counter:
            forward_shapes(network, image_size, channels)
    finally:
        for module in training:
            module.training = True
    return int(counter.get_total_flops())


def forward_shapes(network: Network, image_size: int, channels: int) -> None:
    """Send the shape of one image through the model, in the mode that it is in: milliseconds, and
    nothing changes.

    Raises:
        RuntimeError or ValueError: the model cannot take such an image, or not in this mode.
    """
    model = network.model
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    image = network.match_channels(torch.empty(1, channels, image_size, image_size, device="meta"))
    functional_call(model, shapes, (image,))
