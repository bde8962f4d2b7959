"""Which search proposes the next trial."""

from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.trials import Trials
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.search_domains import loguniform
from fieldtrial.sweep import Sweep


@pytest.mark.parametrize(
    ("together", "rows"),
    [(1, [0, 1, 2, 0, 1, 2, 0, 1, 2]), (4, [0, 0, 0, 0, 1, 2, 2, 2, 2])],
)
def test_a_row_proposes_as_many_heads_in_turn_as_train_together(
    together: int, rows: list[int], tmp_path: Path
) -> None:
    sweep = Sweep(
        base=TrainConfig(freeze="all_but_head"),
        # The second row's trials train alone: nothing of it is frozen.
        rows=[{"optimizer": "sgd"}, {"freeze": "none"}, {"optimizer": "adam"}],
        search={"lr": loguniform(1e-4, 1e-1)},
        trials=8,
        seeds=0,
        searcher="tpe",
    )
    trials = Trials.begin(sweep, SweepFolder(tmp_path), None)
    trials.gather(together)
    proposed = []
    for _ in rows:
        trial = trials.propose()
        assert trial
        trial.status = "running"  # a search proposes no other trial before
        proposed.append(trial.row)
    assert proposed == rows
