"""How processes train one network together: as full copies (DDP), or partitioned by ZeRO."""

import copy
import logging
import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fieldtrial.config import TrainConfig
from fieldtrial.own.names import is_own
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.trained_state import trained_state
from fieldtrial.training.loop.losses import FEATURE_LOSSES
from fieldtrial.training.loop.optimizers import (
    OptimizerState,
    begun_state,
    build_optimizer,
    rate_shares,
    set_rate,
    total_norm,
    trainable,
)
from fieldtrial.training.models.network import FeatureNetwork, Network
from fieldtrial.training.parts.failing import Blaming
from fieldtrial.training.parts.settings import require_settings, settings_of

# Seconds that compiling is taken to need. It is not measured: the numbers of a trial would depend
# on what its worker did before.
COMPILE_SECONDS = 60.0
# Seconds that a compiled step is taken to save: what a GPU waits for the launches of a network's
# few hundred operations, forwards and backwards, one by one.
SAVED_SECONDS = 0.002

# Layers of torchvision and timm that leave out blocks in training (stochastic depth).
DROPPING = ("StochasticDepth", "DropPath")

log = logging.getLogger(__name__)


class Strategy(Protocol):
    """Computes, averages and applies gradients. All processes call all methods together.

    A batch is one or several micro-batches, each a `forward` and a `backward` within `accumulate`,
    and then one `step`.

    Attributes:
        facts: what env.json is to say about it.
    """

    facts: dict[str, str]

    def accumulate(self, is_last: bool) -> AbstractContextManager[object]:
        """Return the context of a micro-batch: gradients are averaged at the last, if possible."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of a micro-batch, to be trained on."""

    def backward(self, loss: torch.Tensor, scale: float) -> None:
        """Add the gradient of scale × loss, averaged over the processes, to that of the batch."""

    def step(self, lr: float, measured: bool = False) -> torch.Tensor | float | None:
        """Take one optimiser step and clear the gradient.

        Return the gradient's norm before clipping, where it is `measured`.
        """

    def weights(self) -> list[torch.Tensor]:
        """Return the trainable weights, not copied: all, or this process's partition of them."""

    def model_state(self) -> dict[str, torch.Tensor]:
        """Return the network's state, to rank 0: what training changes, or all of it."""

    def optimizer_state(self) -> OptimizerState:
        """Return the optimiser's full state per parameter, to rank 0; empty before any step."""

    def load_optimizer_state(self, state: OptimizerState) -> None:
        """Continue with what `optimizer_state` returned, under this or another strategy."""

    def close(self) -> None:
        """Release what outlives the object: the trial has ended, or other layers train."""


def prepare(
    network: Network, config: TrainConfig, world: World, accumulation: int = 1, steps: int = 0
) -> Strategy:
    """Return the strategy of `config` for `network`, which is on its device with its weights.

    accumulation: micro-batches in a batch. steps: of the whole trial.
    A single process has nothing to partition: it gets the plain strategy, whatever the config says.
    """
    trains_batch_norm = any(
        parameter.requires_grad
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for parameter in module.parameters()
    )
    if world.size > 1 and trains_batch_norm:
        if world.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        elif world.is_rank_0:
            log.warning(
                "batch normalisation uses the statistics of each process's own images: on CPUs,"
                " processes do not share them"
            )
    is_on_cpu = world.device.type == "cpu"
    if config.precision == "bf16" and is_on_cpu and world.is_rank_0 and not has_bf16_units():
        log.warning(
            "precision = bf16: this processor has no bf16 units, and takes six to ten times as long"
            " as with fp32"
        )
    if world.size > 1 and config.strategy != "ddp":
        from fieldtrial.training.loop.zero import Zero

        return Zero(network, config, world)
    return Replicated(network, config, world, accumulation, steps)


