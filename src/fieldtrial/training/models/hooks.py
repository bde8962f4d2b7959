"""Values inside a network that losses and feature extraction read while it computes."""

from torch import Tensor, nn

from fieldtrial.training.models.network import Network


class HeadInput:
    """Keeps the head's input of the latest forward pass, with its gradient.

    It is a hook on the head, so it works whatever wraps the network.
    """

    def __init__(self, network: Network) -> None:
        self._latest: Tensor | None = None
        head = network.get_submodule(network.head)
        self._handle = head.register_forward_pre_hook(self._keep)

    def take(self) -> Tensor:
        """Return the input as `flatten_features` does, float32 (n, width), and forget it."""
        latest, self._latest = self._latest, None
        assert latest is not None, "no forward pass since the last call"
        return latest

    def close(self) -> None:
        """Remove the hook."""
        self._handle.remove()

    def _keep(self, head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._latest = flatten_features(head, inputs[0])


class AuxiliaryLogits:
    """Keeps the auxiliary classifier's logits of the latest forward pass, with their gradient."""

    def __init__(self, network: Network) -> None:
        self._latest: Tensor | None = None
        if network.auxiliary:
            auxiliary = network.model.get_submodule(network.auxiliary)
            auxiliary.register_forward_hook(self._keep)

    def take(self) -> Tensor | None:
        """Return the logits, float32 (n, classes), and forget them.

        They are None where the network has no auxiliary classifier, or its loss is not used.
        """
        latest, self._latest = self._latest, None
        return latest

    def _keep(self, _module: nn.Module, _inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        self._latest = logits.float() if logits.requires_grad else None


def flatten_features(head: nn.Module, given: Tensor) -> Tensor:
    """Return the input of a last layer as float32 (n, width): the mean over places or tokens."""
    features = given.float()
    if features.ndim > 2:
        channels = 1 if isinstance(head, nn.Conv2d) else features.ndim - 1
        features = features.movedim(channels, 1).flatten(2).mean(2)
    return features
