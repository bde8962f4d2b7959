"""A task that no part of the package knows goes all the way: here a number for each image."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.run import Record, Run
from fieldtrial.disk.schemas import Cut
from fieldtrial.fields import task_metrics
from fieldtrial.insight.subject import open_subject
from fieldtrial.results.analysis.ensemble import combine
from fieldtrial.results.read.by_hand import of_one_task
from fieldtrial.results.table.command import main as table
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.data.recipe import Recipe
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop import checkpoint
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.loop.batches import Batch
from fieldtrial.training.loop.inference import infer
from fieldtrial.training.loop.trial_progress import TrialProgress
from fieldtrial.training.models.network import Network
from fieldtrial.training.scoring.evaluation import evaluate_run
from fieldtrial.training.tasks import registry
from fieldtrial.training.tasks.interface import Scores

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]


class Bright(Data):
    """What is learned of an image is its mean brightness, float32 (n, 1)."""

    def targets(self, chosen: Indices) -> np.ndarray[Any, Any]:
        return np.asarray(self.images[chosen].mean((1, 2, 3), np.float32)[:, None] / 255)


class Squares:
    """The squared error, which a checkpoint need not remember anything of."""

    def __call__(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None, /
    ) -> tuple[Tensor, Tensor]:
        squares = (outputs[:, :1] - targets).square()[:, 0]
        total = (squares if weights is None else squares * weights).sum()
        return total, total.detach()

    def end_batch(self) -> None:
        pass

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        assert state == {}


@dataclass
class Numbers:
    index: Indices
    scores: Scores

    def metrics(self, split: str) -> dict[str, Any]:
        return {f"{split}_{name}": value for name, value in self.scores.items()}

    def write(self, path: Inside) -> None:
        write_arrays(path, index=self.index)


class Brightness:
    """A task whose usual metric is called map; it is the share of images that are not far off."""

    seen = ()

    def load(
        self, config: TrainConfig, image_size: int | None, cut: Cut, recipe: Recipe | None
    ) -> Data:
        data = load(config, image_size, cut, recipe)
        return Bright(**{one.name: getattr(data, one.name) for one in fields(Data)})

    def objective(self, *_: Any, **__: Any) -> Squares:
        return Squares()

    def augment(self, batch: Batch, *_: Any, **__: Any) -> Batch:
        return batch

    def count_seen(self, outputs: Tensor, *_: Any, **__: Any) -> Tensor:
        return outputs.new_zeros(0)

    def evaluate(self, network: Network, data: Data, indices: Indices, attempt: Attempt) -> Scores:
        off = torch.cat(
            [
                (outputs[:, :1] - batch.targets)[: batch.count, 0]
                for batch, outputs in infer(network, data, indices, attempt)
            ]
        )
        near = (off.abs() < 0.05).float().mean().item()
        return {"loss": off.square().mean().item(), "map": near}

    def score(self, network: Network, data: Data, split: Split, attempt: Attempt) -> Numbers:
        index = getattr(data, split)
        return Numbers(index, self.evaluate(network, data, index, attempt))


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the made-up task in the place of classification."""
    monkeypatch.setitem(registry.TASKS, "classification", Brightness())
    monkeypatch.setitem(task_metrics.CHOOSING, "classification", ("map", "loss"))
    monkeypatch.setattr(task_metrics, "WITH_CLASSES", ())


@pytest.mark.usefixtures("made_up")
def test_a_task_with_other_targets_and_metrics_is_trained_resumed_evaluated_and_compared(
    new_run: NewRun, train_until: TrainUntil, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = {"select": "validation_map", "lr": 0.01, "epochs": 4}
    runs = [new_run(f"runs/{seed}", seed=seed, **chosen) for seed in (1, 2)]
    train_until(runs[0], last_epoch=2)  # the rest is another attempt
    for run in runs:
        train_until(run, attempt=2, test=True)
        records, result = run.records(), run.result()
        assert result
        assert not [name for name in {*result, *records[1]} if "accuracy" in name]
        maps = [record["validation_map"] for record in records]
        assert records[4]["train_loss"] < records[1]["train_loss"]
        assert result["validation_map"] == max(maps[1:]) == maps[result["best_epoch"]]
        assert "train_map" not in records[0]
        assert evaluate_run(run, World())["test_map"] == result["test_map"]
    capsys.readouterr()
    assert table([str(runs[0].path.parent), "--format", "markdown"]) == 0
    said = capsys.readouterr().out
    mean = np.mean([(run.result() or {})["test_map"] for run in runs])
    assert "test mAP %" in said
    assert f"{100 * mean:.2f}" in said
    assert "1 row without what other test images would change, such as: an image has no mAP" in said
    with pytest.raises(ValueError, match="its answers have no mean"):
        combine(runs)
    with pytest.raises(ValueError, match="explaining it needs probabilities of classes"):
        open_subject(runs[0], World())
    with pytest.raises(ConfigError, match=r"classifier = 'svm': a support vector machine needs"):
        TrainConfig(classifier="svm", select="validation_map")


def test_a_checkpoint_of_an_earlier_version_says_how_good_its_best_epoch_was(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run()
    train_until(run, last_epoch=2)
    saved = checkpoint.read(run.checkpoint_path(2))["progress"]
    own = dict(saved)
    former = {f"best_{name}": value for name, value in own.pop("best").items()}
    assert former.keys() == {"best_loss", "best_accuracy"}
    assert TrialProgress.of(own | former) == TrialProgress.of(saved)


def test_runs_of_several_tasks_are_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(task_metrics.CHOOSING, "other", ("map", "loss"))  # type: ignore[misc]
    runs = {name: {"task": "classification"} for name in "ab"} | {"c": {"task": "other"}}
    kept, lines = of_one_task(runs, None)
    assert list(kept) == ["a", "b"]
    assert lines == ["1 run left out: of a task with other metrics, such as c (other)."]
    assert of_one_task(kept, None) == (kept, [])
    assert list(of_one_task(runs, "validation_map")[0]) == ["c"]
