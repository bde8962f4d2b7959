"""Which share of a GPU's arithmetic rate a training reaches: model FLOPs utilization.

That is what the network must compute for the images of a second, over what the card could compute
in it (Chowdhery et al. 2022, "PaLM", appendix B). Work that is done twice does not count.
"""

import re

import torch
from torch.utils.flop_counter import FlopCounterMode

from fieldtrial.fields.choices import Precision
from fieldtrial.training.distributed.world import World
from fieldtrial.training.models.network import Network

# Dense rates in TFLOP/s by NVIDIA's data sheets, of matrix units where there are any: in bf16; and
# in fp32, which is TF32's where the card has that, because convolutions use it. The first name that
# occurs in the device's counts.
PEAKS: tuple[tuple[str, float | None, float], ...] = (
    ("B200", 2250, 1125),
    ("H200 NVL", 835.5, 417.5),
    ("(H200|GH200)", 989.4, 494.7),
    ("H100 PCIe", 756, 378),
    ("H100 NVL", 835.5, 417.5),
    ("H100", 989.4, 494.7),
    ("A100", 312, 156),
    ("A30", 165, 82),
    ("A10G?", 125, 62.5),
    ("A40", 149.7, 74.8),
    ("RTX A6000", 154.8, 77.4),
    ("L40S", 362, 183),
    ("L40", 181, 90.5),
    ("L4", 121, 60),
    ("RTX 4090", 165.2, 82.6),
    ("RTX 3090", 71, 35.6),
    ("V100-SXM2", None, 15.7),
    ("V100", None, 14.0),
    ("T4", None, 8.1),
)
IMAGES = 2  # a single one is too few for some layers
_counted: dict[tuple[object, ...], float] = {}


def peak_rate(name: str, precision: Precision) -> float | None:
    """Return the FLOPs a second that the GPU of this name can do; None: not known."""
    for pattern, bf16, fp32 in PEAKS:
        if re.search(rf"\b{pattern}\b", name):
            peak = bf16 if precision == "bf16" else fp32
            return None if peak is None else peak * 1e12
    return None


def training_flops(network: Network) -> float:
    """Return the floating-point operations of an image's forward and backward pass.

    A multiply-add counts as two. Matrix products and convolutions are counted, and of the backward
    pass, what the trainable layers need. The network computes a blank image on its device; its
    state, gradients and random numbers stay as they are.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    images = network.blank()
    images = images.expand(IMAGES, *images.shape[1:])
    was_training = network.training
    network.eval()  # statistics do not move, and no dropout is drawn
    try:
        with torch.enable_grad(), FlopCounterMode(display=False) as counter:
            output = network(images)
            if weights:
                torch.autograd.grad(output.sum(), weights, allow_unused=True)
    finally:
        network.train(was_training)
    return float(counter.get_total_flops()) / IMAGES


def ideal_seconds(network: Network, world: World) -> float | None:
    """Return how long an image's training takes a GPU at its full rate, in seconds.

    None on CPUs, and on GPUs whose rate is not known.
    """
    if world.device.type != "cuda":
        return None
    peak = peak_rate(torch.cuda.get_device_name(world.device), network.precision)
    if not peak:
        return None
    trainable = tuple(weight.requires_grad for weight in network.parameters())
    known = (repr(network.model), trainable, tuple(network.blank().shape), network.precision)
    if known not in _counted:  # a warm worker's next trial has the same network
        _counted[known] = training_flops(network)
    return _counted[known] / peak


def utilization(images_per_second: float, ideal: float | None, world: World) -> dict[str, float]:
    """Return a record's entry about the share of the devices' rate; ideal: of `ideal_seconds`."""
    return {} if ideal is None else {"utilization": images_per_second * ideal / world.size}
