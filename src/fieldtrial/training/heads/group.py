"""A group of trials whose linear heads train together on the same features."""

import time
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from fieldtrial.training.data.load import Data
from fieldtrial.training.distributed.world import World
from fieldtrial.training.heads.clock import GroupClock
from fieldtrial.training.heads.epochs import evaluate, train_epoch
from fieldtrial.training.heads.opening import Openings, State
from fieldtrial.training.heads.stack import Features, Heads
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.epoch import Diverged, Epoch
from fieldtrial.training.loop.optimizers import OptimizerState
from fieldtrial.training.loop.saving import copied
from fieldtrial.training.loop.trial_progress import TrialProgress


class BrokenGroupError(RuntimeError):
    """What a group computes for all of its trials has failed: its heads may be half trained."""


class Member(Protocol):
    """A trial of the group, as far as the group knows it."""

    attempt: Attempt
    data: Data
    progress: TrialProgress
    is_over: bool  # so that nothing is saved when it is closed


class HeadGroup:
    """Trains the heads of several trials, each of which takes its epochs from here.

    All trials take one epoch each, in turn: the first of them has the epoch computed for all.
    """

    def __init__(self, world: World, start: float = 0.0) -> None:
        """`start`: seconds that the process took to start, if they are charged to these trials."""
        self.clock, self.openings = GroupClock(start), Openings(world)
        self.world = world
        # Of those that have joined: what trains, and the optimiser's state of a checkpoint.
        self._joined: dict[Member, tuple[State, OptimizerState]] = {}
        self._rows: list[Member] = []  # those whose heads train, in the order of the heads
        self._epochs: dict[Member, Epoch | Diverged] = {}
        self._heads: Heads | None = None

    def join(self, member: Member, state: State) -> None:
        """Add a trial, of whose network `state` trains, before the first epoch of the group."""
        assert self._heads is None
        self._joined[member] = copied(state), {}

    def load_optimizer(self, member: Member, state: OptimizerState) -> None:
        """Have a trial that has joined go on with the optimiser's state of a checkpoint."""
        self._joined[member] = self._joined[member][0], state

    def leave(self, member: Member) -> None:
        """Go on without a trial."""
        self._joined.pop(member, None)
        self._epochs.pop(member, None)

    def next_epoch(self, member: Member) -> Epoch:
        """Return the next epoch of a trial, which is computed for all that are left.

        Raises:
            Diverged: a loss or a gradient of this trial is not finite.
            BrokenGroupError: the epoch has failed, for all trials. Each can go on alone, from its
                checkpoint.
        """
        if member not in self._epochs:
            self._advance()
        epoch = self._epochs.pop(member)
        if isinstance(epoch, Diverged):
            raise epoch
        return epoch

    def is_ahead(self, member: Member) -> bool:
        """Return whether a trial's head is no longer as the last epoch that it took has left it.

        The next epoch may have been computed, for all, before this trial takes it. A trial at its
        end has no head from then on.
        """
        return self._heads is not None and (member in self._epochs or member not in self._rows)

    def model_state(self, member: Member) -> State:
        """Return what training has made of the trial's network, on the CPU.

        Only while the group is not ahead of the trial; so too for the optimiser's state.
        """
        begun, _ = self._joined[member]
        if self._heads is None:
            return begun
        own = self._heads.parameters[self._rows.index(member)].detach().cpu()
        weight, bias = self._names
        return {**begun, weight: own[:, :-1].clone(), bias: own[:, -1].clone()}

    def optimizer_state(self, member: Member) -> OptimizerState:
        """Return the optimiser's state of a trial, as `Strategy.optimizer_state` does."""
        _, saved = self._joined[member]
        if self._heads is None:
            return saved
        state = self._heads.updates.state(self._rows.index(member))
        weight, bias = self._names
        return {
            weight: {name: one[:, :-1].clone() if one.ndim else one for name, one in state.items()},
            bias: {name: one[:, -1].clone() if one.ndim else one for name, one in state.items()},
        }

    @property
    def _names(self) -> tuple[str, str]:
        head = self.openings.network.head
        return f"{head}.weight", f"{head}.bias"

    def _advance(self) -> None:
        """Compute the next epoch of all trials that are left and not at their end."""
        assert not self._epochs, "a trial has not taken its epoch"
        live = [one for one in self._joined if not one.progress.end(one.attempt.config)]
        try:
            if self._heads is None:
                self._begin(live)
            elif live != self._rows:
                self._heads.keep([self._rows.index(one) for one in live])
            self._rows = live
            self._compute(live)
        except BaseException as error:
            for member in self._joined:  # heads may be in the middle of the epoch
                member.is_over = True
            if isinstance(error, Exception):
                raise BrokenGroupError(str(error).strip() or type(error).__name__) from error
            raise

    def _compute(self, live: list[Member]) -> None:
        assert self._heads
        started = time.perf_counter()
        data, progress = [one.data for one in live], [one.progress for one in live]
        trained = train_epoch(self._heads, self._features, [one.train for one in data], progress)
        training_share = (time.perf_counter() - started) / len(live)
        validated = evaluate(self._heads, self._features, [one.validation for one in data])
        seconds = time.perf_counter() - started
        for member, training, validation in zip(live, trained, validated, strict=True):
            self._epochs[member] = (
                training
                if isinstance(training, Diverged)
                else Epoch(training, validation, training_share, seconds / len(live), seconds)
            )

    def _begin(self, members: list[Member]) -> None:
        """Make the heads of those that have joined."""
        weight, bias = self._names
        device = self.world.device
        states = [self._joined[member] for member in members]
        self._heads = Heads(
            [member.attempt.config for member in members],
            [state[weight].to(device) for state, _ in states],
            [state[bias].to(device) for state, _ in states],
        )
        for head, (_, saved) in enumerate(states):
            if saved:
                self._heads.updates.load(head, _joined_state(saved[weight], saved[bias]))
        data = members[0].data
        self._features = Features(data.images, data.labels, device)


def _joined_state(weight: Mapping[str, Any], bias: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return an optimiser's state of weights and biases as that of one tensor."""
    known = {name: torch.as_tensor(one) for name, one in weight.items() if one is not None}
    return {
        name: torch.cat([one, bias[name][:, None]], 1) if one.ndim else one
        for name, one in known.items()
    }
