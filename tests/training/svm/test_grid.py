"""The grid of support vector machines as a sweep's folder."""

from pathlib import Path
from typing import NoReturn

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.training.attempt import svm_grid
from fieldtrial.training.distributed.world import World


def test_a_machine_is_listed_before_it_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise one that is killed between its result and the list would be in no table."""

    def killed(_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(svm_grid, "train", killed)
    folder = SweepFolder(tmp_path / "grid")
    with pytest.raises(KeyboardInterrupt):
        svm_grid.fit_grid(TrainConfig(model="mlp", classes="2"), folder, World())
    assert [(one["row"], one["role"]) for one in folder.trials()] == [
        (0, "search"),
        (0, "winner"),
        (0, "final"),
    ]
