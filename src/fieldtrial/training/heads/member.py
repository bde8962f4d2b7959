"""The training of one trial of a group: as alone, but for the epochs, which the group computes."""

from typing import Any

from fieldtrial.training.data.load import Data
from fieldtrial.training.heads.group import HeadGroup
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.epoch import Epoch
from fieldtrial.training.loop.fit import Fit
from fieldtrial.training.models.network import Network


class HeadFit(Fit):
    """The training of a trial that `HeadGroup.openings` has admitted.

    The network is the group's: it has this trial's head until the first record, and when the
    trial is scored.
    """

    def __init__(self, attempt: Attempt, group: HeadGroup) -> None:
        super().__init__(attempt)
        self._group = group

    def open(self) -> tuple[Data, Network]:
        """See Fit."""
        opening = self._group.openings.of(self.attempt)
        return opening.data, self._group.openings.network

    def with_features(self, _network: Network, _data: Data) -> tuple[Network, Data]:
        """See Fit."""
        opening = self._group.openings.of
        return self._group.openings.featured, opening.features

    def learner(self) -> "HeadLearner":
        """See Fit."""
        return HeadLearner(self, self._group)

    def epoch(self, _learner: Any) -> Epoch:
        """See Fit."""