def has_bf16_units(facts: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor computes with bf16; True where the system does not say."""
    try:
        text = facts.read_text()
    except OSError:
        return True
    # Of x86, and of ARM.
    return (
        re.search(r"^(flags|Features)\b.*\b(avx512_bf16|amx_bf16|bf16)\b", text, re.M) is not None
    )


class Replicated:
    """One process, or several that each hold a full copy (DistributedDataParallel)."""

    def __init__(
        self,
        network: Network,
        config: TrainConfig,
        world: World,
        accumulation: int = 1,
        steps: int = 0,
    ) -> None:
        self._network = network
        self._parameters = trainable(network)
        shares = rate_shares(network, config)
        self._optimizer = build_optimizer(self._parameters.values(), config, shares)
        self._optimizer_name, self._settings = config.optimizer, settings_of(self._optimizer)
        self._gradient_clip = config.gradient_clip
        self._scales: dict[float, torch.Tensor] = {}
        forward = Forward(network, config, world, accumulation, steps)
        # What goes without saying is not written, for the sake of trials of a tenth of a second.
        is_told = config.compile != "auto" or world.device.type == "cuda"
        self.facts = {"compile": forward.reason} if is_told else {}
        self._module: nn.Module | Forward = forward
        if world.size > 1:
            device_ids = [world.device.index] if world.device.type == "cuda" else None
            with warnings.catch_warnings():
                # Newer torch has another name for broadcast_buffers, which older torch lacks.
                warnings.filterwarnings(
                    "ignore", message=".*broadcast_buffers", category=FutureWarning
                )
                # Buffers are shared before each evaluation instead of at each step.
                self._module = DistributedDataParallel(
                    network, device_ids=device_ids, broadcast_buffers=False
                )

    def accumulate(self, is_last: bool) -> AbstractContextManager[object]:
        """Return the context of one micro-batch: gradients are averaged once, at the last."""
        if isinstance(self._module, DistributedDataParallel) and not is_last:
            return self._module.no_sync()
        return nullcontext()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of a micro-batch, to be trained on."""
        logits: torch.Tensor = self._module(images)
        return logits

    def backward(self, loss: torch.Tensor, scale: float) -> None:
        """Add the gradient of scale × loss, averaged over the processes, to that of the batch."""
        # As the gradient to begin with, the scale costs no product and none on the way back. An
        # epoch has two scales, of its batches and of the last one.
        start = self._scales.get(scale)
        if start is None:
            start = self._scales[scale] = torch.full_like(loss, scale, requires_grad=False)
        loss.backward(start)  # type: ignore[no-untyped-call]

    def step(self, lr: float, measured: bool = False) -> torch.Tensor | float | None:
        """Take one optimiser step and clear the gradient; see Strategy."""
        norm = None
        if measured or self._gradient_clip is not None:
            norm = total_norm([p.grad for p in self._parameters.values() if p.grad is not None])
        if norm is not None and self._gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(self._parameters.values(), self._gradient_clip, norm)
        set_rate(self._optimizer, lr)
        with Blaming("optimizer", self._optimizer_name):
            self._optimizer.step()
        for parameter in self._parameters.values():
            parameter.grad = None  # as zero_grad does, in a thirtieth of its time
        return norm if measured else None

    def weights(self) -> list[torch.Tensor]:
        """Return the trainable weights, not copied."""
        return [parameter.detach() for parameter in self._parameters.values()]

    def model_state(self) -> dict[str, torch.Tensor]:
        """Return what training changes of the network's state."""
        return trained_state(self._network)

    def optimizer_state(self) -> OptimizerState:
        """Return the optimiser's full state by parameter; empty before the first step."""
        require_settings(self._optimizer, self._settings, self._optimizer_name)
        state = self._optimizer.state
        return {
            name: dict(state[parameter])
            for name, parameter in self._parameters.items()
            if parameter in state
        }

    def load_optimizer_state(self, state: OptimizerState) -> None:
        """Continue with what `optimizer_state` returned, under this or another strategy.

        Parameters that it lacks have not trained before.
        """
        names = {parameter: name for name, parameter in self._parameters.items()}
        ordered = [p for group in self._optimizer.param_groups for p in group["params"]]
        begun = {
            p: state.get(names[p]) or (begun_state(self._optimizer, p) if state else {})
            for p in ordered
        }
        numbered = {
            number: {key: _laid_out(value, p) for key, value in begun[p].items()}
            for number, p in enumerate(ordered)
            if begun[p]
        }
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": numbered, "param_groups": groups})

    def close(self) -> None:
        """Take DDP's hooks off the parameters: others may train together from now on."""
        if isinstance(self._module, DistributedDataParallel):
            self._module._remove_autograd_hooks()  # type: ignore[no-untyped-call]


def _laid_out(value: Any, parameter: nn.Parameter) -> Any:
    """Return a copy of an optimiser's value, which the optimiser will write into.

    Fused steps need it in memory as `parameter` lies there. A checkpoint may have another format.
    """
    if not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
        return copy.deepcopy(value)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


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
        if not self._has_graphs:
            return self._network.forward_by(self._part, images)
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        # A copy, for the next step's outputs are put in the same place.
        return self._network.forward_by(self._part, images).clone()


def decide(network: Network, config: TrainConfig, world: World, steps: int) -> tuple[bool, str]:
    """Return whether to compile `network` for a trial of so many steps in all, and why.

    An interrupted trial comes to the same decision again, in whichever process it goes on.
    """
    if config.compile == "off":
        return False, "compile = off"
    for holds, why in (
        (isinstance(network, FeatureNetwork), "the layers behind kept features are few"),
        (world.size > 1, "several processes train together"),
        (
            network.auxiliary is not None or config.loss in FEATURE_LOSSES or is_own(config.loss),
            "the loss reads values inside the network",
        ),
    ):
        if holds:
            return False, f"not compiled: {why}"
    if config.compile == "on":
        return True, "compile = on"
    if world.device.type != "cuda":
        return False, "not compiled: on CPUs it was not seen to pay"
    if network.code:
        return False, "not compiled: an own model may draw random numbers"
    if network.unfreezes:
        return False, "not compiled: it would be again whenever other layers begin to train"
    if any(map(_draws, network.modules())):
        return False, "not compiled: layers with dropout would draw other numbers"
    saved, pays = steps * SAVED_SECONDS, steps * SAVED_SECONDS > COMPILE_SECONDS
    facts = f"{steps:,} steps may save {saved:.0f} s, compiling takes about {COMPILE_SECONDS:.0f} s"
    return pays, facts if pays else f"not compiled: {facts}"


def _draws(layer: nn.Module) -> bool:
    """Return whether a layer draws random numbers in training: dropout, of units or of blocks."""
    if isinstance(layer, nn.modules.dropout._DropoutNd) or type(layer).__name__ in DROPPING:
        return any(getattr(layer, name, None) for name in ("p", "drop_prob"))
    return isinstance(layer, nn.MultiheadAttention) and layer.dropout > 0
