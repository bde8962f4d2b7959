"""The exponential moving average of what training changes in a network."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fieldtrial.training.freezing.trained_state import trained_state
from fieldtrial.training.models.network import Network

State = dict[str, Tensor]


class MovingAverage:
    """The average of a network's weights over the steps that it takes.

    After each step the average becomes decay × average + (1 − decay) × weights; after the first it
    is the weights, as in torch's AveragedModel. The statistics of batch normalisation are averaged
    alike, and whole numbers stay the network's own. After B. T. Polyak, A. B. Juditsky,
    "Acceleration of Stochastic Approximation by Averaging", 1992, who weigh all steps alike.

    network: on its device; what is frozen in it is not averaged.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self._own: State = {}
        self._first: dict[str, str] = {}  # of the names of each tensor: tied weights have several
        places: dict[tuple[int, torch.Size], str] = {}
        for name, one in trained_state(network).items():
            # A mask's infinities would come to no number.
            if one.is_floating_point() and bool(one.isfinite().all()):
                self._first[name] = places.setdefault((one.data_ptr(), one.shape), name)
        for name, one in trained_state(network).items():
            if self._first.get(name) == name:
                self._own[name] = one
        self._average: State = {}  # before the first step
        self._average_in = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """Take in the weights after a step."""
        if self._average:
            self._average_in([*self._average.values()], [*self._own.values()], 0)
        else:
            self._average = {name: one.clone() for name, one in self._own.items()}

    @contextlib.contextmanager
    def in_network(self) -> Iterator[None]:
        """Have the network hold the average for the time of the context."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def averaged(self, state: State) -> State:
        """Return the network's `state` with the average in it."""
        if not self._average:
            return state
        return {**state, **{name: self._average[first] for name, first in self._first.items()}}

    def unaveraged(self) -> State:
        """Return the weights that training goes on with, not copied; empty before any step."""
        return dict(self._own) if self._average else {}

    def load(self, unaveraged: State) -> None:
        """Go on from a checkpoint: the network holds what `averaged` returned."""
        if unaveraged:
            # laid out in memory as the network's own
            self._average = {
                name: torch.empty_like(one).copy_(unaveraged[name])
                for name, one in self._own.items()
            }
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, average in self._average.items():
            kept = self._own[name].clone()
            self._own[name].copy_(average)
            average.copy_(kept)
