"""LoRA: products of two small matrices, trained in the place of the layers that they are added to.

E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022; by the library peft.
"""

import re

import numpy as np
import torch
from torch import nn

from fieldtrial.training.freezing.depth_axis import units
from fieldtrial.training.models.network import Network

MATRICES = 9  # a purpose of random numbers


def adapt(network: Network, rank: int, seed: int) -> None:
    """Add a product B·A of rank `rank` to the weights of the layers of `network` but its heads.

    Layers are linear ones and convolutions; a convolution's A has its kernel, and its B one pixel.
    A is drawn from `seed` as torch draws a layer, and B is 0: the network computes what it did. The
    product is not scaled (the paper's α is the rank). All other parameters stay; `network` is on
    the CPU. A network that has been adapted is left as it is.

    peft adds nothing to some layers, which stay as they are: convolutions in groups or with
    dilation, and attention that reads its layers' weights, as torch's own does.

    Raises:
        ValueError: peft is not installed, or there is no such layer.
    """
    if network.adapted:
        return
    scheme = f"freeze = 'lora:{rank}'"
    names = _adaptable(network)
    if not names:
        raise ValueError(f"{scheme}: the model has no linear layer or convolution but its head")
    try:
        from peft import LoraConfig, inject_adapter_in_model  # late: it takes seconds
    except ImportError as error:
        raise ValueError(
            f"{scheme}: needs the library peft, which cannot be imported ({error}); pip install"
            " 'fieldtrial[train]'"
        ) from None
    units(network)  # known from now on, by the layers as they were built
    pattern = "|".join(map(re.escape, names))  # as a text, it is matched against whole names
    settings = LoraConfig(r=rank, lora_alpha=rank, target_modules=f"({pattern})")
    with torch.random.fork_rng(devices=[]):
        drawn = int(np.random.default_rng([MATRICES, seed]).integers(2**63))
        torch.default_generator.manual_seed(drawn)
        inject_adapter_in_model(settings, network.model)
    nn.utils.convert_conv2d_weight_memory_format(network.model, network.memory_format)
    network.adapted = names


def merge(network: Network) -> None:
    """Add the products to the weights themselves, which gives the network that was adapted.

    Its outputs are the same up to rounding.
    """
    if not network.adapted:
        return
    for name in network.adapted:
        layer = network.model.get_submodule(name)
        layer.merge()  # type: ignore[operator]
        parent, _, own = name.rpartition(".")
        setattr(network.model.get_submodule(parent), own, layer.base_layer)
    del network.model.peft_config  # which peft has left there
    network.adapted, network.frozen = (), None


def is_added(parameter: str) -> bool:
    """Return whether a parameter of this name is one of those that `adapt` adds."""
    return ".lora_A." in parameter or ".lora_B." in parameter


def _adaptable(network: Network) -> tuple[str, ...]:
    """Return the names of the layers to which a product is added, in order.

    A layer that is not called is not one of them: what is added to it would change nothing.
    """
    called: set[nn.Module] = set()
    layers = {
        name: layer for name, layer in network.model.named_modules() if _takes_a_product(layer)
    }
    handles = [
        layer.register_forward_pre_hook(lambda own, _: called.add(own)) for layer in layers.values()
    ]
    network.eval()
    try:
        with torch.no_grad():
            network(network.blank())
    finally:
        for handle in handles:
            handle.remove()
    heads = tuple(f"{head.removeprefix('model.')}." for head in network.heads)
    return tuple(
        name
        for name, layer in layers.items()
        if layer in called and not f"{name}.".startswith(heads)
    )


def _takes_a_product(layer: nn.Module) -> bool:
    """Return whether peft computes the layer with a product as with the sum of both weights.

    Subclasses may do something else with their weights.
    """
    if type(layer) is nn.Conv2d:
        return (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")
    return type(layer) is nn.Linear
