"""Network: a model with its normalisation inside, and what one costs."""

import hashlib
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from fieldtrial.fields.choices import Precision
from fieldtrial.fields.switches import switch
from fieldtrial.training.parts.failing import Blaming

AUXILIARY_NAME = "AuxLogits"  # torchvision's Inception v3


class Network(nn.Module):
    """A model of images as they are stored: normalisation, the model, and float32 outputs.

    Attributes:
        model: the inner model, which takes normalised images (n, channels, h, w).
        head: dotted name of the last layer inside this network, such as model.fc.
        heads: names of all last layers: that one or, of a detector, one for each of its heads.
        image_size: side in pixels of the images that it was built for.
        auxiliary: name in `model` of the auxiliary classifier, which trains the layers below it;
            or None.
        origin: where its initial weights are from, as entries of result.json.
        held: names in `model` of the modules that stay in evaluation mode; see `hold`.
        frozen: what `frozen_names` has found since then; None: nobody has asked.
        unfreezes: whether layers that are frozen now may train in later epochs.
        adapted: names in `model` of the layers to which `low_rank.adapt` has added a product.
        weights_file: where its initial weights came from; None where they were drawn.
        model_file: what describes it; None where a library has the model.
        memory_format: how images, features and the weights of convolutions lie in memory: channels
            last, which convolutions compute quicker on CPUs and on GPUs; see `in_format`.
        flops: floating-point operations of one image's pass, as `count_flops` counts them.
        stamps: sizes and times of the files that it came from, when it was built.
        code: which own part built it, with options and code; "" of one of this
            package or a library. It decides what the network computes, beside its weights.
        own: the name of the own part that built it; "" as above.
        known: what was found out about the network as it was built, shared by its copies.
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
        self.heads = tuple(f"model.{name}" for name in getattr(model, "head_names", (head,)))
        self.image_size = image_size
        self.auxiliary = AUXILIARY_NAME if getattr(model, AUXILIARY_NAME, None) else None
        self.precision = precision
        self.held: tuple[str, ...] = ()
        self.frozen: frozenset[str] | None = None
        self.unfreezes = False
        self.adapted: tuple[str, ...] = ()
        self.weights_file: Path | None = None
        self.model_file: Path | None = None
        self.origin: dict[str, str | float] = {}
        is_first = switch("FIELDTRIAL_MEMORY_FORMAT") == "contiguous"
        self.memory_format = torch.contiguous_format if is_first else torch.channels_last
        nn.utils.convert_conv2d_weight_memory_format(model, self.memory_format)
        self._normalising: tuple[object, tuple[Tensor, Tensor], object] | None = None
        self.flops = 0  # until `build` has counted them
        self.stamps: tuple[tuple[Path, int, int], ...] = ()
        self.code = self.own = ""
        self.known: dict[Hashable, Any] = {}
        self.register_buffer("mean", per_channel(mean))
        self.register_buffer("std", per_channel(std))

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 outputs of images as `normalise` takes them.

        A classifier's are logits (n, classes); a detector's are described at `FlatDetector`.
        """
        return self.forward_by(self.model, images)

    def forward_by(self, part: Callable[[Tensor], Any], images: Tensor) -> Tensor:
        """Return what `forward` does, computed by `part` in the place of the model."""
        return self._logits(part, self.normalise(images))

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; the modules `held` get evaluation mode either way."""
        super().train(mode)
        for name in self.held:
            self.model.get_submodule(name).eval()
        return self

    def hold(self, modules: tuple[str, ...]) -> None:
        """Keep these modules of `model` in evaluation mode from the next `train` call on.

        There, batch-norm statistics do not move and dropout is off.
        """
        self.held = modules
        self.frozen = None

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """See nn.Module; digests of what is overwritten are forgotten."""
        self.known = {key: one for key, one in self.known.items() if key not in state_dict}
        return super().load_state_dict(state_dict, strict, assign)

    def digest_of(self, name: str) -> str:
        """Return 32 hexadecimal digits of the shape and values of a tensor that does not train.

        `name` is a parameter's or buffer's. Computed once, also for copies of the network.
        """
        if name not in self.known:
            owner, _, own = name.rpartition(".")
            tensor: Tensor = getattr(self.get_submodule(owner), own)
            digest = hashlib.blake2b(
                f"{tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=16
            )
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().data)
            self.known[name] = digest.hexdigest()
        known: str = self.known[name]
        return known

    def compute(self, part: Callable[[Tensor], Any], given: Tensor) -> Any:
        """Return the output of a part of the model for `given`, in the network's precision.

        Raises:
            OwnCodeError: an own model has raised something; see `Blaming`.
        """
        with Blaming("model", self.own):
            if self.precision == "fp32":
                return part(given)
            with torch.autocast(given.device.type, torch.bfloat16):
                return part(given)

    def normalise(self, images: Tensor) -> Tensor:
        """Return normalised float images (n, c, h, w), as the model takes them, in its format.

        `images` are uint8 (n, h, w, c) or float (n, c, h, w) in [0, 1]. Grey ones are repeated over
        the channels of a model that takes more than one.
        """
        is_stored = images.dtype == torch.uint8
        if not is_stored:
            images = images.permute(0, 2, 3, 1)
        pixels = images.expand(-1, -1, -1, self.mean.shape[1])
        n, height, width, channels = pixels.shape
        # One multiply-add, along whole rows: three channels at a time are too short for a
        # processor's vectors.
        rows = pixels.reshape(n * height, width * channels)
        scale, shift = self._scale_and_shift(width, is_stored)
        if is_stored:
            rows = rows.float()
            torch.addcmul(shift, rows, scale, out=rows)
        else:
            rows = torch.addcmul(shift, rows, scale)
        return self.in_format(rows.view(n, height, width, channels).permute(0, 3, 1, 2))

    def in_format(self, images: Tensor) -> Tensor:
        """Return images or features (n, c, h, w) in the network's memory format.

        They are copied where they lie otherwise. Features of other shapes stay as they are.
        """
        return images.contiguous(memory_format=self.memory_format) if images.ndim == 4 else images

    def _scale_and_shift(self, width: int, is_stored: bool) -> tuple[Tensor, Tensor]:
        """Return what a row of `width` pixels is multiplied by, and what is added then.

        They are kept until mean or std change: on a small network, making them takes a tenth of a
        step.
        """
        mean, std = self.mean, self.std
        made_from = (id(mean), mean._version, id(std), std._version, width, is_stored)
        if self._normalising is None or self._normalising[0] != made_from:
            scale = (1 / std).flatten() / (255 if is_stored else 1)
            rows = scale.repeat(width), (-mean / std).flatten().repeat(width)
            # With the tensors themselves, so that their ids stay theirs.
            self._normalising = (made_from, rows, (mean, std))
        return self._normalising[1]

    def match_channels(self, images: Tensor) -> Tensor:
        """Return images (n, c, h, w) with the model's channels: grey ones are repeated."""
        return images.expand(-1, self.mean.shape[1], -1, -1)

    def blank(self) -> Tensor:
        """Return one input of `forward`, all zeros, on the network's device."""
        shape = (1, self.image_size, self.image_size, self.mean.shape[1])
        return torch.zeros(shape, dtype=torch.uint8, device=self.mean.device)

    def _logits(self, part: Callable[[Tensor], Any], given: Tensor) -> Tensor:
        output = self.compute(part, given)
        logits: Tensor = output if isinstance(output, Tensor) else output[0]  # [1]: the auxiliary's
        return logits.float()


