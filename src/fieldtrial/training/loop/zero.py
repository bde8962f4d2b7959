"""ZeRO: optimiser state, gradients and parameters partitioned over the processes, by DeepSpeed.

The only module that imports DeepSpeed, and itself imported only where it is needed. Published in S.
Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", SC 2020.
"""

import logging
from contextlib import AbstractContextManager, nullcontext

import deepspeed
import torch
from deepspeed.utils import safe_get_full_optimizer_state, safe_set_full_optimizer_state

from fieldtrial.config import TrainConfig
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.optimizers import OptimizerState, build_optimizer, trainable
from fieldtrial.training.models.network import Network

# No operator of DeepSpeed's own is needed, so none is compiled, and no compiler is looked for.
deepspeed.ops.__compatible_ops__ = {}
deepspeed.utils.logger.setLevel(logging.ERROR)


class Zero:
    """Several processes that share one copy of the optimiser state (stage 1), gradients (2) and
    parameters (3).
    """

    def __init__(self, network: Network, config: TrainConfig, world: World) -> None:
        self._network = network
        self._world = world
        self._partitioned = config.strategy == "zero3"
        self._parameters = trainable(network)
        self._has_stepped = False
        settings = {
            "train_micro_batch_size_per_gpu": 1,  # unused: batches are made here
            "gradient_clipping": config.gradient_clip or 0.0,
            "zero_optimization": {"stage": int(config.strategy.removeprefix("zero"))},
            "zero_allow_untested_optimizer": True,
        }
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=network,
            optimizer=build_optimizer(self._parameters.values(), config),
            config=settings,
            dist_init_required=False,
        )

    def piece(self, is_last: bool) -> AbstractContextManager[object]:
        """Return a context for one piece of a batch; stage 1 averages once, 2 and 3 have to after
        each piece.
        """
        self._engine.set_gradient_accumulation_boundary(is_last)
        return nullcontext()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of a piece of this process's part of a batch, to be trained on."""
        logits: torch.Tensor = self._engine(images)
        return logits

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of `loss`, averaged over the processes, to that of the batch."""
        self._engine.backward(loss)

    def step(self, lr: float) -> torch.Tensor | float:
        """Take one optimiser step along the batch's gradient, and forget it; return its norm before
        any clipping.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._engine.step()
        self._has_stepped = True
        norm: torch.Tensor | float = self._engine.get_global_grad_norm()
        return norm

    def weights(self) -> list[torch.Tensor]:
        """Return the weights that train, without a copy: all of them, or each process its own
        share.
        """
        parameters = self._parameters.values()  # in stage 3, ds_tensor is the share
        return [getattr(parameter, "ds_tensor", parameter).detach() for parameter in parameters]

    def model_state(self) -> dict[str, torch.Tensor]:
        """Return the network's full state, to the first process."""
        state = self._network.state_dict()
        if not self._partitioned:
            return state
        for name, parameter in self._network.named_parameters(remove_duplicate=False):
            with deepspeed.zero.GatheredParameters([parameter]):
                if self._world.is_main:
                    state[name] = parameter.detach().to("cpu", copy=True)
        return state

    def optimizer_state(self) -> OptimizerState:
        """Return the optimiser's full state by parameter, to the first process; empty before the
        first step.
        """
        state: OptimizerState = {}
        if (
            not self._has_stepped
        ):  # Adagrad has a state from the start, but DeepSpeed does not find it
            return state
        numbers, keys = self._state_keys()
        for name, parameter in self._parameters.items():
            tensors = {key: safe_get_full_optimizer_state(parameter, key) for key in keys}
            if self._world.is_main and (numbers or keys):
                own = {
                    key: number.clone() for key, number in numbers.items()
                }  # shared, all would count one's steps
                state[name] = own | {key: tensor.cpu() for key, tensor in tensors.items()}
        return state

    def load_optimizer_state(self, state: OptimizerState) -> None:
        """Continue with the state that `optimizer_state` returned, here or under
        another strategy.
        """
        if not state:
            return
        self._create_optimizer_state()
        numbers, keys = self._state_keys()
        for name, parameter in self._parameters.items():
            for key in keys:
                safe_set_full_optimizer_state(
                    parameter, state[name][key].to(self._world.device), key
                )
        first = next(iter(state.values()))  # all parameters have taken the same number of steps
        for partition in self._optimizer.optimizer.state.values():
            for key in numbers:
                partition[key].fill_(first[key])

    def close(self) -> None:
        """Take DeepSpeed's hooks off the network: the trial has ended."""
        self._engine.destroy()

    def _create_optimizer_state(self) -> None:
        """Take a step that changes nothing: learning rate 0, gradient 0. The optimiser has its
        state afterwards.
        """
        self._network.eval()  # batch-norm and dropout stay as they are
        with self.piece(is_last=True):
            self.backward(self.forward(self._network.blank()).sum() * 0.0)
        self.step(lr=0.0)

    def _state_keys(self) -> tuple[dict[str, torch.Tensor], list[str]]:
        """Return the state that each parameter has as a number, such as its step, and the names of
        its tensors.
        """
        states = list(self._optimizer.optimizer.state.values())
        first = states[0] if states else {}
        numbers = {
            key: value for key, value in first.items() if torch.is_tensor(value) and not value.dim()
        }
        return numbers, [
            key for key, value in first.items() if torch.is_tensor(value) and value.dim()
        ]
