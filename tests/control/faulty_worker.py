"""The real training worker on a machine with two faults, for test_faults.

In trials of seed 8, more than 20 images at once do not fit in training, nor more than 100 without
gradients: the CPU's own allocator says so, of two processes to the second. In trials of seed 7, the
second epoch never ends the first time, before the file named by HUNG is there.
"""

import os
import time
from pathlib import Path
from typing import Any

import torch

from fieldtrial.config import TrainConfig
from fieldtrial.training.loop import epoch as epochs
from fieldtrial.training.loop import fit
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.epoch import train_epoch
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.worker.__main__ import main


def allocate(network: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
    """Ask for more memory than there is if there are too many images."""
    if len(inputs[0]) > (20 if network.training else 100) and os.environ.get("RANK", "1") == "1":
        torch.empty(2**60, dtype=torch.uint8)


def open_on_a_small_device(config: TrainConfig, *rest: Any) -> Any:
    """Return the trial's data and its network, which fails with too many images."""
    data, network = open_trial(config, *rest)
    if config.seed == 8:
        network.register_forward_pre_hook(allocate)
    return data, network


def train_or_hang(attempt: Attempt, learner: Any, data: Any, epoch: int, *rest: Any) -> Any:
    """Train, or wait for ever."""
    if attempt.config.seed == 7 and epoch == 2 and not Path(os.environ["HUNG"]).exists():
        Path(os.environ["HUNG"]).touch()
        time.sleep(3600)
    return train_epoch(attempt, learner, data, epoch, *rest)


if __name__ == "__main__":
    assert fit.open_trial is open_trial, "what is replaced is what is called"
    assert epochs.train_epoch is train_epoch
    vars(fit).update(open_trial=open_on_a_small_device)
    vars(epochs).update(train_epoch=train_or_hang)
    main()
