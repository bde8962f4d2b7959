"""Optimisers and the learning rate's schedule."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from fieldtrial.config import Optimizer, Schedule, TrainConfig

Parameters = list[nn.Parameter]
# {parameter name: {state key: full tensor or number}}, whatever the strategy and the number of processes
OptimizerState = dict[str, dict[str, Any]]

OPTIMIZERS: dict[Optimizer, Callable[[Parameters, TrainConfig], torch.optim.Optimizer]] = {
    "sgd": lambda parameters, config: torch.optim.SGD(
        parameters, config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    ),
    "adam": lambda parameters, config: torch.optim.Adam(
        parameters, config.lr, betas=config.betas, eps=config.epsilon, weight_decay=config.weight_decay
    ),
    "adamw": lambda parameters, config: torch.optim.AdamW(
        parameters, config.lr, betas=config.betas, eps=config.epsilon, weight_decay=config.weight_decay
    ),
    "rmsprop": lambda parameters, config: torch.optim.RMSprop(
        parameters, config.lr, momentum=config.momentum, eps=config.epsilon, weight_decay=config.weight_decay
    ),
}

# Of the share of the steps after the warm-up that are done, 0 to 1: the share of the peak.
SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
}


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are not frozen, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def build_optimizer(parameters: Iterable[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser of `config` over those of `parameters` that train."""
    return OPTIMIZERS[config.optimizer]([parameter for parameter in parameters if parameter.requires_grad], config)


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """Return the learning rate of `step`, which counts from 0.

    It rises linearly over the first config.warmup_fraction of all steps, the first of them above 0 and the last at
    the peak, config.lr; then it stays, or falls along a cosine or a line to reach 0 after the last step.
    """
    warmup = config.warmup_fraction * total_steps
    rise = min(1.0, (step + 1) / max(1.0, warmup))
    done = min(1.0, max(0.0, step - warmup) / max(1.0, total_steps - warmup))
    return config.lr * rise * SCHEDULES[config.schedule](done)
