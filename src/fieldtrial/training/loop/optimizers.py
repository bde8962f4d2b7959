"""Optimisers and the learning rate's schedule."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fieldtrial.config import TrainConfig
from fieldtrial.fields.switches import switch
from fieldtrial.training.freezing.depth_axis import units
from fieldtrial.training.models.network import Network

# {parameter name: {state key: full tensor or number}}, for every strategy and number of processes
OptimizerState = dict[str, dict[str, Any]]

# Those whose whole step is one kernel in torch, on CPUs too. The others' steps are a kernel for
# each operation, over all parameters.
FUSED: tuple[str, ...] = ("sgd", "adam", "adamw", "adagrad")

# The class of each, and its settings beside the learning rate and the weight decay.
OPTIMIZERS: dict[
    str,
    tuple[Callable[..., torch.optim.Optimizer], Callable[[TrainConfig], dict[str, Any]]],
] = {
    "sgd": (
        torch.optim.SGD,
        lambda config: {
            "momentum": config.momentum,
            # torch refuses Nesterov's formula with momentum 0, which is the plain step.
            "nesterov": config.nesterov and config.momentum > 0,
        },
    ),
    "adam": (torch.optim.Adam, lambda config: {"betas": config.betas, "eps": config.epsilon}),
    "adamw": (torch.optim.AdamW, lambda config: {"betas": config.betas, "eps": config.epsilon}),
    "rmsprop": (
        torch.optim.RMSprop,
        lambda config: {"momentum": config.momentum, "eps": config.epsilon},
    ),
    "adagrad": (torch.optim.Adagrad, lambda config: {"eps": config.epsilon}),
    "nadam": (torch.optim.NAdam, lambda config: {"betas": config.betas, "eps": config.epsilon}),
}

SHARE = "share"  # the key of a group's share of the learning rate
ONE_CYCLE_RISE = 0.3  # share of the steps in which one_cycle rises, where the config does not say
ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1e-4  # of the peak: before the first step, after the last


@dataclass(frozen=True)
class Moment:
    """Where in its training a trial is.

    Attributes:
        done: share of the steps after the warm-up that are done, 0 to 1.
        epoch: whole epochs after the warm-up that are done.
        plateaus: how often `select` has stopped getting better; see TrialProgress.
    """

    done: float
    epoch: int
    plateaus: int


SCHEDULES: dict[str, Callable[[TrainConfig, Moment], float]] = {  # the share of the peak
    "constant": lambda _config, _moment: 1.0,
    "cosine": lambda _config, moment: _cosine(moment.done),
    "linear": lambda _config, moment: 1 - moment.done,
    "step": lambda config, moment: config.gamma ** (moment.epoch // config.step_epochs),
    "one_cycle": lambda _config, moment: ONE_CYCLE_END + (1 - ONE_CYCLE_END) * _cosine(moment.done),
    "plateau": lambda config, moment: config.gamma**moment.plateaus,
}


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are not frozen, by name."""
    return {
        name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad
    }


