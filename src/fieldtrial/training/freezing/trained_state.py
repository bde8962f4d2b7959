"""The part of a network's state that training changes, and the part that stays as it was built."""

import hashlib
from collections.abc import Mapping

from torch import Tensor

from fieldtrial.training.models.network import Network


def frozen_names(network: Network) -> frozenset[str]:
    """Return the names of the tensors in the network's state that training never changes.

    These are the parameters that are frozen, and the buffers of modules that are held in evaluation
    mode. The statistics of a frozen layer that is not held move, and are not among them. Where
    frozen layers may train later, there are none.
    """
    if network.frozen is None:
        network.frozen = _frozen_names(network)
    return network.frozen


def _frozen_names(network: Network) -> frozenset[str]:
    if network.unfreezes:
        return frozenset()
    held = tuple(f"model.{name}." for name in network.held)
    parameters = network.named_parameters(remove_duplicate=False)
    buffers = network.named_buffers(remove_duplicate=False)
    names = {
        *(name for name, parameter in parameters if not parameter.requires_grad),
        *(name for name, _ in buffers if name.startswith(held)),
    }
    return frozenset(network.state_dict().keys() & names)


def trained_state(network: Network) -> dict[str, Tensor]:
    """Return what training may change of the network's state, not copied."""
    frozen = frozen_names(network)
    return {name: one for name, one in network.state_dict().items() if name not in frozen}


def frozen_state(network: Network) -> dict[str, Tensor]:
    """Return what training never changes of the network's state, not copied."""
    frozen = frozen_names(network)
    return {name: one for name, one in network.state_dict().items() if name in frozen}


def whole_state(network: Network, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's state with the tensors `trained` in the place of its own."""
    return {name: trained.get(name, own) for name, own in network.state_dict().items()}


def load_trained(network: Network, trained: Mapping[str, Tensor]) -> None:
    """Copy what `trained_state` returned into the network; its frozen part stays as it is.

    Raises:
        RuntimeError: a tensor is missing, left over or of another shape.
    """
    missing, left_over = network.load_state_dict(trained, strict=False)
    if problems := [*(set(missing) - frozen_names(network)), *left_over]:
        raise RuntimeError(f"not what the network trains: {', '.join(sorted(problems))}")


def frozen_digest(network: Network) -> str | None:
    """Return 32 hexadecimal digits of the names and values of the frozen part; None without one."""
    if not (names := frozen_names(network)):
        return None
    texts = (f"{name} {network.digest_of(name)}" for name in sorted(names))
    return hashlib.blake2b("\n".join(texts).encode(), digest_size=16).hexdigest()


def can_be_built_again(network: Network) -> bool:
    """Return whether the frozen part comes from a file of weights as it is.

    What is drawn may come out otherwise with another version of a library.
    """
    heads = tuple(f"{head}." for head in network.heads)
    drawn = any(name.startswith(heads) for name in frozen_names(network))
    return network.weights_file is not None and not drawn
