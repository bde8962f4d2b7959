"""The moving average: the published recursion, and that it is what is validated and kept."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fieldtrial.disk.run import Record, Run
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.moving_average import MovingAverage, State
from fieldtrial.training.freezing.trained_state import frozen_names, trained_state
from fieldtrial.training.loop import fit
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.models.network import Network
from fieldtrial.training.scoring.evaluation import evaluate_run

DECAY = 0.8


def test_what_is_validated_and_kept_is_the_average_of_what_trains(
    new_run: Callable[..., Run],
    train_until: Callable[..., list[Record]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[State] = []

    class Watched(MovingAverage):
        def __init__(self, network: Network, decay: float) -> None:
            super().__init__(network, decay)
            self.network = network

        def update(self) -> None:
            super().update()
            steps.append({name: one.clone() for name, one in trained_state(self.network).items()})

    monkeypatch.setattr(fit, "MovingAverage", Watched)
    fields: dict[str, Any] = {"model": "cnn", "filters": [4], "blocks": 2, "batch_size": 100}
    fields |= {"freeze": "first:1", "select": "last", "epochs": 2, "lr": 0.01}
    run = new_run(**fields, ema_decay=DECAY)
    records = train_until(run)
    assert len(steps) == 8
    kept = load_file(run.weights_path)
    _, begun = open_trial(run.config(), run)
    for name, own in begun.state_dict().items():
        if name in frozen_names(begun):
            assert torch.equal(kept[name], own)
        elif own.is_floating_point():
            average = steps[0][name].numpy().astype(np.float64)
            for step in steps[1:]:
                average = DECAY * average + (1 - DECAY) * step[name].numpy()
            np.testing.assert_allclose(kept[name], average, rtol=1e-5, atol=1e-6)
        else:
            assert kept[name] == steps[-1][name] == 8  # batches that the statistics are of
    moved = ("model.block2.convolution.weight", "model.block2.batch_norm.running_var")
    for name in moved:
        assert not torch.allclose(kept[name], steps[-1][name], rtol=1e-3), name
    again = evaluate_run(run, World(), ("validation",))
    assert again["validation_loss"] == pytest.approx(records[-1]["validation_loss"], rel=1e-5)
    # training goes on with the weights, not with their average
    plain = train_until(new_run("plain", **fields))
    for one, other in zip(records, plain, strict=True):
        assert one["train_loss"] == other["train_loss"]
    assert records[-1]["validation_loss"] != plain[-1]["validation_loss"]


class Odd(torch.nn.Module):
    """Layers with a mask, as those of transformers have, and with one weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        self.first.weight = self.fc.weight
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


def test_tied_weights_are_one_and_the_infinities_of_a_mask_stay() -> None:
    network = Network(Odd(), "fc", 1, (0.5,), (0.5,))
    average, weights = MovingAverage(network, 0.5), network.get_parameter("model.fc.weight")
    assert average.averaged(network.state_dict()).keys() == network.state_dict().keys()
    for value in (4.0, 0.0, 1.0):
        torch.nn.init.constant_(weights, value)
        average.update()
    with average.in_network():
        assert set(weights.flatten().tolist()) == {1.5}  # ((4 + 0) / 2 + 1) / 2
        assert network.get_buffer("model.mask").tolist() == [0.0, -torch.inf]
    assert set(weights.flatten().tolist()) == {1.0}
    kept = average.averaged(network.state_dict())
    for name in ("model.first.weight", "model.fc.weight"):
        assert set(kept[name].flatten().tolist()) == {1.5}
    assert kept["model.mask"].tolist() == [0.0, -torch.inf]