class FeatureNetwork(Network):
    """A network that takes features at the freeze point in the place of images.

    It shares the modules and buffers of `network`, so both have the same state and train together.

    Args:
        network: the whole network.
        tail: from features to the model's output; it runs the modules of `network.model`.
        modules: the names of those that it runs.
        sample: one image's features (1, ...), in the type that `tail` takes.
    """

    def __init__(
        self,
        network: Network,
        tail: Callable[[Tensor], Any],
        modules: tuple[str, ...],
        sample: Tensor,
    ) -> None:
        head = network.head.removeprefix("model.")
        super().__init__(network.model, head, network.image_size, (0.0,), (1.0,), network.precision)
        self.mean, self.std, self.held = network.mean, network.std, network.held
        self.unfreezes, self.own = network.unfreezes, network.own
        self._tail, self._modules_run = tail, modules
        self._dtype, self._shape = sample.dtype, sample.shape

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode of what `tail` runs; see `Network.train`.

        The modules before it stay as they are: they compute nothing here.
        """
        self.training = mode
        for name in self._modules_run:
            self.model.get_submodule(name).train(mode)
        for name in self.held:
            self.model.get_submodule(name).eval()
        return self

    def forward(self, features: Tensor) -> Tensor:
        """Return float32 logits (n, classes) of float32 features (n, ...)."""
        return self._logits(self._tail, self.in_format(features.to(self._dtype)))

    def blank(self) -> Tensor:
        """Return one input of `forward`, all zeros, on the network's device."""
        return torch.zeros(self._shape, device=self.mean.device)


def per_channel(values: tuple[float, ...]) -> Tensor:
    """Return the values as float32 (1, channels, 1, 1), to compute with images."""
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_trainable(network: nn.Module) -> int:
    """Return the number of parameters that are not frozen."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def count_flops(network: Network, image_size: int, channels: int) -> int:
    """Return the floating-point operations of one image's forward pass.

    A multiply-add counts as two. Matrix products and convolutions are counted, nothing else.

    Raises:
        RuntimeError: the model cannot take an image of this size.
    """
    training = [module for module in network.model.modules() if module.training]
    network.model.eval()
    try:
        with FlopCounterMode(display=False) as counter:
            if network.code:  # which may compute with more than shapes
                with torch.no_grad():
                    network(network.blank())
            else:
                forward_shapes(network, image_size, channels)
    finally:
        for module in training:
            module.training = True
    return int(counter.get_total_flops())


def forward_shapes(network: Network, image_size: int, channels: int) -> None:
    """Pass the shape of one image through the model, in its present mode; nothing changes.

    Raises:
        RuntimeError or ValueError: the model cannot take such an image, or not in this mode.
    """
    model = network.model
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    image = network.match_channels(torch.empty(1, channels, image_size, image_size, device="meta"))
    functional_call(model, shapes, (image,))
