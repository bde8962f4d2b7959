"""grid(...): the rows of a table."""

from pathlib import Path

import pytest

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.places.settings import SlurmSettings, read_settings
from fieldtrial.sweep import Sweep, grid


def test_a_single_value_is_the_only_choice() -> None:
    assert grid(model="cnn", batch_size=range(2), filters=(8, 16), dropout=None) == [
        {"model": "cnn", "batch_size": number, "filters": (8, 16), "dropout": None}
        for number in (0, 1)
    ]
    assert grid(filters=((8,), (16, 32)), model=("cnn",)) == [
        {"filters": filters, "model": "cnn"} for filters in ((8,), (16, 32))
    ]


def test_a_set_has_no_order_and_so_no_rows() -> None:
    with pytest.raises(ConfigError, match="must be a list, so that the rows have an order"):
        grid(model={"cnn", "mlp"})


def test_a_single_value_stands_for_a_list_of_one_wherever_lists_are_taken(tmp_path: Path) -> None:
    config = TrainConfig(filters=32, augmentation="crop")  # type: ignore[arg-type]
    assert config == TrainConfig(filters=(32,), augmentation=("crop",))
    assert TrainConfig.from_dict({"dense_width": 8}).dense_width == (8,)
    planned = Sweep(base=TrainConfig(), rows=grid(filters=[16, 32])).planned
    assert [row.config.filters for row in planned] == [(16,), (32,)]
    single = Sweep(base=TrainConfig(), rows={"model": "mlp"})  # type: ignore[arg-type]
    assert single.planned == Sweep(base=TrainConfig(), rows=[{"model": "mlp"}]).planned
    place = 'kind = "slurm"\nsetup = "module load cuda"\n'
    (tmp_path / "site.toml").write_text(place)
    settings = read_settings("site", tmp_path)
    assert isinstance(settings, SlurmSettings)
    assert settings.setup == ("module load cuda",)
