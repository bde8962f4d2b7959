"""Linear heads that train as one, from the engine through a place to the worker."""

from pathlib import Path

import pandas
import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep
from tests.results.cells import own_table

MEASURED = "hours|minutes|images_per_second|data_wait|energy"  # of the table's columns
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
# Of a network whose frozen layers are random: heads of one seed have the same features.
PROBE = TrainConfig.from_dict(
    {"model": "mlp", "classes": "3", "epochs": 4, "dense_width": [16], "freeze": "all_but_head"}
)


def swept(path: Path, together: int) -> SweepFolder:
    """Run a sweep of a probe for each learning rate, one after another or so many together."""
    sweep = Sweep(base=PROBE, rows=[{"lr": rate} for rate in RATES], search={}, trials=1, seeds=2)
    folder = SweepFolder(path)
    folder.write_description(sweep.describe(folder.name))
    place = LocalPlace(LocalSettings(most_trials=1, trials_together=together))
    try:
        Engine(sweep, folder, place).run()
    finally:
        place.close()
    return folder


def test_the_table_is_the_same_whether_heads_train_together_or_alone(tmp_path: Path) -> None:
    folders = alone, together = [swept(tmp_path / str(count), count) for count in (1, 4)]
    names = {entry["trial"] for entry in alone.trials() if entry["role"] != "winner"}
    assert len(names) == 3 * len(RATES)
    assert names == {entry["trial"] for entry in together.trials() if entry["role"] != "winner"}
    sizes = [
        [folder.run(name).environment()["1"].get("together", 1) for name in names]
        for folder in folders
    ]
    assert [max(one) for one in sizes] == [1, 4]
    frames = [own_table(folder).frame for folder in folders]
    mine, others = (
        frame.drop(columns=list(frame.filter(regex=MEASURED).columns)) for frame in frames
    )
    assert mine["test_accuracy_mean"].nunique() > 1, "the rows differ"
    pandas.testing.assert_frame_equal(mine, others, check_exact=False, rtol=0, atol=1e-5)
    for name in names:
        ends = [folder.run(name).result() or {} for folder in folders]
        for score in ("validation_loss", "validation_accuracy", "best_epoch"):
            assert ends[0][score] == pytest.approx(ends[1][score], rel=0, abs=1e-5)
