"""How the processes of a trial share the training of one network: plainly, or partitioned by
DeepSpeed's ZeRO.
"""

import copy
import logging
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fieldtrial.config import TrainConfig
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.optimizers import (
    OptimizerState,
    build_optimizer,
    total_norm,
    trainable,
)
from fieldtrial.training.models.network import Network

log = logging.getLogger(__name__)


class Strategy(Protocol):
    """Computes, averages and applies gradients. All methods are called by all processes together.

    A batch is one or several pieces, each a `forward` and a `backward` within `piece`, and then one
    `step`.
    """

    def piece(self, is_last: bool) -> AbstractContextManager[object]:
        """Return a context for one piece of a batch: what can wait for the last one's gradients
        does.
        """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of a piece of this process's part of a batch, to be trained on."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of `loss`, averaged over the processes, to that of the batch."""

    def step(self, lr: float) -> torch.Tensor | float:
        """Take one optimiser step along the batch's gradient, and forget it; return its norm before
        any clipping.
        """

    def weights(self) -> list[torch.Tensor]:
        """Return the weights that train, without a copy: all of them, or each process its own
        share.
        """

    def model_state(self) -> dict[str, torch.Tensor]:
        """Return the network's full state."""

    def optimizer_state(self) -> OptimizerState:
        """Return the optimiser's full state by parameter; empty before the first step."""

    def load_optimizer_state(self, state: OptimizerState) -> None:
        """Continue with the state that `optimizer_state` returned, here or under
        another strategy.
        """

    def close(self) -> None:
        """Let go of what outlives the object: the trial has ended."""


def prepare(network: Network, config: TrainConfig, world: World) -> Strategy:
    """Return the strategy of `config` for `network`, which holds the weights to start from, on its
    device.

    A single process has nothing to partition: there, all strategies are the plain one.
    """
    norms = [
        part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)
    ]
    if (
        world.size > 1
        and norms
        and any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
    ):
        if world.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        elif world.is_main:
            log.warning(
                "batch normalisation uses each process's own part of a batch: CPUs do not share"
                " statistics"
            )
    if world.size > 1 and config.strategy != "ddp":
        from fieldtrial.training.loop.zero import Zero

        return Zero(network, config, world)
    return Replicated(network, config, world)


class Replicated:
    """One process, or several with a full copy of everything each (DistributedDataParallel)."""

    def __init__(self, network: Network, config: TrainConfig, world: World) -> None:
        self._network = network
        self._parameters = trainable(network)
        self._optimizer = build_optimizer(self._parameters.values(), config)
        self._gradient_clip = config.gradient_clip
        self._module: nn.Module = network
        if world.size > 1:  # buffers are shared before each evaluation instead of at each step
            device_ids = [world.device.index] if world.device.type == "cuda" else None
            with (
                warnings.catch_warnings()
            ):  # newer torch has another name for it, which older torch does not know
                warnings.filterwarnings(
                    "ignore", message=".*broadcast_buffers", category=FutureWarning
                )
                self._module = DistributedDataParallel(
                    network, device_ids=device_ids, broadcast_buffers=False
                )

    def piece(self, is_last: bool) -> AbstractContextManager[object]:
        """Return a context for one piece of a batch: the processes average their gradients once, at
        the last one.
        """
        if isinstance(self._module, DistributedDataParallel) and not is_last:
            return self._module.no_sync()
        return nullcontext()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of a piece of this process's part of a batch, to be trained on."""
        logits: torch.Tensor = self._module(images)
        return logits

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of `loss`, averaged over the processes, to that of the batch."""
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self, lr: float) -> torch.Tensor | float:
        """Take one optimiser step along the batch's gradient, and forget it; return its norm before
        any clipping.
        """
        gradient = [
            parameter.grad for parameter in self._parameters.values() if parameter.grad is not None
        ]
        norm = total_norm(gradient)
        if self._gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(self._parameters.values(), self._gradient_clip, norm)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def weights(self) -> list[torch.Tensor]:
        """Return the weights that train, without a copy: all of them, or each process its own
        share.
        """
        return [parameter.detach() for parameter in self._parameters.values()]

    def model_state(self) -> dict[str, torch.Tensor]:
        """Return the network's full state."""
        return self._network.state_dict()

    def optimizer_state(self) -> OptimizerState:
        """Return the optimiser's full state by parameter; empty before the first step."""
        state = self._optimizer.state
        return {
            name: dict(state[parameter])
            for name, parameter in self._parameters.items()
            if parameter in state
        }

    def load_optimizer_state(self, state: OptimizerState) -> None:
        """Continue with the state that `optimizer_state` returned, here or under
        another strategy.
        """
        numbered = {
            number: {
                key: copy.deepcopy(value) for key, value in state[name].items()
            }  # the optimiser writes into it
            for number, name in enumerate(self._parameters)
            if name in state
        }
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": numbered, "param_groups": groups})

    def close(self) -> None:
        """Let go of what outlives the object: nothing."""
