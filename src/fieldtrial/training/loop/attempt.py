"""One attempt at a trial: what to train, in which run directory, on which processes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.training.distributed.device_clock import DeviceClock
from fieldtrial.training.distributed.world import World

Split = Literal["validation", "test"]
ALONE = World()


class Superseded(ValueError):  # noqa: N818 (what happened to the attempt; no fault of the program)
    """A newer attempt at the same run has begun, so this one writes no more."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at the trial of `run`.

    Attributes:
        number: counts the attempts at the run from 1; the names of the attempt's files carry it.
        accumulation: gradient accumulation steps: micro-batches per batch, in each process.
        test: whether the kept weights are also scored on the test split.
        stop: asked between steps; once it returns True, the epoch is left.
        clock: how long the attempt has held its devices.
        together: how many trials were begun as one with it, itself among them.
    """

    run: Run
    config: TrainConfig
    world: World = ALONE
    number: int = 1
    accumulation: int = 1
    test: bool = False
    stop: Callable[[], bool] | None = None
    clock: DeviceClock = field(default_factory=DeviceClock, compare=False)
    together: int = 1

    @classmethod
    def at(
        cls,
        run: Run,
        world: World = ALONE,
        number: int = 1,
        accumulation: int = 1,
        test: bool = False,
        clock: DeviceClock | None = None,
    ) -> "Attempt":
        """Return an attempt at an existing run, whose directory holds the config.

        clock: by default one that begins now.
        """
        clock = clock or DeviceClock()
        return cls(run, run.config(), world, number, accumulation, test, clock=clock)

    @property
    def micro_batch_size(self) -> int:
        """How many images a process passes through the network at once in training, at most."""
        per_process = math.ceil(self.config.batch_size / self.world.size)
        return math.ceil(per_process / self.accumulation)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that the kept weights are scored on."""
        return ("validation", "test") if self.test else ("validation",)

    def note(self, facts: Mapping[str, object]) -> None:
        """Add facts to what env.json says about this attempt, once it is described there."""
        if facts and self.world.is_rank_0:
            known = self.run.environment().get(str(self.number))
            if known is not None:
                self.run.write_environment(self.number, known | facts)

    def require_newest(self) -> None:
        """Raise Superseded, in all processes together, if a newer attempt has begun."""
        world = self.world
        newest = world.broadcast(self.run.newest_attempt if world.is_rank_0 else 0)
        if newest > self.number:
            raise Superseded(
                f"{self.run.path}: attempt {newest} has taken over from attempt {self.number}"
            )
