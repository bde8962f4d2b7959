"""A trial of pretrained weights sees images by their recipe, and its result says so."""

from pathlib import Path

import pytest
import torch
import torchvision.models

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.scoring.evaluation import evaluate_run, open_finished
from tests.training.data.test_recipe import photo

RECIPE = "shorter side resized to 73 pixels (bilinear), centre of 64 pixels"


@pytest.fixture
def trained(tmp_path: Path) -> Run:
    """A run of one epoch on photographs, from a file of torchvision's layout that is gone."""
    for number in range(20):
        path = tmp_path / "photos" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(96, 80, number).save(path)
    file = tmp_path / "own.pth"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), file)
    config = TrainConfig(
        dataset=f"folder:{tmp_path / 'photos'}", model="squeezenet1_1", weights=str(file),
        image_size=64, validation_fraction=0.4, epochs=1, batch_size=8,
        augmentation=("random_resized_crop", "horizontal_flip"), weight_decay=0.1, decay_all=False,
        select="last",
    )  # fmt: skip
    run = Run.create(tmp_path / "run", config)
    list(train(Attempt(run, config, test=True)))
    file.unlink()
    return run


def test_the_recipe_and_the_weights_stand_in_the_result_and_are_evaluated_by(trained: Run) -> None:
    result = trained.result()
    assert result is not None
    assert result["recipe"] == RECIPE
    assert (result["initial_weights"], result["pretraining_data"]) == ("file own.pth", "not said")
    assert result["best_epoch"] == 1
    scores = evaluate_run(trained, World())  # the weights' file, which says the recipe, is gone
    assert scores["test_accuracy"] == result["test_accuracy"]
    data, _ = open_finished(trained, World())
    assert str(data.recipe) == RECIPE
