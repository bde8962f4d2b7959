"""Update rules for many heads at once: torch's optimisers with a row of settings for each head.

The formulas are those of torch.optim. A head's state has the names and shapes that torch gives it,
so that a trial begun in a group goes on alone, and the other way round.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from fieldtrial.config import TrainConfig

RMSPROP_ALPHA = 0.99  # what torch takes where it is not told, and so for the next
NADAM_MOMENTUM_DECAY = 4e-3


class Updates(ABC):
    """The steps of one optimiser for k heads, whose parameters are float32 (k, rows, columns).

    A subclass has the formula.

    Attributes:
        tensors: the state of the shape of the parameters, by torch's names.
        numbers: the state that is one number for each head, float64 (k,).
    """

    tensor_names: ClassVar[tuple[str, ...]] = ()
    number_names: ClassVar[dict[str, float]] = {"step": 0.0}  # with what they start at

    def __init__(self, configs: Sequence[TrainConfig], like: Tensor) -> None:
        """`like`: tensor of the shape and on the device of the parameters.

        Their last column is the biases, which have no weight decay unless `decay_all` is set.
        """
        self.tensors = {name: torch.zeros_like(like) for name in self.tensor_names}
        self.numbers = {
            name: torch.full((len(configs),), start, dtype=torch.float64, device=like.device)
            for name, start in self.number_names.items()
        }
        self._settings = {
            name: torch.tensor(
                [read(config) for config in configs], dtype=torch.float64, device=like.device
            )
            for name, read in SETTINGS.items()
        }
        self._decays_biases = torch.tensor([config.decay_all for config in configs])
        self._decays_biases = self._decays_biases.to(like.device, torch.float64)
        self._ease()

    def _ease(self) -> None:
        """Note what no head needs, so that steps leave it out."""
        some = {name: bool((values != 0).any()) for name, values in self._settings.items()}
        self._has_decay, self._has_nesterov = some["weight_decay"], some["nesterov"]
        self._decay = self._settings["weight_decay"][:, None, None].float()
        self._bias_decay = (self._settings["weight_decay"] * self._decays_biases)[:, None].float()

    def keep(self, chosen: Tensor) -> None:
        """Go on with these of the heads, int64 (heads left,), in this order."""
        self.tensors = {name: one[chosen] for name, one in self.tensors.items()}
        self.numbers = {name: one[chosen] for name, one in self.numbers.items()}
        self._settings = {name: one[chosen] for name, one in self._settings.items()}
        self._decays_biases = self._decays_biases[chosen]
        self._ease()

    @abstractmethod
    def step(self, weights: Tensor, gradient: Tensor, lr: Tensor) -> None:
        """Take a step in place.

        Args:
            weights: (k, rows, columns).
            gradient: of the same shape; it is overwritten.
            lr: the learning rates, float64 (k,).
        """

    def _add_decay(self, weights: Tensor, gradient: Tensor) -> None:
        """Add the gradient of an L2 penalty."""
        if self._has_decay:
            gradient[..., :-1].addcmul_(weights[..., :-1], self._decay)
            gradient[..., -1].addcmul_(weights[..., -1], self._bias_decay)

    def state(self, head: int) -> dict[str, Tensor]:
        """Return the state of a head: copies, on the CPU."""
        own = {name: one[head].cpu().clone() for name, one in self.tensors.items()}
        numbers = {name: one[head].cpu().float() for name, one in self.numbers.items()}
        return {**numbers, **own}

    def load(self, head: int, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned; what is not in it is as at the start."""
        for known in (self.tensors, self.numbers):
            for name in known.keys() & state.keys():
                known[name][head] = torch.as_tensor(state[name]).to(known[name])

    def _setting(self, name: str) -> Tensor:
        """Return a setting of the heads, float64 (k,)."""
        return self._settings[name]


SETTINGS: dict[str, Callable[[TrainConfig], float]] = {
    "momentum": lambda config: config.momentum,
    "nesterov": lambda config: float(config.nesterov and config.momentum > 0),
    "beta1": lambda config: config.betas[0],
    "beta2": lambda config: config.betas[1],
    "epsilon": lambda config: config.epsilon,
    "weight_decay": lambda config: config.weight_decay,
}


