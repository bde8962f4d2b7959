"""torch.compile, where a trial's steps repay it."""

import time
from collections.abc import Callable
from typing import Any

import torch

from fieldtrial.config import TrainConfig
from fieldtrial.training.distributed.world import World
from fieldtrial.training.models.network import FeatureNetwork, Network

# Seconds that compiling is taken to need, before this process has compiled a network.
USUAL_SECONDS = 60.0
# Seconds that a compiled step is taken to save: what a GPU waits for the launches of a network's
# few hundred operations, forwards and backwards, one by one.
SAVED_SECONDS = 0.002

_seconds: list[float] = []  # that compiling has taken in this process


class Forward:
    """Passes images through a network in training, compiled or not.

    Attributes:
        reason: why it is compiled, or is not.
    """

    def __init__(
        self, network: Network, config: TrainConfig, world: World, accumulation: int, steps: int
    ) -> None:
        self._network = network
        self.is_compiled, self.reason = decide(network, config, world, steps)
        self._part: Callable[[torch.Tensor], Any] = network.model
        self._shape: torch.Size | None = None
        self._has_graphs = False
        if self.is_compiled:
            # With CUDA graphs, a second micro-batch would overwrite the gradients of the first.
            self._has_graphs = world.device.type == "cuda" and accumulation == 1
            mode = "reduce-overhead" if self._has_graphs else "default"
            self._part = torch.compile(network.model, dynamic=False, mode=mode)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outputs of a micro-batch, as the network does.

        Only micro-batches of the first one's shape are computed by the compiled network: a smaller
        last one would have it compiled again. Evaluation does not come here.
        """
        if not self.is_compiled or self._shape not in (None, images.shape):
            outputs: torch.Tensor = self._network(images)
            return outputs
        if self._shape is None:
            self._shape = images.shape
            return self._first(images)
        return self._compute(images)

    def _compute(self, images: torch.Tensor) -> torch.Tensor:
        if not self._has_graphs:
            return self._network.forward_by(self._part, images)
        torch.compiler.cudagraph_mark_step_begin()
        # A copy, for the next step's outputs are put in the same place.
        return self._network.forward_by(self._part, images).clone()

    def _first(self, images: torch.Tensor) -> torch.Tensor:
        """Compile, forwards and backwards, and note the time that it takes."""
        started = time.monotonic()
        outputs = self._compute(images)
        _seconds.append(time.monotonic() - started)
        return outputs


def decide(network: Network, config: TrainConfig, world: World, steps: int) -> tuple[bool, str]:
    """Return whether to compile `network` for a trial with so many steps left, and why."""
    if config.compile == "off":
        return False, "compile = off"
    for holds, why in (
        (isinstance(network, FeatureNetwork), "the layers behind kept features are few"),
        (world.size > 1, "several processes train together"),
        (
            network.auxiliary is not None or config.loss in ("center", "triplet"),
            "the loss reads values inside the network",
        ),
    ):
        if holds:
            return False, f"not compiled: {why}"
    if config.compile == "on":
        return True, "compile = on"
    if world.device.type != "cuda":
        return False, "not compiled: on CPUs it was not seen to pay"
    seconds = max(_seconds, default=USUAL_SECONDS)
    saved = steps * SAVED_SECONDS
    facts = f"{steps:,} steps may save {saved:.0f} s, compiling takes about {seconds:.0f} s"
    return saved > seconds, facts if saved > seconds else f"not compiled: {facts}"
