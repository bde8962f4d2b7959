"""Mirror images: what is scored is the mean of both probabilities."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fieldtrial.disk.run import Record, Run
from fieldtrial.training.distributed.world import World
from fieldtrial.training.scoring.evaluation import evaluate_run, open_finished


def test_answers_are_the_mean_of_the_image_and_its_mirror_image(
    new_run: Callable[..., Run], train_until: Callable[..., list[Record]]
) -> None:
    # Frozen layers' features of the images as they are would not do.
    run = new_run(test_flips=True, freeze="all_but_head", select="last", lr=0.01)
    records = train_until(run, test=True)
    data, network = open_finished(run, World())
    network.eval()

    def probabilities(chosen: np.ndarray, mirrored: bool) -> torch.Tensor:
        images = torch.from_numpy(data.images[chosen])
        with torch.no_grad():
            answers: torch.Tensor = network(images.flip(2) if mirrored else images)
        return answers.softmax(1)

    for split in ("validation", "test"):
        chosen = getattr(data, split)
        alone, mirror = (probabilities(chosen, mirrored) for mirrored in (False, True))
        mean = (alone + mirror) / 2
        assert (alone - mean).abs().max() > 0.01
        with np.load(run.predictions_path(split)) as found:
            np.testing.assert_allclose(np.exp(found["log_probability"]), mean, atol=1e-5)
        labels = torch.from_numpy(data.labels[chosen])
        loss = -mean[torch.arange(len(labels)), labels].log().mean().item()
        result = run.result() or {}
        assert result[f"{split}_loss"] == pytest.approx(loss, rel=1e-4)
        right = (mean.argmax(1) == labels).double().mean().item()
        assert result[f"{split}_accuracy"] == pytest.approx(right)
    assert records[-1]["validation_loss"] == result["validation_loss"]
    assert evaluate_run(run, World(), ("test",))["test_loss"] == result["test_loss"]