def total_norm(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return the Euclidean norm of all tensors together, which are on one device.

    torch.nn.utils.get_total_norm groups them by device first and takes longer.
    """
    norm: torch.Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm


def rate_shares(network: Network, config: TrainConfig) -> dict[nn.Parameter, float]:
    """Return the share of the learning rate of each parameter of `network`; {}: all have 1.

    It is layer_decay to the power of the number of units above the parameter's own, so 1 for the
    head: the discriminative fine-tuning of J. Howard and S. Ruder ("Universal Language Model
    Fine-tuning for Text Classification", 2018, with 1/2.6), and the layer-wise decay of K. Clark et
    al. ("ELECTRA", 2020) and H. Bao et al. ("BEiT", 2022).
    """
    if config.layer_decay == 1:
        return {}
    named = dict(network.model.named_parameters())
    return {
        named[name]: config.layer_decay**above
        for above, unit in enumerate(reversed(units(network)))
        for name in unit.parameters
    }


def build_optimizer(
    parameters: Iterable[nn.Parameter],
    config: TrainConfig,
    shares: Mapping[nn.Parameter, float] | None = None,
) -> torch.optim.Optimizer:
    """Return the optimiser of `config` over the `parameters` that are not frozen.

    Parameters with another share of the learning rate are a group of their own; `set_rate` sets the
    rates of all groups. Without decay_all, so are those with one dimension, which are biases and
    the parameters of normalisation layers, without weight decay (He et al., "Bag of Tricks for
    Image Classification with Convolutional Neural Networks", 2018, section 3.1).

    shares: as `rate_shares` returns them; None: all are 1.

    Steps are fused where torch can; the environment variable FIELDTRIAL_FUSED=off turns that off.
    The steps agree up to rounding.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in trained:
        decays = config.decay_all or parameter.ndim > 1
        groups.setdefault(((shares or {}).get(parameter, 1.0), decays), []).append(parameter)
    kind, settings = OPTIMIZERS[config.optimizer]
    optimizer = kind(
        [
            {"params": own, SHARE: share} | ({} if decays else {"weight_decay": 0.0})
            for (share, decays), own in groups.items()
        ],
        lr=config.lr,
        weight_decay=config.weight_decay,
        **settings(config),
        **_way(config.optimizer, trained),
    )
    set_rate(optimizer, config.lr)
    return optimizer


def set_rate(optimizer: Any, lr: float) -> None:
    """Set the learning rate of each group of an optimiser of `build_optimizer`: its share of `lr`.

    optimizer: that, or DeepSpeed's around it.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr * group[SHARE]


def begun_state(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, Any]:
    """Return the state of a parameter that begins to train later than others; {}: torch makes it.

    torch's fused SGD takes a momentum of all parameters or of none. From 0, the first step is the
    one without.
    """
    if isinstance(optimizer, torch.optim.SGD) and optimizer.defaults["momentum"]:
        return {"momentum_buffer": torch.zeros_like(parameter, requires_grad=False)}
    return dict(optimizer.state.get(parameter, {}))


def _way(name: str, parameters: list[nn.Parameter]) -> dict[str, bool]:
    """Return how torch is to compute the steps of the optimiser `name`: fused where it can."""
    if switch("FIELDTRIAL_FUSED") == "off":
        return {"foreach": False}
    # torch 2.11 has Adagrad's kernel for CPUs alone.
    is_fused = name in FUSED and (
        name != "adagrad" or all(parameter.device.type == "cpu" for parameter in parameters)
    )
    return {"fused": True} if is_fused else {"foreach": True}


def learning_rate(config: TrainConfig, step: int, total_steps: int, plateaus: int = 0) -> float:
    """Return the learning rate of `step`, which counts from 0.

    It rises linearly over the first config.warmup_fraction of all steps, the first of them above 0
    and the last at the peak, config.lr. Then it stays, or falls: along a cosine or a line to reach
    0 after the last step; by the factor gamma after each step_epochs epochs or, `plateaus` times so
    far, when validation has stopped getting better. one_cycle (L. N. Smith and N. Topin,
    "Super-Convergence", 2018) rises from a 25th of the peak and falls along a cosine to a
    ten-thousandth; unlike there, the fall is no line, the rise is shorter, and the momentum stays.
    """
    one_cycle = config.schedule == "one_cycle"
    warmup = (config.warmup_fraction or ONE_CYCLE_RISE * one_cycle) * total_steps
    start = ONE_CYCLE_START if one_cycle else 0.0
    rise = start + (1 - start) * min(1.0, (step + 1) / max(1.0, warmup))
    after = max(0.0, step - warmup)
    done = min(1.0, after / max(1.0, total_steps - warmup))
    moment = Moment(done, int(after * config.epochs // total_steps), plateaus)
    return config.lr * rise * SCHEDULES[config.schedule](config, moment)


def _cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2