class Sgd(Updates):
    """torch.optim.SGD."""

    tensor_names = ("momentum_buffer",)
    number_names: ClassVar[dict[str, float]] = {}

    def step(self, weights: Tensor, gradient: Tensor, lr: Tensor) -> None:
        """See Updates."""
        self._add_decay(weights, gradient)
        momentum, buffer = _wide(self._setting("momentum")), self.tensors["momentum_buffer"]
        buffer.mul_(momentum).add_(gradient)
        if self._has_nesterov:
            ahead = torch.addcmul(gradient, buffer, momentum)
            buffer = torch.where(_wide(self._setting("nesterov")) > 0, ahead, buffer)
        weights.addcmul_(buffer, _wide(-lr))


class Adam(Updates):
    """torch.optim.Adam."""

    tensor_names = ("exp_avg", "exp_avg_sq")

    def step(self, weights: Tensor, gradient: Tensor, lr: Tensor) -> None:
        """See Updates."""
        self._decay_first(weights, gradient, lr)
        step = self.numbers["step"].add_(1)
        mean, denominator = self._means(gradient, step)
        beta1 = self._setting("beta1")
        weights.addcmul_(mean / denominator, _wide(-lr / (1 - beta1**step)))

    def _decay_first(self, weights: Tensor, gradient: Tensor, _lr: Tensor) -> None:
        self._add_decay(weights, gradient)

    def _means(self, gradient: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of the gradient, and the denominator of the step."""
        beta1, beta2 = self._setting("beta1"), self._setting("beta2")
        mean, square = self.tensors["exp_avg"], self.tensors["exp_avg_sq"]
        mean.lerp_(gradient, _wide(1 - beta1).expand_as(gradient))
        square.mul_(_wide(beta2)).addcmul_(gradient * _wide(1 - beta2), gradient)
        denominator = square.sqrt().div_(_wide((1 - beta2**step).sqrt()))
        return mean, denominator.add_(_wide(self._setting("epsilon")))


class AdamW(Adam):
    """torch.optim.AdamW."""

    def _decay_first(self, weights: Tensor, _gradient: Tensor, lr: Tensor) -> None:
        if self._has_decay:
            weights[..., :-1].mul_(1 - _wide(lr) * self._decay)
            weights[..., -1].mul_(1 - lr[:, None].float() * self._bias_decay)


class RmsProp(Updates):
    """torch.optim.RMSprop."""

    tensor_names = ("square_avg", "momentum_buffer")

    def step(self, weights: Tensor, gradient: Tensor, lr: Tensor) -> None:
        """See Updates."""
        self._add_decay(weights, gradient)
        self.numbers["step"].add_(1)
        square, buffer = self.tensors["square_avg"], self.tensors["momentum_buffer"]
        square.mul_(RMSPROP_ALPHA).addcmul_(gradient, gradient, value=1 - RMSPROP_ALPHA)
        denominator = square.sqrt().add_(_wide(self._setting("epsilon")))
        buffer.mul_(_wide(self._setting("momentum"))).addcdiv_(gradient, denominator)
        weights.addcmul_(buffer, _wide(-lr))


class Adagrad(Updates):
    """torch.optim.Adagrad."""

    tensor_names = ("sum",)

    def step(self, weights: Tensor, gradient: Tensor, lr: Tensor) -> None:
        """See Updates."""
        self._add_decay(weights, gradient)
        self.numbers["step"].add_(1)
        total = self.tensors["sum"].addcmul_(gradient, gradient)
        denominator = total.sqrt().add_(_wide(self._setting("epsilon")))
        weights.addcmul_(gradient / denominator, _wide(-lr))


class NAdam(Adam):
    """torch.optim.NAdam."""

    number_names: ClassVar[dict[str, float]] = {"step": 0.0, "mu_product": 1.0}

    def step(self, weights: Tensor, gradient: Tensor, lr: Tensor) -> None:
        """See Updates."""
        self._add_decay(weights, gradient)
        step = self.numbers["step"].add_(1)
        beta1 = self._setting("beta1")
        mu, mu_next = (
            beta1 * (1 - 0.5 * 0.96 ** (at * NADAM_MOMENTUM_DECAY)) for at in (step, step + 1)
        )
        product = self.numbers["mu_product"].mul_(mu)
        mean, denominator = self._means(gradient, step)
        weights.addcmul_(gradient / denominator, _wide(-lr * (1 - mu) / (1 - product)))
        weights.addcmul_(mean / denominator, _wide(-lr * mu_next / (1 - product * mu_next)))


UPDATES: dict[str, type[Updates]] = {
    "sgd": Sgd,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RmsProp,
    "adagrad": Adagrad,
    "nadam": NAdam,
}


def _wide(values: Tensor) -> Tensor:
    """Return a number for each head as float32 (k, 1, 1), to compute with parameters."""
    return values.float()[:, None, None]
