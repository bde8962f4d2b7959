"""How long each trial of a group holds the group's device: its share of the time."""

import time

from fieldtrial.training.distributed.device_clock import DeviceClock


class GroupClock:
    """Shares the time since it was made out among the trials that are left in a group.

    start: seconds that the start of this process took, if they are charged to the group.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._counted = time.monotonic() - start
        self._members: list[SharedClock] = []

    def join(self) -> "SharedClock":
        """Return the clock of one more trial. All join before the first one asks for the time."""
        member = SharedClock(self)
        self._members.append(member)
        return member

    def leave(self, member: "SharedClock") -> None:
        """End the clock of a trial: from now on, the others have the device."""
        self.count()
        if member in self._members:
            self._members.remove(member)

    def count(self) -> None:
        """Give each trial its share of the time until now."""
        now = time.monotonic()
        for member in self._members:
            member.shared += (now - self._counted) / len(self._members)
        self._counted = now


class SharedClock(DeviceClock):
    """The clock of one trial of a group. How long the trial would take alone is not known."""

    def __init__(self, group: GroupClock) -> None:
        super().__init__()
        self.spared = None
        self.shared = 0.0
        self._group = group

    @property
    def held(self) -> float:
        """The trial's share of the seconds in which the group has held its device."""
        self._group.count()
        return self.shared

    def resume(self, alone: float | None) -> None:
        """Go on from a checkpoint: what the trial would take alone stays unknown."""

    def add_features(self, began: float, cost: float | None, were_there: bool) -> None:  # noqa: ARG002
        """Note that features were needed, from `began` on by time.monotonic()."""
        if not were_there:
            self.features += time.monotonic() - began
