"""Optimisers and the learning rate's schedule."""

import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from fieldtrial.config import TrainConfig
from fieldtrial.fields.switches import switch
from fieldtrial.training.freezing.depth_axis import units
from fieldtrial.training.models.network import Network
from fieldtrial.training.parts.part import Part, part_of

# {parameter name: {state key: full tensor or number}}, for every strategy and number of processes
OptimizerState = dict[str, dict[str, Any]]

# Those whose whole step is one kernel in torch, on CPUs too. The others' steps are a kernel for
# each operation, over all parameters.
FUSED: tuple[str, ...] = ("sgd", "adam", "adamw", "adagrad")

Groups = list[dict[str, Any]]  # of parameters, as torch's optimisers take them


class OptimizerPart(Protocol):
    """What builds an optimiser: a class of torch's, or a function."""

    def __call__(
        self, parameters: Groups, /, *_: Any, lr: float, weight_decay: float, **options: Any
    ) -> torch.optim.Optimizer:
        """Return the optimiser of these parameters.

        All that changes from step to step is in its `state`, by parameter: tensors and numbers.
        Checkpoints hold that and nothing else. A step needs no closure.

        Args:
            parameters: groups as torch's optimisers take them. One may have its own weight_decay.
            lr: the peak learning rate. Before each step, that of the schedule is put into the
                groups.
            weight_decay: of the groups without their own.
        """


def sgd(
    parameters: Groups,
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
    **way: bool,
) -> torch.optim.Optimizer:
    """Return stochastic gradient descent."""
    # torch refuses Nesterov's formula with momentum 0, which is the plain step.
    nesterov = nesterov and momentum > 0
    return torch.optim.SGD(
        parameters, lr, momentum, weight_decay=weight_decay, nesterov=nesterov, **way
    )


def rmsprop(
    parameters: Groups,
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    epsilon: float,
    **way: bool,
) -> torch.optim.Optimizer:
    """Return RMSprop."""
    return torch.optim.RMSprop(
        parameters, lr, eps=epsilon, weight_decay=weight_decay, momentum=momentum, **way
    )


def adagrad(
    parameters: Groups, *, lr: float, weight_decay: float, epsilon: float, **way: bool
) -> torch.optim.Optimizer:
    """Return Adagrad."""
    return torch.optim.Adagrad(parameters, lr, weight_decay=weight_decay, eps=epsilon, **way)


def _adam(kind: Callable[..., torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Return what builds an optimiser of Adam's kind."""

    def build(
        parameters: Groups,
        *,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
        epsilon: float,
        **way: bool,
    ) -> torch.optim.Optimizer:
        return kind(parameters, lr, betas, epsilon, weight_decay, **way)

    return build


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": sgd,
    "adam": _adam(torch.optim.Adam),
    "adamw": _adam(torch.optim.AdamW),
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "nadam": _adam(torch.optim.NAdam),
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


class SchedulePart(Protocol):
    """What says how the learning rate goes after the warm-up: a function."""

    def __call__(self, moment: Moment, /, *_: Any, **options: Any) -> float:
        """Return the share of the peak learning rate at this moment: a number from 0 on."""


def constant(_moment: Moment) -> float:
    """Return the peak at any moment."""
    return 1.0


def cosine(moment: Moment) -> float:
    """Return a share that falls along a cosine, to 0."""
    return (1 + math.cos(math.pi * moment.done)) / 2


def linear(moment: Moment) -> float:
    """Return a share that falls along a line, to 0."""
    return 1 - moment.done


def step(moment: Moment, *, gamma: float, step_epochs: int) -> float:
    """Return a share that falls by the factor gamma after each step_epochs epochs."""
    return gamma ** (moment.epoch // step_epochs)


def one_cycle(moment: Moment) -> float:
    """Return a share that falls along a cosine, nearly to 0."""
    return ONE_CYCLE_END + (1 - ONE_CYCLE_END) * cosine(moment)


def plateau(moment: Moment, *, gamma: float) -> float:
    """Return a share that falls by the factor gamma after each plateau."""
    return gamma**moment.plateaus


SCHEDULES: dict[str, SchedulePart] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "step": step,
    "one_cycle": one_cycle,
    "plateau": plateau,
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
    The steps agree up to rounding. An own optimiser computes them in its own way.

    Raises:
        ConfigError: what an own part gave is no optimiser of all these parameters.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in trained:
        decays = config.decay_all or parameter.ndim > 1
        groups.setdefault(((shares or {}).get(parameter, 1.0), decays), []).append(parameter)
    given: Groups = [
        {"params": own, SHARE: share} | ({} if decays else {"weight_decay": 0.0})
        for (share, decays), own in groups.items()
    ]
    part = part_of("optimizer", config.optimizer, config, OPTIMIZERS)
    if part.is_own:
        made = part(given, lr=config.lr, weight_decay=config.weight_decay)
        optimizer = _checked(part, made, trained)
    else:
        optimizer = part(given, **_way(part.name, trained))
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


def _checked(part: Part, made: object, trained: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return what an own part gave. Raises ConfigError unless it can train `trained`."""
    if not isinstance(made, torch.optim.Optimizer):
        raise part.unexpected(made, "an optimiser of torch")
    held = {id(one) for group in made.param_groups for one in group["params"]}
    if count := sum(id(one) not in held for one in trained):
        raise part.refused(f"lacks {count} of the {len(trained)} trainable parameters")
    closure = inspect.signature(made.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise part.refused("its step needs a closure, which training does not have")
    if any(SHARE not in group for group in made.param_groups):
        raise part.refused("does not keep the groups of parameters that it was given")
    return made


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

    Raises:
        ConfigError: an own schedule gave no number from 0 on.
    """
    is_one_cycle = config.schedule == "one_cycle"
    warmup = (config.warmup_fraction or ONE_CYCLE_RISE * is_one_cycle) * total_steps
    start = ONE_CYCLE_START if is_one_cycle else 0.0
    rise = start + (1 - start) * min(1.0, (step + 1) / max(1.0, warmup))
    after = max(0.0, step - warmup)
    done = min(1.0, after / max(1.0, total_steps - warmup))
    moment = Moment(done, int(after * config.epochs // total_steps), plateaus)
    part = part_of("schedule", config.schedule, config, SCHEDULES)
    share = part(moment)
    is_share = isinstance(share, numbers.Real) and math.isfinite(share) and float(share) >= 0
    if part.is_own and not is_share:
        raise part.refused(f"gave {share!r} at {moment}; must be a number from 0 on")
    return config.lr * rise * float(share)
