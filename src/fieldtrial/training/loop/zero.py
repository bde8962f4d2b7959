"""ZeRO: optimiser state, gradients and parameters partitioned over the processes, by DeepSpeed.

The only module that imports DeepSpeed, and itself imported only where it is needed. Published in S.
Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", SC 2020.
"""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import deepspeed
import torch
from deepspeed.utils import safe_get_full_optimizer_state, safe_set_full_optimizer_state
from torch import nn

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.optimizers import (
    OptimizerState,
    build_optimizer,
    rate_shares,
    set_rate,
    trainable,
)
from fieldtrial.training.models.network import Network
from fieldtrial.training.parts.failing import Blaming

# No operator of DeepSpeed's own is needed, so none is compiled, and no compiler is looked for.
deepspeed.ops.__compatible_ops__ = {}
deepspeed.utils.logger.setLevel(logging.ERROR)
ONE_GROUP = (
    "DeepSpeed's Adagrad treats all parameters alike; set decay_all to true and layer_decay to 1,"
    " or strategy to ddp"
)


class Zero:
    """Processes that partition optimiser state (stage 1), gradients (2) and parameters (3)."""

    def __init__(self, network: Network, config: TrainConfig, world: World) -> None:
        self._network, self._optimizer_name = network, config.optimizer
        self.facts: dict[str, str] = {}
        self._world = world
        self._partitioned = config.strategy == "zero3"
        self._parameters = trainable(network)
        self._has_stepped = False
        # DeepSpeed cuts weights up as they lie in memory, and puts them together channels first.
        nn.utils.convert_conv2d_weight_memory_format(network, torch.contiguous_format)
        settings = {
            "train_micro_batch_size_per_gpu": 1,  # unused: batches are made here
            "gradient_clipping": config.gradient_clip or 0.0,
            "zero_optimization": {"stage": int(config.strategy.removeprefix("zero"))},
            "zero_allow_untested_optimizer": True,
        }
        shares = rate_shares(network, config)
        optimizer = build_optimizer(self._parameters.values(), config, shares)
        groups = [{**group, "params": []} for group in optimizer.param_groups]
        if isinstance(optimizer, torch.optim.Adagrad) and len(groups) > 1:
            raise ConfigError([f"strategy = {config.strategy!r}: {ONE_GROUP}"])
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=network, optimizer=optimizer, config=settings, dist_init_required=False
        )
        _restore_groups(self._optimizer.optimizer, groups)

    def accumulate(self, is_last: bool) -> AbstractContextManager[object]:
        """Return the context of one micro-batch.

        Stage 1 averages gradients at the last micro-batch; stages 2 and 3 have to after each one.
        """
        self._engine.set_gradient_accumulation_boundary(is_last)
        return nullcontext()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of a micro-batch, to be trained on."""
        logits: torch.Tensor = self._engine(images)
        return logits

    def backward(self, loss: torch.Tensor, scale: float) -> None:
        """Add the gradient of scale × loss, averaged over the processes, to that of the batch."""
        self._engine.backward(loss * scale)

    def step(self, lr: float, measured: bool = False) -> torch.Tensor | float | None:
        """Take one optimiser step and clear the gradient; see Strategy."""
        set_rate(self._optimizer, lr)
        with Blaming("optimizer", self._optimizer_name):
            self._engine.step()
        if not self._has_stepped and not self._partitioned:
            self._link_optimizer_states()
        self._has_stepped = True
        norm: torch.Tensor | float = self._engine.get_global_grad_norm()
        return norm if measured else None

    def weights(self) -> list[torch.Tensor]:
        """Return the trainable weights, not copied; in stage 3, this process's partition."""
        return [self._own_part(parameter) for parameter in self._parameters.values()]

    def _own_part(self, parameter: nn.Parameter) -> torch.Tensor:
        """Return this process's partition without its padding, which is never written."""
        part = getattr(parameter, "ds_tensor", None)
        if part is None:
            return parameter.detach()
        begin = self._world.rank * part.numel()
        return part.detach()[: max(0, parameter.ds_numel - begin)]  # type: ignore[attr-defined,no-any-return]

    def model_state(self) -> dict[str, torch.Tensor]:
        """Return the network's full state, to rank 0."""
        state = self._network.state_dict()
        if not self._partitioned:
            return state
        for name, parameter in self._network.named_parameters(remove_duplicate=False):
            with deepspeed.zero.GatheredParameters([parameter]):
                if self._world.is_rank_0:
                    state[name] = parameter.detach().to("cpu", copy=True)
        return state

    def optimizer_state(self) -> OptimizerState:
        """Return the optimiser's full state per parameter, to rank 0; empty before any step."""
        state: OptimizerState = {}
        if not self._has_stepped:
            return state  # Adagrad has a state from the start, but DeepSpeed does not find it
        numbers, keys = self._state_keys()
        for name, parameter in self._parameters.items():
            tensors = {key: safe_get_full_optimizer_state(parameter, key) for key in keys}
            if self._world.is_rank_0 and (numbers or keys):
                # Cloned: optimisers that load a shared step would count it up for every parameter.
                own = {key: number.clone() for key, number in numbers.items()}
                state[name] = own | {key: tensor.cpu() for key, tensor in tensors.items()}
        return state

    def load_optimizer_state(self, state: OptimizerState) -> None:
        """Continue with what `optimizer_state` returned, under this or another strategy."""
        if not state:
            return
        self._create_optimizer_state()
        numbers, keys = self._state_keys()
        for name, parameter in self._parameters.items():
            for key in keys:
                safe_set_full_optimizer_state(
                    parameter, state[name][key].to(self._world.device), key
                )
        first = next(iter(state.values()))  # all parameters have taken equally many steps
        for partition in self._optimizer.optimizer.state.values():
            for key in numbers:
                partition[key].fill_(first[key])

    def close(self) -> None:
        """Take DeepSpeed's hooks off the network: the trial has ended."""
        self._engine.destroy()

    def _create_optimizer_state(self) -> None:
        """Give the optimiser its state by a step of learning rate 0 and gradient 0."""
        self._network.eval()  # batch-norm and dropout stay as they are
        with self.accumulate(is_last=True):
            self.backward(self.forward(self._network.blank()).sum(), 0.0)
        self.step(lr=0.0)

    def _link_optimizer_states(self) -> None:
        """Have DeepSpeed find the optimiser's state of the parameters in every group.

        DeepSpeed 0.19's stages 1 and 2 look once, when the first group has taken its first step and
        the others have no state yet.
        """
        self._optimizer._hp_optimizer_states_linked = False
        self._optimizer._lazy_init_hp_params_optimizer_state()

    def _state_keys(self) -> tuple[dict[str, torch.Tensor], list[str]]:
        """Return the state that is a number per parameter, such as step, and the tensors' names."""
        states = list(self._optimizer.optimizer.state.values())
        tensors = {k: v for k, v in (states[0] if states else {}).items() if torch.is_tensor(v)}
        numbers = {key: value for key, value in tensors.items() if not value.dim()}
        return numbers, [key for key in tensors if key not in numbers]


def _restore_groups(optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]]) -> None:
    """Give Adagrad the settings of the group that it had: DeepSpeed 0.19 makes it anew."""
    if isinstance(optimizer, torch.optim.Adagrad):
        (group,), (flat,) = groups, optimizer.param_groups
        optimizer.param_groups = [{**group, "params": flat["params"]}]
