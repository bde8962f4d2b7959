"""The training of one trial of a group: as alone, but for the epochs, which the group computes."""

from typing import Any

from fieldtrial.disk.run import Record
from fieldtrial.training.data.load import Data
from fieldtrial.training.freezing.trained_state import load_trained, trained_state
from fieldtrial.training.heads.group import HeadGroup
from fieldtrial.training.heads.opening import State
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.epoch import Epoch, Learning
from fieldtrial.training.loop.fit import Fit
from fieldtrial.training.models.network import Network


class HeadFit(Fit):
    """The training of a trial that `HeadGroup.openings` has admitted.

    The network is the group's. It has this trial's head up to the first record, and again when the
    trial is scored.
    """

    def __init__(self, attempt: Attempt, group: HeadGroup) -> None:
        super().__init__(attempt)
        self._group = group

    def _open(self) -> tuple[Data, Network]:
        opening, network = self._group.openings.of(self.attempt), self._group.openings.network
        load_trained(network, opening.state)
        return opening.data, network

    def _with_features(self, _network: Network, _data: Data) -> tuple[Network, Data]:
        openings = self._group.openings
        return openings.featured, openings.of(self.attempt).features

    def whole(self, best: State) -> State:
        """See Fit. The frozen part lies as a file takes it, once for all trials of the group."""
        return {**self._group.openings.written, **best}

    def _save_for_later(self, learner: Learning, record: Record) -> None:
        """See Fit. Nothing more is saved where the head is no longer as the record tells."""
        self.is_over = self.is_over or self._group.is_ahead(self)
        super()._save_for_later(learner, record)

    def _learning(self) -> Learning:
        self._group.join(self, trained_state(self.network))
        return _Head(self, self._group)


class _Head:
    """What trains the head of one trial: its group."""

    def __init__(self, fit: HeadFit, group: HeadGroup) -> None:
        self._fit, self._group = fit, group

    def train(self, _attempt: Attempt, _data: Data, _epoch: int, _plateaus: int) -> Epoch:
        """See Learning: the group knows how far the trial is."""
        return self._group.next_epoch(self._fit)

    def state(self, is_last: bool) -> dict[str, Any]:
        """See Learning."""
        optimizer = {} if is_last else self._group.optimizer_state(self._fit)
        return {"model": self._group.model_state(self._fit), "optimizer": optimizer, "loss": {}}

    def load_state(self, saved: dict[str, Any]) -> None:
        """See Learning."""
        self._group.load_optimizer(self._fit, saved["optimizer"])

    def close(self) -> None:
        """See Learning."""
        self._group.leave(self._fit)
